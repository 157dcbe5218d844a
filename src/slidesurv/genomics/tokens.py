"""Expression as words: the bin that each gene's value falls into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError

__all__ = ["QuantileBins", "TPMBins"]

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TPMBins:
    """Bins of log10(TPM + 1): one for zero, and V - 1 of one width.

    Everything is float64: in float32 a value beside an edge takes the bin next to its own.

    Attributes:
        count: V, bins with the zero bin.
        factor: the largest logarithm of the corpus that the weights were taught on.
        log: take the logarithm; False for values that are logarithms already.
        relative: divide by ``factor``; False spreads the edges up to it instead.

    Source:
        Gélard et al. (PMLR 259, 2024).
    """

    count: int
    factor: float
    log: bool = True
    relative: bool = True

    @property
    def edges(self) -> Array:
        """(V,) lower edges of bins 1 to V; a value on an edge lies above it."""
        return np.linspace(0.0, 1.0 if self.relative else self.factor, self.count)

    def normalise(self, tpm: NDArray[np.number]) -> Array:
        """Give what the edges cut, of the same shape; the values given are not changed."""
        values = np.asarray(tpm, np.float64)
        logarithms = np.log10(values + 1.0) if self.log else values
        scaled: Array = logarithms / self.factor if self.relative else logarithms
        return scaled

    def __call__(self, tpm: NDArray[np.number]) -> Ids:
        """Give the bin of every value.

        Args:
            tpm: (..., G) transcripts per million, from 0 on.

        Returns:
            (..., G) ids in [0, V]. V stands for what is as large as the largest of the corpus, or larger: the encoder
            takes it for V - 1.
        """
        values = self.normalise(tpm)
        above = np.searchsorted(self.edges, values, side="right")  # edges at or below the value
        return np.where(values == 0, 0, above)


@dataclass(frozen=True, slots=True)
class QuantileBins:
    """Bins that hold equally many values of the fitted rows, for expression that is not TPM, such as z-scores.

    One scale serves all genes, as with TPM. Where many values are alike, some bins stay empty.

    Attributes:
        edges: (V - 1,) inner edges, never falling; a value on an edge lies above it.
    """

    edges: Array

    @classmethod
    def fit(cls, values: NDArray[np.floating], *, count: int = 64) -> QuantileBins:
        """Fit on the rows of training patients.

        Args:
            values: (B, G) finite expression.
            count: V, bins.

        Raises:
            ConfigError: there are fewer than two bins.
            DataError: there is no value, or one is not finite.
        """
        if count < 2:
            raise ConfigError(f"{count} bins cannot tell values apart: give 2 or more, such as 64.")
        if values.size == 0 or not np.isfinite(values).all():
            raise DataError(
                f"Bins cannot be fitted on {values.size} values, {int((~np.isfinite(values)).sum())} of them not "
                "finite. Give the expression of training patients, without gaps."
            )
        return cls(np.quantile(values.astype(np.float64), np.linspace(0, 1, count + 1)[1:-1]))

    @property
    def count(self) -> int:
        """V, bins."""
        return len(self.edges) + 1

    def __call__(self, values: NDArray[np.floating]) -> Ids:
        """Give the bin of every value (..., G), in [0, V); the outermost bins are open."""
        return np.searchsorted(self.edges, values, side="right")

    def state(self) -> dict[str, Array]:
        """The fitted arrays by name, for a file."""
        return {"edges": self.edges}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> QuantileBins:
        """Rebuild from `state`."""
        return cls(state["edges"])
