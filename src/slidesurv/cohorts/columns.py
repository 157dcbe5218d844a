"""Which column of a cohort table means what, in the field's many spellings; what is ambiguous is asked, not guessed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.slides.manifest import SUFFIXES as SLIDES

__all__ = ["EventRule", "event_rule", "find_column", "patient_column", "plain", "slide_name", "time_column"]

ALIASES = {
    "patient_id": ("patient_id", "case_id", "PATIENT", "patient", "submitter_id", "ID"),
    "slide_id": ("slide_id", "SLIDE", "slide", "slide_path", "wsi", "FILENAME"),
    "site": ("site", "tissue_source_site"),
}
TIMES = ("time", "time_months", "time_days", "time_years", "survival_months", "survival_months_dss", "survival_days",
         "os_survival_months", "os_survival_days", "time_label")  # fmt: skip
SUFFIXES = (*SLIDES, ".dcm", ".h5", ".pt")
MONTHS = {"months": 1.0, "days": 12 / 365.25, "years": 12.0}
STATUS = re.compile("event|status|censor|vital|dead|death", re.IGNORECASE)

Rows = Sequence[Mapping[str, str]]


def plain(cell: str) -> str:
    """Bring spellings of one value together: no blanks around it, no case, ``1.0`` as ``1``."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", cell.strip().casefold())


@dataclass(frozen=True, slots=True)
class EventRule:
    """Which column tells of deaths, and in which words; 1, 1.0 and "Dead", "dead" are the same word.

    Attributes:
        column: its name.
        dead: what it says of a patient who died.
        alive: what it says of one who was alive when last seen.
    """

    column: str
    dead: tuple[str, ...]
    alive: tuple[str, ...]

    def __post_init__(self) -> None:
        if both := {plain(word) for word in self.dead} & {plain(word) for word in self.alive}:
            raise ConfigError(f"{listing(sorted(both))} cannot mean both dead and alive in column '{self.column}'.")

    def read(self, cell: str) -> bool | None:
        """Say whether a cell means death; None for a word of neither list."""
        word = plain(cell)
        if word in map(plain, self.dead):
            return True
        return False if word in map(plain, self.alive) else None


# Only these names say by themselves what 1 means.
KNOWN_EVENTS = (
    EventRule("event", dead=("1",), alive=("0",)),
    EventRule("censorship", dead=("0",), alive=("1",)),
    EventRule("os_censorship", dead=("0",), alive=("1",)),
)


def slide_name(cell: str) -> str:
    """Take a slide's id from a file name or path: the last part, without one known suffix."""
    name = re.split(r"[/\\]", cell)[-1]
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def find_column(what: str, header: Sequence[str], chosen: Mapping[str, str]) -> str | None:
    """Find the column that holds the slide or the site: the one chosen, else the first alias that is there.

    Raises:
        DataError: the chosen column is not in the table.
    """
    if what in chosen:
        return _require(chosen[what], header)
    return next((alias for alias in ALIASES[what] if alias in header), None)


def patient_column(rows: Rows, chosen: Mapping[str, str]) -> str:
    """Find the column that names the patient; where several could, they must say the same in every row.

    Raises:
        DataError: there is none, or two of them differ; names both.
    """
    header = list(rows[0])
    column = find_column("patient_id", header, chosen)
    if column is None:
        raise DataError(
            f"No column names the patient; the table has {listing(header, most=12)}. Call one 'patient_id'."
        )
    rivals = [alias for alias in ALIASES["patient_id"] if alias in header and "patient_id" not in chosen]
    for rival in rivals:
        differ = [number for number, row in enumerate(rows, start=2) if row[rival].strip() != row[column].strip()]
        if differ:
            raise DataError(
                f"Columns '{column}' and '{rival}' could both name the patient, and differ in rows {listing(differ)}. "
                'Rename the one that does not, or say which does: [cohort] columns = { patient_id = "…" }.'
            )
    return column


def time_column(header: Sequence[str], chosen: Mapping[str, str], unit: str | None) -> tuple[str, float]:
    """Find the column of times, and the months in one of its units.

    Raises:
        DataError: no column or several columns could be meant, or the unit is not known.
        ConfigError: the unit is no unit, or not the one that the column's name tells.
    """
    found = [_require(chosen["time"], header)] if "time" in chosen else [name for name in TIMES if name in header]
    if len(found) != 1:
        seen = listing(found or header, most=20)
        raise DataError(
            f'{len(found)} columns can be the follow-up time: {seen}. Say which: [cohort] columns = {{ time = "…" }}.'
        )
    told = re.search(r"(?:^|_)(months|days|years)(?:_|$)", found[0])
    if unit is not None and unit not in MONTHS:
        raise ConfigError(unknown("time unit", unit, MONTHS))
    if told is None and unit is None:
        raise DataError(f"Column '{found[0]}' does not tell its unit. Set [cohort] time_unit to months, days or years.")
    if told is not None and unit not in (None, told[1]):
        raise ConfigError(
            f"Column '{found[0]}' is in {told[1]} by its name, but time_unit is '{unit}'. Remove time_unit."
        )
    return found[0], MONTHS[unit or (told[1] if told else "")]


def event_rule(rows: Rows, chosen: EventRule | None) -> EventRule:
    """Find how deaths are told, and make sure that every filled cell is understood.

    Raises:
        DataError: prints the values seen and the options to set.
    """
    header = list(rows[0])
    if chosen is not None:
        _require(chosen.column, header)
    known = [chosen] if chosen else [rule for rule in KNOWN_EVENTS if rule.column in header]
    if len(known) == 1 and all(
        known[0].read(row[known[0].column]) is not None or not _filled(row, known[0]) for row in rows
    ):
        return known[0]
    columns = [rule.column for rule in known] or [name for name in header if STATUS.search(name)] or ["event"]
    raise DataError(
        f"It is not certain which patients died. {' '.join(_values(rows, column) for column in columns[:3])} "
        f'Say it: [cohort] event_column = "{columns[0]}", dead = "…", alive = "…".'
    )


def _filled(row: Mapping[str, str], rule: EventRule) -> bool:
    return row[rule.column].strip() != ""


def _values(rows: Rows, column: str) -> str:
    if column not in rows[0]:
        return f"The table has no column '{column}', and none that looks like one; it has {listing(rows[0], most=12)}."
    counts = Counter(row[column].strip() for row in rows).most_common(5)
    return f"Column '{column}' holds {', '.join(f'{value!r} in {count} rows' for value, count in counts)}."


def _require(column: str, header: Sequence[str]) -> str:
    if column not in header:
        raise DataError(f"The table has no such column. {unknown('column', column, header)}")
    return column
