"""DTFD-MIL: its numbers, its size, its pseudo-bags, what they hand on, and what its work grows with."""

import re

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reference.fill import bag, fill
from reference.peers import as_bag, peer_rows
from slidesurv.models.dtfdmil import DTFDMIL
from slidesurv.registry import models
from slidesurv.training.step import losses
from slidesurv.types import Sizes, SurvivalTarget

SIZES = Sizes(tile=1024, bins=4)
TARGET = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))
GATED = ("value", "gate", "score")
FIRST = ["first_head", *(f"first_attention.{part}" for part in GATED)]
SECOND = [*(f"second_attention.{part}" for part in GATED), "second_head"]


def both(layers: list[str]) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def variant_choices(variant: str) -> dict:
    """What a row's variant asks for, such as "g8_maxmins_contiguous"; the first tier has no distillation."""
    pseudo_bags, distillation = re.match(r"g(\d+)_(maxmins|maxs|afs|tier1)", variant).groups()
    choices = {"pseudo_bags": int(pseudo_bags), "split": "contiguous"}
    return choices if distillation == "tier1" else {**choices, "distillation": distillation}


def small(**choices) -> DTFDMIL:
    torch.manual_seed(0)
    return DTFDMIL(Sizes(tile=12, bins=4), **{"dim": 16, "dropout": 0.0, **choices})


@pytest.mark.parametrize(("variant", "n_tiles", "logits"), peer_rows("DTFD-MIL"))
def test_golden_logits(variant, n_tiles, logits):
    model = DTFDMIL(SIZES, **variant_choices(variant)).double().eval()
    fill(model, [*both(FIRST), "reduce.0.weight", *both(SECOND)])
    output = model(as_bag(bag(n_tiles)), None)
    found = output.branches[0] if "tier1" in variant else output.logits
    torch.testing.assert_close(found, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("choices", [{}, *DTFDMIL.presets.values()])
def test_it_has_as_many_parameters_as_published(choices):
    model = models.build("dtfdmil", SIZES, **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == 791_306


@pytest.mark.parametrize(("tiles", "parts"), [(50, 8), (8, 8), (9, 4), (1, 1), (100, 7)])
def test_pseudo_bags_are_cut_as_numpy_cuts(tiles, parts):
    model, seen = small(pseudo_bags=parts), []
    model.first_attention.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    model(as_bag(torch.rand(tiles, 12)), None)
    assert seen == [len(part) for part in np.array_split(np.arange(tiles), parts)]


@pytest.mark.parametrize(
    ("choices", "rows"),
    [({"distillation": "maxs"}, 8), ({"distillation": "maxmins"}, 16), ({"distillation": "afs"}, 8), ({"kept": 3}, 48)],
)
def test_the_second_tier_sees_as_many_rows_as_published(choices, rows):
    model, seen = small(**choices), []
    model.second_attention.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    model(as_bag(torch.rand(50, 12)), None)
    assert seen == [rows]


def test_fewer_tiles_than_pseudo_bags_make_fewer_of_them():
    output = small()(as_bag(torch.rand(3, 12)), None)
    assert output.branches.shape == (3, 4)


@pytest.mark.parametrize("split", ["shuffled", "contiguous"])
def test_attention_of_means_is_what_the_second_tier_made_of_the_tiles(split):
    model, features = small(distillation="afs", split=split).eval(), torch.rand(50, 12)
    output = model(as_bag(features), None)
    torch.testing.assert_close(model.second_head(output.attention @ model.reduce(features)), output.logits)


@pytest.mark.parametrize("split", ["shuffled", "contiguous"])
def test_tiles_that_no_pseudo_bag_hands_on_get_no_attention_and_change_nothing_else(split):
    model, features = small(distillation="maxmins", split=split).eval(), torch.rand(50, 12)
    output = model(as_bag(features), None)
    seen = output.attention > 0
    assert int(seen.sum()) == 16
    rows = model.reduce(features)[seen]
    weights = model.second_attention(rows).softmax(0)
    torch.testing.assert_close(weights, output.attention[seen])
    torch.testing.assert_close(model.second_head(weights @ rows), output.logits)


def test_handed_on_are_the_tiles_that_say_most_and_least_of_the_last_bin():
    model, features = small(pseudo_bags=1).eval(), torch.rand(20, 12)
    torch.nn.init.normal_(model.first_head.bias, std=100)  # it has no say, as published
    tiles = model.reduce(features)
    inside = model.first_attention(tiles).softmax(0)
    last = ((inside[:, None] * tiles) @ model.first_head.weight.T).softmax(-1)[:, -1]
    attention = model(as_bag(features), None).attention
    assert set(attention.nonzero()[:, 0].tolist()) == {int(last.argmax()), int(last.argmin())}


def test_many_tiles_with_small_shares_are_still_told_apart():
    model, n = small(), 50_000
    torch.nn.init.zeros_(model.first_head.weight).data[-1, 0] = 1
    tiles = torch.zeros(n, 16)
    tiles[:, 0] = 1 + torch.randperm(n) / n
    ends = model._ends(tiles, torch.full((n,), 1 / n))
    assert ends.tolist() == [int(tiles[:, 0].argmax()), int(tiles[:, 0].argmin())]


def test_one_pseudo_bags_mean_is_the_whole_answer():
    model, features = small(pseudo_bags=1, distillation="afs").eval(), torch.rand(20, 12)
    inside = model.first_attention(model.reduce(features)).softmax(0)
    torch.testing.assert_close(model(as_bag(features), None).attention, inside)


def test_training_draws_pseudo_bags_anew_and_a_prediction_does_not():
    model, features = small(), torch.rand(50, 12)
    taught = {tuple(model.train()(as_bag(features), None).logits.tolist()) for _ in range(3)}
    judged = {tuple(model.eval()(as_bag(features), None).logits.tolist()) for _ in range(3)}
    assert (len(taught), len(judged)) == (3, 1)
    assert not torch.equal(model(as_bag(features, "another"), None).logits, model(as_bag(features), None).logits)


def test_the_port_shuffles_predictions_alone():
    features = as_bag(torch.rand(50, 12))
    released, contiguous, shuffled = (small(split=split) for split in ("released", "contiguous", "shuffled"))
    assert torch.equal(released.train()(features, None).logits, contiguous.train()(features, None).logits)
    assert torch.equal(released.eval()(features, None).logits, shuffled.eval()(features, None).logits)


def test_more_draws_are_averaged_and_differ_less():
    features = torch.rand(50, 12)
    bags = [as_bag(features, f"P{k}") for k in range(12)]  # the same tiles, shuffled in another way

    def spread(draws: int) -> float:
        model = small(draws=draws).eval()
        return torch.stack([model(bag_, None).logits for bag_ in bags]).std(0).max().item()

    assert spread(16) < 0.6 * spread(1)
    output = small(draws=5).eval()(bags[0], None)
    torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0))
    assert output.branches.shape == (40, 4)


def stepped(model: DTFDMIL) -> dict[str, torch.Tensor]:
    """The first tier after one step of one optimiser on both losses."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses(model, model(as_bag(torch.rand(50, 12)), None), TARGET)["loss"].backward()
    optimizer.step()
    return {name: parameter for name, parameter in model.state_dict().items() if not name.startswith("second")}


@pytest.mark.parametrize("distillation", ["maxs", "maxmins", "afs"])
@pytest.mark.parametrize("detach", [True, False])
def test_the_second_tier_moves_the_first_only_when_they_are_taught_together(distillation, detach):
    results = []
    for scale in (1.0, -3.0):
        model = small(distillation=distillation, detach=detach, split="contiguous").train()
        with torch.no_grad():
            model.second_head.weight *= scale
        torch.manual_seed(1)
        results.append(stepped(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0]) == detach


def test_taught_apart_the_patients_likelihood_reaches_the_second_tier_alone():
    model = small(detach=True).train()
    model(as_bag(torch.rand(50, 12)), None).logits.sum().backward()
    taught = {name.split("_")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {"second"}


def work(n: int, **choices) -> int:
    model, counter = small(**choices).eval(), FlopCounterMode(display=False)
    with counter:
        model(as_bag(torch.rand(n, 12)), None)
    return counter.get_total_flops()


@pytest.mark.parametrize("distillation", ["maxs", "maxmins", "afs"])
def test_work_grows_with_tiles_in_proportion_and_with_pseudo_bags_by_a_constant(distillation):
    once, twice, thrice = (work(n, distillation=distillation) for n in (400, 800, 1200))
    assert thrice - twice == twice - once
    assert once > work(200, distillation=distillation)
    more = [work(n, distillation=distillation, pseudo_bags=64) - work(n, distillation=distillation) for n in (400, 800)]
    assert more[0] == more[1]


@pytest.mark.parametrize("distillation", ["maxs", "maxmins", "afs"])
@pytest.mark.parametrize(
    "features", [torch.rand(1, 12), torch.rand(3, 12), torch.ones(30, 12), torch.rand(30, 12) * 1e4]
)
def test_strange_bags_give_numbers_and_gradients(distillation, features):
    model = small(distillation=distillation, kept=2, dropout=0.25).train()
    losses(model, model(as_bag(features), None), TARGET)["loss"].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
