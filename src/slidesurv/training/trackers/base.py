"""What a program that draws a training is told, and what it may not do: lose a fold."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

__all__ = ["Place", "Tracker"]


@dataclass(frozen=True, slots=True)
class Place:
    """One training of a run: a method, a seed, a fold.

    Attributes:
        run: folder of the run.
        experiment: its name.
        method: the method's folder in it.
        stamp: stands before the name of every number of a published protocol.
    """

    run: Path
    experiment: str
    method: str
    seed: int
    fold: int
    stamp: str = ""

    @property
    def name(self) -> str:
        """How the run's folder and trackers call it."""
        return f"{self.method}/seed{self.seed}/fold{self.fold}"

    @property
    def folder(self) -> Path:
        """Where everything about it is written."""
        return self.run / self.name

    def stamped(self, name: str) -> str:
        """The name of a number, with the word that goes with every number of the run."""
        return f"{self.stamp}/{name}" if self.stamp else name


class Tracker(Protocol):
    """Told of one training, epoch after epoch. A training that goes on after an interruption is told from the start.

    Attributes:
        faults: what it raises when its disk or its server fails; everything else is a bug.
    """

    faults: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, place: Place) -> None: ...

    @staticmethod
    def begin(run: Path, experiment: str) -> None:
        """Make ready what the trainings of a run share, once, before any of them begins.

        Raises:
            DataError: its disk or its server refuses.
        """

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one epoch, counted from 1; a value that is not known is NaN."""

    def close(self, *, finished: bool) -> None:
        """End: the training came to its end, or it did not."""
