"""Unbalanced transport against POT, its authors' numbers, and its law of mass."""

import re

import pytest
import torch

from reference.golden import records
from slidesurv.nn.transport import sinkhorn, transport_cost

SETTINGS = dict.fromkeys(r["config"] for r in records("block:Sinkhorn") if r["field"] != "cost_normalised")


def as_configured(config: str) -> dict:
    """The keywords that a row's config describes, such as "kl eps=0.1 tau=0.5 stop=1e-06"."""
    numbers = {key: float(value) for key, value in re.findall(r"(\w+)=([\d.e+-]+)", config)}
    return {
        "reference": config.partition(" ")[0],
        "epsilon": numbers["eps"],
        "tau": numbers["tau"],
        "stop": numbers["stop"],
    }


def rows(config: str) -> dict:
    return {r["field"]: r["values"] for r in records("block:Sinkhorn") if r["config"] == config}


def golden_cost() -> torch.Tensor:
    return torch.tensor(records("block:Sinkhorn", "cost_normalised")[0]["values"], dtype=torch.float64).T


def literal_cost(tokens: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
    tokens, tiles = (rows - rows.min(-1, keepdim=True).values for rows in (tokens, tiles))
    distances = (tokens[:, None] - tiles[None]).square().sum(-1)
    return distances / distances.max()


def random_cost(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens, tiles = (torch.randn(rows, 16, generator=generator).double() for rows in (6, n))
    return transport_cost(tokens, tiles)


@pytest.mark.parametrize("config", SETTINGS)
def test_golden_plans(config):
    expected = rows(config)
    plan = sinkhorn(golden_cost(), **as_configured(config))
    name = next(field for field in expected if field.startswith("plan"))
    torch.testing.assert_close(plan.T, torch.tensor(expected[name], dtype=torch.float64), atol=1e-9, rtol=0)
    assert plan.sum().item() == pytest.approx(expected["mass"], abs=1e-9)


@pytest.mark.parametrize("config", SETTINGS)
def test_golden_number_of_rounds(config):
    rounds, choices = rows(config)["iterations"], as_configured(config)
    plan = sinkhorn(golden_cost(), **choices)
    assert torch.equal(plan, sinkhorn(golden_cost(), **choices, most=rounds))
    assert not torch.equal(plan, sinkhorn(golden_cost(), **choices, most=rounds - 1))


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")  # POT says that it ignores an argument we do not give
@pytest.mark.parametrize("reference", ["entropy", "kl"])
@pytest.mark.parametrize(("n", "epsilon", "tau"), [(1, 0.1, 0.5), (7, 0.05, 0.5), (300, 0.1, 0.5), (300, 0.05, 1.0)])
def test_a_plan_is_that_of_pot(reference, n, epsilon, tau):
    unbalanced = pytest.importorskip("ot.unbalanced", reason="POT is not installed")
    cost = random_cost(n)
    theirs = unbalanced.sinkhorn_knopp_unbalanced(
        *([1 / n] * n, [1 / 6] * 6, cost.T.numpy(), epsilon, tau), reg_type=reference, numItermax=1000, stopThr=1e-6
    )
    ours = sinkhorn(cost, epsilon=epsilon, tau=tau, reference=reference)
    torch.testing.assert_close(ours.T, torch.as_tensor(theirs), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("epsilon", "exponent"), [(0.05, 0.0476), (0.1, 0.0909)])
def test_mass_grows_with_the_tiles_under_the_entropy_and_not_under_kl(epsilon, exponent):
    cost = random_cost(200)
    double = torch.cat([cost, cost], -1)  # every tile twice

    def mass(cost, reference):
        return sinkhorn(cost, epsilon=epsilon, tau=0.5, reference=reference, stop=1e-12).sum().item()

    assert mass(double, "entropy") / mass(cost, "entropy") == pytest.approx(2**exponent, abs=1e-4)
    assert mass(double, "kl") == pytest.approx(mass(cost, "kl"), rel=1e-9)


def test_a_plan_is_a_fixed_point_of_both_marginals():
    cost, epsilon, tau = random_cost(40), 0.1, 0.5
    plan = sinkhorn(cost, epsilon=epsilon, tau=tau, stop=1e-14)
    token = (1 / 6 / plan.sum(1)) ** (tau / epsilon)  # u = (mass wanted / mass used)^(tau/epsilon)
    tile = (1 / 40 / plan.sum(0)) ** (tau / epsilon)
    torch.testing.assert_close(plan, token[:, None] * (-cost / epsilon).exp() * tile)


def test_chunks_planned_at_once_are_those_planned_alone():
    costs = torch.stack([random_cost(30, seed) for seed in range(4)])
    together = sinkhorn(costs, epsilon=0.1, tau=0.5)
    for cost, plan in zip(costs, together, strict=True):
        torch.testing.assert_close(plan, sinkhorn(cost, epsilon=0.1, tau=0.5), atol=1e-6, rtol=0)


def test_the_cost_is_the_literal_one_and_that_of_chunks_is_each_chunk_s():
    tokens, tiles = torch.randn(6, 16).double(), torch.randn(3, 20, 16).double()
    for chunk, cost in zip(tiles, transport_cost(tokens, tiles), strict=True):
        torch.testing.assert_close(cost, literal_cost(tokens, chunk))
        torch.testing.assert_close(cost, transport_cost(tokens, chunk))


def test_a_number_added_to_a_whole_row_costs_nothing():
    tokens, tiles = torch.randn(6, 16).double(), torch.randn(20, 16).double()
    torch.testing.assert_close(transport_cost(tokens + 3, tiles - 5), transport_cost(tokens, tiles))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("n", [1, 50])
def test_tiles_without_difference_and_of_any_scale_give_a_plan(n, scale):
    tiles = torch.ones(n, 16) * scale
    plan = sinkhorn(transport_cost(torch.zeros(6, 16), tiles), epsilon=0.05, tau=0.5)
    assert torch.isfinite(plan).all()
    assert (plan > 0).all()


def test_half_precision_tokens_are_measured_in_single():
    tokens, tiles = torch.rand(6, 64).bfloat16(), torch.rand(30, 64).bfloat16()
    exact = transport_cost(tokens.double(), tiles.double())
    torch.testing.assert_close(transport_cost(tokens, tiles), exact, atol=1e-5, rtol=0)


def test_nothing_is_taught_through_the_plan():
    tokens, tiles = torch.rand(6, 8, requires_grad=True), torch.rand(5, 8, requires_grad=True)
    assert not sinkhorn(transport_cost(tokens, tiles), epsilon=0.1, tau=0.5).requires_grad
