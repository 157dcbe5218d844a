"""A number that says how sure it is, or why there is none."""

import math
from dataclasses import dataclass
from typing import Self

from slidesurv.survival.evidence import Metric

__all__ = ["DASH", "Estimate", "p_text"]

DASH = "—"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, or the reason why there is none.

    Attributes:
        value: NaN when it is not defined.
        low: NaN when no interval was made.
        note: why the value is not defined, or what to know about it.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""

    @classmethod
    def of(cls, metric: Metric) -> Self:
        """A metric with the percentile interval of its resamples."""
        if math.isnan(metric.value):
            return cls(note=metric.note)
        missing = metric.undefined
        left_out = f"{missing:,} of {len(metric.samples):,} resamples have no value and are left out" if missing else ""
        return cls(metric.value, *metric.interval, note="; ".join(filter(None, (metric.note, left_out))))

    def __str__(self) -> str:
        return self.text()

    def text(self, *, signed: bool = False, digits: int = 3) -> str:
        """``0.61 (0.55 to 0.67)``, or a dash."""
        form = f"{'+' if signed else ''}.{digits}f"
        if math.isnan(self.value):
            return DASH
        bounds = "" if math.isnan(self.low) else f" ({self.low:{form}} to {self.high:{form}})"
        return f"{self.value:{form}}{bounds}".replace("-", "−")

    def excludes(self, nothing: float) -> bool:
        """Whether the interval stands clear of the value that would mean nothing."""
        return not self.low <= nothing <= self.high and not math.isnan(self.low)


def p_text(p: float) -> str:
    """``p = 0.031``, ``p < 0.001``, or a dash."""
    if math.isnan(p):
        return DASH
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
