"""Runs of one cohort that differ in their settings, as one run: their methods are then compared patient by patient."""

from collections.abc import Sequence
from dataclasses import replace

from slidesurv.errors import DataError, listing
from slidesurv.report.run import FoldResult, Run, differing

__all__ = ["join", "told_apart"]

MEND = "Rows of one table are compared patient by patient: give them the same cohort, folds, seeds and protocol."


def join(runs: Sequence[Run]) -> Run:
    """Put the methods of several runs into one.

    Args:
        runs: from `read_run`; each has other methods.

    Returns:
        The first run with the methods and failures of all, and the settings that all share.

    Raises:
        DataError: protocol, seeds or folds differ, a fold has other patients or follow-up, or a method stands twice.
    """
    first = runs[0]
    for other in runs[1:]:
        _require_same(first, other)
    methods = tuple(method for run in runs for method in run.methods)
    slugs = [method.slug for method in methods]
    if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
        raise DataError(f"Several runs have a method {listing(twice)}: give each row its own label.")
    failures = tuple(failure for run in runs for failure in run.failures)
    other_keys = differing([run.settings for run in runs])
    shared = {key: value for key, value in first.settings.items() if key not in other_keys}
    return replace(first, methods=methods, failures=failures, settings=shared)


def told_apart(runs: Sequence[Run]) -> list[str]:
    """Say which settings are not those of all runs, and which methods have which."""
    return [
        f"{key} is {'; '.join(f'{run.settings.get(key)!r} for {_names(run)}' for run in runs)}."
        for key in differing([run.settings for run in runs])
    ]


def _names(run: Run) -> str:
    return ", ".join(method.label for method in run.methods)


def _require_same(one: Run, other: Run) -> None:
    for what in ("protocol", "seeds", "folds"):
        if (here := getattr(one, what)) != (there := getattr(other, what)):
            raise DataError(f"{_names(one)} has {what} {here}, but {_names(other)} {there}. {MEND}")
    known = _by_fold(other)
    for fold, result in _by_fold(one).items():
        if fold in known and not result.same_patients(known[fold], training=True):
            raise DataError(
                f"Fold {fold} of {_names(other)} has other patients or follow-up than that of {_names(one)}. {MEND}"
            )


def _by_fold(run: Run) -> dict[int, FoldResult]:
    """Any result of each fold: its patients are the same to every method and seed of a run."""
    return {fold: result for method in run.methods for (_, fold), result in method.results.items()}
