"""Methods × cohorts: the layout of the paper's Table I, with intervals, paired differences, time and memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.files import write_csv, write_text
from slidesurv.report.estimate import DASH, Estimate
from slidesurv.report.run import Method, Numbers, Run
from slidesurv.report.table import escape
from slidesurv.seeds import seed_for
from slidesurv.survival.resampling import bootstrap_concordance, interval, pooled_concordance

__all__ = ["Line", "Overview", "markdown", "overview", "write_overview"]

WORDS = {"never": "", "training": "training", "always": "✓"}


@dataclass(frozen=True, slots=True)
class Line:
    """One method over all cohorts. A larger C-index is better; 0.5 is chance.

    Attributes:
        slides, genomics: "never", "training" or "always".
        cohorts: the pooled C-index in each; a dash where the method has no complete fold there.
        mean: over the cohorts; a dash unless the method stands in all of them.
        difference: mean minus that of the best method that predicts from slides alone, on the same resamples.
        seconds: median time of a fold, training and prediction.
        memory: largest memory of a fold beyond what its process held before, MB; NaN where it was not measured.
    """

    label: str
    slug: str
    slides: str
    genomics: str
    parameters: int
    cohorts: tuple[Estimate, ...]
    mean: Estimate
    difference: Estimate
    seconds: float
    memory: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The table.

    Attributes:
        best: label of the best method that predicts from slides alone; "" when there is none.
        stamp: stands beside every number of a published protocol.
    """

    cohorts: tuple[str, ...]
    lines: tuple[Line, ...]
    best: str
    stamp: str


@dataclass(frozen=True, slots=True)
class _Judged:
    """A method in one cohort: its pooled C-index and (resamples,) bootstrap samples of it."""

    value: float
    samples: Numbers


def overview(runs: Sequence[Run], *, resamples: int = 2000, seed: int = 0) -> Overview:
    """Put the methods of several runs, a cohort each, side by side.

    Args:
        runs: from `read_run`; methods are the same where their slugs are.
        resamples: bootstrap resamples of patients, inside each fold of each cohort.
        seed: of the resampling. Every method of a cohort meets the same resamples.
    """
    known: dict[str, list[Method | None]] = {}
    for place, run in enumerate(runs):
        for method in run.methods:
            known.setdefault(method.slug, [None] * len(runs))[place] = method
    judged = {
        slug: [_judge(method, resamples, seed_for(seed, run.experiment)) for method, run in zip(row, runs, strict=True)]
        for slug, row in known.items()
    }
    best = _best(known, judged)
    return Overview(
        cohorts=tuple(str(run.cohort.get("name") or run.experiment) for run in runs),
        lines=tuple(_line(row, judged[slug], judged.get(best)) for slug, row in known.items()),
        best=_any(known[best]).label if best else "",
        stamp="OPTIMISTIC" if any(run.stamp for run in runs) else "",
    )


def _judge(method: Method | None, resamples: int, seed: int) -> _Judged | None:
    if method is None or not method.complete:
        return None
    time, event, fold = method.follow_up()
    risk = method.pool(lambda result: result.risk)  # (S, B)
    value = float(np.mean([pooled_concordance(event, time, each, fold).index for each in risk]))
    samples = bootstrap_concordance(event, time, risk, resamples=resamples, seed=seed, strata=fold).mean(0)
    return None if math.isnan(value) else _Judged(value, samples)


def _best(known: dict[str, list[Method | None]], judged: dict[str, list[_Judged | None]]) -> str:
    """The slug of the best method that predicts from slides alone and stands in every cohort; "" if there is none."""
    means = {
        slug: _mean(row).value
        for slug, row in judged.items()
        if _any(known[slug]).slides == "always" and _any(known[slug]).genomics != "always"
    }
    return max((slug for slug, mean in means.items() if not math.isnan(mean)), key=means.__getitem__, default="")


def _mean(row: Sequence[_Judged | None]) -> Estimate:
    whole = [each for each in row if each is not None]
    if len(whole) < len(row):
        return Estimate(note=f"complete in {len(whole)} of {len(row)} cohorts")
    samples = np.mean([each.samples for each in whole], axis=0)
    return Estimate(float(np.mean([each.value for each in whole])), *interval(samples))


def _minus(row: Sequence[_Judged | None], best: Sequence[_Judged | None] | None) -> Estimate:
    if best is None or row is best:
        return Estimate()
    pairs = [(a, b) for a, b in zip(row, best, strict=True) if a is not None and b is not None]
    if len(pairs) < len(row):
        return Estimate(note=f"compared in {len(pairs)} of {len(row)} cohorts")
    samples = np.mean([a.samples - b.samples for a, b in pairs], axis=0)
    return Estimate(float(np.mean([a.value - b.value for a, b in pairs])), *interval(samples))


def _line(row: Sequence[Method | None], judged: list[_Judged | None], best: list[_Judged | None] | None) -> Line:
    method = _any(row)
    results = [result for each in row if each is not None for result in each.results.values()]
    memory = [result.memory for result in results if not math.isnan(result.memory)]
    return Line(
        label=method.label,
        slug=method.slug,
        slides=method.slides,
        genomics=method.genomics,
        parameters=max(each.parameters for each in row if each is not None),
        cohorts=tuple(Estimate() if each is None else _mean([each]) for each in judged),
        mean=_mean(judged),
        difference=_minus(judged, best),
        seconds=float(np.median([result.seconds for result in results])) if results else math.nan,
        memory=max(memory, default=math.nan),
    )


def _any(row: Sequence[Method | None]) -> Method:
    return next(method for method in row if method is not None)


def markdown(table: Overview) -> str:
    """The table as Markdown, and below it what a reader must know."""
    stamp = f" {table.stamp}" if table.stamp else ""
    several = len(table.cohorts) > 1
    head = ["Method", "Patho.", "Geno.", *table.cohorts, *(["Mean"] if several else [])]
    head += [f"Difference to {table.best or DASH}", "Seconds a fold", "MB"]
    lines = [head, ["---"] * len(head)]
    for line in table.lines:
        figures = [*line.cohorts, *([line.mean] if several else [])]
        texts = [text if text == DASH else text + stamp for text in map(str, figures)]
        costs = [DASH if math.isnan(x) else f"{x:.3g}" for x in (line.seconds, line.memory)]
        marks = [WORDS[line.slides], WORDS[line.genomics]]
        lines.append([line.label, *marks, *texts, line.difference.text(signed=True), *costs])
    body = "\n".join(f"| {' | '.join(escape(cell) for cell in row)} |" for row in lines)
    return f"{body}\n\n{_notes(table)}"


def _notes(table: Overview) -> str:
    notes = ["C-index over the pairs of one test fold, mean over seeds, with patient-bootstrap 95 % intervals."]
    if table.best:
        notes.append(
            f"{table.best} is the method that predicts from slides alone with the highest figure here; it was chosen "
            "by these very numbers, which flatters it."
        )
        clear = [line.label for line in table.lines if line.difference.excludes(0)]
        notes.append(f"Larger than the noise, one difference at a time: {', '.join(clear) or 'none'}.")
    notes += [f"{line.label}: {line.mean.note}." for line in table.lines if line.mean.note]
    return "".join(f"- {escape(note)}\n" for note in notes)


def write_overview(table: Overview, folder: Path) -> None:
    """Write ``overview.md`` and ``overview.csv``; what is not defined is a dash or an empty cell."""
    rows = [_flat(table, line) for line in table.lines]
    write_csv(folder / "overview.csv", rows, list(rows[0]))
    write_text(folder / "overview.md", markdown(table))


def _flat(table: Overview, line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(line, name) for name in ("label", "slug", "slides", "genomics", "parameters")}
    named = dict(zip(table.cohorts, line.cohorts, strict=True)) | {"mean": line.mean, "difference": line.difference}
    for name, estimate in named.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    row |= {"seconds": line.seconds, "memory_mb": line.memory}
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
    return {**row, "difference_to": table.best, "stamp": table.stamp}
