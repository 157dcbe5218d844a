"""Who teaches, who tunes and who judges: made here or read from elsewhere, and kept in a file that shows changes."""

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.columns import slide_name
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import read_csv, read_json, sha256, write_json
from slidesurv.seeds import seed_for
from slidesurv.types import Cohort, Split

__all__ = [
    "Carve",
    "Parts",
    "carve_tune",
    "complete",
    "kfold",
    "left_out",
    "read_mcat_splits",
    "read_splits",
    "repeat_seed",
    "require_folds",
    "rounds",
    "strata",
    "stratified",
    "write_splits",
]

log = logging.getLogger(__name__)

Parts: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]  # who goes on teaching, and who tunes


class Carve(Protocol):
    """How a tuning part is taken from training patients."""

    def __call__(self, cohort: Cohort, *, tune: float, seed: int, n_bins: int = 4) -> Parts:
        """Give the ids that remain, and those taken."""


def kfold(
    cohort: Cohort, *, folds: int = 5, repeats: int = 1, seed: int = 0, tune: float = 0.2, n_bins: int = 4
) -> tuple[Split, ...]:
    """Divide patients into folds that have as many early deaths, late deaths, and living patients as each other.

    Patients are put in strata of event × time bin, shuffled within them, laid end to end, and dealt to the folds in
    turn. So every stratum, and the cohort, is divided to within one patient, and small strata need no merging.

    Args:
        cohort: patients; each is judged once a repeat.
        folds: at least two.
        repeats: how often to divide anew; the folds of one repeat follow those of the one before.
        seed: of the shuffles.
        tune: share of each fold's other patients that is kept for tuning; 0 keeps none.
        n_bins: time bins of the strata, cut at quantiles of the deaths' times; a model's bins are another matter.

    Raises:
        ConfigError: folds is below two, or above the number of patients.
        DataError: there are fewer than two deaths a fold, or a tuning part would have none.
    """
    require_folds(cohort, folds)
    splits: list[Split] = []
    for repeat in range(repeats):
        own = repeat_seed(seed, repeat)
        order = np.array(cohort.ids, object)[stratified(cohort, n_bins, seed_for("kfold", own))]
        tests = [order[number::folds].tolist() for number in range(folds)]
        splits += complete(cohort, tests, carve_tune, tune=tune, seed=own, n_bins=n_bins)
    return tuple(splits)


def require_folds(cohort: Cohort, folds: int) -> None:
    """Check that a cohort is large enough for a number of folds.

    Raises:
        ConfigError: folds is below two, or above the number of patients.
        DataError: there are fewer than two deaths a fold.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}. At least 2 are needed, so that everybody is judged by somebody else.")
    if folds > len(cohort):
        raise ConfigError(
            f"folds is {folds}, but cohort '{cohort.name}' has {len(cohort)} patients, who are judged once each. "
            "Set fewer folds."
        )
    deaths = sum(patient.event for patient in cohort)
    if deaths < 2 * folds:
        possible = f"set folds to {deaths // 2} or fewer" if deaths >= 4 else "no cross-validation is possible"
        raise DataError(
            f"Cohort '{cohort.name}' has {deaths} deaths, too few for {folds} folds with 2 each: {possible}."
        )


def repeat_seed(seed: int, repeat: int) -> int:
    """The seed of one repeat; the first has the seed itself, so that more repeats leave its folds as they are."""
    return seed_for(seed, "repeat", repeat) if repeat else seed


def complete(
    cohort: Cohort, tests: Iterable[Collection[str]], carve: Carve, *, tune: float, seed: int, n_bins: int
) -> list[Split]:
    """Make a split of each test part: everybody else teaches, but for those who are carved off to tune.

    Args:
        cohort: everybody.
        tests: ids, a test part each.
        carve: `carve_tune`, or what takes its arguments.
        tune: share to carve.
        seed: of the carving; each split has its own of it.
        n_bins: for ``carve``.
    """
    splits = []
    for number, test in enumerate(tests):
        judged = set(test)
        others = cohort.subset(set(cohort.ids) - judged)
        carved = carve(others, tune=tune, seed=seed_for(seed, number), n_bins=n_bins)
        splits.append(Split(*carved, tuple(patient for patient in cohort.ids if patient in judged)))
    return splits


def carve_tune(cohort: Cohort, *, tune: float, seed: int, n_bins: int = 4) -> Parts:
    """Take a tuning part from training patients, evenly spaced along the strata of `kfold`.

    Args:
        cohort: the training patients.
        tune: share to take, in [0, 1).
        seed: of the shuffles.
        n_bins: time bins of the strata.

    Returns:
        The ids that remain, and those taken.

    Raises:
        ConfigError: tune is not in [0, 1).
        DataError: the tuning part or what remains would have no death.
    """
    if not 0 <= tune < 1:
        raise ConfigError(f"tune is {tune}. It is a share of the training patients, from 0 to below 1.")
    if tune == 0:
        return cohort.ids, ()
    take = round(tune * len(cohort))
    places = (np.arange(take) + 0.5) * len(cohort) / max(take, 1)
    chosen = set(np.array(cohort.ids, object)[stratified(cohort, n_bins, seed)[places.astype(np.int64)]])
    taken, rest = cohort.subset(chosen), cohort.subset(set(cohort.ids) - chosen)
    for part in (taken, rest):
        if not any(patient.event for patient in part):
            deaths = sum(patient.event for patient in cohort)
            raise DataError(
                f"Taking {take} of {len(cohort)} training patients ({deaths} deaths) for tuning leaves a part without "
                "a death. Set another share, or tune = 0 and a fixed number of epochs."
            )
    return rest.ids, taken.ids


def strata(cohort: Cohort, n_bins: int) -> NDArray[np.int64]:
    """(B,) stratum of each patient: the time bin, and n_bins more for a death."""
    time = np.array([patient.time for patient in cohort])
    event = np.array([patient.event for patient in cohort])
    inner = np.linspace(0, 1, n_bins + 1)[1:-1]
    edges = np.quantile(time[event] if event.any() else time, inner)
    return event * n_bins + np.searchsorted(edges, time, side="right")


def stratified(cohort: Cohort, n_bins: int, seed: int) -> NDArray[np.int64]:
    """Order patients by stratum, at random within one."""
    shuffled = np.random.default_rng(seed).permutation(len(cohort))
    return shuffled[np.argsort(strata(cohort, n_bins)[shuffled], kind="stable")]


def rounds(splits: Sequence[Split]) -> tuple[int, ...]:
    """Say to which repeat each fold belongs: a new one begins with the first fold that judges somebody again."""
    numbers: list[int] = []
    judged: set[str] = set()
    repeat = 0
    for split in splits:
        if judged & set(split.test):
            repeat, judged = repeat + 1, set()
        judged |= set(split.test)
        numbers.append(repeat)
    return tuple(numbers)


def left_out(cohort: Cohort, splits: Sequence[Split]) -> tuple[str, ...]:
    """Patients of a cohort who stand in no part of any fold, such as those of a group that is not known."""
    known = {patient for split in splits for patient in (*split.train, *split.tune, *split.test)}
    return tuple(patient for patient in cohort.ids if patient not in known)


def read_mcat_splits(
    folder: Path, cohort: Cohort, *, tune: float = 0.2, seed: int = 0, merge_tune: bool = False
) -> tuple[Split, ...]:
    """Read ``splits_0.csv`` … of MCAT or CLAM.

    MCAT's files have the columns ``train`` and ``val``: its ``val`` is the test part, and a tuning part is carved from
    ``train``. CLAM's have a ``test`` column and slide ids: its ``val`` is the tuning part.

    Args:
        folder: with the files.
        cohort: every patient must stand in every file; ids of others are left out, and logged.
        tune: share of the training patients to carve where the files have no tuning part.
        seed: of the carving.
        merge_tune: let the files' tuning part teach, and carve none.

    Raises:
        DataError: a patient of the cohort is missing, stands in two parts of a fold, or is judged not once.
    """
    files = {
        int(match[1]): path for path in folder.glob("*.csv") if (match := re.fullmatch(r"splits_(\d+)\.csv", path.name))
    }
    if not files:
        raise DataError(f"'{folder}' has no files 'splits_0.csv', 'splits_1.csv' …. Give the folder that holds them.")
    splits = []
    for number, path in sorted(files.items()):
        split = _read_mcat_file(path, cohort)
        if merge_tune:
            split = _without_tune(split)
        elif not split.tune:
            carved = carve_tune(cohort.subset(split.train), tune=tune, seed=seed_for(seed, number))
            split = Split(*carved, split.test)
        splits.append(split)
    _require_one_judgement(splits, cohort, folder)
    return tuple(splits)


def _read_mcat_file(path: Path, cohort: Cohort) -> Split:
    rows = read_csv(path)
    columns = {name: [row[name] for row in rows if row[name]] for name in (rows[0] if rows else ())}
    if not {"train", "val"} <= columns.keys():
        raise DataError(f"'{path}' has the columns {listing(columns)}. Expected 'train', 'val' and, from CLAM, 'test'.")
    tuning, test = (columns["val"], columns["test"]) if "test" in columns else ([], columns["val"])
    return _of_cohort(cohort, columns["train"], tuning, test, where=path)


def write_splits(path: Path, splits: Sequence[Split], *, origin: str, left_out: Sequence[str] = ()) -> None:
    """Write ``splits.json`` with a hash of its content.

    Args:
        path: where.
        splits: one a fold.
        origin: how they were made, for whoever reads the file.
        left_out: patients of the cohort who stand in no part of any fold, on purpose.
    """
    folds = [{"train": split.train, "tune": split.tune, "test": split.test} for split in splits]
    content = json.loads(json.dumps({"schema_version": 1, "origin": origin, "splits": folds}))
    content |= {"left_out": list(left_out)} if left_out else {}
    write_json(path, {**content, "sha256": _digest(content)})


def read_splits(path: Path, cohort: Cohort, *, merge_tune: bool = False) -> tuple[Split, ...]:
    """Read ``splits.json``; ids of patients who are not in the cohort are left out, and logged.

    Args:
        path: what `write_splits` wrote.
        cohort: every patient must stand in every fold, but for those whom the file leaves out.
        merge_tune: let the tuning part teach.

    Raises:
        DataError: the file was changed since it was written, or it does not fit the cohort.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise DataError(
            f"'{path}' is not what was written: its sha256 does not fit its content. "
            "Restore the file, or make the splits again with 'slidesurv split'."
        )
    placed = cohort.subset(set(cohort.ids) - set(content.get("left_out", ())))
    splits = [
        _of_cohort(placed, *(fold[part] for part in ("train", "tune", "test")), where=path)
        for fold in content["splits"]
    ]
    if empty := [number for number, split in enumerate(splits) if not (split.train and split.test)]:
        raise DataError(
            f"Folds {listing(empty)} of '{path}' have nobody of cohort '{cohort.name}' to teach or to judge. "
            "Make the splits again with 'slidesurv split'."
        )
    return tuple(map(_without_tune, splits)) if merge_tune else tuple(splits)


def _without_tune(split: Split) -> Split:
    return Split((*split.train, *split.tune), (), split.test)


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())


def _of_cohort(cohort: Cohort, *parts: Sequence[str], where: Path) -> Split:
    """Turn patient or slide ids of train, tune and test into patients of the cohort."""
    owners = {slide: patient.id for patient in cohort for slide in patient.slides} | {name: name for name in cohort.ids}

    def owner(name: str) -> str | None:
        return owners.get(name) or owners.get(slide_name(name))

    split = Split(*(tuple(dict.fromkeys(filter(None, map(owner, part)))) for part in parts))
    if strangers := [name for part in parts for name in part if owner(name) is None]:
        found = f"{len(strangers)} ids are not in cohort '{cohort.name}' and were left out: {listing(strangers)}."
        log.warning("'%s': %s", where, found)
    if absent := set(cohort.ids) - {*split.train, *split.tune, *split.test}:
        raise DataError(
            f"{len(absent)} of {len(cohort)} patients of cohort '{cohort.name}' are in no part of '{where}': "
            f"{listing(sorted(absent))}. Take them out of the cohort, or use splits that have them."
        )
    return split


def _require_one_judgement(splits: Sequence[Split], cohort: Cohort, where: Path) -> None:
    judged = [patient for split in splits for patient in split.test]
    wrong = [patient for patient in cohort.ids if judged.count(patient) != 1]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(cohort)} patients are not in exactly one test part of '{where}': {listing(wrong)}. "
            "Cross-validation judges every patient once: give all files of one cross-validation."
        )
