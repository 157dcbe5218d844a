"""Methods × cohorts: the layout of the paper's Table I, with intervals, paired differences, ranks, time and memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slidesurv.errors import ConfigError, unknown
from slidesurv.report.estimate import Estimate
from slidesurv.report.overview.beside import Beside, beside
from slidesurv.report.overview.judged import Row, judge, names
from slidesurv.report.overview.printed import Printed
from slidesurv.report.overview.ranks import Ranking, rank
from slidesurv.report.run import Run
from slidesurv.survival.comparison import bootstrap_p, detectable, holm
from slidesurv.survival.evidence import Metric

__all__ = ["Line", "Overview", "overview"]


@dataclass(frozen=True, slots=True)
class Line:
    """One method over all cohorts. A larger C-index is better; 0.5 is chance.

    Attributes:
        slides, genomics: "never", "training" or "always".
        cohorts: the pooled C-index in each; a dash where the method has no complete fold there,
            or where the note says why it is undefined.
        mean: over the cohorts; a dash unless the method stands in all of them.
        printed: what a paper prints for each cohort; None where it prints nothing.
        difference: mean minus that of the reference, on the same resamples.
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
    printed: tuple[Printed | None, ...]
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
        best: label of the reference, by default the best method that predicts from slides alone; "" when there is none.
        named: whether the reference was named, instead of chosen by its figure.
        detectable: the difference to the reference that these patients show four times in five, for the median method;
            NaN where nothing is compared.
        ranking: of the methods that stand in every cohort; None with one cohort or one method.
        stamp: stands beside every number of a published protocol.
        title: stands above the table; "" for none.
        question: what the table asks.
        remarks: sentences to stand below it.
        beside: the same methods under the other protocol; None where nothing was given.
    """

    cohorts: tuple[str, ...]
    experiments: tuple[str, ...]
    lines: tuple[Line, ...]
    best: str
    named: bool
    detectable: float
    ranking: Ranking | None
    stamp: str
    title: str = ""
    question: str = ""
    remarks: tuple[str, ...] = ()
    beside: Beside | None = None

    def prints(self, place: int) -> bool:
        """Whether a paper prints anything for one of the cohorts."""
        return any(line.printed[place] for line in self.lines)


def overview(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    printed: Mapping[tuple[str, str], Printed] | None = None,
    others: Sequence[Run] = (),
) -> Overview:
    """Put the methods of several runs, a cohort each, side by side.

    Every method of a cohort meets the same bootstrap resamples of patients, drawn inside each fold.

    Args:
        runs: from `read_run`; methods are the same where their slugs are.
        reference: slug of the method that the others are compared with; by default the best that predicts from slides
            alone.
        printed: what a paper prints, by slug and experiment.
        others: the same experiments under the other protocol, in the same order, from `read_beside`.

    Raises:
        ConfigError: no method has the reference's slug.
    """
    rows = judge(runs)
    if reference is not None and reference not in rows:
        raise ConfigError(unknown("method", reference, rows))
    best = rows.get(reference or _best(rows))
    gaps = [Metric(math.nan, np.empty(0)) if best is None or row is best else row.minus(best) for row in rows.values()]
    adjusted = holm([bootstrap_p(gap.samples) for gap in gaps]).tolist()
    lines = tuple(
        _line(row, gap, p, tuple((printed or {}).get((slug, run.experiment)) for run in runs))
        for (slug, row), gap, p in zip(rows.items(), gaps, adjusted, strict=True)
    )
    return Overview(
        cohorts=names(runs),
        experiments=tuple(run.experiment for run in runs),
        lines=lines,
        best=best.method.label if best else "",
        named=reference is not None,
        detectable=_typical(gaps),
        ranking=_rank(lines),
        stamp="OPTIMISTIC" if any(run.stamp for run in runs) else "",
        beside=beside(rows, runs, others) if others else None,
    )


def _best(rows: Mapping[str, Row]) -> str:
    """The slug of the best method that predicts from slides alone and stands in every cohort; "" if there is none."""
    means = {slug: row.mean.value for slug, row in rows.items() if row.method.from_slides_alone and not row.lack}
    return max(means, key=means.__getitem__, default="")


def _typical(gaps: Sequence[Metric]) -> float:
    """The median over methods of the smallest difference that could be found."""
    least = [known for gap in gaps if not math.isnan(known := detectable(gap.samples))]
    return float(np.median(least)) if least else math.nan


def _rank(lines: Sequence[Line]) -> Ranking | None:
    """Rank the methods that have a C-index in every cohort where any has one."""
    scores = np.array([[cohort.value for cohort in line.cohorts] for line in lines])  # (K, C)
    known = ~np.isnan(scores).all(0)
    whole = ~np.isnan(scores[:, known]).any(1)
    return rank([line.label for line, stands in zip(lines, whole, strict=True) if stands], scores[whole].tolist())


def _line(row: Row, gap: Metric, p: float, printed: tuple[Printed | None, ...]) -> Line:
    method = row.method
    everywhere = [each for each in row.methods if each is not None]
    results = [result for each in everywhere for result in each.results.values()]
    memory = [result.memory for result in results if not math.isnan(result.memory)]
    return Line(
        label=method.label,
        slug=method.slug,
        slides=method.slides,
        genomics=method.genomics,
        parameters=max(each.parameters for each in everywhere),
        cohorts=tuple(Estimate() if each is None else Estimate.of(each) for each in row.indices),
        printed=printed,
        mean=row.mean,
        difference=Estimate.of(gap),
        p=p,
        seconds=float(np.median([result.seconds for result in results])) if results else math.nan,
        memory=max(memory, default=math.nan),
    )
