"""The set transformer: its numbers, its size, and that a set has no order."""

import pytest
import torch

from reference.fill import fill, signed
from reference.golden import golden, records
from slidesurv.nn.set_transformer import SetSummary, SetTransformer

PARTS = ("self_attn.in_proj_", "self_attn.out_proj.", "linear1.", "linear2.", "norm1.", "norm2.")
ORDER = [f"{layer}.{part}{kind}" for layer in (0, 1) for part in PARTS for kind in ("weight", "bias")]


def filled() -> SetTransformer:
    module = SetTransformer(256).double().eval()
    assert sorted(ORDER) == sorted(name for name, _ in module.named_parameters())
    fill(module, ORDER)
    return module


def test_golden_tensor_order():
    module = filled()
    for entry, name in zip(golden()["tensor_orders"]["block:Enc2"], ORDER, strict=True):
        assert list(module.get_parameter(name).shape) == entry["shape"]
        assert module.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("record", records("block:Enc2"), ids=lambda record: record["field"])
def test_golden_block(record):
    result = filled()(signed(1106, record["N"], 256))[:, :4]
    torch.testing.assert_close(result, torch.tensor(record["values"], dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_order_of_tokens_does_not_matter():
    module, tokens = filled(), torch.randn(6, 256, dtype=torch.float64)
    torch.testing.assert_close(module(tokens.flip(0)).flip(0), module(tokens))


def test_each_layer_draws_its_own_first_weights():
    first, second = SetTransformer(16)
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_it_has_as_many_parameters_as_published():
    assert sum(parameter.numel() for parameter in SetTransformer(256).parameters()) == 1_054_208


def test_several_sets_are_summed_up_as_each_alone():
    module, sets = SetSummary(16).double().eval(), torch.randn(3, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(module(sets), torch.stack([module(tokens) for tokens in sets]))


def test_a_summary_does_not_know_the_order_of_its_tokens():
    module, tokens = SetSummary(16).double().eval(), torch.randn(5, 16, dtype=torch.float64)
    torch.testing.assert_close(module(tokens.flip(0)), module(tokens))
