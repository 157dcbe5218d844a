"""MCAT: its numbers, its sizes, and that neither tiles nor their order deceive it."""

import pytest
import torch

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.errors import DataError
from slidesurv.models.mcat import MCAT
from slidesurv.types import Genomics, Sizes

GROUPS = (10, 20, 30, 40, 50, 60)
COHORTS = [
    ((100, 200, 300, 400, 500, 600), 4_161_286),
    ((94, 334, 521, 468, 1496, 479), 4_492_038),
    ((91, 353, 553, 480, 1566, 480), 4_525_574),
    ((84, 314, 498, 415, 1396, 428), 4_426_246),
    ((89, 334, 534, 471, 1510, 482), 4_499_206),
    ((3, 24, 21, 22, 65, 15), 3_662_086),
]


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def summary(name: str) -> list[str]:
    parts = ("self_attn.in_proj_", "self_attn.out_proj.", "linear1.", "linear2.", "norm1.", "norm2.")
    layers = [f"{name}.encoder.{k}.{part}{kind}" for k in (0, 1) for part in parts for kind in ("weight", "bias")]
    return [*layers, *both(*(f"{name}.attention.{part}" for part in ("value", "gate", "score")), f"{name}.post.0")]


ORDER = [
    *both("embed.0", *(f"genes.encoders.{group}.{block}.0" for group in range(6) for block in range(2))),
    *("ask.qkv_weight", "ask.qkv_bias"),
    *both("ask.output"),
    *summary("pathology"),
    *summary("genomic"),
    *both("fusion.layers.0", "fusion.layers.2", "head"),
]


def genome() -> Genomics:
    return Genomics(groups=tuple(signed(1001 + k, size) for k, size in enumerate(GROUPS)))


def filled() -> MCAT:
    model = MCAT(Sizes(tile=1024, bins=4, groups=GROUPS)).double().eval()
    fill(model, ORDER)
    return model


def measured(n: int) -> dict[str, torch.Tensor]:
    model, features, genomics = filled(), bag(n), genome()
    genes = model.genes(genomics.groups)
    told, scores = model.ask(genes, model.embed(features))
    path, omic = model.pathology(told), model.genomic(genes)
    output = model(as_bag(features), genomics)
    return {
        "logits": output.logits,
        "risk": output.risk,
        "coattn_out_rows_first4": told[:, :4],
        "coattn_scores_presoftmax_group1_patches0to3": scores[0, :4],
        "path_vector_first4": path[:4],
        "omic_vector_first4": omic[:4],
        "path_omic_vector_sums": torch.stack([path.sum(), omic.sum()]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


FEW = Genomics(groups=(torch.rand(3), torch.rand(5)))


def small(**choices) -> MCAT:
    torch.manual_seed(0)
    return MCAT(Sizes(tile=12, bins=4, groups=(3, 5)), dim=16, **choices).eval()


def test_golden_tensor_order():
    model = filled()
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["MCAT"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize("n", sorted({record["N"] or 1 for record in records("MCAT")}))
def test_golden_vectors(n):
    shown = measured(n)
    rows = [r for r in records("MCAT") if (r["N"] or 1) == n and r["field"] in shown]
    assert rows
    for record in rows:
        result = torch.as_tensor(shown[record["field"]]).double()
        torch.testing.assert_close(result, torch.tensor(record["values"], dtype=torch.float64), atol=1e-6, rtol=1e-9)


@pytest.mark.parametrize("wrong", [w for w in golden()["wrong_on_purpose"] if w["model"] == "MCAT"])
def test_golden_mistakes_are_not_ours(wrong):
    logits = measured(wrong["N"])["logits"]
    assert (logits - torch.tensor(wrong["values"], dtype=torch.float64)).abs().max() > 1e-3


@pytest.mark.parametrize(("groups", "parameters"), COHORTS)
def test_it_has_as_many_parameters_as_published(groups, parameters):
    model = MCAT(Sizes(tile=1024, bins=4, groups=groups))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters == 3_623_686 + 256 * sum(groups)


def test_a_bilinear_fusion_has_as_many_parameters_as_published():
    model = MCAT(Sizes(tile=1024, bins=4, groups=COHORTS[-1][0]), fusion="bilinear")
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_861_190


def test_the_order_of_tiles_does_not_matter():
    model, features = filled(), bag(40)
    one, other = (model(as_bag(tiles), genome()) for tiles in (features, features.flip(0)))
    torch.testing.assert_close(one.logits, other.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.attention, other.attention.flip(0))


def test_attention_is_what_the_groups_look_at_on_average():
    model, features = small(), torch.rand(9, 12)
    output = model(as_bag(features), FEW)
    _, scores = model.ask(model.genes(FEW.groups), model.embed(features))
    torch.testing.assert_close(output.attention, (scores[0].softmax(0) + scores[1].softmax(0)) / 2)


@pytest.mark.parametrize("choices", [{"size": "big"}, {"fusion": "bilinear"}])
def test_every_choice_predicts_and_is_taught(choices):
    model = small(**choices).train()
    model(as_bag(torch.rand(7, 12)), FEW).logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_the_big_size_is_wider_and_deeper():
    widths = [block[0].out_features for block in small(size="big").genes.encoders[0]]
    assert widths == [64, 64, 64, 16]


def test_a_patient_without_gene_groups_is_named():
    with pytest.raises(DataError, match="'P-7' has no gene groups"):
        small()(as_bag(torch.rand(2, 12), "P-7"), Genomics(expression=torch.rand(3)))
