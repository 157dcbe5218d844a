"""Who lives longer: survival of the patients called high and low risk, of all folds together and of each alone."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from slidesurv.report.drawing import BLUE, ORANGE, UNFINISHED, Picture, canvas, style, svg, wrapped
from slidesurv.report.estimate import p_text
from slidesurv.report.run import FoldResult, Method, Numbers, Run
from slidesurv.survival.estimators import at_risk, kaplan_meier, log_rank

__all__ = ["fold_by_fold", "risk_groups"]

Mask = NDArray[np.bool_]
ABREAST = 5  # panels


@dataclass(frozen=True, slots=True)
class _Group:
    """Patients of one risk, and how they are drawn."""

    word: str
    colour: str
    dash: str
    time: Numbers
    event: Mask


def risk_groups(run: Run, method: Method, name: str) -> Picture:
    """Draw the survival of patients called high and low risk, with the numbers still at risk.

    The cut is the median risk of each fold's training patients; over seeds, and folds that judge a patient again, the
    majority counts, and a draw is high.
    """
    if not method.complete:
        return Picture("", UNFINISHED)
    time, event, fold = method.first()
    high = method.mean(_called_high) >= 0.5  # (P,)
    with style():
        figure, (axes,) = canvas(4.6, 3.7)
        axes.set(xlim=(0, time.max() * 1.02), ylim=(0, 1.02), ylabel="alive", title=wrapped(run.titled(method)))
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= time.max()])
        for line, group in enumerate(_groups(time, event, high)):
            _survival(axes, group)
            _numbers_at_risk(axes, group, height=-0.27 - 0.08 * line)
        axes.set_xlabel("months; below: patients at risk", labelpad=6)
        axes.legend(loc="best")
        words = _compared(time, event, high, fold)
        drawn = svg(figure, name=name, alt=f"Kaplan–Meier curves of {method.label}. {words}")
    return Picture(drawn, f"{words} {run.stamp}".strip())


def fold_by_fold(run: Run, method: Method, name: str) -> Picture:
    """Draw the same curves inside every fold, where the majority of seeds counts: a panel a fold.

    A fold that was not finished, in which nobody died, or in which all are called alike says so instead.
    """
    if not method.complete:
        return Picture("", UNFINISHED)
    longest = float(method.follow_up()[0].max())
    columns, rows = min(run.folds, ABREAST), math.ceil(run.folds / ABREAST)
    with style():
        figure, panels = canvas(1.92 * columns, 0.6 + 2.1 * rows, columns=columns, rows=rows)
        figure.suptitle(f"{run.titled(method)}, fold by fold", fontsize=10)
        figure.supxlabel("months; below: patients at risk, high over low", fontsize=9)
        words = [_panel(axes, method, fold, longest) for fold, axes in enumerate(panels[: run.folds])]
        for spare in panels[run.folds :]:
            spare.set_axis_off()
        drawn = svg(figure, name=name, alt=f"Kaplan–Meier curves of {method.label} in each fold. {'; '.join(words)}")
    many = f", not adjusted for {run.folds} folds" if run.folds > 1 else ""
    caption = f"High risk solid, low risk dashed, with 95 % bands; p of the log-rank test inside the fold{many}."
    return Picture(drawn, f"{caption} {run.stamp}".strip())


def _called_high(result: FoldResult) -> Mask:
    return np.asarray(result.risk >= result.cut)


def _panel(axes: Axes, method: Method, fold: int, longest: float) -> str:
    """Draw one fold, or write why there is no curve; says what is shown."""
    if fold not in method.complete:
        return _silent(axes, fold, "not finished for every seed")
    time, event, _ = method.follow_up((fold,))
    high = method.pool(_called_high, (fold,)).mean(0) >= 0.5  # (B,)
    if not event.any():
        return _silent(axes, fold, f"no death among {len(time)} patients")
    if high.all() or not high.any():
        return _silent(axes, fold, f"all {len(time)} patients are at {'high' if high.all() else 'low'} risk")
    told = f"{int(event.sum())} deaths of {len(time)}", p_text(log_rank(time, event, high).p)
    axes.set(xlim=(0, longest * 1.02), ylim=(0, 1.02), yticks=(0, 0.5, 1))
    axes.set_title("\n".join((f"fold {fold}", *told)), fontsize=8)
    groups = _groups(time, event, high)
    for group in groups:
        _survival(axes, group)
    months = [tick for tick in MaxNLocator(3).tick_values(0, longest) if tick <= longest]
    watched = zip(months, *(at_risk(group.time, months) for group in groups), strict=True)
    axes.set_xticks(months, [f"{month:g}\n{above}\n{below}" for month, above, below in watched])
    return f"Fold {fold}: {', '.join(told)}"


def _silent(axes: Axes, fold: int, why: str) -> str:
    axes.set_title(f"fold {fold}", fontsize=8)
    axes.text(0.5, 0.5, wrapped(why, 16), transform=axes.transAxes, ha="center", va="center", fontsize=8)
    axes.set(xticks=[], yticks=[])
    return f"Fold {fold}: {why}"


def _compared(time: Numbers, event: Mask, high: Mask, fold: NDArray[np.int64]) -> str:
    """Say how far apart the two groups are, compared inside each fold."""
    counts = f"{int(high.sum())} patients at high and {int((~high).sum())} at low risk"
    p = math.nan if high.all() or not high.any() else log_rank(time, event, high, strata=fold).p
    if math.isnan(p):
        return f"{counts}. No log-rank test: it needs deaths, and both groups in one fold."
    return f"{counts}; log-rank {p_text(p)}, stratified by fold."


def _groups(time: Numbers, event: Mask, high: Mask) -> tuple[_Group, _Group]:
    return (
        _Group("high", ORANGE, "-", time[high], event[high]),
        _Group("low", BLUE, "--", time[~high], event[~high]),
    )


def _survival(axes: Axes, group: _Group) -> None:
    if not len(group.time):
        return
    curve = kaplan_meier(group.time, group.event)
    months = np.append(0, curve.time)
    alive, low, high = (np.append(1, values) for values in (curve.survival, curve.low, curve.high))
    label = f"{group.word} risk"
    axes.step(months, alive, where="post", color=group.colour, linestyle=group.dash, linewidth=1.6, label=label)
    axes.fill_between(months, low, high, step="post", color=group.colour, alpha=0.15, linewidth=0)


def _numbers_at_risk(axes: Axes, group: _Group, *, height: float) -> None:
    """Write a row of numbers under the axis, at its ticks."""
    place = axes.get_xaxis_transform()
    axes.text(-0.06, height, group.word, transform=axes.transAxes, ha="right", color=group.colour)
    for tick, count in zip(axes.get_xticks(), at_risk(group.time, axes.get_xticks()), strict=True):
        axes.text(tick, height, str(count), transform=place, ha="center", color=group.colour)
