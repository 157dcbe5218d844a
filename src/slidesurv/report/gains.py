"""What genomics at training gains over a design of made-up cohorts: a mean a cell, and one picture of all factors."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.stats import t as student

from slidesurv.files import replacing, write_text
from slidesurv.report.drawing import BLUE, GREEN, INK, ORANGE, standalone, style, svg
from slidesurv.report.estimate import Estimate
from slidesurv.report.run import Numbers

__all__ = ["COLUMNS", "Factor", "Gain", "draw", "mean_gain", "summarise"]

MEANS = ("taught", "untaught", "programme", "look", "skill", "patients", "deaths", "tiles")
COLUMNS = ("factor", "level", "seeds", "gain", "gain_low", "gain_high", *MEANS)
CENTRE = "centre"
ABREAST = 3  # pairs of panels on a page of paper
SERIES = {
    "taught": ("taught with genomics", BLUE, "D", "-"),
    "untaught": ("the same network untaught", ORANGE, "s", "--"),
    "look": ("ceiling: what the tiles show", GREEN, "^", ":"),
    "programme": ("ceiling: the programme itself", INK, "v", "-."),
}


@dataclass(frozen=True, slots=True)
class Factor:
    """What a design changes, one at a time.

    Attributes:
        name: in the rows.
        words: under its axis.
        centre: its level where something else is changed.
        scale: of its axis.
    """

    name: str
    words: str
    centre: float
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True, slots=True)
class Gain:
    """One cell of a design, over its seeds.

    Attributes:
        factor: what is changed from the centre.
        level: to what.
        each: the gain with each seed: C-index of the taught network minus that of the untaught.
        gain: their mean. A larger value means that genomics at training helps more; an interval above 0 that it does.
        taught, untaught: mean C-index of the two.
        programme: mean C-index of the planted programme: nothing can do better.
        look: mean C-index of what the tiles show of it: no slide-only prediction can do better.
        skill: mean skill of the rebuilt genome; 1 is perfect, 0 the mean genome.
        patients: that teach.
        deaths: mean share of them that died.
        tiles: mean tiles of a patient.
    """

    factor: str
    level: float
    each: tuple[float, ...]
    gain: Estimate
    taught: float
    untaught: float
    programme: float
    look: float
    skill: float
    patients: float
    deaths: float
    tiles: float

    def row(self) -> dict[str, Any]:
        """The cell as a row of a table."""
        told = {"factor": self.factor, "level": self.level, "seeds": len(self.each), "gain": self.gain.value}
        told |= {"gain_low": self.gain.low, "gain_high": self.gain.high}
        return told | {name: getattr(self, name) for name in MEANS}


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Gain]:
    """Put the seeds of each cell together, in the order in which cells first come.

    Args:
        rows: a cell and seed each, with the C-index of ``taught`` and ``untaught`` networks, of the ``programme`` and
            the ``look``; ``skill``; the training patients' number, ``deaths`` and ``tiles``.
    """
    cells: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["factor"], row["level"]), []).append(row)
    return [_summary(factor, level, of_seeds) for (factor, level), of_seeds in cells.items()]


def _summary(factor: str, level: float, rows: Sequence[Mapping[str, Any]]) -> Gain:
    each = tuple(row["taught"] - row["untaught"] for row in rows)
    shares = [{**row, "deaths": row["deaths"] / row["patients"]} for row in rows]
    means = {name: float(np.mean([row[name] for row in shares])) for name in MEANS}
    return Gain(factor, level, each, mean_gain(each), **means)


def mean_gain(each: Sequence[float]) -> Estimate:
    """Mean over seeds, with Student's 95 % interval: how far it would move with other seeds, so with other cohorts."""
    values = np.asarray(each, dtype=np.float64)
    if len(values) < 2:
        return Estimate(float(values.mean()), note="one seed has no interval")
    mean = float(values.mean())
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half)


def draw(
    gains: Sequence[Gain], factors: Sequence[Factor], controls: Mapping[str, str], vector: Path, raster: Path
) -> None:
    """Draw the gain against each factor, and below it the C-index of both networks under their ceilings.

    Args:
        gains: the cells; the centre stands in every factor's panel.
        factors: a panel each.
        controls: the words of cells without a level, in the last panel.
        vector: an SVG file, for light and dark pages.
        raster: a PNG file, for paper.
    """
    with style(), rc_context({"font.size": 8, "lines.markersize": 5}):
        figure = Figure(figsize=(7.2, 2.2 + 3.1 * math.ceil((len(factors) + 1) / ABREAST)), layout="constrained")
        pairs = _pairs(figure, len(factors) + 1)
        for (above, below), factor in zip(pairs, factors, strict=False):
            cells, levels = _along(gains, factor)
            _axis(below, factor, levels)
            _gains(above, cells, levels, centre=factor.centre)
            _indices(below, cells, levels)
        _controls(*pairs[-1], gains, controls)
        figure.legend(*pairs[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        words = "; ".join(f"{gain.factor} {gain.level:g}: {gain.gain.text(signed=True)}" for gain in gains)
        drawn = svg(figure, name="gains", alt=f"Gain in C-index of genomics at training: {words}")
        with replacing(raster) as temporary:
            figure.savefig(temporary, format="png", dpi=150, facecolor="white", transparent=False)
    write_text(vector, standalone(drawn))


def _pairs(figure: Figure, number: int) -> list[tuple[Axes, Axes]]:
    """Axes for the gain, and below them for the C-index, so many pairs abreast; each kind has one scale."""
    rows, pairs = 2 * math.ceil(number / ABREAST), list[tuple[Axes, Axes]]()
    for pair in range(number):
        block, column = divmod(pair, ABREAST)
        place = 2 * block * ABREAST + column + 1
        first, second = pairs[0] if pairs else (None, None)
        below = figure.add_subplot(rows, ABREAST, place + ABREAST, sharey=second)
        above = figure.add_subplot(rows, ABREAST, place, sharex=below, sharey=first)
        above.tick_params(labelbottom=False, labelleft=not column)
        below.tick_params(labelleft=not column)
        if not column:
            above.set_ylabel("gain in C-index")
            below.set_ylabel("C-index")
        pairs.append((above, below))
    return pairs


def _along(gains: Sequence[Gain], factor: Factor) -> tuple[list[Gain], Numbers]:
    """The cells of a factor and the centre, by rising level."""
    levels = {(factor.centre if gain.factor == CENTRE else gain.level): gain for gain in gains if _of(gain, factor)}
    return [levels[level] for level in sorted(levels)], np.array(sorted(levels), dtype=np.float64)


def _of(gain: Gain, factor: Factor) -> bool:
    return gain.factor in (factor.name, CENTRE)


def _axis(axes: Axes, factor: Factor, levels: Numbers) -> None:
    """A tick at every level that was tried."""
    axes.set_xscale(factor.scale)
    axes.set_xlabel(factor.words)
    axes.xaxis.set_major_locator(FixedLocator(levels.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.margins(x=0.12)


def _gains(axes: Axes, cells: Sequence[Gain], levels: Numbers, *, centre: float) -> None:
    """A diamond and a bar a cell, a ring a seed; the centre's diamond is filled."""
    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    for level, cell in zip(levels, cells, strict=True):
        axes.vlines(level, cell.gain.low, cell.gain.high, color=BLUE, linewidth=3)
        axes.scatter([level] * len(cell.each), cell.each, s=7, facecolors="white", edgecolors=INK, linewidths=0.6)
        face = BLUE if level == centre else "white"
        axes.plot([level], [cell.gain.value], "D", color=BLUE, markerfacecolor=face, markersize=6)


def _indices(axes: Axes, cells: Sequence[Gain], levels: Numbers, *, joined: bool = True) -> None:
    """Both networks and the two ceilings above them."""
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    for name, (words, colour, mark, dash) in SERIES.items():
        values = [getattr(cell, name) for cell in cells]
        axes.plot(levels, values, marker=mark, color=colour, linestyle=dash if joined else "", label=words)


def _controls(above: Axes, below: Axes, gains: Sequence[Gain], controls: Mapping[str, str]) -> None:
    """Cells without a level, side by side."""
    cells = [gain for name in controls for gain in gains if gain.factor == name]
    places = np.arange(len(cells), dtype=np.float64)
    _gains(above, cells, places, centre=0)
    _indices(below, cells, places, joined=False)
    below.set_xticks(places, [controls[cell.factor] for cell in cells])
    below.margins(x=0.25)
