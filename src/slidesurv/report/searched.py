"""What a search chose before the folds of a run were taught, and what it cost."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidesurv.files import inside, read_json
from slidesurv.report.run import Run

__all__ = ["Searched", "budget", "read_searched"]

BEST = {"nll": "lowest NLL", "c_index": "highest C-index"}


@dataclass(frozen=True, slots=True)
class Searched:
    """The search of one method in one fold.

    Attributes:
        label: of the method.
        fold: whose training and tuning patients were searched with.
        choices: in words, the keys as in an experiment.
        trial: the number of the best of ``trials``, from 0.
        value: its ``metric`` over the patients who judged inner folds.
        failed: trials that failed.
        pruned: trials that were given up.
        folds: inner folds.
        seconds: of all trials.
    """

    label: str
    fold: int
    choices: str
    trial: int
    value: float
    metric: str
    trials: int
    failed: int
    pruned: int
    folds: int
    seconds: float


def read_searched(folder: Path, run: Run) -> list[Searched]:
    """Read what was found for every method and fold of a run folder; nothing where nothing was searched."""
    places = (
        (method.label, fold, inside(folder, f"{method.slug}/search/fold{fold}/search.json"))
        for method in run.methods
        for fold in range(run.folds)
    )
    return [_read(label, fold, place) for label, fold, place in places if place.exists()]


def _read(label: str, fold: int, place: Path) -> Searched:
    found = read_json(place)
    told = {key: found[key] for key in ("trial", "value", "metric", "trials", "failed", "pruned", "folds")}
    choices = ", ".join(_said(key, value) for key, value in sorted(found["choices"].items()))
    seconds = math.fsum(read_json(place.with_name("timing.json")).values())
    return Searched(label=label, fold=fold, choices=choices, seconds=seconds, **told)


def _said(key: str, value: object) -> str:
    return f"{key.partition('.')[2]} = {f'{value:.3g}' if isinstance(value, float) else json.dumps(value)}"


def budget(searched: Sequence[Searched]) -> str:
    """Say how much every method could try, and on whom; "" where nothing was searched."""
    if not searched:
        return ""
    first, pruned = searched[0], any(one.pruned for one in searched)
    told = [
        f"Equal budgets: every method had {first.trials} trials in every fold, on {first.folds} inner folds of the "
        "fold's own training and tuning patients.",
        f"The trial with the {BEST[first.metric]} of the patients who judged there was taken, for all seeds of the "
        "method; the fold's test patients had no part in it.",
        "Trials worse than the median after an inner fold were given up." if pruned else "",
    ]
    return " ".join(filter(None, told))
