"""MultiBert: its numbers, its size, and that it is VGAT told the true embedding."""

from copy import deepcopy
from functools import cache

import pytest
import torch

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.errors import DataError
from slidesurv.models.multibert import MultiBert
from slidesurv.models.vgat import VGA, VGAT, Reconstruction
from slidesurv.selection.prompts import ESE
from slidesurv.types import Genomics, Sizes

SIZES = Sizes(tile=1024, bins=4, embedding=256)


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def transformer(name: str, *, position: bool) -> list[str]:
    def layer(which: str) -> list[str]:
        attention = f"{name}.{which}.attention"
        return [
            *both(f"{name}.{which}.norm"),
            f"{attention}.qkv.weight",
            *both(f"{attention}.output"),
            f"{attention}.residual.weight",
        ]

    between = both(*(f"{name}.position.{kernel}" for kernel in ("wide", "middle", "narrow"))) if position else []
    return [f"{name}.token", *layer("first_layer"), *between, *layer("second_layer"), *both(f"{name}.norm")]


ORDER = [
    *both("embed.0", "embed.3"),
    *transformer("pathology", position=True),
    *transformer("genomic", position=False),
    *both("fusion.layers.0", "fusion.layers.2", "head"),
]


@cache
def filled() -> MultiBert:
    """Built once, so copy it to change it."""
    model = MultiBert(SIZES).double().eval()
    fill(model, ORDER)
    return model


@torch.no_grad()
def measured(model: MultiBert, n: int) -> dict[str, torch.Tensor]:
    features, embedding = bag(n), signed(2000, 256)
    output = model(as_bag(features), Genomics(embedding=embedding))
    return {
        "logits": output.logits,
        "risk": output.risk,
        "path_cls_first4": model.pathology(model.embed(features))[:4],
        "genomic_cls_first4": model.genomic(embedding[None])[:4],
        "parameters": torch.tensor(sum(parameter.numel() for parameter in model.parameters())),
    }


def test_golden_tensor_order():
    model = filled()
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["MultiBert"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("n", sorted({record["N"] or 1 for record in records("MultiBert")}))
def test_golden_vectors(n):
    found = measured(filled(), n)
    for record in [r for r in records("MultiBert") if (r["N"] or 1) == n]:
        wanted = torch.tensor(record["values"], dtype=torch.float64)
        torch.testing.assert_close(found[record["field"]].double(), wanted, atol=1e-6, rtol=0, msg=record["field"])


MISTAKES = [r for r in golden()["wrong_on_purpose"] if r["model"] == "MultiBert" and r["field"] == "logits"]


@pytest.mark.parametrize("record", MISTAKES, ids=lambda record: record["config"][:40])
def test_golden_mistakes_are_not_made(record):
    found = measured(filled(), record["N"])["logits"]
    assert (found - torch.tensor(record["values"], dtype=torch.float64)).abs().max() > 1e-3


@pytest.mark.parametrize("record", [r for r in MISTAKES if "exact" in r["config"]], ids=lambda record: record["N"])
def test_golden_exact_attention_of_the_embedding_alone_is_the_row_called_so(record):
    model = deepcopy(filled())
    model.genomic.first_layer.attention.exact = model.genomic.second_layer.attention.exact = True
    wanted = torch.tensor(record["values"], dtype=torch.float64)
    torch.testing.assert_close(measured(model, record["N"])["logits"], wanted, atol=1e-6, rtol=0)


def small(**choices) -> MultiBert:
    torch.manual_seed(0)
    return MultiBert(Sizes(tile=12, bins=4, embedding=9), dim=32, **choices).eval()


def test_it_is_vgat_with_the_embedding_in_the_place_of_its_reconstruction():
    vgat = VGAT(Sizes(tile=12, bins=4, embedding=9), dim=32, ese=ESE(prompts=16, prototypes=4, quota="clusters")).eval()
    model, bag_, embedding = small(), as_bag(torch.rand(20, 12)), torch.randn(9)
    shared = {name.replace("fusion.", "fusion.layers."): weight for name, weight in vgat.state_dict().items()}
    model.load_state_dict({name: shared[name] for name in model.state_dict()})
    assert torch.equal(model(bag_, Genomics(embedding=embedding)).logits, vgat.rejudge(bag_, embedding).logits)


@pytest.mark.parametrize("vga", [False, True])
def test_both_readings_of_the_paper_are_taught_and_see_the_embedding(vga):
    model, bag_ = small(vga=vga, dropout=0.0), as_bag(torch.rand(7, 12))
    one, other = (model(bag_, Genomics(embedding=torch.full((9,), value).cumsum(0))).logits for value in (1.0, -1.0))
    assert not torch.equal(one, other)
    one.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_with_vga_it_has_vgats_parameters_and_no_more():
    model = MultiBert(SIZES, vga=True)
    added = sum(parameter.numel() for parameter in Reconstruction(256, 256, VGA()).parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_602_596 + added


def test_an_embedding_of_another_width_is_taken_to_the_width_of_the_transformer():
    assert small().lift.weight.shape == (32, 9)
    assert list(MultiBert(SIZES).lift.parameters()) == []


def test_the_order_of_tiles_matters_as_published():
    model, features, genomics = small(), torch.rand(30, 12), Genomics(embedding=torch.randn(9))
    one, other = (model(as_bag(tiles), genomics).logits for tiles in (features, features.flip(0)))
    assert (one - other).abs().max() > 1e-4


def test_attention_is_made_when_it_is_asked_for():
    model, bag_, genomics = small(), as_bag(torch.rand(30, 12)), Genomics(embedding=torch.randn(9))
    plain = model(bag_, genomics)
    model.explains = True
    explained = model(bag_, genomics)
    assert plain.attention is None
    assert explained.attention.shape == (30,)
    assert torch.equal(plain.logits, explained.logits)


def test_a_patient_without_an_embedding_is_named():
    with pytest.raises(DataError, match="'P-7' has no genomic embedding"):
        small()(as_bag(torch.rand(2, 12), "P-7"), Genomics(expression=torch.rand(3)))
