"""How far a job of slides is: tiles a second, and the time that is left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slidesurv.cli.speech import say

if TYPE_CHECKING:
    from slidesurv.slides.run import Step

__all__ = ["tiles_bar"]


@contextmanager
def tiles_bar() -> "Iterator[Callable[[Step], None]]":
    """Show how far a job is: a bar a stage on a terminal, a line a slide elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bars(progress)


class _Lines:
    """Says a line whenever a slide has ended."""

    def __init__(self) -> None:
        self._speed = _Speed()
        self._elsewhere = 0

    def __call__(self, step: "Step") -> None:
        self._speed.note(step)
        if step.elsewhere != self._elsewhere and step.elsewhere:
            say(f"waiting for {step.elsewhere} slides that others work on")
        self._elsewhere = step.elsewhere
        ended = step.ended
        if ended is None or ended.status == "skipped":
            return
        if ended.status == "failed":
            say(f"failed: {ended.slide}: {ended.reason}")
            return
        again = f" (done again: {ended.reason})" if ended.reason else ""
        count = f"[{step.settled}/{step.slides}] {ended.slide}: {ended.tiles} tiles"
        say(f"{count}, {self._speed.rate:.0f} tiles/s, about {self._speed.left(step)} left{again}")


class _Bars:
    """Draws a bar for every stage."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}
        self._speed = _Speed()

    def __call__(self, step: "Step") -> None:
        self._speed.note(step)
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._progress.add_task(step.stage, total=step.slides, speed="")
        speed = f"{self._speed.rate:.0f} tiles/s, about {self._speed.left(step)} left"
        speed = f"waiting for {step.elsewhere} slides that others work on" if step.elsewhere else speed
        self._progress.update(self._tasks[step.stage], completed=step.settled, speed=speed)
        if step.ended and step.ended.status == "failed":
            self._progress.console.print(f"failed: {step.ended.slide}: {step.ended.reason}", markup=False)


class _Speed:
    """Tiles a second of the stage that runs, and the time that is left of it."""

    def __init__(self) -> None:
        self._stage = ""
        self._tiles = self._fresh = 0
        self._start = time.monotonic()

    def note(self, step: "Step") -> None:
        """Take a step into account."""
        if step.stage != self._stage:
            self._stage, self._tiles, self._fresh, self._start = step.stage, 0, 0, time.monotonic()
        self._tiles += step.tiles
        self._fresh += step.ended is not None and step.ended.status != "skipped"

    @property
    def rate(self) -> float:
        """Tiles a second."""
        return self._tiles / max(time.monotonic() - self._start, 1e-9)

    def left(self, step: "Step") -> str:
        """The time that is left: by tiles where their number is known, else by slides."""
        share = self._tiles / step.expected if step.expected else self._fresh / max(1, self._waiting(step))
        spent = time.monotonic() - self._start
        seconds = spent * (1 - min(1.0, share)) / share if share else 0.0
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"

    def _waiting(self, step: "Step") -> int:
        """Slides that were not skipped."""
        return step.slides - step.settled + self._fresh
