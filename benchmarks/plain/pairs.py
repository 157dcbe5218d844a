"""Methods of tiles and genes."""

import warnings

import ot
import torch
from torch import Tensor, nn

from plain.blocks import class_token, co_attention, cross_attention, encode, self_attention
from plain.tiles import em
from slidesurv.models.cmta import CMTA
from slidesurv.models.ghanet import GeneQuestions, GHANet
from slidesurv.models.mcat import MCAT
from slidesurv.models.micro_batch import deal, mean_answer
from slidesurv.models.mome import OMEGA, Added, Bottleneck, Joined, Layer, MoME, Stage
from slidesurv.models.motcat import MOTCat
from slidesurv.models.multibert import MultiBert
from slidesurv.models.vgat import VGAT, Reconstruction, reconstruction_loss
from slidesurv.seeds import seed_for
from slidesurv.types import Bag, Genomics, ModelOutput

__all__ = ["cmta", "ghanet", "mcat", "mome", "motcat", "multibert", "vgat"]


def mcat(model: MCAT, bag: Bag, genomics: Genomics) -> ModelOutput:
    """A key and a value of every tile."""
    genes, tiles = model.genes(genomics.groups), model.embed(bag.features)
    told, _ = co_attention(model.ask, genes, tiles)
    return ModelOutput(model.head(model.fusion(model.pathology(told), model.genomic(genes))))


def motcat(model: MOTCat, bag: Bag, genomics: Genomics) -> ModelOutput:
    """Plans of the library that the authors use; chunks one by one, each through the whole network."""
    if model.micro_batch is None:
        return ModelOutput(_judge_motcat(model, bag.features, genomics))
    chunks = deal(bag, model.micro_batch, training=model.training)
    judged = [_judge_motcat(model, bag.features[places], genomics) for places in chunks]
    return mean_answer(torch.stack(judged), None)


def _judge_motcat(model: MOTCat, features: Tensor, genomics: Genomics) -> Tensor:
    genes, tiles = model.genes(genomics.groups), model.embed(features)
    told = _plan(model, tiles.detach(), genes.detach()).to(tiles) @ tiles  # (L, dim)
    return model.head(model.fusion(model.pathology(told), model.genomic(genes)))


def _plan(model: MOTCat, tiles: Tensor, genes: Tensor) -> Tensor:
    """(N, dim), (L, dim) → (L, N) float64."""
    tiles, genes = (rows - rows.amin(1, keepdim=True) for rows in (tiles, genes))
    cost = torch.cdist(tiles, genes).double() ** 2  # (N, L)
    even = [torch.full((count,), 1 / count, dtype=torch.float64) for count in cost.shape]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the entropy is its own reference
        plan = ot.unbalanced.sinkhorn_knopp_unbalanced(
            *even, cost / cost.max(), model.epsilon, model.tau, reg_type=model.reference
        )
    return plan.T


def cmta(model: CMTA, bag: Bag, genomics: Genomics) -> ModelOutput:
    """All rows of four transformers, keys and values of both sides."""
    genes, tiles = model.genes(genomics.groups), model.embed(bag.features)
    path, gene = encode(model.pathology_encoder, tiles), encode(model.genomic_encoder, genes)
    tiles_told, _ = co_attention(model.tiles_ask, path[1:], gene[1:])
    genes_told, _ = co_attention(model.genes_ask, gene[1:], path[1:])
    path_, gene_ = class_token(model.pathology_decoder, tiles_told), class_token(model.genomic_decoder, genes_told)
    logits = model.head(model.fusion((path[0] + path_) / 2, (gene[0] + gene_) / 2))
    pairs = ((path[0], path_), (gene[0], gene_)) if model.training else ()
    losses = {"alignment": sum(nn.functional.l1_loss(moved, fixed.detach()) for fixed, moved in pairs)} if pairs else {}
    return ModelOutput(logits, losses=losses)


def mome(model: MoME, bag: Bag, genomics: Genomics) -> ModelOutput:
    """Chunks one by one, each through the whole network; every row of a layer."""
    chunks = deal(bag, model.micro_batch, training=model.training)
    judged = [_judge_mome(model, bag.features[places], genomics) for places in chunks]
    return mean_answer(torch.stack(judged), None)


def _judge_mome(model: MoME, features: Tensor, genomics: Genomics) -> Tensor:
    genes, tiles = model.genes(genomics.groups), model.embed(features)
    for turn, stage in enumerate(model.stages):
        if turn % 2 == 0:
            tiles = _hear(stage, tiles, genes)
        else:
            genes = _hear(stage, genes, tiles)
    return model.head(_layer(model.last, torch.cat([model.token, tiles, genes]))[0])


def _layer(layer: Layer, tokens: Tensor) -> Tensor:
    return tokens * OMEGA + self_attention(layer.attention, layer.norm(tokens))


def _hear(stage: Stage, own: Tensor, partner: Tensor) -> Tensor:
    """The router's gradient is made and not used: no gradient leaves the index of the largest."""
    expert = stage.experts[int(stage.router(own, partner).softmax(-1).argmax())]
    if isinstance(expert, Joined):
        return _layer(expert.layer, torch.cat([own, partner]))[: len(own)]
    if isinstance(expert, Bottleneck):
        told = _layer(expert.partner, torch.cat([expert.tokens[0], partner]))[: expert.tokens.shape[1]]
        return _layer(expert.own, torch.cat([own, told]))[: len(own)]
    if isinstance(expert, Added):
        return expert.own(own) + expert.partner(partner).mean(0)
    return own


def ghanet(model: GHANet, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """Keys and values of every tile, in both questions."""
    answers, scores = _ask(model.questions, bag.features)  # (K, dim), (K, N)
    tiles = model.embed(bag.features)
    every = model.node(tiles).softmax(0)  # (N,)
    least = scores.topk(max(1, int(model.keep * len(tiles))), dim=1).values[:, -1:]
    own = (scores + torch.where(scores >= least, 0.0, -1e5)).softmax(1).detach()
    gathered = (every + own) / 2 @ tiles  # (K, dim)
    merged = (model.hyper(gathered) + gathered + answers) / 2
    merged = cross_attention(model.mix, merged, merged)[0] + merged
    merged = model.merge(model.merge_norm(merged)) + merged
    logits = model.head(model.squeeze(merged).flatten())
    rebuilt = [head(answer) for head, answer in zip(model.rebuild, answers, strict=True)]
    losses = {}
    if model.training:
        pairs = [(made, group) for made, group in zip(rebuilt, genomics.groups, strict=True)]
        errors = [(1 - nn.functional.cosine_similarity(*pair, dim=0)) ** 3 for pair in pairs]
        losses = {"reconstruction": sum(errors) + sum(nn.functional.mse_loss(*pair) for pair in pairs)}
    return ModelOutput(logits, losses=losses)


def _ask(questions: GeneQuestions, features: Tensor) -> tuple[Tensor, Tensor]:
    seen = questions.tile_norm(questions.project(features))
    tokens = questions.tokens[0]
    answers, _ = cross_attention(questions.first, questions.token_norm[0](tokens), seen)
    answers = questions.feed_forward[0](questions.answer_norm[0](answers)) + answers
    answers, scores = cross_attention(questions.first, questions.token_norm[1](tokens + answers), seen)
    answers = questions.feed_forward[1](questions.answer_norm[1](answers)) + answers
    return questions.final_norm(answers), scores.mean(0)


def multibert(model: MultiBert, bag: Bag, genomics: Genomics) -> ModelOutput:
    """All rows of two transformers, one token among 126 zero rows."""
    patient = class_token(model.pathology, model.embed(bag.features))
    genome = class_token(model.genomic, model.lift(genomics.embedding)[None])
    return ModelOutput(model.head(model.fusion(patient, genome)))


def vgat(model: VGAT, bag: Bag, genomics: Genomics | None) -> ModelOutput:
    """Prompts chosen at every call; all rows of two transformers; keys and values of every prompt."""
    reconstruction = _rebuild(model.reconstruct, bag.features[_prompts(model, bag)])
    patient = class_token(model.pathology, model.embed(bag.features))
    genome = class_token(model.genomic, model.lift(reconstruction)[None])
    logits = model.head(model.fusion(torch.cat([patient, genome])))
    losses = {"reconstruction": reconstruction_loss(reconstruction, genomics.embedding)} if model.training else {}
    return ModelOutput(logits, losses=losses)


def _rebuild(vga: Reconstruction, prompts: Tensor) -> Tensor:
    """(N_S, D) → (D_g,)."""
    seen = vga.project(prompts)
    seen = vga.prompt_norm(seen * vga.gate(seen).sigmoid())
    answers = torch.zeros_like(vga.tokens[0])
    for turn, feed_forward in enumerate(vga.feed_forward):
        answers, _ = cross_attention(vga.attention[0], vga.token_norm[turn](vga.tokens[0] + answers), seen)
        answers = feed_forward(vga.answer_norm[turn](answers)) + answers
    return vga.output(vga.final_norm(answers)).mean(0)


@torch.no_grad()
def _prompts(model: VGAT, bag: Bag) -> Tensor:
    """(N_S,) tiles, a cluster at a time; the complement by looking each tile up in a list, as released."""
    ese = model.prompts.choices
    if len(bag) <= ese.prompts:
        return torch.arange(len(bag))
    fitted = em(bag.features, model.prompts.means, variance=ese.variance, strength=ese.strength, steps=ese.iterations)
    labels, odds = _clearest(fitted[3])
    half, clusters = ese.prompts // 32, [(labels == k).nonzero()[:, 0] for k in range(ese.prototypes)]
    small = [members for members in clusters if len(members) < ese.prompts / 32]
    large = [members[odds[members].argsort()] for members in clusters if len(members) >= ese.prompts / 16]
    ends = [end for members in large for end in (members[:half], members[-half:])]
    taken = torch.cat([*small, *ends]).tolist()
    rest = [tile for tile in range(len(bag)) if tile not in taken]
    generator = torch.Generator().manual_seed(seed_for("prompts", int(model.prompts.seed), bag.patient))
    drawn = torch.randperm(len(rest), generator=generator)[: ese.prompts - len(taken)]
    return torch.tensor([*taken, *(rest[k] for k in drawn)])


def _clearest(joint: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) log of weight times density → (N,) cluster, and log-odds of it."""
    labels = joint.argmax(1)
    best = joint.gather(1, labels[:, None])
    return labels, best[:, 0] - joint.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
