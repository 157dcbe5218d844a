"""What a paper prints, to stand beside what was found here."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from slidesurv.files import read_csv

__all__ = ["Printed", "PrintedTable", "cohort_named", "read_printed"]


@dataclass(frozen=True, slots=True)
class Printed:
    """A C-index as printed.

    Attributes:
        mean: over the paper's folds.
        sd: over them; NaN where none is printed.
    """

    mean: float
    sd: float = math.nan

    def __str__(self) -> str:
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.3f}"
        return f"{self.mean:.3f}{spread}"


PrintedTable: TypeAlias = Mapping[tuple[str, str], Printed]
"""By row and cohort."""


def read_printed(path: Path, tables: Collection[str]) -> PrintedTable:
    """Read some tables of a file of printed values; where two print the same row and cohort, the later one counts.

    Args:
        path: columns "table", "row", "cohort", "mean" and "sd".
        tables: their names there.
    """
    rows = [row for row in read_csv(path) if row["table"] in tables]
    return {(row["row"], row["cohort"]): Printed(float(row["mean"]), float(row["sd"] or "nan")) for row in rows}


def cohort_named(texts: Iterable[str], cohorts: Iterable[str]) -> str | None:
    """Find the printed cohort that one of some texts names, such as LUAD for "tcga-luad, tokens"; None if none does."""
    names = sorted(set(cohorts))
    return next((name for text in texts for name in names if name.casefold() in text.casefold()), None)
