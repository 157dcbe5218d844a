"""Trials of a search: proposed by Optuna from those before, and written down one by one.

A trial follows from the settings and the trials before it, and from nothing else: a search that was killed and goes on
proposes what it would have proposed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidesurv.errors import MissingExtra
from slidesurv.files import read_csv, write_csv

if TYPE_CHECKING:
    import optuna

    from slidesurv.config.search import Axis

__all__ = ["Trial", "propose", "read_trials", "require_optuna", "write_trials"]

COLUMNS = ("number", "state", "value", "values", "choices", "reason", "fingerprint")
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}  # ours, Optuna's


@dataclass(frozen=True, slots=True)
class Trial:
    """One proposal and how it did.

    Attributes:
        number: from 0.
        state: "complete", "pruned" or "failed".
        choices: by dotted key.
        values: of the metric after each inner fold, over the patients of all inner folds so far.
        reason: why it failed.
    """

    number: int
    state: str
    choices: Mapping[str, Any]
    values: tuple[float, ...]
    reason: str = ""

    @property
    def value(self) -> float | None:
        """Of the metric over all inner folds; None for a trial that did not come to its end."""
        return self.values[-1] if self.state == "complete" else None


def propose(space: Mapping[str, Axis], before: Sequence[Trial], *, maximise: bool, seed: int) -> optuna.trial.Trial:
    """Ask Optuna's tree-structured Parzen estimator for the next trial; the first ten that end are random.

    A new study is told all trials before, so that nothing but them goes from one to the next.

    Args:
        space: what is searched, by dotted key.
        before: trials with choices of the same space.
        maximise: whether a larger value is better.
        seed: of this proposal.
    """
    library = require_optuna()
    sampler, pruner = library.samplers.TPESampler(seed=seed % 2**32), library.pruners.MedianPruner()
    direction = "maximize" if maximise else "minimize"
    study = library.create_study(direction=direction, sampler=sampler, pruner=pruner)
    distributions = {key: _distribution(library.distributions, axis) for key, axis in space.items()}
    for trial in before:
        known = library.trial.create_trial(
            state=library.trial.TrialState[STATES[trial.state]],
            value=trial.value,
            params=dict(trial.choices),
            distributions=distributions,
            intermediate_values=dict(enumerate(trial.values, start=1)),
        )
        study.add_trial(known)
    return study.ask(fixed_distributions=distributions)


def _distribution(kinds: Any, axis: Axis) -> optuna.distributions.BaseDistribution:
    if axis.choices:
        return kinds.CategoricalDistribution(axis.choices)
    whole = isinstance(axis.low, int) and isinstance(axis.high, int)
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


def write_trials(path: Path, trials: Sequence[Trial], fingerprint: str) -> None:
    """Write ``trials.csv``.

    Args:
        path: where.
        trials: in their order.
        fingerprint: of everything that shapes the search.
    """
    rows = [
        {"number": trial.number, "state": trial.state, "value": trial.value, "values": json.dumps(trial.values)}
        | {"choices": json.dumps(trial.choices), "reason": trial.reason, "fingerprint": fingerprint}
        for trial in trials
    ]
    write_csv(path, rows, COLUMNS)


def read_trials(path: Path, fingerprint: str) -> list[Trial]:
    """The trials of an earlier part of the same search; none of another search, nor where there is no file."""
    rows = [row for row in (read_csv(path) if path.exists() else []) if row["fingerprint"] == fingerprint]
    return [
        Trial(
            int(row["number"]),
            row["state"],
            json.loads(row["choices"]),
            tuple(json.loads(row["values"])),
            row["reason"],
        )
        for row in rows
    ]


def require_optuna() -> Any:
    """Import Optuna, and let it say warnings only.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra(
            "[search] needs the library 'optuna', which is not installed. Run: pip install 'slidesurv[search]', or "
            "take [search] out."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
