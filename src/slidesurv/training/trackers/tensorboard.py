"""TensorBoard: event files in ``<run>/tensorboard``, a folder a training.

Written record by record with TensorBoard's own parts: PyTorch's writer names the file after this machine, and writes it
in a thread where a full disk is not seen.
"""

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from slidesurv.training.trackers.base import Place, Tracker

__all__ = ["TensorBoard"]


@final
class TensorBoard(Tracker):
    """Writes event files. ``tensorboard --logdir <run>/tensorboard`` draws them, those of running folds too."""

    faults: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    def __init__(self, place: Place) -> None:
        self._place = place
        folder = place.run / "tensorboard" / place.name
        shutil.rmtree(folder, ignore_errors=True)  # of a training that was interrupted
        folder.mkdir(parents=True)
        self._file = (folder / "events.out.tfevents.0").open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    @staticmethod
    def begin(run: Path, experiment: str) -> None:
        """Nothing is shared."""

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Write the numbers of one epoch, and let them be seen."""
        known = {self._place.stamped(name): value for name, value in values.items() if not math.isnan(value)}
        numbers = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in known.items()])
        self._write(Event(wall_time=time.time(), step=number, summary=numbers))

    def close(self, *, finished: bool) -> None:
        """Close the file; a training that failed has one, too."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
