"""MoME: its numbers by every route, its sizes, and what its router learns."""

import json
import re

import pytest
import torch

from reference.fill import bag, fill, signed
from reference.golden import golden, records
from reference.peers import as_bag
from slidesurv.errors import DataError
from slidesurv.models.micro_batch import deal
from slidesurv.models.mome import OMEGA, MoME
from slidesurv.training.step import losses
from slidesurv.types import Genomics, Sizes, SurvivalTarget

GROUPS = (10, 20, 30, 40, 50, 60)
STAGES = ("P1", "G1", "P2", "G2")
COHORTS = [
    ((100, 200, 300, 400, 500, 600), 21_054_844),
    ((94, 334, 521, 468, 1496, 479), 21_716_348),
    ((3, 24, 21, 22, 65, 15), 20_056_444),
]
UNUSED = 4 * 512  # gains of a norm that the release never applies, and counts
FEW = Genomics(groups=(torch.rand(3), torch.rand(5)))
DIED = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))


def both(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def attention(name: str) -> list[str]:
    return [f"{name}.attention.qkv.weight", *both(f"{name}.attention.output"), f"{name}.attention.residual.weight"]


def layer(name: str) -> list[str]:
    return [*both(f"{name}.norm"), *attention(name)]


def stage(name: str) -> list[str]:
    expert, router = f"{name}.experts", f"{name}.router"
    return [
        f"{expert}.0.layer.norm.weight",
        *attention(f"{expert}.0.layer"),
        f"{expert}.1.tokens",
        *layer(f"{expert}.1.partner"),
        *layer(f"{expert}.1.own"),
        *(f"{expert}.2.own.0.weight", *both(f"{expert}.2.own.1.0")),
        *(f"{expert}.2.partner.0.weight", *both(f"{expert}.2.partner.1.0")),
        *(*both(f"{router}.own.0"), f"{router}.own.1.weight"),
        *(*both(f"{router}.partner.0"), f"{router}.partner.1.weight"),
        *both(f"{router}.score"),
    ]


ORDER = [
    *both("embed.0", *(f"genes.encoders.{group}.{block}.0" for group in range(6) for block in range(2))),
    *(name for turn in range(4) for name in stage(f"stages.{turn}")),
    "token",
    *layer("last"),
    *both("head"),
]


def genome() -> Genomics:
    return Genomics(groups=tuple(signed(1001 + k, size) for k, size in enumerate(GROUPS)))


def force(model: MoME, route: list[int]) -> None:
    """Let the router of each stage pick what the route says."""
    for stage, expert in zip(model.stages, route, strict=True):
        stage.router.forward = lambda own, partner, expert=expert: 1e3 * torch.eye(4).double()[expert]


def as_configured(config: str) -> MoME:
    """The model that a row's config describes, such as "nb2" or "forced route [2, 0, 1, 1]"."""
    tokens = re.search(r"nb(\d+)", config)
    model = MoME(Sizes(tile=1024, bins=4, groups=GROUPS), bottleneck=int(tokens[1]) if tokens else 2, micro_batch=None)
    fill(model.double().eval(), ORDER)
    if forced := re.search(r"route (\[.*\])", config):
        force(model, json.loads(forced[1]))
    return model


def ends(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[[0, -1], :4]


def measured(config: str, n: int) -> dict[str, torch.Tensor]:
    model, features, genomics = as_configured(config), bag(n), genome()
    tiles, genes = model.embed(features), model.genes(genomics.groups)
    shown, scores, rows = {}, [], []
    for turn, (name, stage) in enumerate(zip(STAGES, model.stages, strict=True)):
        own, partner = (genes, tiles) if turn % 2 else (tiles, genes)
        for expert, hear in enumerate(stage.experts):
            shown[f"{name}_forced_expert{expert}_rows_first_last_first4"] = ends(hear(own, partner))
        heard = stage(own, partner)
        scores.append(stage.router(own, partner))
        rows.append(heard[0, :4])
        tiles, genes = (tiles, heard) if turn % 2 else (heard, genes)
    output = model(as_bag(features), genomics)
    return shown | {
        "logits": output.logits,
        "risk": output.risk,
        "router_logits_per_stage": torch.stack(scores),
        "expert_per_stage_P1_G1_P2_G2": torch.stack(scores).argmax(-1),
        "stage_output_row0_first4": torch.stack(rows),
    }


def small(**choices) -> MoME:
    torch.manual_seed(0)
    return MoME(Sizes(tile=12, bins=4, groups=(3, 5)), dim=16, **choices).eval()


def untaught(model: MoME, n: int = 9) -> set[str]:
    """Names of the parameters that one training step leaves without a gradient."""
    losses(model.train(), model(as_bag(torch.rand(n, 12)), FEW), DIED)["loss"].backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is None}


def test_golden_tensor_order():
    model = as_configured("nb2")
    assert sorted(ORDER) == sorted(name for name, _ in model.named_parameters())
    for entry, name in zip(golden()["tensor_orders"]["MoME"], ORDER, strict=True):
        assert list(model.get_parameter(name).shape) == entry["shape"]
        assert model.get_parameter(name).sum().item() == pytest.approx(entry["sum"], abs=1e-6)


@pytest.mark.parametrize(("config", "n"), dict.fromkeys((r["config"], r["N"]) for r in records("MoME") if r["N"]))
def test_golden_vectors(config, n):
    shown = measured(config, n)
    rows = [r for r in records("MoME") if (r["config"], r["N"]) == (config, n) and r["field"] in shown]
    assert rows
    for record in rows:
        expected = torch.tensor(record["values"], dtype=torch.float64)
        torch.testing.assert_close(shown[record["field"]].double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("wrong", [w for w in golden()["wrong_on_purpose"] if w["model"] == "MoME"])
def test_golden_mistakes_are_not_ours(wrong):
    logits = as_configured("nb2")(as_bag(bag(wrong["N"])), genome()).logits
    assert (logits - torch.tensor(wrong["values"], dtype=torch.float64)).abs().max() > 1e-3


def counted(model: MoME) -> int:
    """Parameters without the fixed tokens, which the release does not count."""
    names = [name for name, _ in model.named_parameters() if name.split(".")[-1] not in ("token", "tokens")]
    return sum(model.get_parameter(name).numel() for name in names)


def test_golden_number_of_parameters():
    released, live = (
        records("MoME", field)[0]["values"]
        for field in ("parameters_trainable_released", "parameters_live_without_dead_and_tokens")
    )
    assert counted(as_configured("nb2")) == live == released - UNUSED


@pytest.mark.parametrize(("groups", "parameters"), COHORTS)
def test_it_has_as_many_parameters_as_published(groups, parameters):
    model = MoME(Sizes(tile=1024, bins=4, groups=groups))
    assert counted(model) + UNUSED == parameters == 19_979_644 + 512 * sum(groups)


def test_the_residual_weighs_as_published():
    assert pytest.approx(1.7595671399, abs=1e-10) == OMEGA


@pytest.mark.parametrize("turn", range(4))
def test_a_frozen_router_and_the_experts_not_picked_learn_nothing(turn):
    model = small()
    names = untaught(model)
    assert names >= {f"stages.{turn}.router.{name}" for name, _ in model.stages[turn].router.named_parameters()}
    assert any(name.startswith(f"stages.{turn}.experts") and "tokens" not in name for name in names)


def test_tokens_rest_unless_they_are_to_learn():
    assert not small().token.requires_grad
    model = small(learn_tokens=True, router="soft_weighted")
    assert untaught(model) == set()


def test_straight_through_predicts_as_the_frozen_router_and_teaches_it():
    tiles = as_bag(torch.rand(9, 12))
    frozen, taught = (small(router=router) for router in ("frozen", "straight_through"))
    torch.testing.assert_close(frozen(tiles, FEW).logits, taught(tiles, FEW).logits)
    assert not any("router" in name for name in untaught(taught))


def test_a_soft_router_that_is_certain_is_a_hard_one():
    tiles, route = as_bag(torch.rand(9, 12)), [1, 0, 2, 3]
    hard, soft = (small(router=router).double() for router in ("frozen", "soft_weighted"))
    for model in (hard, soft):
        force(model, route)
    features = tiles.features.double()
    genomics = Genomics(groups=tuple(group.double() for group in FEW.groups))
    one, other = (model(as_bag(features), genomics).logits for model in (hard, soft))
    torch.testing.assert_close(one, other)


def test_the_route_varies_with_the_patient():
    model, picked = small(), []
    for stage in model.stages:
        stage.router.register_forward_hook(lambda module, tokens, scores: picked.append(int(scores.argmax())))
    for seed in range(12):
        torch.manual_seed(seed)
        model(as_bag(torch.randn(5, 12) * 3), Genomics(groups=(torch.randn(3), torch.randn(5))))
    assert len({tuple(picked[start : start + 4]) for start in range(0, 48, 4)}) > 1


def test_every_chunk_is_judged_as_if_alone():
    model, tiles = small(micro_batch=8), as_bag(torch.rand(37, 12))
    model.explains = True
    output, chunks = model(tiles, FEW), deal(tiles, 8, training=False)
    model.micro_batch = None
    for chunk, logits in zip(chunks, output.branches, strict=True):
        alone = model(tiles[chunk], FEW)
        torch.testing.assert_close(logits, alone.logits)
        torch.testing.assert_close(output.attention[chunk] * len(chunks), alone.attention)


def test_a_small_bag_is_shuffled_too_unless_it_is_judged_whole():
    tiles = as_bag(torch.rand(37, 12))
    chunked, whole = (small(micro_batch=size)(tiles, FEW).logits for size in (4096, None))
    order = deal(tiles, 4096, training=False)[0]
    assert not torch.allclose(chunked, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked, small(micro_batch=None)(tiles[order], FEW).logits)


@pytest.mark.parametrize(
    "choices", [{}, {"router": "straight_through"}, {"router": "soft_weighted"}, {"micro_batch": 3}]
)
@pytest.mark.parametrize("features", [torch.rand(1, 12), torch.ones(7, 12), torch.rand(8, 12) * 1e4])
def test_every_choice_predicts_and_is_taught(choices, features):
    model = small(**choices).train()
    losses(model, model(as_bag(features), FEW), DIED)["loss"].backward()
    taught = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert taught
    assert all(torch.isfinite(gradient).all() for gradient in taught)


@pytest.mark.parametrize("router", ["frozen", "soft_weighted"])
def test_in_bfloat16_it_answers_nearly_the_same(router):
    model, tiles = small(router=router), as_bag(torch.rand(9, 12))
    exact = model(tiles, FEW).logits
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(tiles, FEW).logits, exact, atol=0.03, rtol=0)


def test_weights_and_fixed_tokens_are_saved_together():
    one, other = small(), MoME(Sizes(tile=12, bins=4, groups=(3, 5)), dim=16).eval()
    other.load_state_dict(one.state_dict())
    tiles = as_bag(torch.rand(9, 12))
    assert torch.equal(one(tiles, FEW).logits, other(tiles, FEW).logits)


def test_a_patient_without_gene_groups_is_named():
    with pytest.raises(DataError, match="'P-7' has no gene groups"):
        small()(as_bag(torch.rand(2, 12), "P-7"), None)
