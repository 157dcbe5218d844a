"""Hazard ratios side by side: the picture in which trials are compared."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from slidesurv.report.accuracy import Accuracy
from slidesurv.report.drawing import BLUE, INK, Picture, canvas, style, svg
from slidesurv.report.estimate import Estimate

__all__ = ["forest"]

FINE = (0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4)
COARSE = tuple(10.0**power for power in range(-9, 10))
WIDE = 20  # from the least to the greatest ratio, beyond which fine ticks would meet


def forest(accuracy: Accuracy) -> Picture:
    """Draw the hazard ratio of one standard deviation of risk of every method, on a logarithmic axis.

    The number stands beside its bar; a method without one has a dash, and its reason is told with the table.
    """
    rows = [(row.label, row.estimates["hazard_ratio"]) for row in accuracy.rows]
    if all(math.isnan(ratio.value) for _, ratio in rows):
        return Picture("", "No method has a hazard ratio, so that there is nothing to draw.")
    with style():
        figure, (axes,) = canvas(9.6, 0.9 + 0.42 * len(rows))
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        for height, (_, ratio) in enumerate(reversed(rows)):
            _bar(axes, ratio, height)
        axes.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)])
        axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel=f"hazard ratio of one SD of risk {accuracy.stamp}".strip())
        _scale(axes, [ratio for _, ratio in rows])
        words = "; ".join(f"{label} {ratio.text(digits=2)}" for label, ratio in rows)
        drawn = svg(figure, name="forest", alt=f"Hazard ratio per standard deviation of risk: {words}")
    caption = (
        "Diamond and bar: hazard ratio per standard deviation of risk and its 95 % interval. Dots: risk tells nothing."
    )
    return Picture(drawn, f"{caption} {accuracy.stamp}".strip())


def _bar(axes: Axes, ratio: Estimate, height: int) -> None:
    """Draw one row, its number in a column at the right."""
    axes.text(1.02, height, ratio.text(digits=2), transform=axes.get_yaxis_transform(), va="center")
    if not math.isnan(ratio.low):
        axes.hlines(height, ratio.low, ratio.high, color=BLUE, linewidth=3)
    if not math.isnan(ratio.value):
        axes.plot([ratio.value], [height], "D", color=BLUE, markersize=6)


def _scale(axes: Axes, ratios: Sequence[Estimate]) -> None:
    """A logarithmic axis around 1 with round ratios as ticks."""
    ends = [end for ratio in ratios for end in (ratio.value, ratio.low, ratio.high) if end > 0 and end < math.inf]
    least, most = min([0.8, *ends]) / 1.05, max([1.25, *ends]) * 1.05
    axes.set_xscale("log")
    axes.set_xlim(least, most)
    axes.xaxis.set_major_locator(FixedLocator(FINE if most / least < WIDE else COARSE))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
