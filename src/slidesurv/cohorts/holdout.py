"""A made-up cohort whose models are judged by new patients of the same truth, as many as one likes.

Nobody runs out of made-up patients, so that nobody need be judged by the few who were held back. Those who judge are
followed to their death: what the training patients' short follow-up and wrong labels spoil is the teaching, never the
measure, and every truth of one effect has one ceiling.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.rows import LONGEST
from slidesurv.cohorts.splits import write_splits
from slidesurv.cohorts.synthetic import Truth, write_synthetic
from slidesurv.errors import ConfigError
from slidesurv.files import read_csv, write_csv
from slidesurv.seeds import seed_for
from slidesurv.types import Split

__all__ = ["write_holdout"]

Rows = list[dict[str, str]]


def write_holdout(folder: Path, truth: Truth, *, judges: int, mislabelled: float = 0.0, seed: int = 0) -> None:
    """Write a cohort as `write_synthetic` does, and ``splits.json`` with one fold: who teaches and who judges.

    The same seed gives patients, genomes, dates and mistakes that differ between two truths only as far as these do:
    a longer follow-up sees more of the same deaths, a larger share of mistakes holds those of the smaller.

    Args:
        folder: made if it is not there.
        truth: what to plant; its ``patients`` teach, its ``follow_up`` is theirs alone.
        judges: how many new patients judge; followed to their death, or for a hundred years.
        mislabelled: share in [0, 1] of the training patients who have the time and event of another of them; their
            tiles and genome stay their own.
        seed: the same seed gives the same bytes.

    Raises:
        ConfigError: mislabelled is not in [0, 1].
    """
    if not 0 <= mislabelled <= 1:
        raise ConfigError(f"mislabelled is {mislabelled}: it is a share of the training patients, from 0 to 1.")
    write_synthetic(folder, replace(truth, patients=truth.patients + judges, follow_up=math.inf), seed=seed)
    rows = read_csv(folder / "cohort.csv")
    random = np.random.default_rng(seed_for("holdout", seed))
    last = random.uniform(0.2, 2, truth.patients) * truth.follow_up + 0.1  # as `slidesurv.cohorts.planted` has it
    taught = _mistake(_censor(rows[: truth.patients], last), mislabelled, random)
    new = _censor(rows[truth.patients :], np.full(judges, LONGEST))
    write_csv(folder / "cohort.csv", [*taught, *new], list(rows[0]))
    ids = [row["patient_id"] for row in rows]
    split = Split(tuple(ids[: truth.patients]), (), tuple(ids[truth.patients :]))
    write_splits(folder / "splits.json", [split], origin="holdout")


def _censor(rows: Rows, last: NDArray[np.float64]) -> Rows:
    """End each patient's follow-up at a month, unless they are dead."""
    return [
        row if float(row["time_months"]) <= seen else row | {"time_months": str(seen), "event": "0"}
        for row, seen in zip(rows, np.minimum(last, LONGEST).round(3).tolist(), strict=True)
    ]


def _mistake(rows: Rows, share: float, random: np.random.Generator) -> Rows:
    """Give each of some patients, drawn at random, the time and event of the next of them."""
    wrong = random.permutation(len(rows))[: round(share * len(rows))].tolist()
    mistaken = {
        place: {name: rows[other][name] for name in ("time_months", "event")}
        for place, other in zip(wrong, [*wrong[1:], *wrong[:1]], strict=True)
    }
    return [row | mistaken.get(place, {}) for place, row in enumerate(rows)]
