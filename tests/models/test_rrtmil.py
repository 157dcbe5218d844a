"""RRT-MIL: its numbers, the literature's way of computing them, and what regions can and cannot see."""

import re
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.errors import ConfigError
from slidesurv.models.rrtmil import RRTMIL, RegionAttention, fold, unfold
from slidesurv.registry import models
from slidesurv.types import Sizes

SIZES = Sizes(tile=1024, bins=4)


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


ORDER = [
    *both("embed.0", "norm", "within.0.norm", "within.0.attention.qkv", "within.0.attention.output"),
    *both("within.0.attention.position", "between.norm"),
    "between.phi.weight",
    *both("between.attention.qkv", "between.attention.output"),
    *("pool.0.weight", "pool.2.weight", "head.weight", "head.bias"),
]


def as_named(variant: str) -> RRTMIL:
    """The model of a row such as "L16_crmsa8": regions along a side, within and between, and what else it names."""
    names = {"regions": r"L(\d+)", "cross_regions": r"crmsa(\d+)", "kernel": r"_k(\d+)", "representatives": r"_kc(\d+)"}
    found = {name: re.search(pattern, variant) for name, pattern in names.items()}
    choices = {name: int(match[1]) for name, match in found.items() if match}
    if "tanh" in variant:
        choices["pool"] = "tanh"
    model = RRTMIL(SIZES, **choices, shortcut="shortcut" in variant).double().eval()
    fill(model, ORDER)
    return without_epeg(model) if "no_epeg" in variant else model


def without_epeg(model: RRTMIL) -> RRTMIL:
    """The same weights without the encoding of positions."""
    plain = RRTMIL(SIZES, regions=model.within[0].side, epeg=False).double().eval()
    plain.load_state_dict({name: w for name, w in model.state_dict().items() if ".position." not in name})
    return plain


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("RRT-MIL"))
def test_golden_logits(variant, n_tiles, logits):
    torch.testing.assert_close(as_named(variant)(as_bag(bag(n_tiles)), None).logits, logits, atol=1e-6, rtol=0)


def test_golden_mistake_is_made_only_without_epeg():
    wrong = torch.tensor([0.692764, 0.647677, -0.305735, -1.014284], dtype=torch.float64)
    patient, model = as_bag(bag(300)), as_named("L8")
    torch.testing.assert_close(without_epeg(model)(patient, None).logits, wrong, atol=1e-6, rtol=0)
    assert (model(patient, None).logits - wrong).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("choices", "parameters"),
    [
        ({}, 2_698_500),
        ({"regions": 8, "cross_heads": 2, "shortcut": True, "pool": "tanh"}, 2_698_500),
        ({"representatives": 1}, 2_697_476),
        ({"kernel": 9}, 2_698_452),
        ({"kernel": 21, "representatives": 5}, 2_699_572),
        ({"phi": "mlp"}, 2_762_884),
        ({"epeg": False}, 2_698_500 - 128),
        ({"layers": 3}, 2_698_500 + 1_051_776),
    ],
)
def test_it_has_as_many_parameters_as_published(choices, parameters):
    model = models.build("rrtmil", SIZES, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def square(tokens: torch.Tensor, side: int) -> torch.Tensor:
    """(N, dim) → (L², P, dim): every region, those of zeros alone too."""
    reach = ceil(ceil(len(tokens) ** 0.5) / side)
    whole = F.pad(tokens, (0, 0, 0, (side * reach) ** 2 - len(tokens)))
    return whole.unflatten(0, (side, reach, side, reach)).transpose(1, 2).flatten(0, 1).flatten(1, 2)


def rows(regions: torch.Tensor, side: int, count: int) -> torch.Tensor:
    reach = round(regions.shape[1] ** 0.5)
    return regions.reshape(side, side, reach, reach, -1).transpose(1, 2).flatten(0, 3)[:count]


def literal_attention(attention: RegionAttention, regions: torch.Tensor) -> torch.Tensor:
    """As it is written down: the score map whole, and convolved."""
    queries, keys, values = attention.qkv(regions).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5  # (R, H, P, P)
    if attention.position is not None:
        weight, bias = attention.position.weight, attention.position.bias
        scores = scores + F.conv2d(scores, weight, bias, padding=(weight.shape[2] // 2, 0), groups=len(weight))
    return attention.output((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))


def literal(model: RRTMIL, features: torch.Tensor) -> torch.Tensor:
    """The model as it is written down: every zero row made, one step after the other."""
    embedded = tokens = model.embed(features)
    for layer in model.within:
        attended = literal_attention(layer.attention, square(layer.norm(tokens), layer.side))
        tokens = tokens + rows(attended, layer.side, len(tokens))
    last = model.between
    regions = square(last.norm(tokens), last.side)
    scores = last.phi(regions)  # (L², P, k_c)
    sent = torch.einsum("rpk,rpd->krd", scores.softmax(1), regions)
    told = literal_attention(last.attention, sent)
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    share = scores.softmax(2) * (scores - low) / (high - low + 1e-8)
    tokens = tokens + rows(torch.einsum("rpk,krd->rpd", share, told), last.side, len(tokens))
    tokens = model.norm(tokens + embedded if model.shortcut else tokens)
    return model.head(model.pool(tokens)[:, 0].softmax(0) @ tokens)


def small(**choices) -> RRTMIL:
    torch.manual_seed(0)
    model = RRTMIL(Sizes(tile=12, bins=4), dim=32, **choices).double().eval()
    for layer in model.within:
        if layer.attention.position is not None:
            torch.nn.init.normal_(layer.attention.position.bias)
    return model


VARIANTS = [
    {"regions": 4},
    {"regions": 16, "cross_regions": 4, "representatives": 1},
    {"regions": 3, "kernel": 1, "phi": "mlp"},
    {"regions": 4, "kernel": 21, "heads": 2, "cross_heads": 4, "pool": "tanh"},
    {"regions": 2, "epeg": False, "shortcut": True},
    {"regions": 2, "layers": 3},
    {"layers": 1},
]


@pytest.mark.parametrize("n", [1, 2, 17, 64, 65, 150, 300])
@pytest.mark.parametrize("choices", VARIANTS, ids=str)
def test_it_is_the_model_as_written_down(choices, n):
    ours, theirs = small(**choices), small(**choices)
    features = torch.randn(n, 12, dtype=torch.float64)
    logits, expected = ours(as_bag(features), None).logits, literal(theirs, features)
    torch.testing.assert_close(logits, expected, atol=1e-10, rtol=0)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-8, rtol=1e-8, msg=name)


@given(n=st.integers(1, 700), side=st.integers(1, 17))
def test_a_square_is_cut_into_regions_and_put_together_again(n, side):
    tokens = torch.arange(1.0, 2 * n + 1).reshape(n, 2)
    regions = fold(tokens, side)
    assert torch.equal(unfold(regions, side, n), tokens)
    whole = square(tokens, side)
    assert torch.equal(regions, whole[: len(regions)])
    assert not whole[len(regions) :].any()


def test_the_bias_of_epeg_changes_nothing_and_is_not_taught():
    model, patient = small(regions=2), as_bag(torch.randn(90, 12, dtype=torch.float64))
    before, bias = model(patient, None).logits, model.within[0].attention.position.bias
    before.sum().backward()
    assert not bias.grad.any()
    torch.nn.init.constant_(bias, 7.0)
    assert torch.equal(model(patient, None).logits, before)


def test_a_tile_is_heard_in_its_own_region_alone():
    layer = RRTMIL(Sizes(tile=12, bins=4), dim=32).double().eval().within[0]
    tokens = torch.randn(64 * 64, 32, dtype=torch.float64)
    other = tokens.clone()
    other[0] = torch.randn(32, dtype=torch.float64)
    heard = (layer(other) - layer(tokens)).abs().amax(1) > 1e-12
    corner = torch.zeros(64, 64, dtype=torch.bool)
    corner[:4, :4] = True
    assert torch.equal(heard.unflatten(0, (64, 64)), corner)


@pytest.mark.parametrize("n", [1, 50, 64])
def test_small_bags_have_a_tile_a_region_whatever_their_number(n):
    patient = as_bag(torch.randn(n, 12, dtype=torch.float64))
    few, many, plain = small(regions=8), small(regions=16), small(regions=8, epeg=False)
    plain.load_state_dict(few.state_dict(), strict=False)
    expected = few(patient, None).logits
    torch.testing.assert_close(many(patient, None).logits, expected)
    torch.testing.assert_close(plain(patient, None).logits, expected)


def test_the_order_of_tiles_matters_as_published():
    features = torch.randn(300, 12, dtype=torch.float64)
    forward, backward = (small(regions=8)(as_bag(tiles), None).hazards for tiles in (features, features.flip(0)))
    assert (forward - backward).abs().max() > 1e-4


def test_without_what_attention_says_it_is_a_pooled_norm():
    model, features = small(regions=4), torch.randn(90, 12, dtype=torch.float64)
    for layer in (model.within[0], model.between):
        torch.nn.init.zeros_(layer.attention.output.weight)
    tiles = model.norm(model.embed(features))
    expected = model.head(model.pool(tiles)[:, 0].softmax(0) @ tiles)
    torch.testing.assert_close(model(as_bag(features), None).logits, expected)


def test_the_least_of_a_region_takes_nothing_from_the_others():
    layer, tokens = small(regions=4).between, torch.randn(256, 32, dtype=torch.float64)
    least = layer.phi(fold(layer.norm(tokens), 8)).argmin(1)  # (64, 3)
    alone = (least == least[:, :1]).all(1).nonzero()[:, 0]  # regions where all representatives agree on a token
    assert len(alone)
    told = fold(layer(tokens) - tokens, 8)[alone, least[alone, 0]]
    torch.testing.assert_close(told, torch.zeros_like(told))


def flops(call) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def meta(**choices) -> RRTMIL:
    return RRTMIL(SIZES, **choices).eval().to("meta")


def operations(model: RRTMIL, n: int) -> int:
    return flops(lambda: model(as_bag(torch.empty(n, 1024, device="meta")), None))


@pytest.mark.parametrize(("n", "published"), [(1024, 3.8), (2048, 7.9), (4096, 14.5), (8192, 32.5)])
def test_it_takes_as_many_operations_as_published_or_fewer(n, published):
    assert 0.97 * published < operations(meta(regions=8), n) / 1e9 < published + 0.05


@pytest.mark.parametrize("side", [4, 8, 16])
def test_operations_grow_with_the_square_of_tiles_over_the_regions(side):
    attention = RegionAttention(64, taps=15).to("meta")

    def count(n: int) -> int:
        return flops(lambda: attention(fold(torch.empty(n, 64, device="meta"), side)))

    small_bag, large_bag = 64**2, 128**2
    quadratic = 4 * 64 * (large_bag**2 - 4 * small_bag**2) // side**2  # q·k and weights·v, two operations a product
    assert count(large_bag) - 4 * count(small_bag) == quadratic


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [tensor.numel() for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        self.numbers = max(self.numbers, *made, 0)
        return result


@pytest.mark.parametrize("side", [2, 8])
def test_no_tensor_grows_faster_than_the_bag(side):
    model, n = RRTMIL(Sizes(tile=16, bins=4), dim=32, regions=side).train(), 5_000
    with Largest() as seen:
        model(as_bag(torch.rand(n, 16)), None).logits.sum().backward()
    assert seen.numbers < 3 * 32 * 1.2 * n  # queries, keys and values, with the last row of regions completed


@pytest.mark.parametrize("n", [1, 5, 300])
@pytest.mark.parametrize("kind", ["ones", "zeros", "large"])
def test_dull_and_large_features_give_numbers_and_gradients(n, kind):
    features = {"ones": torch.ones(n, 12), "zeros": torch.zeros(n, 12), "large": torch.rand(n, 12) * 1e4}[kind]
    model = small().float().train()
    logits = model(as_bag(features), None).logits
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_start_as_published():
    model = RRTMIL(SIZES)
    qkv, taps = model.within[0].attention.qkv, model.within[0].attention.position
    assert qkv.weight.std().item() == pytest.approx((2 / (512 + 1536)) ** 0.5, rel=0.02)
    assert taps.weight.std().item() == pytest.approx((2 / (15 + 8 * 15)) ** 0.5, rel=0.3)
    assert model.between.phi.weight.abs().max().item() == pytest.approx(3**-0.5, rel=0.01)
    assert not any(part.any() for part in (qkv.bias, taps.bias, model.between.norm.bias))


def test_a_kernel_has_a_middle():
    with pytest.raises(ConfigError, match=r"'kernel' is 4: .*odd number of taps"):
        models.build("rrtmil", SIZES, kernel=4)
