"""What a reader of the table of methods × cohorts must know."""

import math
from collections.abc import Iterator

from slidesurv.report.estimate import p_text
from slidesurv.report.overview.beside import Beside
from slidesurv.report.overview.ranks import ranking_words
from slidesurv.report.overview.table import Line, Overview

__all__ = ["notes"]


def notes(table: Overview) -> list[str]:
    """Say how the numbers were made, what the differences mean, and why a number is missing."""
    told = ["C-index over the pairs of one test fold, mean over seeds, with patient-bootstrap 95 % intervals."]
    if len(table.lines) > 1:
        told += _compared(table)
    if table.ranking:
        told.append(ranking_words(table.ranking))
    if table.beside:
        told += _beside(table.beside)
    return [*told, *table.remarks, *_noted(table)]


def _beside(other: Beside) -> list[str]:
    """What the columns of the other protocol are, and why a gap of theirs is missing."""
    shown = (
        f"Columns with '{other.words}' are the same experiments under that protocol. Published minus leak-free is "
        "paired: the same resamples of the same test patients; above 0, the published figure is the higher."
    )
    return [shown, *other.remarks]


def _compared(table: Overview) -> list[str]:
    """What the differences to the reference say."""
    told = []
    if table.best and table.named:
        told.append(f"{table.best}, which the others are compared with, was named before any of these numbers.")
    elif table.best:
        told.append(
            f"{table.best} is the method that predicts from slides alone with the highest figure here; it was chosen "
            "by these very numbers, which flatters it."
        )
    if table.best:
        clear = [line.label for line in table.lines if line.difference.excludes(0)]
        told.append(f"Larger than the noise, one difference at a time: {', '.join(clear) or 'none'}.")
        tested = [line for line in table.lines if not math.isnan(line.p)]
        kept = [f"{line.label} ({p_text(line.p)})" for line in tested if line.p < 0.05]
        told.append(f"The same, adjusted by Holm for {len(tested)}: {', '.join(kept) or 'none'}.")
    if not math.isnan(table.detectable):
        told.append(
            f"With these patients, a test of one difference finds a true one of {table.detectable:.3f} four times in "
            "five (the median over methods). Smaller ones are mostly missed, and exaggerated where they are found."
        )
    return told


def _noted(table: Overview) -> list[str]:
    """What must be known of single numbers, once for all methods that share it."""
    shared: dict[str, list[str]] = {}
    for place, line in enumerate(table.lines):
        apart = _of_other(table.beside, place) if table.beside else ()
        for note in dict.fromkeys((*_of(line, table), *apart)):
            shared.setdefault(note, []).append(line.label)
    many = len(table.lines) if len(table.lines) > 1 else math.inf
    return [f"{'All methods' if len(who) == many else ', '.join(who)}: {note}." for note, who in shared.items()]


def _of(line: Line, table: Overview) -> Iterator[str]:
    """The notes of one method. A difference that is missing for the reason of the mean needs no words of its own."""
    if line.mean.note:
        yield line.mean.note
    for cohort, estimate in zip(table.cohorts, line.cohorts, strict=True):
        if estimate.note and not math.isnan(estimate.value):
            yield f"{cohort}: {estimate.note}"
    if math.isnan(line.difference.value) and line.difference.note not in ("", line.mean.note):
        yield f"no difference: {line.difference.note}"


def _of_other(other: Beside, place: int) -> Iterator[str]:
    """The notes of one method under the other protocol."""
    line = other.lines[place]
    if line.mean.note:
        yield f"{other.words}: {line.mean.note}"
    if math.isnan(line.gap.value) and line.gap.note not in ("", line.mean.note):
        yield f"published minus leak-free: {line.gap.note}"
