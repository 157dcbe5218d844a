"""Folds taught by one group of patients and judged by the others, or taught by the past and judged by the future."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from slidesurv.cohorts.columns import patient_column
from slidesurv.cohorts.rows import MISSING
from slidesurv.cohorts.splits import carve_tune
from slidesurv.cohorts.tables import read_rows
from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.types import Cohort, Split

__all__ = ["column_of", "group_fold", "temporal_fold"]

log = logging.getLogger(__name__)

LEAST = 2  # deaths that teach, and that judge
NOBODY_KNOWS = MISSING | {"unknown", "not evaluated", "not applicable"}  # in TCGA's tables in square brackets
DAYS = 365.25


def column_of(cohort: Cohort, column: str, table: Path | None = None) -> dict[str, str]:
    """Read what a column says of the patients of a cohort.

    Args:
        cohort: the patients.
        column: its name.
        table: where it stands, as for `read_manifest`; None looks among the covariates that came with the cohort.

    Returns:
        The value for each patient who has one; blanks and words for nothing are no value.

    Raises:
        ConfigError: nobody has a covariate of this name.
        DataError: the table has no such column, or says two things of one patient.
    """
    if table is None:
        if not any(column in patient.covariates for patient in cohort):
            known = sorted({name for patient in cohort for name in patient.covariates})
            raise ConfigError(
                f"The cohort has no covariate '{column}', only {listing(known, most=12) or 'none'}. "
                "Set [splits] path to a table with this column, one row a patient or slide."
            )
        said = ((patient.id, _word(patient.covariates.get(column))) for patient in cohort)
        return {patient: value for patient, value in said if value}
    rows = read_rows(table)
    if not rows or column not in rows[0]:
        raise DataError(f"'{table}' has no such column. {unknown('column', column, rows[0] if rows else ())}")
    name = patient_column(rows, {})
    values: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        patient, value = row[name].strip(), _word(row[column])
        if value and values.setdefault(patient, value) != value:
            raise DataError(
                f"Row {number} of '{table}' says '{value}' of patient '{patient}' in column '{column}', but an earlier "
                f"row '{values[patient]}'. Keep the one that is right."
            )
    return {patient: value for patient, value in values.items() if patient in set(cohort.ids)}


def group_fold(
    cohort: Cohort,
    group: Mapping[str, str],
    *,
    teach: Sequence[str] = (),
    unknown_judge: bool = False,
    seed: int = 0,
    tune: float = 0.2,
    n_bins: int = 4,
) -> Split:
    """Teach with some groups of patients, such as one race, and judge by all others.

    Args:
        cohort: everybody.
        group: of each patient in whom it is known; `column_of` reads it. Capitals do not matter.
        teach: the groups that teach and tune; the largest alone when none is named.
        unknown_judge: let patients of no known group judge too; else they stand in no part, and the log counts them.
        seed: of the tuning part.
        tune: share of the taught that is kept for tuning.
        n_bins: time bins of the strata.

    Returns:
        One fold: groups are of such different sizes that turning it round is another experiment.

    Raises:
        ConfigError: a group that should teach is not there.
        DataError: fewer than two deaths teach, or judge.

    Source:
        Chen et al., VGAT (2025), Table IX: taught by white patients, judged by all other reported races.
    """
    own = {patient: word.casefold() for patient, word in group.items() if patient in set(cohort.ids)}
    counts = Counter(own.values())
    wanted = {word.casefold() for word in teach} or {word for word, _ in counts.most_common(1)}
    if absent := wanted - counts.keys():
        raise ConfigError(
            f"No patient of cohort '{cohort.name}' is in the group {listing(sorted(absent))}. Groups and patients: "
            f"{', '.join(f'{word!r} {count}' for word, count in counts.most_common())}."
        )
    taught = [patient for patient in cohort.ids if own.get(patient) in wanted]
    judged = [
        patient for patient in cohort.ids if own.get(patient, "" if unknown_judge else None) not in {None, *wanted}
    ]
    if nowhere := len(cohort) - len(taught) - len(judged):
        log.warning("%d of %d patients are in no known group and stand in no part.", nowhere, len(cohort))
    return _split(cohort, taught, judged, tune=tune, seed=seed, n_bins=n_bins)


def temporal_fold(
    cohort: Cohort,
    moment: Mapping[str, str],
    *,
    until: str | None = None,
    share: float = 0.2,
    seed: int = 0,
    tune: float = 0.2,
    n_bins: int = 4,
) -> Split:
    """Teach with patients of the past and judge by those who came later.

    Args:
        cohort: everybody.
        moment: a year or an ISO date for each patient who has one; others stand in no part, and the log counts them.
        until: the last year or date that teaches; by default the one that leaves ``share`` of the patients to judge,
            as nearly as whole years or days allow.
        share: see there.
        seed: of the tuning part.
        tune: share of the taught that is kept for tuning.
        n_bins: time bins of the strata.

    Returns:
        One fold.

    Raises:
        DataError: a moment is neither a year nor a date, or fewer than two deaths teach, or judge.
    """
    when = {patient: _years(word) for patient, word in moment.items() if patient in set(cohort.ids)}
    if until is None:
        rising = sorted(set(when.values()))
        later = [abs(sum(year > cut for year in when.values()) - share * len(when)) for cut in rising]
        cut = rising[later.index(min(later))] if rising else math.nan
    else:
        cut = _years(until) if "-" in until else _years(until) + 1 - 1 / DAYS  # a year ends with its last day
    if nowhere := len(cohort) - len(when):
        log.warning("%d of %d patients have no date and stand in no part.", nowhere, len(cohort))
    past = [patient for patient in cohort.ids if patient in when and when[patient] <= cut]
    future = [patient for patient in cohort.ids if patient in when and when[patient] > cut]
    return _split(cohort, past, future, tune=tune, seed=seed, n_bins=n_bins)


def _split(
    cohort: Cohort, taught: Sequence[str], judged: Sequence[str], *, tune: float, seed: int, n_bins: int
) -> Split:
    for part, what in ((taught, "teach"), (judged, "judge")):
        deaths = sum(cohort[patient].event for patient in part)
        if deaths < LEAST:
            raise DataError(
                f"{len(part)} patients with {deaths} deaths would {what} of cohort '{cohort.name}'; {LEAST} deaths are "
                "needed. Choose other groups, or another date."
            )
    return Split(*carve_tune(cohort.subset(taught), tune=tune, seed=seed, n_bins=n_bins), tuple(judged))


def _word(value: float | str | None) -> str:
    """A cell as it stood in the table, 2010 and not 2010.0; "" for every way to say that it is not known."""
    word = f"{value:g}" if isinstance(value, float) else (value or "").strip()
    return "" if word.strip("[]").casefold() in NOBODY_KNOWS else word


def _years(word: str) -> float:
    """A moment in years: ``2010``, ``2010.0`` or ``2010-05-03``."""
    text = word.strip()
    if re.fullmatch(r"\d{4}(\.0+)?", text):
        return float(text)
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise DataError(f"{word!r} is neither a year, such as 2010, nor a date, such as 2010-05-31. Mend it.") from None
    return day.year + (day.timetuple().tm_yday - 1) / DAYS
