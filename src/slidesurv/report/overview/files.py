"""The table of methods × cohorts as files: Markdown, CSV, LaTeX, a page."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slidesurv.files import write_csv, write_text
from slidesurv.report.drawing import Picture, standalone
from slidesurv.report.estimate import DASH, Estimate
from slidesurv.report.overview.beside import Beside
from slidesurv.report.overview.latex import latex
from slidesurv.report.overview.notes import notes
from slidesurv.report.overview.printed import Printed
from slidesurv.report.overview.ranks import critical_difference
from slidesurv.report.overview.table import Overview
from slidesurv.report.render import render
from slidesurv.report.table import escape

__all__ = ["markdown", "write_overview"]

WORDS = {"never": "", "training": "training", "always": "✓"}


def markdown(table: Overview) -> str:
    """The table as Markdown, and below it what a reader must know."""
    above = "".join(f"{mark}{escape(text)}\n\n" for mark, text in (("# ", table.title), ("", table.question)) if text)
    head, *rows = _cells(table)
    lines = [head, ["---"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines)
    below = "".join(f"- {escape(note)}\n" for note in notes(table))
    return f"{above}{body}\n\n{below}"


def _cells(table: Overview) -> list[list[str]]:
    """The head and the lines of the table."""
    heads, columns = zip(*_columns(table), strict=True)
    return [list(heads), *map(list, zip(*columns, strict=True))]


def _columns(table: Overview) -> Iterator[tuple[str, list[str]]]:
    """The head of each column, and its cells."""
    lines, other = table.lines, table.beside
    yield "Method", [line.label for line in lines]
    yield "Patho.", [WORDS[line.slides] for line in lines]
    yield "Geno.", [WORDS[line.genomics] for line in lines]
    for place, cohort in enumerate(table.cohorts):
        yield cohort, [_stamped(str(line.cohorts[place]), table.stamp) for line in lines]
        if other:
            yield f"{cohort}, {other.words}", [_stamped(str(each.cohorts[place]), other.stamp) for each in other.lines]
        if table.prints(place):
            yield f"{cohort}, printed", [str(line.printed[place] or DASH) for line in lines]
    if len(table.cohorts) > 1:
        yield "Mean", [_stamped(str(line.mean), table.stamp) for line in lines]
        if other:
            yield f"Mean, {other.words}", [_stamped(str(each.mean), other.stamp) for each in other.lines]
    if other:
        yield "Published minus leak-free", [each.gap.text(signed=True) for each in other.lines]
    gaps = [_stamped(line.difference.text(signed=True), table.stamp) for line in lines]
    yield f"Difference to {table.best or DASH}", gaps
    yield "Seconds a fold", [_cost(line.seconds) for line in lines]
    yield "MB", [_cost(line.memory) for line in lines]


def _cost(number: float) -> str:
    return DASH if math.isnan(number) else f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _stamped(text: str, stamp: str) -> str:
    return text if text == DASH or not stamp else f"{text} {stamp}"


def write_overview(table: Overview, folder: Path, *, name: str = "overview") -> None:
    """Write ``overview.md``, ``.csv``, ``.tex`` and ``.html``; what is not defined is a dash or an empty cell.

    With two cohorts and two methods or more, ``critical_difference.svg`` shows their ranks. The page links to the
    report of each cohort that stands in a folder below.

    Args:
        table: from `overview`.
        folder: made if it is not there.
        name: of the files.
    """
    rows = [_flat(table, place) for place in range(len(table.lines))]
    write_csv(folder / f"{name}.csv", rows, list(rows[0]))
    head, *cells = _cells(table)
    caption = " ".join(filter(None, (table.title and f"{table.title}.", table.question))) or "Methods and cohorts."
    write_text(folder / f"{name}.tex", latex(head, cells, caption=caption, notes=notes(table)))
    picture = critical_difference(table.ranking, table.stamp) if table.ranking else None
    text = markdown(table)
    if picture:
        write_text(folder / "critical_difference.svg", standalone(picture.svg))
        text += f"\n![{picture.caption}](critical_difference.svg)\n"
    else:
        (folder / "critical_difference.svg").unlink(missing_ok=True)  # of an earlier table
    write_text(folder / f"{name}.md", text)
    write_text(folder / f"{name}.html", _page(table, picture, folder))


def _page(table: Overview, picture: Picture | None, folder: Path) -> str:
    pages = [f"{experiment}/report.html" for experiment in table.experiments]
    links = {
        cohort: quote(page) for cohort, page in zip(table.cohorts, pages, strict=True) if (folder / page).is_file()
    }
    head, *rows = _cells(table)
    return render(
        "overview.html.j2",
        mark=table.stamp,
        head=head,
        rows=rows,
        links=links,
        notes=notes(table),
        picture=picture,
        title=table.title or "Methods and cohorts",
    )


def _flat(table: Overview, at: int) -> dict[str, Any]:
    line = table.lines[at]
    row: dict[str, Any] = {name: getattr(line, name) for name in ("label", "slug", "slides", "genomics", "parameters")}
    named = dict(zip(table.cohorts, line.cohorts, strict=True)) | {"mean": line.mean, "difference": line.difference}
    named |= _flat_beside(table.cohorts, table.beside, at) if table.beside else {}
    for name, estimate in named.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    for place in filter(table.prints, range(len(table.cohorts))):
        known = line.printed[place] or Printed(math.nan)
        row |= {f"{table.cohorts[place]}_printed": known.mean, f"{table.cohorts[place]}_printed_sd": known.sd}
    row |= {"p_holm": line.p, "seconds": line.seconds, "memory_mb": line.memory}
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
    stamps = {"stamp": table.stamp} | ({f"stamp_{table.beside.protocol}": table.beside.stamp} if table.beside else {})
    return {**row, "difference_to": table.best, **stamps}


def _flat_beside(cohorts: Sequence[str], other: Beside, at: int) -> dict[str, Estimate]:
    """One method under the other protocol, by the name of its columns."""
    line = other.lines[at]
    named = dict(zip((*cohorts, "mean"), (*line.cohorts, line.mean), strict=True))
    return {f"{name}_{other.protocol}": each for name, each in named.items()} | {"paper_minus_leakfree": line.gap}
