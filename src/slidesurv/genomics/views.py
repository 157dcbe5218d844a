"""What a model sees of an expression table, fitted on training patients alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError

__all__ = ["PrincipalComponents", "Standardise"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standardise:
    """Columns with mean 0 and standard deviation 1 on the rows that were fitted.

    Attributes:
        mean: (G,) of the fitted rows.
        scale: (G,) standard deviation, divided by the number of rows; 0 for a constant column, which becomes 0.
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, values: NDArray[np.floating]) -> Standardise:
        """Fit on the rows of (B, G) values."""
        return cls.fit_parts([values])

    @classmethod
    def fit_parts(cls, parts: Iterable[NDArray[np.floating]]) -> Standardise:
        """Fit on rows that come in parts, one part in memory at a time.

        Args:
            parts: arrays (B_i, G); parts without rows are skipped.

        Raises:
            DataError: there is no row.

        Source:
            Chan, Golub and LeVeque (1979): the parts' means and squared deviations, joined pair by pair.
        """
        rows, mean, squares = 0, np.zeros(()), np.zeros(())
        for part in parts:
            if len(part) == 0:
                continue
            own = part.mean(0, dtype=np.float64)
            own_squares = np.square(part - own).sum(0)
            share, shift = len(part) / (rows + len(part)), own - mean
            mean = mean + shift * share
            squares = squares + own_squares + shift**2 * rows * share
            rows += len(part)
        if rows == 0:
            raise DataError("There are no rows to fit a scale on: no training patient has any.")
        scale = np.sqrt(squares / rows)
        # A constant column's deviation is rounding error, which a division would blow up to order one.
        return cls(mean, np.where(scale > 1e-12 * np.abs(mean), scale, 0.0))

    @property
    def factor(self) -> Array:
        """(G,) what centred values are multiplied by; 0 for a constant column."""
        return _reciprocal(self.scale)

    def __call__(self, values: NDArray[np.floating]) -> Array:
        """Scale values (..., G)."""
        scaled: Array = (values - self.mean) * self.factor
        return scaled

    def state(self) -> dict[str, Array]:
        """The fitted arrays by name, for a bundle."""
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Standardise:
        """Rebuild from `state`."""
        return cls(state["mean"], state["scale"])


@dataclass(frozen=True, slots=True)
class PrincipalComponents:
    """The directions in which standardised training patients differ most.

    Attributes:
        standardise: applied first.
        components: (K, G) orthonormal rows, by falling variance; the entry of largest size in each is positive.
        scale: (K,) what each score is divided by: its own standard deviation when whitened, else the first one's.
    """

    standardise: Standardise
    components: Array
    scale: Array

    @classmethod
    def fit(cls, values: NDArray[np.floating], *, components: int, whiten: bool = False) -> PrincipalComponents:
        """Fit on training patients.

        Args:
            values: (B, G) expression.
            components: K, at most B - 1 and at most G.
            whiten: give every score a standard deviation of 1 on the fitted rows; without it the first has 1 and the
                others keep their proportion to it.

        Raises:
            ConfigError: names the largest K that the patients allow.
        """
        patients, genes = values.shape
        most = min(patients - 1, genes)
        if not 1 <= components <= most:
            raise ConfigError(
                f"components is {components}, but {patients} training patients with {genes} genes allow 1 to {most}. "
                "Set components accordingly."
            )
        standardise = Standardise.fit(values)
        _, sizes, directions = np.linalg.svd(standardise(values), full_matrices=False)  # exact, so the same every time
        directions = directions[:components]
        largest = np.take_along_axis(directions, np.abs(directions).argmax(1, keepdims=True), axis=1)
        deviation = np.where(sizes > 1e-10 * sizes[0], sizes, 0.0)[:components] / np.sqrt(patients)
        return cls(
            standardise, directions * np.sign(largest), deviation if whiten else np.full(components, deviation[0])
        )

    def __call__(self, values: NDArray[np.floating]) -> Array:
        """Give the scores (..., K) of values (..., G)."""
        scores: Array = self.standardise(values) @ self.components.T * _reciprocal(self.scale)
        return scores

    def state(self) -> dict[str, Array]:
        """The fitted arrays by name, for a bundle."""
        return {**self.standardise.state(), "components": self.components, "component_scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> PrincipalComponents:
        """Rebuild from `state`."""
        return cls(Standardise.from_state(state), state["components"], state["component_scale"])


def _reciprocal(scale: Array) -> Array:
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
