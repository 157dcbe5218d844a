"""Methods × cohorts: the layout of the paper's Table I, with intervals, paired differences, ranks, time and memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from slidesurv.files import write_csv, write_text
from slidesurv.report.drawing import Picture, standalone
from slidesurv.report.estimate import DASH, Estimate, p_text
from slidesurv.report.jury import Jury
from slidesurv.report.ranks import Ranking, critical_difference, rank, ranking_words
from slidesurv.report.render import render
from slidesurv.report.run import Method, Numbers, Run
from slidesurv.report.table import escape
from slidesurv.seeds import seed_for
from slidesurv.survival.comparison import bootstrap_p, holm
from slidesurv.survival.evidence import Metric
from slidesurv.survival.resampling import interval

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
        p: of that difference, two-sided, adjusted by Holm for the number of methods; NaN where there is none.
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
    p: float
    seconds: float
    memory: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The table.

    Attributes:
        experiments: of each cohort, which are the names of the run folders.
        best: label of the best method that predicts from slides alone; "" when there is none.
        ranking: of the methods that stand in every cohort; None with one cohort or one method.
        stamp: stands beside every number of a published protocol.
    """

    cohorts: tuple[str, ...]
    experiments: tuple[str, ...]
    lines: tuple[Line, ...]
    best: str
    ranking: Ranking | None
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
    juries = [Jury(run, resamples=resamples, seed=seed_for(seed, run.experiment)) for run in runs]
    judged = {
        slug: [_judge(jury, method) for jury, method in zip(juries, row, strict=True)] for slug, row in known.items()
    }
    best = _best(known, judged)
    gaps = [_gap(row, judged.get(best)) for row in judged.values()]
    adjusted = holm([bootstrap_p(gap.samples) for gap in gaps]).tolist()
    lines = tuple(
        _line(row, judged[slug], gap, p) for (slug, row), gap, p in zip(known.items(), gaps, adjusted, strict=True)
    )
    return Overview(
        cohorts=tuple(str(run.cohort.get("name") or run.experiment) for run in runs),
        experiments=tuple(run.experiment for run in runs),
        lines=lines,
        best=_any(known[best]).label if best else "",
        ranking=_rank(lines),
        stamp="OPTIMISTIC" if any(run.stamp for run in runs) else "",
    )


def _judge(jury: Jury, method: Method | None) -> _Judged | None:
    if method is None or not method.complete:
        return None
    index = jury.index(method)
    return None if math.isnan(index.value) else _Judged(index.value, index.samples)


def _rank(lines: Sequence[Line]) -> Ranking | None:
    whole = [line for line in lines if not math.isnan(line.mean.value)]
    return rank([line.label for line in whole], [[cohort.value for cohort in line.cohorts] for line in whole])


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


def _gap(row: Sequence[_Judged | None], best: Sequence[_Judged | None] | None) -> Metric:
    """The mean over the cohorts minus that of the best method."""
    pairs = [(a, b) for a, b in zip(row, best or row, strict=True) if a is not None and b is not None]
    if best is None or row is best or len(pairs) < len(row):
        note = "" if best is None or row is best else f"compared in {len(pairs)} of {len(row)} cohorts"
        return Metric(math.nan, np.empty(0), note)
    samples = np.mean([a.samples - b.samples for a, b in pairs], axis=0)
    return Metric(float(np.mean([a.value - b.value for a, b in pairs])), samples)


def _line(row: Sequence[Method | None], judged: list[_Judged | None], gap: Metric, p: float) -> Line:
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
        difference=Estimate.of(gap),
        p=p,
        seconds=float(np.median([result.seconds for result in results])) if results else math.nan,
        memory=max(memory, default=math.nan),
    )


def _any(row: Sequence[Method | None]) -> Method:
    return next(method for method in row if method is not None)


def markdown(table: Overview) -> str:
    """The table as Markdown, and below it what a reader must know."""
    head, *rows = _cells(table)
    lines = [head, ["---"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines)
    notes = "".join(f"- {escape(note)}\n" for note in _notes(table))
    return f"{body}\n\n{notes}"


def _cells(table: Overview) -> list[list[str]]:
    """The head and the lines of the table."""
    stamp = f" {table.stamp}" if table.stamp else ""
    several = len(table.cohorts) > 1
    head = ["Method", "Patho.", "Geno.", *table.cohorts, *(["Mean"] if several else [])]
    lines = [[*head, f"Difference to {table.best or DASH}", "Seconds a fold", "MB"]]
    for line in table.lines:
        figures = [*line.cohorts, *([line.mean] if several else [])]
        texts = [text if text == DASH else text + stamp for text in map(str, figures)]
        costs = [DASH if math.isnan(x) else f"{x:.3g}" for x in (line.seconds, line.memory)]
        marks = [WORDS[line.slides], WORDS[line.genomics]]
        lines.append([line.label, *marks, *texts, line.difference.text(signed=True), *costs])
    return lines


def _notes(table: Overview) -> list[str]:
    notes = ["C-index over the pairs of one test fold, mean over seeds, with patient-bootstrap 95 % intervals."]
    if table.best:
        notes.append(
            f"{table.best} is the method that predicts from slides alone with the highest figure here; it was chosen "
            "by these very numbers, which flatters it."
        )
        clear = [line.label for line in table.lines if line.difference.excludes(0)]
        notes.append(f"Larger than the noise, one difference at a time: {', '.join(clear) or 'none'}.")
        tested = [line for line in table.lines if not math.isnan(line.p)]
        kept = [f"{line.label} ({p_text(line.p)})" for line in tested if line.p < 0.05]
        notes.append(f"The same, adjusted by Holm for {len(tested)}: {', '.join(kept) or 'none'}.")
    if table.ranking:
        notes.append(ranking_words(table.ranking))
    return notes + [f"{line.label}: {line.mean.note}." for line in table.lines if line.mean.note]


def write_overview(table: Overview, folder: Path) -> None:
    """Write ``overview.md``, ``overview.csv`` and ``overview.html``; what is not defined is a dash or an empty cell.

    With two cohorts and two methods or more, ``critical_difference.svg`` shows their ranks. The page links to the
    report of each cohort that stands in a folder below.
    """
    rows = [_flat(table, line) for line in table.lines]
    write_csv(folder / "overview.csv", rows, list(rows[0]))
    picture = critical_difference(table.ranking, table.stamp) if table.ranking else None
    text = markdown(table)
    if picture:
        write_text(folder / "critical_difference.svg", standalone(picture.svg))
        text += f"\n![{picture.caption}](critical_difference.svg)\n"
    write_text(folder / "overview.md", text)
    write_text(folder / "overview.html", _page(table, picture, folder))


def _page(table: Overview, picture: Picture | None, folder: Path) -> str:
    pages = [f"{experiment}/report.html" for experiment in table.experiments]
    links = {
        cohort: quote(page) for cohort, page in zip(table.cohorts, pages, strict=True) if (folder / page).is_file()
    }
    head, *rows = _cells(table)
    notes = _notes(table)
    return render("overview.html.j2", mark=table.stamp, head=head, rows=rows, links=links, notes=notes, picture=picture)


def _flat(table: Overview, line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(line, name) for name in ("label", "slug", "slides", "genomics", "parameters")}
    named = dict(zip(table.cohorts, line.cohorts, strict=True)) | {"mean": line.mean, "difference": line.difference}
    for name, estimate in named.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    row |= {"p_holm": line.p, "seconds": line.seconds, "memory_mb": line.memory}
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
    return {**row, "difference_to": table.best, "stamp": table.stamp}
