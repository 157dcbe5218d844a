"""Whether methods rank alike over cohorts: Friedman's test, and the critical difference of mean ranks as a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from slidesurv.report.drawing import BLUE, INK, ORANGE, Picture, canvas, style, svg
from slidesurv.report.estimate import p_text
from slidesurv.survival.comparison import Friedman, friedman

__all__ = ["Ranking", "critical_difference", "rank", "ranking_words"]

MANY = 10  # cohorts, from which Friedman's p is near the truth (Demšar, JMLR 2006)


@dataclass(frozen=True, eq=False, slots=True)
class Ranking:
    """Methods that stand in every cohort, the best first, and their test.

    Attributes:
        labels: (K,) in the order of the ranks.
        ranks: (K,) mean rank of each; 1 is the best.
        alike: runs of methods, by place in ``labels``, which Nemenyi's test cannot tell apart.
        test: Friedman's, with the critical difference.
    """

    labels: tuple[str, ...]
    ranks: tuple[float, ...]
    alike: tuple[tuple[int, int], ...]
    test: Friedman


def rank(labels: Sequence[str], scores: Sequence[Sequence[float]]) -> Ranking | None:
    """Rank K methods over C cohorts.

    Args:
        labels: (K,) names.
        scores: (K, C) of each method on each cohort; a larger value is better. A cohort with a NaN is left out.

    Returns:
        None with fewer than two methods, or two cohorts that have them all.
    """
    if len(labels) < 2:
        return None
    test = friedman(np.transpose(scores))
    if len(test.cohorts) < 2:
        return None
    order = test.ranks.argsort(kind="stable").tolist()
    place = {method: number for number, method in enumerate(order)}
    alike = tuple((place[run[0]], place[run[-1]]) for run in test.alike)
    return Ranking(tuple(labels[k] for k in order), tuple(test.ranks[order].tolist()), alike, test)


def ranking_words(ranking: Ranking) -> str:
    """Say what the test says, and what the picture shows."""
    cohorts, methods = len(ranking.test.cohorts), len(ranking.labels)
    told = f"Friedman's test over {cohorts} cohorts and {methods} methods: {p_text(ranking.test.p)}"
    if math.isnan(ranking.test.p):
        told = f"Friedman's test cannot be made: {ranking.test.note}"
    elif cohorts < MANY:
        told += ", roughly, for so few cohorts"
    if ranking.test.note and not math.isnan(ranking.test.p):
        told += f"; {ranking.test.note}"
    ranks = ", ".join(f"{label} {mean:.2f}" for label, mean in zip(ranking.labels, ranking.ranks, strict=True))
    return (
        f"{told}. Mean ranks, 1 is the best: {ranks}. Ranks that differ by less than "
        f"{ranking.test.critical:.2f} cannot be told apart (Nemenyi, level 0.05)."
    )


def critical_difference(ranking: Ranking, stamp: str = "") -> Picture:
    """Draw mean ranks, the best on top, with bars that join methods that cannot be told apart.

    Args:
        ranking: from `rank`.
        stamp: the word that goes with every number of a published protocol.
    """
    methods = len(ranking.labels)
    with style():
        figure, (axes,) = canvas(9.6, 1.3 + 0.32 * methods)
        heights = [methods - 1 - place for place in range(methods)]
        axes.hlines(heights, 1, ranking.ranks, color=INK, linewidth=0.4, linestyle=":")
        axes.plot(ranking.ranks, heights, "D", color=BLUE, markersize=6)
        axes.set_yticks(heights, ranking.labels)
        for column, (first, last) in enumerate(ranking.alike):
            axes.vlines(methods + 0.35 + 0.3 * column, heights[last] - 0.2, heights[first] + 0.2, ORANGE, linewidth=3)
        _ruler(axes, ranking.test.critical, methods)
        axes.set(xlim=(0.8, methods + 0.5 + 0.3 * len(ranking.alike)), ylim=(-0.6, methods + 0.4))
        axes.set_xticks(range(1, methods + 1))
        axes.set_xlabel(f"mean rank over cohorts; 1 is the best {stamp}".strip())
        drawn = svg(figure, name="ranks", alt=ranking_words(ranking))
    caption = "Diamonds: mean ranks over cohorts. Bars at the right join methods that Nemenyi's test cannot tell apart."
    return Picture(drawn, f"{caption} {stamp}".strip())


def _ruler(axes: Axes, critical: float, methods: int) -> None:
    """Draw the critical difference to scale, as far as the axis goes."""
    end = min(1 + critical, methods + 0.3)
    axes.plot([1, end], [methods - 0.1] * 2, color=INK, linewidth=1.2)
    wide = "" if end == 1 + critical else ", wider than the axis"
    axes.text(1, methods, f"critical difference {critical:.2f}{wide}", va="bottom")
