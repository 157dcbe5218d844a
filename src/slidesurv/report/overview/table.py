"""Methods × cohorts: the layout of the paper's Table I, with intervals, paired differences, ranks, time and memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slidesurv.errors import ConfigError, unknown
from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury
from slidesurv.report.overview.printed import Printed
from slidesurv.report.overview.ranks import Ranking, rank
from slidesurv.report.run import Method, Numbers, Run
from slidesurv.seeds import seed_for
from slidesurv.survival.comparison import bootstrap_p, holm
from slidesurv.survival.evidence import Metric
from slidesurv.survival.resampling import interval

__all__ = ["Line", "Overview", "overview"]


@dataclass(frozen=True, slots=True)
class Line:
    """One method over all cohorts. A larger C-index is better; 0.5 is chance.

    Attributes:
        slides, genomics: "never", "training" or "always".
        cohorts: the pooled C-index in each; a dash where the method has no complete fold there.
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
        ranking: of the methods that stand in every cohort; None with one cohort or one method.
        stamp: stands beside every number of a published protocol.
        title: stands above the table; "" for none.
        question: what the table asks.
        remarks: sentences to stand below it.
    """

    cohorts: tuple[str, ...]
    experiments: tuple[str, ...]
    lines: tuple[Line, ...]
    best: str
    named: bool
    ranking: Ranking | None
    stamp: str
    title: str = ""
    question: str = ""
    remarks: tuple[str, ...] = ()

    def prints(self, place: int) -> bool:
        """Whether a paper prints anything for one of the cohorts."""
        return any(line.printed[place] for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A method in one cohort: its pooled C-index and (resamples,) bootstrap samples of it."""

    value: float
    samples: Numbers


def overview(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    printed: Mapping[tuple[str, str], Printed] | None = None,
) -> Overview:
    """Put the methods of several runs, a cohort each, side by side.

    Every method of a cohort meets the same bootstrap resamples of patients, drawn inside each fold.

    Args:
        runs: from `read_run`; methods are the same where their slugs are.
        reference: slug of the method that the others are compared with; by default the best that predicts from slides
            alone.
        printed: what a paper prints, by slug and experiment.

    Raises:
        ConfigError: no method has the reference's slug.
    """
    known = _by_slug(runs)
    if reference is not None and reference not in known:
        raise ConfigError(unknown("method", reference, known))
    juries = [Jury(run, seed=seed_for(0, run.experiment)) for run in runs]
    judged = {slug: [_index(*pair) for pair in zip(juries, row, strict=True)] for slug, row in known.items()}
    best = reference or _best(known, judged)
    gaps = [_gap(row, judged.get(best)) for row in judged.values()]
    adjusted = holm([bootstrap_p(gap.samples) for gap in gaps]).tolist()
    lines = tuple(
        _line(row, judged[slug], gap, p, tuple((printed or {}).get((slug, run.experiment)) for run in runs))
        for (slug, row), gap, p in zip(known.items(), gaps, adjusted, strict=True)
    )
    return Overview(
        cohorts=_names(runs),
        experiments=tuple(run.experiment for run in runs),
        lines=lines,
        best=_any(known[best]).label if best else "",
        named=reference is not None,
        ranking=_rank(lines),
        stamp="OPTIMISTIC" if any(run.stamp for run in runs) else "",
    )


def _by_slug(runs: Sequence[Run]) -> dict[str, list[Method | None]]:
    """Every method in each run; None where a run lacks it."""
    known: dict[str, list[Method | None]] = {}
    for place, run in enumerate(runs):
        for method in run.methods:
            known.setdefault(method.slug, [None] * len(runs))[place] = method
    return known


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Of the cohorts; of their experiments where two cohorts are called alike."""
    names = tuple(str(run.cohort.get("name") or run.experiment) for run in runs)
    return names if len(set(names)) == len(names) else tuple(run.experiment for run in runs)


def _index(jury: Jury, method: Method | None) -> _Indexed | None:
    if method is None or not method.complete:
        return None
    index = jury.index(method)
    return None if math.isnan(index.value) else _Indexed(index.value, index.samples)


def _rank(lines: Sequence[Line]) -> Ranking | None:
    whole = [line for line in lines if not math.isnan(line.mean.value)]
    return rank([line.label for line in whole], [[cohort.value for cohort in line.cohorts] for line in whole])


def _best(known: dict[str, list[Method | None]], judged: dict[str, list[_Indexed | None]]) -> str:
    """The slug of the best method that predicts from slides alone and stands in every cohort; "" if there is none."""
    means = {slug: _mean(row).value for slug, row in judged.items() if _any(known[slug]).from_slides_alone}
    return max((slug for slug, mean in means.items() if not math.isnan(mean)), key=means.__getitem__, default="")


def _mean(row: Sequence[_Indexed | None]) -> Estimate:
    whole = [each for each in row if each is not None]
    if len(whole) < len(row):
        return Estimate(note=f"complete in {len(whole)} of {len(row)} cohorts")
    samples = np.mean([each.samples for each in whole], axis=0)
    return Estimate(float(np.mean([each.value for each in whole])), *interval(samples))


def _gap(row: Sequence[_Indexed | None], best: Sequence[_Indexed | None] | None) -> Metric:
    """The mean over the cohorts minus that of the best method."""
    pairs = [(a, b) for a, b in zip(row, best or row, strict=True) if a is not None and b is not None]
    if best is None or row is best or len(pairs) < len(row):
        note = "" if best is None or row is best else f"compared in {len(pairs)} of {len(row)} cohorts"
        return Metric(math.nan, np.empty(0), note)
    samples = np.mean([a.samples - b.samples for a, b in pairs], axis=0)
    return Metric(float(np.mean([a.value - b.value for a, b in pairs])), samples)


def _line(
    row: Sequence[Method | None],
    judged: list[_Indexed | None],
    gap: Metric,
    p: float,
    printed: tuple[Printed | None, ...],
) -> Line:
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
        printed=printed,
        mean=_mean(judged),
        difference=Estimate.of(gap),
        p=p,
        seconds=float(np.median([result.seconds for result in results])) if results else math.nan,
        memory=max(memory, default=math.nan),
    )


def _any(row: Sequence[Method | None]) -> Method:
    return next(method for method in row if method is not None)
