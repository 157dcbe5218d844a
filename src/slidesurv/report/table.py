"""The comparison: how well each method orders patients, how sure that is, and how it differs from a reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.errors import ConfigError, unknown
from slidesurv.files import write_csv, write_text
from slidesurv.report.estimate import DASH, Estimate
from slidesurv.report.jury import Jury, shared
from slidesurv.report.run import Method
from slidesurv.survival.concordance import concordance

__all__ = ["Comparison", "compare", "escape", "markdown", "row_of", "write_comparison"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the comparison. A larger C-index is better; 0.5 is chance.

    Attributes:
        folds: the C-index of each fold, mean over seeds.
        mean: over the folds that have one, with their number in the note.
        sd: spread over those folds; not a confidence interval.
        seed_sd: spread over seeds of their mean over the complete folds; NaN for one seed.
        pooled: C-index over the pairs inside every complete fold, mean over seeds.
        difference: pooled C-index minus the reference's, on the patients both judged and on the same resamples.
        reference: label of the method compared with.
        is_reference: whether that is this row.
        patients: test patients of the complete folds.
        deaths: among them.
        stamp: stands beside every number.
    """

    label: str
    slug: str
    genomics: str
    folds: tuple[Estimate, ...]
    mean: Estimate
    sd: float
    seed_sd: float
    pooled: Estimate
    difference: Estimate
    reference: str
    is_reference: bool
    patients: int
    deaths: int
    stamp: str

    @property
    def notes(self) -> list[str]:
        """Everything that a reader must know about this row."""
        noted: dict[str, list[str]] = {}
        for fold, entry in enumerate(self.folds):
            noted.setdefault(entry.note, []).append(str(fold))
        by_fold = [f"fold{'s' * (len(at) > 1)} {', '.join(at)}: {note}" for note, at in noted.items() if note]
        return [*by_fold, *(note for note in (self.mean.note, self.pooled.note, self.difference.note) if note)]


def compare(jury: Jury, *, reference: str | None = None) -> list[Comparison]:
    """Compare every method of a run with a reference.

    Args:
        jury: of the run.
        reference: slug of the method that the others are compared with; the first by default.

    Raises:
        ConfigError: no method has the reference's slug.
    """
    methods = jury.run.methods
    slugs = [method.slug for method in methods]
    if reference is not None and reference not in slugs:
        raise ConfigError(unknown("method", reference, slugs))
    other = methods[slugs.index(reference) if reference else 0]
    return [_row(jury, method, other) for method in methods]


def _row(jury: Jury, method: Method, reference: Method) -> Comparison:
    folds = tuple(_fold(method, fold) for fold in range(jury.run.folds))
    values = [entry.value for entry in folds if not math.isnan(entry.value)]
    event = method.first()[1]
    return Comparison(
        label=method.label,
        slug=method.slug,
        genomics=method.genomics,
        folds=folds,
        mean=_mean(values, jury.run.folds),
        sd=_sd(values),
        seed_sd=_sd([_seed_mean(method, seed) for seed in method.seeds]),
        pooled=_pooled(jury, method),
        difference=_difference(jury, method, reference),
        reference=reference.label,
        is_reference=method is reference,
        patients=len(event),
        deaths=int(event.sum()),
        stamp=jury.run.stamp,
    )


def _fold(method: Method, fold: int) -> Estimate:
    if fold not in method.complete:
        missing = [str(seed) for seed in method.seeds if (seed, fold) not in method.results]
        return Estimate(note=f"not finished for seed {', '.join(missing)}")
    results = [method.results[seed, fold] for seed in method.seeds]
    value = float(np.mean([concordance(each.event, each.time, each.risk).index for each in results]))
    if math.isnan(value):
        deaths, patients = int(results[0].event.sum()), len(results[0].patients)
        return Estimate(note=f"no pair can be compared: {deaths} deaths among {patients} test patients")
    flat = any(np.ptp(each.risk) == 0 for each in results)
    return Estimate(value, note="a seed gives every patient the same risk" if flat else "")


def _seed_mean(method: Method, seed: int) -> float:
    """Mean C-index of one seed over the complete folds that have one; NaN where none has."""
    results = [method.results[seed, fold] for fold in method.complete]
    found = [concordance(each.event, each.time, each.risk).index for each in results]
    values = [value for value in found if not math.isnan(value)]
    return float(np.mean(values)) if values else math.nan


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _mean(values: Sequence[float], folds: int) -> Estimate:
    note = "" if len(values) == folds else f"mean over {len(values)} of {folds} folds"
    return Estimate(float(np.mean(values)) if values else math.nan, note=note)


def _pooled(jury: Jury, method: Method) -> Estimate:
    if not method.complete:
        return Estimate(note="no fold was finished for every seed")
    pooled = Estimate.of(jury.index(method))
    if math.isnan(pooled.value) or len(method.complete) == jury.run.folds:
        return pooled
    some = f"pooled over {len(method.complete)} of {jury.run.folds} folds"
    return replace(pooled, note="; ".join(filter(None, (some, pooled.note))))


def _difference(jury: Jury, method: Method, reference: Method) -> Estimate:
    """Compare two methods on the folds both completed, each as the mean over its seeds."""
    if method is reference:
        return Estimate()
    folds = shared(method, reference)
    if not folds:
        return Estimate(note=f"no fold was finished by both this method and {reference.label}")
    difference = replace(Estimate.of(jury.gap(method, reference)), note="")  # notes stand with the two C-indices
    if math.isnan(difference.value):
        return Estimate(note="no pair can be compared on the folds that both finished")
    only = f"compared on folds {', '.join(map(str, folds))} only"
    return difference if folds == reference.complete else replace(difference, note=only)


def markdown(comparison: Sequence[Comparison], sentences: Sequence[str] = ()) -> str:
    """The comparison as a Markdown table, with its notes and more sentences about it below."""
    stamp = f" {comparison[0].stamp}" if comparison[0].stamp else ""
    head = ["Method", "Genomics", "C-index, pooled (95 % CI)", f"Difference to {comparison[0].reference} (95 % CI)"]
    lines = [[*head, "Mean over folds", "SD over folds", "SD over seeds"], ["---"] * 7]
    for row in comparison:
        spreads = [str(Estimate(row.sd)), str(Estimate(row.seed_sd))]
        figures = [str(row.pooled), row.difference.text(signed=True), str(row.mean), *spreads]
        lines.append([row.label, row.genomics, *(text if text == DASH else text + stamp for text in figures)])
    table = "\n".join(f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines)
    notes = "".join(f"- {escape(row.label)}: {note}.\n" for row in comparison for note in row.notes)
    said = "".join(f"\n{escape(sentence)}{stamp}\n" for sentence in sentences)
    return f"{table}\n\n{notes}{said}" if notes else f"{table}\n{said}"


def escape(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


def write_comparison(comparison: Sequence[Comparison], folder: Path, sentences: Sequence[str] = ()) -> None:
    """Write ``comparison.csv`` and ``comparison.md``.

    A value that is not defined is an empty cell or a dash; the reason stands in the notes.

    Args:
        comparison: of a run.
        folder: where to.
        sentences: stand below the Markdown table.
    """
    rows = [row_of(row) for row in comparison]
    write_csv(folder / "comparison.csv", rows, list(rows[0]))
    write_text(folder / "comparison.md", markdown(comparison, sentences))


def row_of(row: Comparison) -> dict[str, Any]:
    """A row as plain values, None where one is not defined."""
    numbers: Mapping[str, float] = {
        "c_index": row.pooled.value,
        "c_index_low": row.pooled.low,
        "c_index_high": row.pooled.high,
        "difference": row.difference.value,
        "difference_low": row.difference.low,
        "difference_high": row.difference.high,
        "fold_mean": row.mean.value,
        "fold_sd": row.sd,
        "seed_sd": row.seed_sd,
        **{f"fold_{fold}": entry.value for fold, entry in enumerate(row.folds)},
    }
    described = {"label": row.label, "slug": row.slug, "genomics": row.genomics, "reference": row.reference}
    counts = {"patients": row.patients, "deaths": row.deaths, "stamp": row.stamp, "notes": "; ".join(row.notes)}
    return {**described, **{name: None if math.isnan(x) else x for name, x in numbers.items()}, **counts}
