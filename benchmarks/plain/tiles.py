"""Methods of tiles alone."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from plain.blocks import class_token
from slidesurv.models.attnmil import AttnMIL
from slidesurv.models.clam import CLAM
from slidesurv.models.dsmil import DSMIL, QUERY
from slidesurv.models.dtfdmil import DTFDMIL
from slidesurv.models.panther import Panther
from slidesurv.models.rrtmil import RRTMIL, RegionAttention
from slidesurv.models.transmil import TransMIL
from slidesurv.nn.attention import GatedAttention
from slidesurv.seeds import seed_for
from slidesurv.types import Bag, Genomics, ModelOutput

__all__ = ["attnmil", "clam", "dsmil", "dtfdmil", "em", "panther", "rrtmil", "transmil"]

DEATH = 1  # bin of the patient of the benchmark


def _gated(attention: GatedAttention, tiles: Tensor) -> Tensor:
    """(N, dim) → (N, 1) scores."""
    value = attention.dropout(attention.value(tiles).tanh())
    return attention.score(value * attention.dropout(attention.gate(tiles).sigmoid()))


def attnmil(model: AttnMIL, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """The same computation as ours."""
    tiles = model.embed(bag.features)
    weights = _gated(model.attention, tiles).T.softmax(1)  # (1, N)
    return ModelOutput(model.head(model.post(weights @ tiles))[0])


def clam(model: CLAM, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """The same computation as ours; with an instance loss, the classifier of the bin of death alone."""
    tiles = model.embed(bag.features)
    scores = _gated(model.attention, tiles).T  # (1, N)
    weights = scores.softmax(1)
    losses = {}
    if model.training and model.instance != "none":
        ends = [tiles[(sign * weights[0]).topk(model.sampled).indices] for sign in (1, -1)]  # (8, dim) each
        answers = model.instances[DEATH](torch.cat(ends))  # (16, 2)
        right = torch.cat([torch.ones(model.sampled).long(), torch.zeros(model.sampled).long()])
        margin = F.one_hot(1 - right, 2) * (1.0 if model.instance == "svm" else 0.0)
        losses = {"instance": F.cross_entropy(answers + margin, right).expand(len(model.instances))}
    return ModelOutput(model.head(weights @ tiles)[0], bin_losses=losses)


def transmil(model: TransMIL, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """All rows of both layers."""
    return ModelOutput(model.head(class_token(model.encoder, model.embed(bag.features))))


def dsmil(model: DSMIL, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """All tiles sorted for each bin, the critical ones asked once more."""
    tiles = model.embed(bag.features)
    instances = model.instance(tiles)  # (N, T)
    values = model.value(model.dropout(tiles)).relu()  # (N, dim)
    order = instances.sort(0, descending=True).indices
    critical = model.query(tiles.index_select(0, order[0]))  # (T, 128)
    attention = (model.query(tiles) @ critical.T / QUERY**0.5).softmax(0)
    pooled = attention.T @ values  # (T, dim)
    bins, dim = pooled.shape
    logits = F.conv1d(pooled[None], model.head.weight.view(bins, bins, dim), model.head.bias)[0, :, 0]
    return ModelOutput(logits, branches=instances)


def dtfdmil(model: DTFDMIL, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """A loop over pseudo-bags: weighted tiles kept, all of them ranked."""
    seed = [] if model.training else [torch.Generator().manual_seed(seed_for("pseudo-bags", bag.patient, 0))]
    order = torch.randperm(len(bag), generator=seed[0]) if seed else torch.randperm(len(bag))
    means, handed = [], []
    for places in order.tensor_split(model.pseudo_bags):
        tiles = model.reduce(bag.features.index_select(0, places))
        weights = _gated(model.first_attention, tiles)[:, 0].softmax(0)  # (n,)
        weighted = tiles * weights[:, None]  # (n, dim)
        means.append(weighted.sum(0))
        last = (weighted @ model.first_head.weight.T).softmax(-1)[:, -1]
        ranked = last.sort(descending=True).indices
        handed.append(tiles.index_select(0, ranked[[0, -1]]))
    branches = torch.stack([model.first_head(model.dropout(mean)) for mean in means])  # (G, T)
    rows = torch.cat(handed)  # (2G, dim)
    mean = (rows * _gated(model.second_attention, rows).softmax(0)).sum(0)
    return ModelOutput(model.second_head(model.dropout(mean)), branches=branches)


def em(x: Tensor, means: Tensor, *, variance: float, strength: float, steps: int) -> tuple[Tensor, ...]:
    """MAP-EM in the precision of the tiles, the whole slide in each product.

    Returns:
        (C,) weights, (C, D) means and variances after the last M-step; (N, C) log of weight times density before it.
    """
    prior, count = means, len(means)
    weights, variances = x.new_full((count,), 1 / count), torch.full_like(means, variance)
    for _ in range(steps):
        distance = x**2 @ (1 / variances).T - 2 * x @ (means / variances).T + (means**2 / variances).sum(1)
        joint = weights.log() - 0.5 * (distance + variances.log().sum(1) + x.shape[1] * math.log(2 * math.pi))
        gamma = (joint - joint.logsumexp(1, keepdim=True)).exp()
        n = gamma.sum(0) + strength
        weights, means = n / n.sum(), (gamma.T @ x + strength * prior) / n[:, None]
        variances = (gamma.T @ x**2 + strength * (variance + prior**2)) / n[:, None] - means**2
        variances = variances.clamp(min=1e-8)
    return weights, means, variances, joint


@torch.no_grad()
def _mixture(model: Panther, features: Tensor) -> Tensor:
    fitted = em(features, model.means, variance=model.variance, strength=model.strength, steps=model.iterations)
    return torch.cat([part.flatten() for part in fitted[:3]])  # (C + 2 C D,)


def panther(model: Panther, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """The mixture fitted at every call."""
    return ModelOutput(model.head(_mixture(model, bag.features)))


def rrtmil(model: RRTMIL, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """Every region made, score maps kept and convolved."""
    tokens = model.embed(bag.features)
    for layer in model.within:
        attended = _region_attention(layer.attention, _regions(layer.norm(tokens), layer.side))
        tokens = tokens + _rows(attended, layer.side, len(tokens))
    last = model.between
    regions = _regions(last.norm(tokens), last.side)  # (L², P, dim)
    scores = last.phi(regions).transpose(1, 2)  # (L², k_c, P)
    sent = torch.einsum("rkp,rpd->krd", scores.softmax(-1), regions)
    told = _region_attention(last.attention, sent)  # (k_c, L², dim)
    low, high = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    share = scores.softmax(1) * ((scores - low) / (high - low + 1e-8))
    tokens = tokens + _rows(torch.einsum("rkp,krd->rpd", share, told), last.side, len(tokens))
    tokens = model.norm(tokens)
    return ModelOutput(model.head(model.pool(tokens).T.softmax(1) @ tokens)[0])


def _regions(tokens: Tensor, side: int) -> Tensor:
    """(N, dim) → (L², P, dim) of the square that zero rows complete."""
    reach = math.ceil(math.ceil(len(tokens) ** 0.5) / side)
    square = torch.cat([tokens, tokens.new_zeros((side * reach) ** 2 - len(tokens), tokens.shape[1])])
    return square.view(side, reach, side, reach, -1).permute(0, 2, 1, 3, 4).reshape(side * side, reach * reach, -1)


def _rows(regions: Tensor, side: int, n: int) -> Tensor:
    """(L², P, dim) → (n, dim)."""
    reach = round(regions.shape[1] ** 0.5)
    square = regions.view(side, side, reach, reach, -1).permute(0, 2, 1, 3, 4)
    return square.reshape((side * reach) ** 2, -1)[:n]


def _region_attention(attention: RegionAttention, regions: Tensor) -> Tensor:
    """(R, P, dim) → (R, P, dim)."""
    parts = attention.qkv(regions).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = parts  # (R, H, P, d) each
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)  # (R, H, P, P)
    if attention.position is not None:
        place = attention.position
        half = place.kernel_size[0] // 2
        scores = scores + F.conv2d(scores, place.weight, place.bias, padding=(half, 0), groups=attention.heads)
    mixed = scores.softmax(-1) @ value
    return attention.dropout(attention.output(mixed.transpose(1, 2).flatten(2)))
