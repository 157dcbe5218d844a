"""Operations are counted, so what is linear in the tiles is seen to be."""

import pytest

from slidesurv.training.cost import gigaflops
from slidesurv.types import Sizes

SIZES = Sizes(tile=32, bins=4, embedding=16, expression=20, groups=(4,) * 6)


def test_a_method_without_slides_costs_the_same_for_any_bag():
    assert gigaflops("snn", tiles=10, sizes=SIZES) == gigaflops("snn", tiles=1000, sizes=SIZES) > 0


def test_plain_attention_costs_what_its_layers_multiply():
    n, dim, hidden = 300, 512, 256
    layers = n * (32 * dim + 2 * dim * hidden + hidden + dim) + dim * 256 + 256 * 4
    assert gigaflops("attnmil", tiles=n, sizes=SIZES) == pytest.approx(2 * layers / 1e9, rel=1e-3)
