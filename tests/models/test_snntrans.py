"""SNNTrans: its numbers, its sizes, and that it cannot be run without gene groups."""

import re

import pytest
import torch

from reference.fill import fill, signed
from reference.peers import as_bag, peer_rows
from slidesurv.errors import DataError
from slidesurv.models.snntrans import SNNTrans
from slidesurv.types import Genomics, Sizes

BLCA = (94, 334, 521, 468, 1495, 479)
NOBODY = as_bag(torch.empty(0, 8))


def order(groups: int) -> list[str]:
    layer = (
        *("norm.weight", "norm.bias", "attention.qkv.weight"),
        *("attention.output.weight", "attention.output.bias", "attention.residual.weight"),
    )
    return [
        *(
            f"embed.encoders.{k}.{block}.0.{part}"
            for k in range(groups)
            for block in (0, 1)
            for part in ("weight", "bias")
        ),
        "encoder.token",
        *(f"encoder.{which}.{part}" for which in ("first_layer", "second_layer") for part in layer),
        *("encoder.norm.weight", "encoder.norm.bias", "head.weight", "head.bias"),
    ]


def made(groups: tuple[int, ...], **choices) -> SNNTrans:
    torch.manual_seed(0)
    return SNNTrans(Sizes(tile=8, bins=4, groups=groups), **choices).double().eval()


def filled(groups: tuple[int, ...], **choices) -> SNNTrans:
    model = made(groups, **choices)
    fill(model, order(len(groups)))
    return model


def genome(groups: tuple[int, ...]) -> Genomics:
    return Genomics(groups=tuple(signed(1000 + k, size) for k, size in enumerate(groups)))


def named(variant: str) -> tuple[int, ...]:
    """Six sizes of a row such as "sizes_10_to_60", in even steps."""
    first, last = (int(number) for number in re.search(r"(\d+)_to_(\d+)", variant).groups())
    return tuple(range(first, last + 1, (last - first) // 5))


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("SNNTrans"))
def test_golden_logits(variant, n_tiles, logits):
    groups = named(variant)
    choices = SNNTrans.presets["mcat"] if "mcat" in variant else {}
    result = filled(groups, **choices)(NOBODY, genome(groups)).logits
    torch.testing.assert_close(result, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("SNNTrans"))
def test_golden_numbers_are_not_those_of_exact_attention(variant, n_tiles, logits):
    groups = named(variant)
    exact = filled(groups, attention="exact")(NOBODY, genome(groups)).logits
    assert (exact - logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("groups", "choices", "parameters"),
    [
        (BLCA, {}, 5_581_076),
        ((100, 200, 300, 400, 500, 600), {}, 4_259_092),
        (BLCA, SNNTrans.presets["mcat"], 1_792_532),
        ((3, 24, 21, 22, 64, 15), {}, 1024 * 149 + 6 * (1024 + 262_400) + 527_120 + 1_028),
    ],
)
def test_it_has_as_many_parameters_as_published(groups, choices, parameters):
    model = made(groups, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == 527_120


@pytest.mark.parametrize("attention", ["nystrom", "exact"])
def test_the_order_of_groups_matters(attention):
    groups = (5, 7, 4, 6, 3, 8)
    one, other = (filled(groups, attention=attention, hidden=16, dim=16) for _ in range(2))
    genes = list(genome(groups).groups)
    encoders = list(other.embed.encoders)
    encoders[0], encoders[1], genes[0], genes[1] = encoders[1], encoders[0], genes[1], genes[0]
    other.embed.encoders = torch.nn.ModuleList(encoders)
    logits = one(NOBODY, genome(groups)).logits
    swapped = other(NOBODY, Genomics(groups=tuple(genes))).logits
    assert (logits - swapped).abs().max() > 1e-6


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_genes_of_any_scale_give_numbers_and_gradients(scale):
    groups = (1, 7, 64)
    model = made(groups).float().train()
    model(NOBODY, Genomics(groups=tuple(scale * torch.ones(size) for size in groups))).logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_start_as_published():
    first, torchs = (made(BLCA, **choices).embed.encoders[0][0][0] for choices in ({}, SNNTrans.presets["mcat"]))
    assert first.weight.std().item() == pytest.approx((2 / (94 + 1024)) ** 0.5, rel=0.02)
    assert not first.bias.any()
    assert torchs.weight.abs().max().item() == pytest.approx(94**-0.5, rel=0.01)
    assert torchs.bias.any()
    assert not made(BLCA, **SNNTrans.presets["mcat"]).head.bias.any()


def test_a_patient_without_gene_groups_is_named():
    with pytest.raises(DataError, match="'P-7' has no gene groups"):
        made((3, 4))(as_bag(torch.empty(0, 8), "P-7"), Genomics(expression=torch.ones(7)))
