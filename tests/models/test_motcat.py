"""MOTCat: its numbers, its sizes, its chunks, and where no gradient runs."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.errors import ConfigError, DataError
from slidesurv.models.micro_batch import deal
from slidesurv.models.motcat import MOTCat
from slidesurv.registry import models
from slidesurv.training.step import losses
from slidesurv.types import Genomics, ModelOutput, Sizes, SurvivalTarget

GROUPS = (10, 20, 30, 40, 50, 60)
COHORTS = [
    ((100, 200, 300, 400, 500, 600), 3_898_118),
    ((94, 334, 521, 468, 1496, 479), 4_228_870),
    ((3, 24, 21, 22, 65, 15), 3_398_918),
]
FEW = Genomics(groups=(torch.rand(3), torch.rand(5)))
DIED = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def summary(name: str) -> list[str]:
    parts = ("self_attn.in_proj_", "self_attn.out_proj.", "linear1.", "linear2.", "norm1.", "norm2.")
    layers = [f"{name}.encoder.{k}.{part}{kind}" for k in (0, 1) for part in parts for kind in ("weight", "bias")]
    return [*layers, *both(*(f"{name}.attention.{part}" for part in ("value", "gate", "score")), f"{name}.post.0")]


ORDER = [
    *both("embed.0", *(f"genes.encoders.{group}.{block}.0" for group in range(6) for block in range(2))),
    *summary("pathology"),
    *summary("genomic"),
    *both("fusion.layers.0", "fusion.layers.2", "head"),
]


def genome() -> Genomics:
    return Genomics(groups=tuple(signed(1001 + k, size) for k, size in enumerate(GROUPS)))


def filled(**choices) -> MOTCat:
    model = MOTCat(Sizes(tile=1024, bins=4, groups=GROUPS), **choices).double().eval()
    fill(model, ORDER)
    return model


def as_configured(config: str) -> MOTCat:
    """The model that a row's config describes, such as "entropy" or "kl eps=0.05 tau=0.5"."""
    numbers = {key: float(value) for key, value in re.findall(r"(\w+)=([\d.e-]+)", config)}
    return filled(reference=config.partition(" ")[0], epsilon=numbers.get("eps", 0.1), tau=numbers.get("tau", 0.5))


def measured(config: str, n: int) -> dict[str, torch.Tensor]:
    model, features, genomics = as_configured(config), bag(n), genome()
    genes, tiles = model.genes(genomics.groups), model.embed(features)
    plan = model.plan(tiles[None], genes)[0]
    told = plan @ tiles
    path, omic = model.pathology(told), model.genomic(genes)
    output = model(as_bag(features), genomics)
    return {
        "logits": output.logits,
        "risk": output.risk,
        "plan_mass": plan.sum(),
        "plan_mass_per_group": plan.sum(1),
        "plan_group1_patches0to3": plan[0, :4],
        "coattn_out_rows_first4": told[:, :4],
        "path_vector_first4": path[:4],
        "omic_vector_first4": omic[:4],
        "path_omic_vector_sums": torch.stack([path.sum(), omic.sum()]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def small(**choices) -> MOTCat:
    torch.manual_seed(0)
    return MOTCat(Sizes(tile=12, bins=4, groups=(3, 5)), dim=16, **choices).eval()


def test_golden_tensor_order():
    model = filled()
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["MOTCat"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize(
    ("config", "n"), dict.fromkeys((record["config"], record["N"] or 1) for record in records("MOTCat"))
)
def test_golden_vectors(config, n):
    shown = measured(config, n)
    rows = [r for r in records("MOTCat") if (r["config"], r["N"] or 1) == (config, n) and r["field"] in shown]
    assert rows
    for record in rows:
        result = torch.as_tensor(shown[record["field"]]).double()
        torch.testing.assert_close(result, torch.tensor(record["values"], dtype=torch.float64), atol=1e-6, rtol=1e-9)


@pytest.mark.parametrize("wrong", [w for w in golden()["wrong_on_purpose"] if w["model"] == "MOTCat"])
def test_golden_mistakes_are_not_ours(wrong):
    logits = filled()(as_bag(bag(wrong["N"])), genome()).logits
    assert (logits - torch.tensor(wrong["values"], dtype=torch.float64)).abs().max() > 1e-4


@pytest.mark.parametrize(("groups", "parameters"), COHORTS)
def test_it_has_as_many_parameters_as_published(groups, parameters):
    model = MOTCat(Sizes(tile=1024, bins=4, groups=groups))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters == 3_360_518 + 256 * sum(groups)


def test_the_order_of_tiles_does_not_matter_to_the_whole_bag():
    model, features = filled(), bag(40)
    one, other = (model(as_bag(tiles), genome()) for tiles in (features, features.flip(0)))
    torch.testing.assert_close(one.logits, other.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.attention, other.attention.flip(0))


def operations(n: int) -> int:
    model, counter = MOTCat(Sizes(tile=1024, bins=4, groups=(3, 5, 4, 6, 2, 7))).eval(), FlopCounterMode(display=False)
    genes = Genomics(groups=tuple(torch.rand(size) for size in (3, 5, 4, 6, 2, 7)))
    with counter, torch.inference_mode():
        model(as_bag(torch.rand(n, 1024)), genes)
    return counter.get_total_flops()


def test_operations_grow_with_tiles_in_proportion_as_published():
    once, twice, thrice = map(operations, (500, 1000, 1500))
    published = 2 * 0.264e6  # of a tile; its cost and some forty rounds of the plan come to a little more
    for grown in (twice - once, thrice - twice):
        assert 0.99 * published < grown / 500 < 1.02 * published


def test_attention_is_a_tile_s_share_of_the_mass():
    model, features = small(), torch.rand(9, 12)
    plan = model.plan(model.embed(features)[None], model.genes(FEW.groups))[0]
    share = (plan.sum(0) / plan.sum()).float()
    torch.testing.assert_close(model(as_bag(features), FEW).attention, share)


def test_genes_learn_nothing_from_what_they_are_told():
    model = small().train()
    genes = model.genes(FEW.groups)
    told, _ = model._meet(model.embed(torch.rand(7, 12))[None], genes)
    told.sum().backward()
    assert all(parameter.grad is None for parameter in model.genes.parameters())
    assert all(parameter.grad is not None for parameter in model.embed.parameters())


def test_one_chunk_answers_as_the_whole_bag():
    torch.manual_seed(1)
    features = torch.rand(30, 12)
    whole, chunked = (small(micro_batch=size)(as_bag(features), FEW) for size in (None, 64))
    torch.testing.assert_close(chunked.logits, whole.logits)
    torch.testing.assert_close(chunked.attention, whole.attention)
    assert chunked.branches.shape == (1, 4)


def test_every_chunk_is_judged_as_if_alone():
    model, tiles = small(micro_batch=8), as_bag(torch.rand(37, 12))
    output, chunks = model(tiles, FEW), deal(tiles, 8, training=False)
    model.micro_batch = None
    alone = [model(tiles[chunk], FEW) for chunk in chunks]
    assert len({len(chunk) for chunk in chunks}) == 2
    torch.testing.assert_close(output.branches, torch.stack([part.logits for part in alone]), atol=1e-5, rtol=0)
    for chunk, part in zip(chunks, alone, strict=True):
        torch.testing.assert_close(output.attention[chunk] * len(chunks), part.attention, atol=1e-5, rtol=0)


def test_chunks_are_taught_one_by_one():
    model = small(micro_batch=8)
    output = model(as_bag(torch.rand(37, 12)), FEW)
    parts = losses(model, output, DIED)
    each = [losses(small(), ModelOutput(logits), DIED)["loss"] for logits in output.branches]
    torch.testing.assert_close(parts["loss"], torch.stack(each).mean())


@pytest.mark.parametrize("choices", [{"size": "big"}, {"fusion": "bilinear"}, {"reference": "kl"}, {"micro_batch": 3}])
@pytest.mark.parametrize("features", [torch.rand(1, 12), torch.ones(7, 12), torch.rand(8, 12) * 1e4])
def test_every_choice_predicts_and_is_taught(choices, features):
    model = small(**choices).train()
    losses(model, model(as_bag(features), FEW), DIED)["loss"].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_regularisation_too_small_for_its_kernel_is_refused():
    with pytest.raises(ConfigError, match=r"'epsilon' is 0\.001"):
        models.bind("motcat", {"epsilon": 0.001})


def test_a_patient_without_gene_groups_is_named():
    with pytest.raises(DataError, match="'P-7' has no gene groups"):
        small()(as_bag(torch.rand(2, 12), "P-7"), None)
