"""Co-attention is plain attention with biases, whichever side is the longer one."""

import pytest
import torch
from torch import nn

from reference.fill import fill, signed
from reference.golden import golden, records
from slidesurv.nn.coattention import CoAttention
from slidesurv.nn.snn import xavier

ORDER = ["qkv_weight", "qkv_bias", "output.weight", "output.bias"]


def made(dim: int = 16) -> CoAttention:
    torch.manual_seed(0)
    module = CoAttention(dim).double()
    for bias in (module.qkv_bias, module.output.bias):
        nn.init.normal_(bias)
    return module


def literal(module: CoAttention, queries: torch.Tensor, tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer as it is written down: every query, key and value projected."""
    weights, biases = module.qkv_weight.chunk(3), module.qkv_bias.chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((queries, tiles, tiles), weights, biases, strict=True))
    scores = q @ k.T / q.shape[-1] ** 0.5
    return module.output(scores.softmax(-1) @ v), scores


def test_golden_tensor_order():
    module = CoAttention(256).double()
    fill(module, ORDER)
    for entry, name in zip(golden()["tensor_orders"]["block:MHA1"], ORDER, strict=True):
        assert list(module.get_parameter(name).shape) == entry["shape"]
        assert module.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("record", records("block:MHA1"), ids=lambda record: record["field"])
def test_golden_block(record):
    module = CoAttention(256).double()
    fill(module, ORDER)
    answers, scores = module(signed(1106, 6, 256), signed(1107, record["N"], 256))
    shown = {"out_rows_first4": answers[:, :4], "scores_presoftmax_row0_first4": scores[0, :4]}[record["field"]]
    torch.testing.assert_close(shown, torch.tensor(record["values"], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("queries", "tiles"), [(1, 1), (3, 1), (3, 3), (3, 20), (20, 3)])
def test_answers_scores_and_gradients_are_those_of_the_literal_layer(queries, tiles):
    lean, plain = made(), made()
    asked = torch.randn(queries, 16, dtype=torch.float64)
    told = torch.randn(tiles, 16, dtype=torch.float64)
    for ours, theirs in zip(lean(asked, told), literal(plain, asked, told), strict=True):
        torch.testing.assert_close(ours, theirs)
        (ours.square().sum()).backward(retain_graph=True)
        (theirs.square().sum()).backward(retain_graph=True)
    for ours, theirs in zip(lean.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_it_starts_as_one_stacked_matrix_and_xavier_redraws_the_output_alone():
    torch.manual_seed(0)
    module = CoAttention(256)
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    bound = (6 / (768 + 256)) ** 0.5
    assert 0.99 * bound < module.qkv_weight.abs().max().item() <= bound
    assert not module.qkv_bias.any()
    xavier(module)
    changed = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"output.weight"}


def test_it_has_as_many_parameters_as_published():
    assert sum(parameter.numel() for parameter in CoAttention(256).parameters()) == 263_168
