"""``slidesurv check``: whether features belong together and none is missing."""

import json as json_
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidesurv.cli.speech import say, table
from slidesurv.errors import DataError, listing

if TYPE_CHECKING:
    from slidesurv.slides.review import Finding, Review

__all__ = ["check"]

BAR = 40  # letters of the longest bar
MOST = 20  # rows of one kind
PAUSE = 5.0  # seconds between two lines of progress


def check(
    folder: Annotated[Path, typer.Argument(help="A job, or feature files of TRIDENT, CLAM, STAMP, slideflow or ours.")],
    cohort: Annotated[Path | None, typer.Option(help="Table of the slides that must be there.")] = None,
    tiles: Annotated[str | None, typer.Option(help="Which, where a job has several: 20x_256px_0px_overlap.")] = None,
    phi: Annotated[bool, typer.Option("--phi", help="Name slides that hold what may lead to a person.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Look over a job or a folder of features.

    Prints a histogram of µm per pixel, which encoders made the files, and what was seen: slides that are missing, there
    twice (by their content), broken or failed, and odd numbers of tiles. Every file is read to its end. The exit code
    is 3 when something is to be mended.

    Example: slidesurv check job --cohort cohort.csv
    """
    from slidesurv.slides.review import review, tell_tale

    seen = review(folder, cohort=_slides_of(cohort) if cohort else (), tiles=tiles, report=_Pulse())
    findings = [*seen.findings, *(tell_tale(folder, tiles) if phi else [])]
    if json:
        print(json_.dumps({**asdict(seen), "findings": [_plain(finding) for finding in findings]}, indent=1))
    else:
        print(_words(seen, findings))
    problems = sum(finding.is_problem for finding in findings)
    say(f"{seen.slides} slides, {problems} problems, {len(findings) - problems} remarks")
    if problems:
        sys.exit(3)


def _slides_of(cohort: Path) -> list[str]:
    """The slides of a cohort table.

    Raises:
        DataError: it has none.
    """
    from slidesurv.cohorts.columns import find_column, slide_name
    from slidesurv.cohorts.tables import read_rows

    rows = read_rows(cohort)
    column = find_column("slide_id", list(rows[0]) if rows else [], {})
    if column is None:
        names = listing(rows[0], most=12) if rows else "no rows"
        raise DataError(f"No column of '{cohort}' names the slides; it has {names}. Call one 'slide_id'.")
    return [slide_name(row[column].strip()) for row in rows if row[column].strip()]


class _Pulse:
    """Says now and then how many files are read."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > PAUSE:
            self._said = time.monotonic()
            say(f"[{done}/{total}] files read")


def _plain(finding: "Finding") -> dict[str, str | bool]:
    return {**asdict(finding), "problem": finding.is_problem}


def _words(seen: "Review", findings: "list[Finding]") -> str:
    most = max(seen.mpp.values(), default=1)
    bars = [(mpp, "█" * max(1, round(BAR * count / most)), str(count)) for mpp, count in seen.mpp.items()]
    made = [
        (folder, str(count), origin) for folder, origins in seen.origins.items() for origin, count in origins.items()
    ]
    tiles = [(folder, f"{count:,}") for folder, count in seen.tiles.items()]
    found = [row for kind in dict.fromkeys(f.kind for f in findings) for row in _some(kind, findings)]
    blocks = (
        (("µm/px", "", "slides"), bars),
        (("folder", "tiles"), tiles),
        (("folder", "slides", "made with"), made),
        (("seen", "where", "what"), found),
    )
    return "\n\n".join(table([head, *rows]) for head, rows in blocks if rows)


def _some(kind: str, findings: "list[Finding]") -> list[tuple[str, str, str]]:
    """The first findings of a kind, and how many more there are."""
    rows = [(kind, finding.where, finding.text) for finding in findings if finding.kind == kind]
    more = (kind, f"… and {len(rows) - MOST + 1} more", "--json has them")
    return rows if len(rows) <= MOST else [*rows[: MOST - 1], more]
