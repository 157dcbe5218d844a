"""Two runs side by side: what was asked differently, whether they can be compared fairly, and how methods differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidesurv.files import read_json
from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury
from slidesurv.report.read import dotted, read_run
from slidesurv.report.run import Method, Run, differing
from slidesurv.report.shelf.listed import Listed, read_listed
from slidesurv.survival.comparison import bootstrap_p, holm

__all__ = ["Between", "Gap", "Setting", "lay_beside"]

SHARED = ("splits", "features", "tables", "code")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that the two runs do not share; None where a run does not have it."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Gap:
    """One method in both runs.

    Attributes:
        indices: the pooled C-index of each run on the test patients that both judge. A larger value is better.
        difference: the second minus the first, on the same resamples; the note says why there is none.
        p: two-sided, by the paired bootstrap of patients, adjusted by Holm for the number of methods; NaN without one.
        folds: that both runs judge with the same patients.
    """

    label: str
    slug: str
    indices: tuple[Estimate, Estimate]
    difference: Estimate
    p: float
    folds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """Two runs.

    Attributes:
        settings: that differ.
        same: whether "splits", "features", "tables" and "code" are the same; None where that was not recorded.
        gaps: one a method that both have.
        alone: labels of the methods that only the first has, and only the second.
        stamp: stands beside every difference when one of the runs is of a published protocol.
    """

    runs: tuple[Listed, Listed]
    settings: tuple[Setting, ...]
    same: Mapping[str, bool | None]
    gaps: tuple[Gap, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    stamp: str

    @property
    def verdict(self) -> str:
        """Whether a difference between the runs is due to what was asked."""
        if len({run.protocol for run in self.runs}) > 1:
            return "Not fair: one run chose its epochs on the test folds, the other did not."
        if any(setting.key.startswith("search") for setting in self.settings):
            return "Not fair: the runs searched their choices with other budgets, or one of them did not search."
        other = [what for what, is_same in self.same.items() if is_same is False]
        unknown = [what for what, is_same in self.same.items() if is_same is None]
        if other:
            return f"Not fair: the runs have other {_and(other)}. A difference may come from there."
        if unknown:
            return f"Not known to be fair: {_and(unknown)} {'was' if len(unknown) == 1 else 'were'} not recorded."
        return f"Fair: {_and(list(self.same))} are the same."


def lay_beside(first: Path, second: Path) -> Between:
    """Compare two runs.

    Args:
        first: a run folder.
        second: another; differences are its numbers minus those of the first.

    Raises:
        DataError: one is no run folder, or a file of it is broken.
    """
    runs = read_run(first), read_run(second)
    listed = read_listed(first, name=str(first)), read_listed(second, name=str(second))
    slugs = [[method.slug for method in run.methods] for run in runs]
    common = [slug for slug in slugs[0] if slug in slugs[1]]
    labels = [tuple(method.label for method in run.methods if method.slug not in common) for run in runs]
    return Between(
        runs=listed,
        settings=_settings(*map(_asked, runs)),
        same=_same(listed, (first, second)),
        gaps=tuple(_gaps(runs, common)),
        alone=(labels[0], labels[1]),
        stamp=runs[0].stamp or runs[1].stamp,
    )


def _asked(run: Run) -> dict[str, Any]:
    """Everything that was set, by dotted key; the choices of a method stand under its folder's name."""
    settings = {key: value for key, value in run.settings.items() if key != "data_sha256"}
    for method in run.methods:
        settings |= dotted(method.choices, f"models.{method.slug}.")
    return settings


def _settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Setting, ...]:
    return tuple(Setting(key, first.get(key), second.get(key)) for key in differing([first, second]))


def _same(runs: Sequence[Listed], folders: Sequence[Path]) -> dict[str, bool | None]:
    """Compare what was recorded; folds by who stands in them, whatever made them."""
    one, other = (run.hashes for run in runs)
    same: dict[str, bool | None] = dict.fromkeys(SHARED)
    if "tables" in one and "tables" in other:
        same |= {what: one.get(what) == other.get(what) for what in ("splits", "features", "tables")}
    elif one.get("data") == other.get("data") is not None:  # of an earlier version; it covers them all
        same |= dict.fromkeys(("splits", "features", "tables"), True)
    if "code" in one and "code" in other:
        same["code"] = one["code"] == other["code"]
    paths = [folder / "splits.json" for folder in folders]
    if all(path.exists() for path in paths):
        folds = [read_json(path)["splits"] for path in paths]
        same["splits"] = folds[0] == folds[1]
    return same


def _gaps(runs: tuple[Run, Run], slugs: Sequence[str]) -> list[Gap]:
    pairs = [[next(m for m in run.methods if m.slug == slug) for run in runs] for slug in slugs]
    jury = Jury(runs[0])
    gaps = [_gap(jury, first, second) for first, second in pairs]
    adjusted = holm([gap.p for gap in gaps]).tolist()
    return [replace(gap, p=p) for gap, p in zip(gaps, adjusted, strict=True)]


def _gap(jury: Jury, first: Method, second: Method) -> Gap:
    folds = tuple(fold for fold in first.complete if fold in second.complete and _same_people(first, second, fold))
    if not folds:
        nothing = Estimate(note="no fold of both judges the same patients with the same follow-up")
        return Gap(first.label, first.slug, (Estimate(), Estimate()), nothing, nothing.value, ())
    one = replace(first, complete=folds)
    other = replace(second, complete=folds, slug=f"{second.slug} of the second run")  # the jury knows methods by it
    gap = jury.gap(other, one)
    indices = Estimate.of(jury.index(one)), Estimate.of(jury.index(other))
    return Gap(first.label, first.slug, indices, Estimate.of(gap), bootstrap_p(gap.samples), folds)


def _same_people(first: Method, second: Method, fold: int) -> bool:
    """Whether both judge the same; who taught them may be what the two runs are compared for."""
    one, other = (method.results[method.seeds[0], fold] for method in (first, second))
    return one.same_patients(other)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
