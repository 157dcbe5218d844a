"""The likelihoods are those of the field, of lifelines and of torchsurv, and teach where the clamped one does not."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter

from reference.golden import records
from slidesurv.errors import DataError
from slidesurv.survival.losses import cox, nll, nll_clamped
from slidesurv.types import SurvivalTarget

KNOWN = json.loads(Path(__file__).parents[1].joinpath("reference/survival.json").read_text(encoding="utf-8"))["nll"]
LOSSES = pytest.mark.parametrize("loss", [nll, nll_clamped])


def target(bins, event, time=None):
    bins = torch.tensor(bins)
    return SurvivalTarget(bins.double() if time is None else torch.tensor(time), torch.tensor(event).bool(), bins)


def rows(logits, count):
    return torch.tensor(logits, dtype=torch.float64).expand(count, -1)


def follow_up(seed, patients=40):
    draw = np.random.default_rng(seed)
    time, event = draw.integers(1, 12, patients).astype(float), draw.random(patients) < 0.6
    return draw.normal(size=patients), target(np.zeros(patients, dtype=int), event, time)


@LOSSES
@pytest.mark.parametrize("weight", [0.0, 0.4, 0.5])
def test_losses_of_one_curve_in_every_bin(loss, weight):
    logits, bins = rows(KNOWN["logits"], 4), [0, 1, 2, 3]
    died = loss(logits, target(bins, [1] * 4), event_weight=weight)
    censored = loss(logits, target(bins, [0] * 4), event_weight=weight)
    assert died.tolist() == pytest.approx(KNOWN["died"], abs=1e-6)
    assert censored.tolist() == pytest.approx(KNOWN["censored"][str(weight)], abs=2e-6)


@LOSSES
def test_mean_over_a_batch(loss):
    batch = KNOWN["batch"]
    logits = torch.tensor(batch["logits"], dtype=torch.float64)
    assert loss(logits, target(batch["bin"], batch["event"])).mean().item() == pytest.approx(batch["mean"], abs=1e-6)


@pytest.mark.parametrize("case", KNOWN["clamped"])
def test_the_clamped_loss_stops_at_the_clamp(case):
    loss = nll_clamped(rows(case["logits"], 1), target([case["bin"]], [case["event"]]))
    assert loss.item() == pytest.approx(case["loss"], abs=2e-6)


@pytest.mark.parametrize("record", [r for r in records("block:NLL") if r["field"] == "alpha,y,censored,loss"])
def test_the_clamped_loss_is_the_authors(record):
    logits = [float(number) for number in re.findall(r"-?[\d.]+", record["config"])]
    for weight, k, censored, expected in record["values"]:
        loss = nll_clamped(rows(logits, 1), target([int(k)], [not censored]), event_weight=weight)
        assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_a_death_that_surprises_still_teaches():
    logits = torch.tensor([[-20.0, 0.0]], requires_grad=True)
    loss = nll(logits, target([0], [1])).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(20)
    assert gradient.tolist() == [[-1, 0]]


def test_a_death_that_surprises_teaches_the_clamped_loss_nothing():
    logits = torch.tensor([[-20.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(nll_clamped(logits, target([0], [1])).sum(), logits)
    assert gradient.tolist() == [[0, 0]]


def test_the_losses_of_all_outcomes_are_one_distribution():
    logits = rows([0.3, -1.2, 0.8, -0.5], 5)
    losses = nll(logits, target([0, 1, 2, 3, 3], [1, 1, 1, 1, 0]))
    assert torch.exp(-losses).sum().item() == pytest.approx(1)


def test_cox_of_three_deaths_by_hand():
    loss = cox(torch.tensor([0.5, -1.0, 2.0]), target([0, 0, 0], [1, 1, 1], [3.0, 1.0, 2.0]))
    first = np.log(np.exp(0.5) + np.exp(-1) + np.exp(2)) + 1
    second = np.log(np.exp(0.5) + np.exp(2)) - 2
    assert loss.item() == pytest.approx((first + second) / 3)


@pytest.mark.parametrize("seed", range(3))
def test_cox_with_ties_is_the_likelihood_of_lifelines(seed):
    x, known = follow_up(seed)
    table = pd.DataFrame({"x": x, "time": known.time.numpy(), "event": known.event.numpy()})
    fitted = CoxPHFitter().fit(table, "time", "event")
    loss = cox(torch.tensor(x * fitted.params_["x"]), known)
    assert -loss.item() * known.event.sum().item() == pytest.approx(fitted.log_likelihood_, rel=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_cox_with_ties_is_that_of_torchsurv(seed):
    x, known = follow_up(seed)
    risk = torch.tensor(x, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns when it is imported, and of ties
        from torchsurv.loss.cox import neg_partial_log_likelihood

        theirs = neg_partial_log_likelihood(risk, known.event, known.time.float(), "efron", reduction="sum")
    assert cox(risk, known).item() * known.event.sum().item() == pytest.approx(theirs.item(), rel=1e-5)


def test_cox_does_not_see_the_order_of_patients_nor_a_shift_of_all_risks():
    x, known = follow_up(7)
    risk, order = torch.tensor(x), torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    mixed = SurvivalTarget(known.time[order], known.event[order], known.bin[order])
    assert cox(risk[order] + 500, mixed).item() == pytest.approx(cox(risk, known).item(), rel=1e-9)


def test_the_gradient_of_cox_is_that_of_finite_differences():
    x, known = follow_up(3, patients=12)
    assert torch.autograd.gradcheck(lambda risk: cox(risk, known), torch.tensor(x, requires_grad=True))


def test_cox_refuses_a_batch_without_a_death():
    with pytest.raises(DataError, match="None of 2 patients died"):
        cox(torch.zeros(2), target([0, 0], [0, 0]))
