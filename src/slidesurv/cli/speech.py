"""Results go to stdout; everything that is said on the way goes to stderr."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slidesurv.engine import Outcome

__all__ = ["epochs_bar", "say", "table"]


def say(text: str) -> None:
    """Print one line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def epochs_bar(folder: Path, *, folds: int, epochs: int) -> Iterator["Teller"]:
    """Show how far a cross-validation is: a bar on a terminal, a line a fold elsewhere.

    Args:
        folder: of the run; running folds say in ``progress.json`` where they stand.
        folds: number of tasks.
        epochs: of each.
    """
    teller = Teller(folder, folds=folds, epochs=epochs)
    if not sys.stderr.isatty():
        yield teller
        return
    stop = Event()
    thread = Thread(target=teller.draw, args=(stop,), daemon=True)
    thread.start()
    try:
        yield teller
    finally:
        stop.set()
        thread.join()


class Teller:
    """Counts what is finished and says so."""

    def __init__(self, folder: Path, *, folds: int, epochs: int) -> None:
        self._folder, self._folds, self._epochs = folder, folds, epochs
        self._ended: list[Outcome] = []
        self._start = time.monotonic()

    def ended(self, outcome: "Outcome") -> None:
        """Take note of a fold that ended, and print it where no bar is drawn."""
        self._ended.append(outcome)
        if outcome.status == "failed":
            say(f"failed: {outcome.name}: {outcome.reason}")
        elif outcome.status == "done" and not sys.stderr.isatty():
            spent = time.monotonic() - self._start
            fresh = sum(o.status == "done" for o in self._ended)
            left = spent / fresh * (self._folds - len(self._ended))
            count = f"[{len(self._ended)}/{self._folds}]"
            say(f"{count} {outcome.name}: {outcome.seconds:.0f} s, about {left / 60:.0f} min left")

    def draw(self, stop: Event) -> None:
        """Draw the bar until told to stop."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("epochs", total=self._folds * self._epochs)
            while not stop.wait(0.5):
                told = f"{len(self._ended)} of {self._folds} folds{self._trials()}, epochs"
                progress.update(bar, completed=self._epochs_done(), description=told)
            progress.update(bar, completed=len(self._ended) * self._epochs)

    def _epochs_done(self) -> int:
        running = self._folder.glob("*/seed*/fold*/progress.json")
        return len(self._ended) * self._epochs + sum(_epoch(path) for path in running)

    def _trials(self) -> str:
        """Where running searches stand."""
        from slidesurv.errors import DataError
        from slidesurv.files import read_json

        told = []
        for path in self._folder.glob("*/search/fold*/progress.json"):
            with suppress(DataError):  # the search ended this moment
                told.append("trial {trial} of {trials}".format(**read_json(path)))
        return "".join(f", {each}" for each in told)


def _epoch(progress: Path) -> int:
    """Epochs that a running fold has finished; 0 if the fold ended this moment."""
    from slidesurv.errors import DataError
    from slidesurv.files import read_json

    try:
        return int(read_json(progress)["epoch"])
    except DataError:
        return 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns of text; the first row is the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
