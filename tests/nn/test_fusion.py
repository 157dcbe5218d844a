"""Fusion of two modalities: sizes as published, and what a product can say that a sum cannot."""

import pytest
import torch

from slidesurv.nn.fusion import Bilinear, Concatenation


@pytest.mark.parametrize(("module", "parameters"), [(Concatenation, 197_120), (Bilinear, 396_224)])
def test_it_has_as_many_parameters_as_published(module, parameters):
    assert sum(parameter.numel() for parameter in module(256).parameters()) == parameters


@pytest.mark.parametrize("module", [Concatenation, Bilinear])
def test_several_patients_are_fused_as_each_alone(module):
    fusion = module(16).double().eval()
    one, other = torch.randn(2, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(
        fusion(one, other), torch.stack([fusion(*pair) for pair in zip(one, other, strict=True)])
    )


def test_a_product_of_nothing_still_hears_the_other_side():
    fusion = Bilinear(16).eval()
    for mix in fusion.mix:
        torch.nn.init.zeros_(mix[0].bias)
    torch.nn.init.zeros_(fusion.mix[0][0].weight)  # the first side says nothing
    silent = torch.rand(16)
    low, high = (fusion(silent, torch.full((16,), value)) for value in (0.0, 10.0))
    assert not torch.equal(low, high)
