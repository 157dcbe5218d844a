"""A run in memory: what was asked, what came back for every method, seed and fold, and what is missing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["WITH_CLINICAL", "Failure", "FoldResult", "Method", "Run", "differing"]

WITH_CLINICAL = "-with-clinical"  # ends the slug of a method weighed with the clinical baseline

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What one model said about the B test patients of one fold, in order of their ids.

    Attributes:
        patients: (B,) ids.
        time: (B,) months to death or to the last time seen alive.
        event: (B,) bool, True = death seen.
        risk: (B,) a larger value means an earlier death.
        survival: (B, T) probability of being alive at the end of each bin.
        cut: the median risk of the fold's training patients; at or above it, risk is called high.
        training_time: (training patients,) months, in order of their ids.
        training_event: (training patients,) bool, True = death seen.
        edges: (T+1,) months.
        epoch: the epoch that was kept.
        seconds: time to train and predict.
        history: (epochs,) each column of history.csv; a value that was not measured is NaN.
        reconstruction: (patients with genomics,) each column of reconstruction.csv, and their ids; {} without one.
        diagnostics: (patients,) each numeric column of diagnostics.csv; {} without one.
        risk_without: (B,) risk with the reconstruction "zeroed", or "shuffled" between test patients; {} when the model
            has none.
        memory: largest memory of the fold beyond what its process held before, MB; NaN when not measured.
        gradient_ratio: pull of the model's own losses as a share of the likelihood's; NaN when not measured.
    """

    patients: tuple[str, ...]
    time: Numbers
    event: NDArray[np.bool_]
    risk: Numbers
    survival: Numbers
    cut: float
    training_time: Numbers
    training_event: NDArray[np.bool_]
    edges: Numbers
    epoch: int
    seconds: float
    history: Mapping[str, Numbers]
    reconstruction: Mapping[str, Any]
    diagnostics: Mapping[str, Numbers]
    risk_without: Mapping[str, Numbers] = field(default_factory=dict)
    gradient_ratio: float = math.nan
    memory: float = math.nan

    def same_patients(self, other: "FoldResult", *, training: bool = False) -> bool:
        """Whether both judge the same patients with the same follow-up.

        Args:
            other: of the same fold, by another method, seed or run.
            training: whether those who teach must have the same follow-up too.
        """
        names = ("time", "event", *(("training_time", "training_event") if training else ()))
        same = (np.array_equal(getattr(self, name), getattr(other, name)) for name in names)
        return self.patients == other.patients and all(same)


@dataclass(frozen=True, slots=True)
class Method:
    """One line of the comparison.

    Attributes:
        label: the name to show.
        slug: its folder in the run.
        genomics: "never", "training" or "always".
        results: by seed and fold; a fold that failed is absent here and stands in `Run.failures`.
        complete: the folds that every seed finished; every figure is made of these.
    """

    label: str
    slug: str
    model: str
    slides: str
    genomics: str
    parameters: int
    choices: Mapping[str, Any]
    results: Mapping[tuple[int, int], FoldResult]
    seeds: tuple[int, ...]
    complete: tuple[int, ...]

    @property
    def from_slides_alone(self) -> bool:
        """Whether a patient's slides are all that a prediction reads: no genomics and no clinical table."""
        return self.slides == "always" and self.genomics != "always" and not self.slug.endswith(WITH_CLINICAL)

    @property
    def has_curves(self) -> bool:
        """Whether it predicts survival; a method with one time bin gives a hazard ratio only."""
        return any(result.survival.shape[1] > 1 for result in self.results.values())

    def pool(self, value: Callable[[FoldResult], Any], folds: Sequence[int] | None = None) -> NDArray[Any]:
        """Line up one value of every test patient, fold after fold.

        Args:
            value: gives (B_k, ...) for the result of a fold.
            folds: some of the complete folds; all of them by default.

        Returns:
            (S, B, ...) for S seeds. A patient whom several folds judge stands in each of them.
        """
        folds = self.complete if folds is None else folds
        return np.array([np.concatenate([value(self.results[seed, fold]) for fold in folds]) for seed in self.seeds])

    def follow_up(self, folds: Sequence[int] | None = None) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.int64]]:
        """Time, event and fold, each (B,), in the order of `pool`."""
        folds = self.complete if folds is None else folds
        results = [self.results[self.seeds[0], fold] for fold in folds]
        time = np.concatenate([np.empty(0), *(result.time for result in results)])
        event = np.concatenate([np.empty(0, dtype=bool), *(result.event for result in results)])
        sizes = [len(result.patients) for result in results]
        return time, event, np.repeat(np.array(folds, dtype=np.int64), sizes)

    def people(self, folds: Sequence[int] | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Who is who in the order of `pool`, because folds that are made anew judge a patient again.

        Returns:
            (P,) where each of P patients is judged first, and (B,) the number of the patient in each place.
        """
        folds = self.complete if folds is None else folds
        known: dict[str, int] = {}
        ids = (patient for fold in folds for patient in self.results[self.seeds[0], fold].patients)
        who = np.array([known.setdefault(patient, len(known)) for patient in ids], dtype=np.int64)
        return np.unique(who, return_index=True)[1], who

    def mean(self, value: Callable[[FoldResult], Any]) -> Numbers:
        """Average one value of each of the P patients over seeds, and over the folds that judge them: (P,)."""
        _, who = self.people()
        means: Numbers = np.bincount(who, self.pool(value).mean(0)) / np.bincount(who)
        return means

    def first(self) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.int64]]:
        """Time, event and first fold of each of the P patients, in the order of `mean`."""
        places, _ = self.people()
        time, event, fold = self.follow_up()
        return time[places], event[places], fold[places]


@dataclass(frozen=True, slots=True)
class Failure:
    """What did not come to its end, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder.

    Attributes:
        protocol: "leakfree", or "paper": the epoch was chosen on the test fold.
        cohort: name, patients, slides, deaths, event_share, median_follow_up_months, sites.
        planted: for a synthetic cohort, what truth it carries; None for a real one.
        programme: the planted value of each patient.
        audit: one row a fold and part, as text.
        audit_verdict: what the audit means, in sentences.
        findings: of the closer look, by kind ("leak", "warning" or "note") and sentence, leaks first; () when the run
            did not look.
        dropped: how many patients of the table were left out, by reason.
        settings: the resolved experiment, by dotted key.
    """

    experiment: str
    protocol: str
    seeds: tuple[int, ...]
    folds: int
    methods: tuple[Method, ...]
    cohort: Mapping[str, Any]
    planted: str | None
    programme: Mapping[str, float]
    versions: Mapping[str, str]
    command: str
    failures: tuple[Failure, ...]
    audit: tuple[Mapping[str, str], ...] = ()
    audit_verdict: tuple[str, ...] = ()
    findings: tuple[tuple[str, str], ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """The word that goes with every number of the run; "" when the protocol needs none."""
        return "OPTIMISTIC" if self.protocol == "paper" else ""

    def titled(self, method: Method) -> str:
        """The title of a picture of one method, which may travel without its page."""
        return f"{method.label} ({self.stamp})" if self.stamp else method.label


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose value is not the same in all of several settings, in order; one that is absent counts as None."""
    keys = sorted({key for each in settings for key in each})
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]
