"""SNN: its numbers, its size, and that it cannot be run without genes."""

import pytest
import torch

from reference.fill import fill, signed
from reference.peers import as_bag, peer_rows
from slidesurv.errors import DataError
from slidesurv.models.snn import SNN
from slidesurv.types import Genomics, Sizes

ORDER = [f"{layer}.{part}" for layer in (*(f"blocks.{k}.0" for k in range(4)), "head") for part in ("weight", "bias")]


def genes(n: int) -> Genomics:
    return Genomics(expression=signed(1000, n))


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("SNN"))
def test_golden_logits(variant, n_tiles, logits):
    count = int(variant.removeprefix("G"))
    model = SNN(Sizes(tile=8, bins=4, expression=count)).double().eval()
    fill(model, ORDER)
    result = model(as_bag(torch.empty(0, 8)), genes(count)).logits
    torch.testing.assert_close(result, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "parameters"), [("small", 256 * 100 + 198_660), ("big", 1024 * 100 + 2_363_652)])
def test_it_has_as_many_parameters_as_published(size, parameters):
    model = SNN(Sizes(tile=8, bins=4, expression=100), size=size)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_first_weights_spread_as_one_over_the_root_of_the_genes():
    weight = SNN(Sizes(tile=8, bins=4, expression=3062)).blocks[0][0].weight
    assert weight.std().item() == pytest.approx(0.0181, abs=2e-4)


def test_a_patient_without_expression_is_named():
    model = SNN(Sizes(tile=8, bins=4, expression=5))
    with pytest.raises(DataError, match="'P-7' has no expression"):
        model(as_bag(torch.empty(0, 8), "P-7"), None)
