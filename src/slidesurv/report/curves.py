"""The curves of a run: who is better, is the promised survival kept, did training behave."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from slidesurv.report.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, UNFINISHED, Picture, canvas, style, svg, wrapped
from slidesurv.report.run import FoldResult, Method, Numbers, Run
from slidesurv.report.table import Comparison
from slidesurv.survival.accuracy import calibration, survival_at

__all__ = ["calibrated", "learning", "overview"]

Mask = NDArray[np.bool_]


def overview(comparison: Sequence[Comparison]) -> Picture:
    """Draw the C-index of every method: a dot a fold, a bar for the pooled value's interval."""
    with style():
        figure, (axes,) = canvas(9.6, 0.9 + 0.42 * len(comparison))
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
        for height, row in enumerate(reversed(comparison)):
            folds = [entry.value for entry in row.folds]
            axes.scatter(folds, [height - 0.22] * len(folds), s=12, facecolors="none", edgecolors=INK, linewidths=0.7)
            axes.hlines(height, row.pooled.low, row.pooled.high, color=BLUE, linewidth=3)
            axes.plot([row.pooled.value], [height], "D", color=BLUE, markersize=6)
        axes.set_yticks(range(len(comparison)), [row.label for row in reversed(comparison)])
        axes.set(ylim=(-0.6, len(comparison) - 0.5), xlabel=f"C-index {comparison[0].stamp}".strip())
        words = "; ".join(f"{row.label} {row.pooled}" for row in comparison)
        drawn = svg(figure, name="overview", alt=f"C-index of each method: {words}")
    return Picture(drawn, "Diamond and bar: pooled C-index and its 95 % interval. Circles: single folds. Dots: chance.")


def calibrated(run: Run, method: Method, name: str) -> Picture:
    """Draw the survival that was promised against the survival that came, at the cohort's median follow-up."""
    if not method.complete:
        return Picture("", UNFINISHED)
    if not method.has_curves:
        return Picture("", "This method gives a hazard ratio, not a survival curve: there is nothing to calibrate.")
    time, event, _ = method.first()
    month = _horizon(run, time)
    alive = method.mean(lambda result: survival_at(result.edges, result.survival, month))  # (P,)
    groups = calibration(time, event, alive, at=month)
    with style():
        figure, (axes,) = canvas(3.4, 3.3)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        axes.vlines(groups.predicted, groups.low, groups.high, color=BLUE, linewidth=1.2)
        axes.plot(groups.predicted, groups.observed, "o", color=BLUE, markersize=5)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted", ylabel="observed", aspect="equal")
        axes.set_title(wrapped(run.titled(method)))
        drawn = svg(figure, name=name, alt=f"{method.label}: predicted against observed survival at {month:.3g} months")
    unseen = int(np.isnan(groups.observed).sum())
    left_out = f"; {unseen} groups were not watched so long and are left out" if unseen else ""
    ends = min(result.edges[-1] for (_, fold), result in method.results.items() if fold in method.complete)
    held = f"; the last time bin ends at {ends:.3g} months, the prediction is held from there" if month > ends else ""
    caption = f"Alive at {month:.3g} months, patients grouped by predicted survival{left_out}{held}. {run.stamp}"
    return Picture(drawn, caption.strip())


def _horizon(run: Run, time: Numbers) -> float:
    """The cohort's median follow-up; the middle of the times where so few were watched long that it is not known."""
    month = float(run.cohort.get("median_follow_up_months") or math.inf)
    return month if math.isfinite(month) else float(np.median(time))


def learning(run: Run, method: Method, name: str) -> Picture:
    """Draw what happened while training: a line a fold and seed, a dot at the epoch that was kept.

    The test fold is drawn only where the protocol looked at it.
    """
    if not method.results:
        return Picture("", UNFINISHED)
    results = list(method.results.values())
    watched = "test" if run.stamp else "tune"
    panels = {
        "negative log-likelihood": {"train_nll": BLUE, f"{watched}_nll": ORANGE},
        "C-index": {f"{watched}_c_index": ORANGE},
    }
    if own := _own_losses(results):
        panels["the model's own losses"] = own
    with style():
        figure, axes = canvas(9.6, 2.9, columns=len(panels))
        figure.suptitle(run.titled(method), fontsize=10)
        for panel, (title, columns) in zip(axes, panels.items(), strict=True):
            _lines(panel, results, columns)
            panel.set(xlabel="epoch", title=title)
        drawn = svg(figure, name=name, alt=f"Learning curves of {method.label}, {len(results)} trainings")
    return Picture(drawn, f"{len(results)} trainings; a dot marks the epoch that was kept. {run.stamp}".strip())


def _own_losses(results: Sequence[FoldResult]) -> dict[str, str]:
    """The losses that only this model has, with a colour each."""
    names = [name for name in results[0].history if name.startswith("train_")]
    own = [name for name in names if name not in ("train_loss", "train_nll")]
    return dict(zip(own, cycle((PURPLE, GREEN, BLUE, ORANGE)), strict=False))


def _lines(axes: Axes, results: Sequence[FoldResult], columns: Mapping[str, str]) -> None:
    """Draw the columns that were measured, or say that none was."""
    measured = [name for name in columns if any(np.isfinite(r.history.get(name, np.nan)).any() for r in results)]
    for name in measured:
        epochs, values, kept = _joined([result for result in results if name in result.history], name)
        axes.plot(epochs, values, color=columns[name], linewidth=0.8, alpha=0.5)
        axes.plot(epochs[kept], values[kept], "o", color=columns[name], markersize=3)
        axes.plot([], [], color=columns[name], label=name.replace("_", " "))
    if measured:
        axes.legend(fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])


def _joined(results: Sequence[FoldResult], name: str) -> tuple[Numbers, Numbers, Mask]:
    """One column of all trainings as a single broken line, which draws sooner than dozens, and the points to mark."""
    epochs = [np.append(result.history["epoch"], np.nan) for result in results]
    values = [np.append(result.history[name], np.nan) for result in results]
    kept = [known == result.epoch for known, result in zip(epochs, results, strict=True)]
    return np.concatenate(epochs), np.concatenate(values), np.concatenate(kept)
