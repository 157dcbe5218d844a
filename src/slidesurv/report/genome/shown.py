"""Gene by gene on the page and in a file: a sentence, a line of a table, a picture, and every correlation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.files import write_csv
from slidesurv.report.drawing import BLUE, INK, Picture, canvas, style, svg, wrapped
from slidesurv.report.estimate import DASH, Estimate, p_text
from slidesurv.report.genome.agreement import Follows
from slidesurv.report.genome.genes import GRID, LEVEL, GeneByGene
from slidesurv.report.run import Method, Run

__all__ = ["HEAD", "ShownGenes", "show_genes", "write_genes"]

HEAD = ("Judged", "Median correlation", "Follow, each at the level of 0.05", "With shuffled patients", "Adjusted", "p")
MOST = 10  # rows of a method on the page; the file has all


@dataclass(frozen=True, slots=True)
class ShownGenes:
    """What the page says of one method.

    Attributes:
        verdict: whether more is rebuilt than by chance, in words.
        cells: under `HEAD`; dashes where nothing was judged.
        telling: the best and worst pathways, or the best genes.
        picture: None where nothing was judged.
    """

    label: str
    verdict: str
    cells: tuple[str, ...]
    telling: tuple[Follows, ...]
    picture: Picture | None


def show_genes(run: Run, judged: Sequence[tuple[Method, GeneByGene]]) -> list[ShownGenes]:
    """Put what was judged into words, cells and pictures."""
    return [
        ShownGenes(
            method.label,
            _verdict(method, found),
            _cells(found),
            _telling(found),
            _draw(run, method, found, f"genes{number}") if found.each else None,
        )
        for number, (method, found) in enumerate(judged)
    ]


def _verdict(method: Method, judged: GeneByGene) -> str:
    if not judged.each:
        return f"{method.label} is not judged gene by gene: {judged.note}."
    many, chance = len(judged.each), judged.chance
    found = f"{round(judged.share * many):,} of {many:,} {judged.kind}s ({_share(judged.share)})"
    by_chance = f"{_share(chance.value)} ({_share(chance.low)} to {_share(chance.high)})"
    word = "more" if judged.p < LEVEL else "no more"
    made = f" All are made of {judged.width} numbers of the embedding." if judged.width < many else ""
    some = f" {judged.note[:1].upper()}{judged.note[1:]}." if judged.note else ""
    return (
        f"{method.label}: {found} follow the true ones; with shuffled patients {by_chance} do. That is {word} than by "
        f"chance, {p_text(judged.p)}.{made}{some}"
    )


def _cells(judged: GeneByGene) -> tuple[str, ...]:
    if not judged.each:
        return (DASH,) * len(HEAD)
    chance = judged.chance
    return (
        f"{len(judged.each):,} {judged.kind}s",
        Estimate(judged.median).text(signed=True),
        _share(judged.share),
        f"{_share(chance.value)} ({_share(chance.low)} to {_share(chance.high)})",
        _share(judged.adjusted_share),
        p_text(judged.p),
    )


def _telling(judged: GeneByGene) -> tuple[Follows, ...]:
    """The five best and the five worst pathways, all of ten or fewer, or the ten best genes where there are none."""
    rows = judged.pathways
    if not rows:
        return judged.each[:MOST]
    half = MOST // 2
    return rows if len(rows) <= MOST else rows[:half] + rows[-half:]


def _draw(run: Run, method: Method, judged: GeneByGene, name: str) -> Picture:
    """Draw all correlations from the smallest to the largest, and the band in which those of shuffled patients lie."""
    with style():
        figure, (axes,) = canvas(4.6, 3.1)
        axes.fill_between(GRID, *judged.band, color=INK, alpha=0.18, linewidth=0)
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.plot(GRID, judged.curve, color=BLUE, linewidth=2)
        axes.set(xlim=(0, 1), xlabel=f"share of {len(judged.each):,} {judged.kind}s, sorted", ylabel="correlation")
        axes.set_title(wrapped(run.titled(method)))
        picture = svg(figure, name=name, alt=f"{method.label}: sorted correlations of rebuilt and true {judged.kind}s")
    caption = "Line: every correlation, sorted. Band: 95 % of what shuffled patients show."
    return Picture(picture, f"{caption} {run.stamp}".strip())


def write_genes(judged: Sequence[tuple[Method, GeneByGene]], folder: Path, *, stamp: str) -> None:
    """Write ``rebuilt_genes.csv``, a row a method and gene, pathway or dimension; nothing where nothing was judged."""
    rows = [
        {"label": method.label, "slug": method.slug, "kind": kind, **_plain(row), "stamp": stamp}
        for method, found in judged
        for kind, group in ((found.kind, found.each), ("pathway", found.pathways))
        for row in group
    ]
    if rows:
        write_csv(folder / "rebuilt_genes.csv", rows, list(rows[0]))


def _plain(row: Follows) -> dict[str, Any]:
    about = {"name": row.name, "correlation": row.correlation.value}
    ends = {"low": row.correlation.low, "high": row.correlation.high}
    return {**about, **ends, "p": row.p, "p_adjusted": row.adjusted, "folds": row.folds, "patients": row.patients}


def _share(value: float) -> str:
    return DASH if np.isnan(value) else f"{100 * value:.1f} %"
