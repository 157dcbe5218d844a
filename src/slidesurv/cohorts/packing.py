"""Sites into parts of given shares: a mixed-integer program, solved by HiGHS as scipy has it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

__all__ = ["SECONDS", "Packing", "pack"]

NODES = 10  # of the search tree: the same seed gives the same folds on a slow machine too
SECONDS = 60.0  # for cohorts of hundreds of sites, whose folds then depend on the machine
GAP = 0.05  # of what the ranges sum to beyond the unavoidable, at which the search ends
BIN = 0.1  # weight of the deaths of one time bin beside all patients and all deaths
TIE = 0.1  # all random costs together, as a share of what moving one patient can cost

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Packing:
    """Sites in parts.

    Attributes:
        part: (S,) of each site.
        gap: how much smaller the sum of ranges might still be, as a share of one part.
    """

    part: NDArray[np.int64]
    gap: float


def pack(amounts: Floats, shares: Floats, random: np.random.Generator, least: int) -> Packing | None:
    """Put sites into parts so that each part has its share of everything.

    The unknowns are, one after the other: x (S, F) whether site s is in part f; and by how much the largest load of a
    part exceeds, and the smallest falls short of, what whole sites make unavoidable (M,), as if all parts had equal
    shares.

    Args:
        amounts: (S, M) of each site; the first two columns are patients and deaths.
        shares: (F,) of the parts, which sum to 1.
        random: breaks ties.
        least: deaths that each part must have.

    Returns:
        None when it cannot be done, or was not done in time.
    """
    (sites, measures), folds = amounts.shape, len(shares)
    means = np.maximum(amounts.sum(0) / folds, 1)
    weights = np.array([1.0, 1.0, *[BIN] * (measures - 2)]) / means
    ties = random.random(sites * folds) * (TIE * weights.min() / sites)
    low, high, allowed = _unavoidable(amounts, shares)
    loads = np.kron(amounts.T, np.diag(1 / (shares * folds)))  # (M·F, S·F)
    whole = np.kron(np.eye(sites), np.ones(folds))  # (S, S·F)
    deaths = np.kron(amounts[:, 1], np.eye(folds))  # (F, S·F)
    excess = np.kron(np.eye(measures), np.ones((folds, 1)))  # (M·F, M)
    found = milp(
        np.concatenate([ties, weights, weights]),
        integrality=np.concatenate([np.ones(len(ties)), np.zeros(2 * measures)]),
        bounds=Bounds(0, np.concatenate([allowed.ravel(), np.full(2 * measures, np.inf)])),
        constraints=[
            LinearConstraint(np.pad(whole, ((0, 0), (0, 2 * measures))), 1, 1),
            LinearConstraint(np.pad(deaths, ((0, 0), (0, 2 * measures))), least, np.inf),
            LinearConstraint(np.hstack([loads, -excess, 0 * excess]), -np.inf, np.repeat(high, folds)),
            LinearConstraint(np.hstack([loads, 0 * excess, excess]), np.repeat(low, folds), np.inf),
        ],
        options={"node_limit": NODES, "time_limit": SECONDS, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    return Packing(found.x[: len(ties)].reshape(sites, -1).argmax(1), max(0.0, float(found.fun - found.mip_dual_bound)))


def _unavoidable(amounts: Floats, shares: Floats) -> tuple[Floats, Floats, Floats]:
    """Say what is known beforehand, which is what makes the search short.

    Returns:
        (M,) what the smallest load cannot exceed: what the largest sites leave to the other parts. (M,) what the
        largest cannot fall short of: the largest site, or the mean. (S, F) 1 where a site may be: equal parts have no
        order, so the largest site goes to the first, the next to one of the first two, and so on.
    """
    (sites, _), folds = amounts.shape, len(shares)
    allowed, total = np.ones((sites, folds)), amounts.sum(0)
    if np.ptp(shares) > 0:
        return total / folds, total / folds, allowed
    falling = -np.sort(-amounts, axis=0)
    left = total - np.concatenate([np.zeros((1, amounts.shape[1])), falling[: folds - 1].cumsum(0)])  # (F, M)
    low = np.floor((left / (folds - np.arange(folds))[:, None]).min(0))
    for rank, site in enumerate(np.argsort(-amounts[:, 0], kind="stable")[:folds]):
        allowed[site, rank + 1 :] = 0
    return low, np.maximum(np.ceil(total / folds), falling[0]), allowed
