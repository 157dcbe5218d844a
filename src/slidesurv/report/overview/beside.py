"""The same experiments under the other protocol, beside a table: what choosing on the test fold adds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidesurv.errors import ConfigError, listing
from slidesurv.report.estimate import Estimate
from slidesurv.report.overview.judged import Row, judge
from slidesurv.report.read import read_run
from slidesurv.report.run import Method, Run, differing
from slidesurv.survival.evidence import Metric

__all__ = ["Beside", "Other", "beside", "read_beside"]

WORDS = {"paper": "published", "leakfree": "leak-free"}
OWN = ("training.protocol", "models")  # settings that are meant to differ, or are compared method by method


@dataclass(frozen=True, slots=True)
class Other:
    """One method under the other protocol.

    Attributes:
        cohorts: the pooled C-index in each; a dash where the method has none there.
        mean: over the cohorts.
        gap: mean under the published protocol minus that under the leak-free one, on the same resamples of the same
            test patients. Above 0, the published figure is the higher.
    """

    cohorts: tuple[Estimate, ...]
    mean: Estimate
    gap: Estimate


@dataclass(frozen=True, slots=True)
class Beside:
    """A table's methods under the other protocol.

    Attributes:
        protocol: "paper" or "leakfree".
        stamp: stands beside every number of it.
        lines: in the order of the table.
        remarks: what else differs, in sentences.
    """

    protocol: str
    stamp: str
    lines: tuple[Other, ...]
    remarks: tuple[str, ...]

    @property
    def words(self) -> str:
        """The protocol in the head of a column."""
        return WORDS[self.protocol]


def read_beside(folder: Path, protocols: Mapping[str, str]) -> list[Run]:
    """Read the runs of the same experiments under the other protocol.

    Args:
        folder: of another compare.
        protocols: by name of the experiment, as it is asked for here.

    Raises:
        ConfigError: a run is not there, or has a protocol that stands here too.
        DataError: a run cannot be read.
    """
    if absent := [name for name in protocols if not (folder / name / "run.json").is_file()]:
        raise ConfigError(
            f"'{folder}' has no run of {len(absent)} of {len(protocols)} experiments: {listing(absent)}. "
            "Give --beside the folder of a compare of the same experiments under the other protocol."
        )
    runs = [read_run(folder / name) for name in protocols]
    if shared := {run.protocol for run in runs} & set(protocols.values()):
        raise ConfigError(
            f"Runs here and in '{folder}' have the protocol {listing(sorted(shared))}: --beside needs the other one, "
            "the same for all experiments. Set training.protocol to 'paper' or 'leakfree' on one side."
        )
    return runs


def beside(rows: Mapping[str, Row], runs: Sequence[Run], others: Sequence[Run]) -> Beside:
    """Judge the other runs and pair them with a table, where folds and test patients are the same.

    Args:
        rows: of the table, from `judge`.
        runs: of the table.
        others: of the same experiments, in the same order, from `read_beside`.
    """
    known = judge(others)
    sign = 1 if runs[0].protocol == "paper" else -1
    pairs = [(row, known.get(slug)) for slug, row in rows.items()]
    return Beside(
        protocol=others[0].protocol,
        stamp=others[0].stamp,
        lines=tuple(_absent(row) if other is None else _other(row, other, sign) for row, other in pairs),
        remarks=tuple(_remarks(runs, others)),
    )


def _absent(row: Row) -> Other:
    nothing = Estimate(note="not run")
    return Other(tuple(nothing for _ in row.cohorts), nothing, nothing)


def _other(row: Row, other: Row, sign: int) -> Other:
    cohorts = tuple(Estimate() if each is None else Estimate.of(each) for each in other.indices)
    return Other(cohorts, other.mean, Estimate.of(_gap(row, other, sign)))


def _gap(row: Row, other: Row, sign: int) -> Metric:
    """Published minus leak-free, where both were judged on the same patients in the same folds."""
    if lack := row.lack or other.lack:
        return Metric(math.nan, np.empty(0), lack)
    if strange := _unpaired(row, other):
        return Metric(math.nan, np.empty(0), f"other folds or test patients in {listing(strange)}: not paired")
    gap = row.minus(other)
    return Metric(sign * gap.value, sign * gap.samples)


def _unpaired(row: Row, other: Row) -> list[str]:
    """The cohorts in which two rows have not the same test patients in the same complete folds."""
    return [
        cohort
        for cohort, one, two in zip(row.cohorts, row.methods, other.methods, strict=True)
        if one is not None and two is not None and not _same_patients(one, two)
    ]


def _same_patients(one: Method, two: Method) -> bool:
    pairs = ((one.results[one.seeds[0], fold], two.results[two.seeds[0], fold]) for fold in one.complete)
    return one.complete == two.complete and all(first.same_patients(second) for first, second in pairs)


def _remarks(runs: Sequence[Run], others: Sequence[Run]) -> Iterable[str]:
    for run, other in zip(runs, others, strict=True):
        if keys := [key for key in differing([run.settings, other.settings]) if key not in OWN]:
            yield f"Not the protocol alone differs for {run.experiment}: {listing(keys)}."
