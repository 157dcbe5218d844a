"""Harrell's concordance index, by exact counts of pairs in O(n log n)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slidesurv.survival.follow_up import Bools, Floats, as_follow_up, as_numbers

__all__ = ["TIED", "Concordance", "concordance"]

TIED = 1e-8  # risks closer than this are one risk: the tolerance of the published numbers
FEW = 1000  # patients for whom a table of all pairs is quicker than sorting

Ranks = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Concordance:
    """Pairs of patients of whom it is known who died first.

    Attributes:
        concordant: pairs in which the higher risk died first.
        discordant: pairs in which the lower risk died first.
        tied: pairs of one risk.
        comparable: all three together.
    """

    concordant: int
    discordant: int
    tied: int
    comparable: int

    @property
    def index(self) -> float:
        """Share of pairs in the right order, a tie for one half; NaN without a comparable pair.

        A larger value means a better order: 1 is perfect, one half is chance or one risk for all
        (``tied == comparable``).
        """
        return (self.concordant + self.tied / 2) / self.comparable if self.comparable else float("nan")

    def __add__(self, other: "Concordance") -> "Concordance":
        return Concordance(
            self.concordant + other.concordant,
            self.discordant + other.discordant,
            self.tied + other.tied,
            self.comparable + other.comparable,
        )


def concordance(event: ArrayLike, time: ArrayLike, risk: ArrayLike, *, tied_tol: float = TIED) -> Concordance:
    """Count the pairs that a risk puts in the order in which the patients died.

    A pair is comparable when the earlier time is a death, or when the times are equal and one of the two died.

    Args:
        event: (B,) True = death seen.
        time: (B,) months.
        risk: (B,) a larger value means an earlier death.
        tied_tol: risks that differ by no more are tied; 0 asks for equal ones, as R and lifelines do.

    Returns:
        Exact counts; all zero when nobody can be compared.

    Raises:
        DataError: the lengths differ, a time is not finite, or a risk is NaN.

    Source:
        Harrell et al., JAMA 1982; counts as R's survival::concordance and scikit-survival make them.
    """
    times, events = as_follow_up(time, event)
    risks = as_numbers("risk", risk, len(times))
    order = np.lexsort((events, -times))  # latest first; at one time the censored, who outlived the dead, first
    events, outlived_by = events[order], _run_starts(times[order], events[order])
    ranks, below, upto = _rank(risks[order], tied_tol)
    limits = np.stack([below, upto])[:, events]  # (2, E) for each death: ranks below its risk; those and the tied
    concordant, within = (int(n) for n in _count_below(ranks, outlived_by[events], limits))
    comparable = int(outlived_by[events].sum(dtype=np.int64))
    return Concordance(concordant, comparable - within, within - concordant, comparable)


def _run_starts(times: Floats, events: Bools) -> Ranks:
    """For each patient, the position at which its run of equal time and event begins."""
    starts = np.arange(len(times), dtype=np.int32)
    starts[1:] *= (times[1:] != times[:-1]) | (events[1:] != events[:-1])
    return np.maximum.accumulate(starts)


def _rank(risks: Floats, tied_tol: float) -> tuple[Ranks, Ranks, Ranks]:
    """Rank risks from 0 without ties; with how many risks lie below each one's tolerance, and how many up to it."""
    order = risks.argsort()
    ranks = np.empty(len(risks), dtype=np.int32)
    ranks[order] = np.arange(len(risks), dtype=np.int32)
    rising = risks[order]
    below = rising.searchsorted(rising - tied_tol, side="left").astype(np.int32)
    upto = rising.searchsorted(rising + tied_tol, side="right").astype(np.int32)
    return ranks, below[ranks], upto[ranks]


def _count_below(ranks: Ranks, first: Ranks, limits: Ranks) -> NDArray[np.int64]:
    """Count how many of the first ``first[q]`` ranks lie below ``limits[k, q]``, summed over q.

    Args:
        ranks: (n,) a permutation of 0..n-1.
        first: (Q,) in [0, n].
        limits: (K, Q) in [0, n].

    Returns:
        (K,) counts.
    """
    if len(ranks) <= FEW:
        inside = np.arange(len(ranks), dtype=np.int32) < first[:, None]  # (Q, n)
        return np.array([np.count_nonzero(inside & (ranks < limit[:, None])) for limit in limits])
    return _descend(ranks, first, limits)


def _descend(ranks: Ranks, first: Ranks, limits: Ranks) -> NDArray[np.int64]:
    """`_count_below` by a wavelet tree: from the highest bit down, ranks are parted into nodes by their leading bits.

    A query walks down to its limit. Where the limit's bit is 1, the left child lies wholly below it and is counted.
    A node holds consecutive ranks, so it begins where its smallest rank says, and half of what stands before it has
    a 0 at this bit.
    """
    total = np.zeros(len(limits), dtype=np.int64)
    first = np.broadcast_to(first, limits.shape)
    for bit in reversed(range(len(ranks).bit_length())):
        zero = ranks >> bit & 1 == 0
        zeros = np.zeros(len(ranks) + 1, dtype=np.int32)  # before each position
        zero.cumsum(dtype=np.int32, out=zeros[1:])
        node = limits >> (bit + 1) << (bit + 1)
        left = zeros[node + first] - (node >> 1)  # (K, Q) of the query's first ones in this node, those with a 0
        right = limits >> bit & 1 == 1
        total += np.where(right, left, 0).sum(-1, dtype=np.int64)
        first = np.where(right, first - left, left)
        ranks = _part(ranks, bit, zero, zeros[:-1])
    return total


def _part(ranks: Ranks, bit: int, zero: Bools, zeros: Ranks) -> Ranks:
    """Put, inside every node, the ranks with a 0 at this bit before those with a 1, each in their order."""
    node = ranks >> (bit + 1) << (bit + 1)
    left = zeros - (node >> 1)
    right = np.arange(len(ranks), dtype=np.int32) - left + (1 << bit)
    parted = np.empty_like(ranks)
    parted[np.where(zero, node + left, right)] = ranks
    return parted
