"""The blocks compute what the authors' blocks compute, from the same weights."""

import re

import pytest
import torch
from torch import nn

from reference.fill import fill, signed
from reference.golden import golden, records, values
from slidesurv.nn.attention import CrossAttention, GatedFeedForward
from slidesurv.nn.encoder import ClassTransformer
from slidesurv.nn.nystrom import SelfAttention
from slidesurv.nn.position import PyramidPosition

ATTENTION = ["qkv.weight", "output.weight", "output.bias", "residual.weight"]
POSITION = [f"{kernel}.{part}" for kernel in ("wide", "middle", "narrow") for part in ("weight", "bias")]


def layer(name: str) -> list[str]:
    return [f"{name}.norm.weight", f"{name}.norm.bias", *(f"{name}.attention.{part}" for part in ATTENTION)]


def encoder(*, position: bool) -> list[str]:
    between = [f"position.{part}" for part in POSITION] if position else []
    return ["token", *layer("first_layer"), *between, *layer("second_layer"), "norm.weight", "norm.bias"]


def ready(module: nn.Module, order: list[str]) -> nn.Module:
    assert sorted(order) == sorted(name for name, _ in module.named_parameters())
    fill(module.double().eval(), order)
    return module


def sizes(block: str) -> list[int]:
    return sorted({record["N"] for record in records(block) if record["N"]})


def check(record: dict, result: torch.Tensor) -> None:
    torch.testing.assert_close(result, torch.tensor(record["values"], dtype=torch.float64), atol=1e-6, rtol=0)


def test_golden_tensor_orders_are_the_ones_our_modules_are_filled_in():
    for block, module, order in (
        ("block:TransP", ClassTransformer(256, position=True), encoder(position=True)),
        ("block:TransG", ClassTransformer(256, position=False), encoder(position=False)),
        ("block:NystromAttn", SelfAttention(256, landmarks=128), ATTENTION),
    ):
        ready(module, order)
        for entry, name in zip(golden()["tensor_orders"][block], order, strict=True):
            assert list(module.get_parameter(name).shape) == entry["shape"]
            assert module.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("n", sizes("block:NystromAttn"))
def test_golden_nystrom_attention(n):
    result = ready(SelfAttention(256, landmarks=128), ATTENTION)(signed(1100, n, 256))
    for record in [r for r in records("block:NystromAttn") if r["N"] == n]:
        shown = {
            "out_row0_first4": result[0, :4],
            "out_rowlast_first4": result[-1, :4],
            "out_sum_and_sum_abs": torch.stack([result.sum(), result.abs().sum()]),
        }
        check(record, shown[record["field"]])


@pytest.mark.parametrize("block", ["block:TransP", "block:TransG"])
def test_golden_class_transformer(block):
    position = block == "block:TransP"
    module = ready(ClassTransformer(256, position=position), encoder(position=position))
    for n in sizes(block):
        tokens = signed(1100, n, 256)
        encoded = module.encode(tokens)
        torch.testing.assert_close(module(tokens), encoded[0])
        for record in [r for r in records(block) if r["N"] == n]:
            match record["field"]:
                case "cls_first4":
                    check(record, encoded[0, :4])
                case "token_last_first4":
                    check(record, encoded[-1, :4])
                case "n_tokens_out":
                    assert len(encoded) - 1 == record["values"]


def test_golden_pyramid_position():
    module = ready(PyramidPosition(256), POSITION)
    tokens = signed(1101, 50, 256)
    result = torch.cat([tokens[:1], module(tokens[1:])])
    for record in records("block:PPEG"):
        if row := re.match(r"out_row(\d+)", record["field"]):
            check(record, result[int(row[1]), :4])
        elif record["field"] == "out_sum_and_sum_abs":
            check(record, torch.stack([result.sum(), result.abs().sum()]))


def test_golden_cross_attention():
    module = ready(CrossAttention(512), ["query.weight", "key.weight", "value.weight", "output.weight", "output.bias"])
    queries, tiles = signed(1108, 2, 512), signed(1109, 9, 512)
    first = records("block:CrossAttention")[0]
    torch.testing.assert_close(
        module(queries, tiles)[:, :4], torch.tensor(values(first, "out_rows_first4")).double(), atol=1e-6, rtol=0
    )
    for record in records("block:CrossAttention")[1:]:
        head, query = map(int, re.findall(r"\d+", record["field"])[:2])
        check(record, module.scores(queries, tiles)[head, query, :4])


def test_golden_gated_feed_forward():
    module = ready(GatedFeedForward(512), ["wide.weight", "wide.bias", "narrow.weight", "narrow.bias"])
    check(records("block:GEGLU-FF")[0], module(signed(1108, 2, 512))[:, :4])
