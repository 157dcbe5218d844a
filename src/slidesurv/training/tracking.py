"""Following a training: a line of ``history.jsonl`` an epoch, and the tracker that the user chose.

The lines hold no time of day and are written whole each time, so that a run that is killed and started again leaves the
same bytes. A tracker that fails is given up, logged and named; the training goes on.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, final

from slidesurv.errors import MissingExtra
from slidesurv.files import read_json, write_json, write_text
from slidesurv.report.words import without_folders
from slidesurv.training.trackers.base import Place, Tracker

__all__ = ["Follower", "begin", "given_up"]

Row = Mapping[str, float]

EXTRAS = {"tensorboard": "tracking", "mlflow": "mlflow"}
FAULT = "tracking.json"
log = logging.getLogger(__name__)


@final
class Nobody(Tracker):
    """Is told and keeps nothing."""

    faults: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, place: Place) -> None:
        pass

    @staticmethod
    def begin(run: Path, experiment: str) -> None:
        """Nothing is to be made ready."""

    def epoch(self, number: int, values: Row) -> None:
        """Forget the numbers."""

    def close(self, *, finished: bool) -> None:
        """Nothing is open."""


def begin(name: str, run: Path, experiment: str) -> None:
    """Make a tracker ready for the trainings of a run.

    Args:
        name: as in ``[records] tracker``.
        run: folder of the run.
        experiment: its name.

    Raises:
        MissingExtra: the tracker's library is not installed.
        DataError: its disk or its server refuses.
    """
    try:
        _tracker(name).begin(run, experiment)
    except ImportError as error:
        raise MissingExtra(
            f'[records] tracker = "{name}" needs a library that is not installed ({error}). '
            f"Run: pip install 'slidesurv[{EXTRAS[name]}]', or set tracker = \"none\"."
        ) from error


def _tracker(name: str) -> type[Tracker]:
    """The class of a tracker; its library is imported with it."""
    if name == "tensorboard":
        from slidesurv.training.trackers.tensorboard import TensorBoard

        return TensorBoard
    if name == "mlflow":
        from slidesurv.training.trackers.mlflow import MLflow

        return MLflow
    return Nobody


class Follower(AbstractContextManager["Follower"]):
    """Follows one training; leave it to close the tracker.

    Args:
        place: the training.
        tracker: as in ``[records]``.
    """

    def __init__(self, place: Place, tracker: str) -> None:
        self._place = place
        self._name = tracker
        self._kind = _tracker(tracker)
        self._tracker: Tracker | None = None
        self._told = 0
        self._since = time.monotonic()

    def tell(self, history: Sequence[Row]) -> None:
        """Take the history from its first epoch to the last that is finished."""
        about = {"method": self._place.method, "seed": self._place.seed, "fold": self._place.fold}
        lines = [json.dumps(about | {key: _known(value) for key, value in row.items()}) for row in history]
        write_text(self._place.folder / "history.jsonl", "".join(f"{line}\n" for line in lines))
        try:
            self._tell_tracker(history)
        except self._kind.faults as error:
            self._give_up(error)

    def _tell_tracker(self, history: Sequence[Row]) -> None:
        if self._tracker is None:
            (self._place.folder / FAULT).unlink(missing_ok=True)
            self._tracker = self._kind(self._place)
        for row in history[self._told :]:
            values = {name: value for name, value in row.items() if name != "epoch"}
            if row is history[-1]:  # those before it were learnt before an interruption
                values["seconds"] = time.monotonic() - self._since
            self._tracker.epoch(int(row["epoch"]), values)
            self._told += 1
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._tracker is not None:
                self._tracker.close(finished=error is None)
        except self._kind.faults as fault:
            self._give_up(fault)

    def _give_up(self, error: Exception) -> None:
        """Tell the tracker nothing more of this training, and say so in the log and in the fold's folder."""
        reason = f"{self._name} was told of {self._told} epochs and then failed: {error}"
        log.warning("%s: %s. The training goes on; history.jsonl has every epoch.", self._place.name, reason)
        write_json(self._place.folder / FAULT, {"reason": without_folders(reason)})
        self._tracker = Nobody(self._place)


def given_up(folder: Path) -> str:
    """Why a fold's tracker was given up; "" if it was not."""
    path = folder / FAULT
    return str(read_json(path)["reason"]) if path.exists() else ""


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
