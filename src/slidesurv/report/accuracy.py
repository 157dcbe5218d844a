"""The table of accuracy: which metrics there are, how each is written, and what a reader must know of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from slidesurv.report.estimate import Estimate, p_text

__all__ = ["OWN", "Accuracy", "Column", "Measured", "columns_at"]

OWN = "the clinical baseline is part of it"


@dataclass(frozen=True, slots=True)
class Column:
    """A metric and how it is shown.

    Attributes:
        key: its name in files.
        title: its name on the page, with its months.
        about: "order", what risk alone tells, "clinical", what it adds to the clinical baseline, or "survival", what
            the curves promise.
        form: how its number is written.
    """

    key: str
    title: str
    about: Literal["order", "clinical", "survival"]
    form: Callable[[Estimate], str] = Estimate.text

    def text(self, estimate: Estimate) -> str:
        """The number and its interval, or a dash."""
        return self.form(estimate)


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of one method.

    Attributes:
        estimates: by the keys of the columns.
        shares: per cent of the patients who die in each tenth of predicted survival, from 0 to 1, mean over seeds; 10
            everywhere when the curves are right. () without curves.
        note: on which folds, when not on all; "" otherwise.
    """

    label: str
    slug: str
    estimates: Mapping[str, Estimate]
    shares: tuple[Estimate, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The metrics of every method of a run.

    Attributes:
        months: at which survival is judged; the last is the tau of all that looks at a span.
        months_note: which months were left out, and why; "" when none was.
        bins_note: which months are later than the curves can tell well, and why; "" when none is.
        stamp: stands beside every number.
    """

    columns: tuple[Column, ...]
    rows: tuple[Measured, ...]
    months: tuple[float, ...]
    months_note: str
    bins_note: str
    stamp: str

    def about(self, what: str) -> list[Column]:
        """The columns about "order", "clinical" or "survival"."""
        return [column for column in self.columns if column.about == what]

    @property
    def beside_clinical(self) -> list[Measured]:
        """The methods of which it can be asked what they add to the clinical baseline."""
        return [row for row in self.rows if row.estimates["added_c"].note != OWN]

    def notes(self, what: str) -> list[str]:
        """What a reader must know of those columns, each thing once, with the methods and metrics it is true of."""
        said: dict[str, dict[str, list[str]]] = {}
        for row in self.rows:
            for column in self.about(what):
                if note := row.estimates[column.key].note:
                    said.setdefault(note, {}).setdefault(row.label, []).append(column.title)
        some = [f"{row.label}: {row.note}." for row in self.rows if row.note]
        return [*some, *(f"{_whose(of)}: {note}." for note, of in said.items())]


def _whose(titles: Mapping[str, Sequence[str]]) -> str:
    """Methods, and the metrics they share: "A, B (AUC at 12 months)"; one such group after another."""
    groups: dict[str, list[str]] = {}
    for label, of in titles.items():
        groups.setdefault(", ".join(of), []).append(label)
    return "; ".join(f"{', '.join(labels)} ({metrics})" for metrics, labels in groups.items())


def columns_at(months: Sequence[float], *, clinical: bool = False) -> tuple[Column, ...]:
    """The metrics of a run.

    Args:
        months: at which it is judged; the last is the tau of what looks at a span.
        clinical: whether what is added to a clinical baseline is told.
    """
    tau = f"{months[-1]:.3g} months"
    coarse, signed = partial(Estimate.text, digits=2), partial(Estimate.text, signed=True)
    ahead = partial(Estimate.text, signed=True, digits=1)
    return (
        Column("harrell_c", "Harrell's C", "order"),
        Column("uno_c", f"Uno's C, tau = {tau}", "order"),
        *(Column(f"auc_{month:.3g}", f"AUC, {month:.3g} months", "order") for month in months),
        Column("hazard_ratio", "Hazard ratio per SD", "order", coarse),
        Column("months_ahead", f"Low risk ahead, of {tau}", "order", ahead),
        *(_beside_clinical(signed) if clinical else ()),
        *(Column(f"brier_{month:.3g}", f"Brier, {month:.3g} months", "survival") for month in months),
        Column("integrated_brier", f"Integrated Brier, 0 to {tau}", "survival"),
        Column("kaplan_meier_brier", "The same of Kaplan–Meier", "survival"),
        Column("skill", "Skill", "survival", signed),
        Column("calibration_slope", f"Calibration slope, {tau}", "survival", coarse),
        Column("d_calibration_p", "D-calibration", "survival", _p_text),
    )


def _beside_clinical(signed: Callable[[Estimate], str]) -> tuple[Column, ...]:
    return (
        Column("added_c", "Gain in C over clinical", "clinical", signed),
        Column("added_chi2", "Added to clinical, χ²", "clinical", partial(Estimate.text, digits=2)),
        Column("added_p", "Added to clinical, p", "clinical", _p_text),
    )


def _p_text(estimate: Estimate) -> str:
    return p_text(estimate.value)
