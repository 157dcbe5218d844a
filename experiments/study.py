"""Lay the runs of the study side by side: three designs, two protocols, methods and baselines.

    python experiments/study.py runs -o runs/study.md

Reads the run folders ``study``, ``study-site`` and ``study-repeated`` and those of the published protocol, whose names
end with ``-paper``; ``experiments/study/*.toml`` say how they are made. A folder that is not there is left out, and
said. Writes Markdown, and the figure ``study.svg`` beside it.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from slidesurv.files import write_text
from slidesurv.report.drawing import BLUE, GREEN, INK, ORANGE, canvas, standalone, style, svg
from slidesurv.report.estimate import Estimate
from slidesurv.report.optimism import judge_optimism
from slidesurv.report.overview.table import Line, Overview, overview
from slidesurv.report.read import read_run
from slidesurv.report.run import Run

DESIGNS = {"MCAT's folds": "study", "whole sites": "study-site", "three times five folds": "study-repeated"}
MARKS = {"MCAT's folds": ("o", BLUE), "whole sites": ("D", ORANGE), "three times five folds": ("s", GREEN)}
HEAD = "# Every cohort of every design\n\n    python experiments/study.py runs\n\nWhat it means: results.md.\n"
PAPER = ", published"  # ends the name of a design under that protocol; its figures are optimistic


def read(folder: Path) -> list[Run]:
    """The runs of one design, a cohort each; none where it was not run."""
    return [read_run(path.parent) for path in sorted(folder.glob("*/run.json"))]


def cell(estimate: Estimate) -> str:
    """A C-index with its interval."""
    if math.isnan(estimate.value):
        return "—"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows), ""])


def by_design(found: Mapping[str, Overview]) -> str:
    """Methods × designs and protocols: the mean C-index over the cohorts."""
    names = dict.fromkeys(line.label for over in found.values() for line in over.lines)
    lines = {name: {line.label: line for line in over.lines} for name, over in found.items()}
    rows = [[name, *(cell(lines[each][name].mean) if name in lines[each] else "" for each in found)] for name in names]
    return table(["method", *(f"{name} {over.stamp}".strip() for name, over in found.items())], rows)


def by_cohort(over: Overview) -> str:
    """Methods × cohorts of one design."""
    return table(["method", *over.cohorts], [[line.label, *map(cell, line.cohorts)] for line in over.lines])


def by_optimism(runs: Sequence[Run]) -> str:
    """What keeping the epoch that is best on the test fold gave each method: mean, and least and most of a cohort."""
    gains: dict[str, list[float]] = {}
    for run in runs:
        for each in judge_optimism(run):
            gains.setdefault(each.label, []).append(each.gained)
    rows = [[name, signed(float(np.mean(g))), f"{signed(min(g))} to {signed(max(g))}"] for name, g in gains.items()]
    return table(["method", "kept minus last epoch, mean over cohorts", "cohorts"], rows)


def draw(found: Mapping[str, Overview], path: Path) -> None:
    """Draw the mean C-index of every method under each design, leak-free and published."""
    names = list(dict.fromkeys(line.label for over in found.values() for line in over.lines))[::-1]
    with style():
        figure, (axes,) = canvas(7.2, 0.42 * len(names) + 1.1)
        for turn, design in enumerate(DESIGNS):
            for ending, drop in (("", 0.06), (PAPER, -0.06)):
                if design + ending in found:
                    scatter(axes, found[design + ending], names, design, drop + (1 - turn) * 0.24)
        axes.axvline(0.5, color=INK, lw=0.8, ls=":")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("C-index, mean over the cohorts, and 95 % interval; 0.5 is chance")
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        said = "; ".join(f"{line.label} {line.mean.value:.3f}" for line in found[next(iter(DESIGNS))].lines)
        picture = svg(figure, name="study", alt=f"Mean C-index of methods under each design. MCAT's folds: {said}")
    write_text(path, standalone(picture))


def scatter(axes: Axes, over: Overview, names: Sequence[str], design: str, shift: float) -> None:
    """Draw one run of a design: filled where it is leak-free, hollow where it is optimistic."""
    mark, colour = MARKS[design]
    lines = [line for line in over.lines if not math.isnan(line.mean.value)]
    heights = [names.index(line.label) + shift for line in lines]
    low, value, high = zip(*((line.mean.low, line.mean.value, line.mean.high) for line in lines), strict=True)
    axes.hlines(heights, low, high, color=colour, lw=1, alpha=0.6)
    face = "none" if over.stamp else colour
    axes.plot(value, heights, mark, mfc=face, mec=colour, ms=5, label=f"{design}{PAPER if over.stamp else ''}")


def shift(runs: Mapping[str, Overview], design: str) -> str:
    """The published protocol minus the leak-free one, method by method and cohort by cohort."""
    plain, stamped = runs[design], runs[design + PAPER]
    other = {line.slug: line for line in stamped.lines}
    pairs = [(line, other[line.slug]) for line in plain.lines if line.slug in other]
    rows = [[line.label, *_gaps(line, paper), _gap(line.mean, paper.mean)] for line, paper in pairs]
    return table(["method", *plain.cohorts, "mean"], rows)


def _gaps(line: Line, paper: Line) -> list[str]:
    return [_gap(a, b) for a, b in zip(line.cohorts, paper.cohorts, strict=True)]


def _gap(plain: Estimate, paper: Estimate) -> str:
    return signed(paper.value - plain.value)


def signed(number: float) -> str:
    """A difference, with its sign."""
    return "—" if math.isnan(number) else f"{number:+.3f}".replace("-", "−")


def main() -> None:
    """Read the runs, write the tables, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder with the study's run folders")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/study.md"))
    asked = parser.parse_args()
    endings = {"": "", PAPER: "-paper"}
    folders = {name + said: folder + end for name, folder in DESIGNS.items() for said, end in endings.items()}
    runs = {name: read(asked.runs / folder) for name, folder in folders.items()}
    most = max(map(len, runs.values()))  # a mean over fewer cohorts is no neighbour of one over all
    found = {name: overview(each) for name, each in runs.items() if len(each) == most}
    parts = [HEAD, *(f"{len(runs[name])} of {most} cohorts: {name}.\n" for name in runs if name not in found)]
    parts += ["C-index, mean over the cohorts:\n", by_design(found)]
    for name, over in found.items():
        parts += [f"### {name} {over.stamp}".strip() + "\n", by_cohort(over)]
        if name.endswith(PAPER):
            parts += [by_optimism(runs[name])]
            if (design := name.removesuffix(PAPER)) in found:
                parts += ["Published minus leak-free:\n", shift(found, design)]
    write_text(asked.output, "\n".join(parts))
    draw(found, asked.output.with_suffix(".svg"))
    print(f"Tables: {asked.output}\nFigure: {asked.output.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
