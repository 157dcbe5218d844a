"""Runs of one cohort that differ in their settings, as one run: their methods are then compared patient by patient."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slidesurv.errors import DataError, listing
from slidesurv.report.run import Run

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
    shared = {key: value for key, value in first.settings.items() if key not in _differing(runs)}
    return replace(first, methods=methods, failures=failures, settings=shared)


def told_apart(runs: Sequence[Run]) -> list[str]:
    """Say which settings are not those of all runs, and which methods have which."""
    return [
        f"{key} is {'; '.join(f'{run.settings.get(key)!r} for {_names(run)}' for run in runs)}."
        for key in _differing(runs)
    ]


def _differing(runs: Sequence[Run]) -> list[str]:
    keys = sorted({key for run in runs for key in run.settings})
    return [key for key in keys if any(run.settings.get(key) != runs[0].settings.get(key) for run in runs)]


def _names(run: Run) -> str:
    return ", ".join(method.label for method in run.methods)


def _require_same(one: Run, other: Run) -> None:
    for what in ("protocol", "seeds", "folds"):
        if (here := getattr(one, what)) != (there := getattr(other, what)):
            raise DataError(f"{_names(one)} has {what} {here}, but {_names(other)} {there}. {MEND}")
    here, there = _people(one), _people(other)
    if others := [fold for fold in here if fold in there and here[fold] != there[fold]]:
        raise DataError(
            f"Fold {others[0]} of {_names(other)} has other patients or follow-up than that of {_names(one)}. {MEND}"
        )


def _people(run: Run) -> dict[int, Any]:
    """Who judges each fold, and the follow-up of those who judge and who teach."""
    names = ("time", "event", "training_time", "training_event")
    return {
        fold: (result.patients, [getattr(result, name).tolist() for name in names])
        for method in run.methods
        for (_, fold), result in method.results.items()
    }
