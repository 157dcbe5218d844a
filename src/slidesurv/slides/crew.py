"""Workers that settle slides one at a time: here, or in processes of their own, whose death costs one slide at most.

A reader is a library in C that meets damaged files. In a process of its own its crash is seen by the others: the slide
is tried once more, then it has failed, and a new worker goes on with the next.
"""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self, final

import torch

from slidesurv.errors import ConfigError, SlidesurvError
from slidesurv.slides.claims import Claims
from slidesurv.slides.job import Job
from slidesurv.slides.libraries import cv2
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.settings import Pace
from slidesurv.slides.settle import ELSEWHERE, Settled, Stage, fail, settle

__all__ = ["Crew", "threads"]

DEATHS = 2  # of workers over one slide, after which it has failed


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let the libraries of this process use so many threads, and put them back at the end."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@final
class Crew:
    """Workers of a job.

    Args:
        job: whose claims they respect.
        workers: processes; 1 works here. They are started when there is something to do.
        pace: threads of each.

    Raises:
        ConfigError: there are no workers.
    """

    def __init__(self, job: Job, workers: int, pace: Pace) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers cannot do anything: give 1 or more.")
        self._job, self._workers, self._pace = job, workers, pace
        self._claims = Claims(job.claims)
        self._processes: dict[Connection, SpawnProcess] = {}
        self._idle: list[Connection] = []
        self._deaths: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._claims.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in self._processes.items():
            if error is not None:
                process.terminate()
            with suppress(OSError):
                connection.send(None)
            process.join()
            connection.close()
        self._claims.__exit__(kind, error, trace)

    def settle(
        self, stage: Stage, slides: Sequence[SlideFile], tick: Callable[[int], None], *, waited: bool
    ) -> Iterator[Settled]:
        """Bring slides through a stage, in any order; those that somebody else works on come back "elsewhere".

        Args:
            stage: what is done.
            slides: that are not finished.
            tick: called with numbers of tiles, as they come.
            waited: see `settle`.

        Raises:
            ConfigError: what was asked for cannot be done with any slide.
            DataError: the disk refuses.
            RuntimeError: a worker has met a bug.
        """
        if self._workers == 1:
            for each in slides:
                yield settle(stage, each, self._claims, tick, waited=waited)
            return
        while len(self._processes) < min(self._workers, len(slides)):
            self._hire()
        waiting, busy = deque(slides), dict[Connection, SlideFile]()
        while waiting or busy:
            while waiting and self._idle:
                connection = self._idle.pop()
                busy[connection] = waiting.popleft()
                with suppress(OSError):  # it is dead, which is heard at once
                    connection.send((stage, busy[connection], waited))
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                said = self._hear(ready, stage, busy[ready])
                if isinstance(said, Settled):
                    del busy[ready]
                    yield said
                else:
                    tick(said)

    def _hear(self, connection: Connection, stage: Stage, each: SlideFile) -> Settled | int:
        """What a worker says: a number of tiles, or how a slide ended."""
        try:
            said: Settled | int | SlidesurvError = connection.recv()
        except (EOFError, OSError):
            return self._bury(connection, stage, each)
        if isinstance(said, SlidesurvError):
            raise said
        if isinstance(said, Settled):
            self._idle.append(connection)
        return said

    def _hire(self) -> None:
        context = multiprocessing.get_context("spawn")  # a forked copy of a process that has used OpenMP may hang
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self._job, self._pace.threads), daemon=True)
        process.start()
        there.close()
        self._processes[here] = process
        self._idle.append(here)

    def _bury(self, connection: Connection, stage: Stage, each: SlideFile) -> Settled:
        """Put a new worker in the place of a dead one; its slide is looked at again, or has failed."""
        process = self._processes.pop(connection)
        process.join()
        connection.close()
        if (process.exitcode or 0) >= 0:
            raise RuntimeError(f"A worker met a bug in slide '{each.slide}'; its own words stand above.")
        self._hire()
        self._deaths[each.slide] += 1
        if self._deaths[each.slide] < DEATHS:
            return Settled(each.slide, stage.name, ELSEWHERE)
        return self._give_up(stage, each.slide, -(process.exitcode or 0))

    def _give_up(self, stage: Stage, slide: str, signal_: int) -> Settled:
        claim = self._claims.take(self._job.key(slide, stage.name))  # what the dead one has left
        reason = (
            f"E_CRASH: {DEATHS} workers were killed (signal {signal_}) while they worked on it: a library crashed, or "
            "the memory ran out. Fetch or convert the slide again, or give fewer --workers."
        )
        failed = fail(stage, slide, reason)
        if claim:
            self._claims.release(claim)
        return failed


def _work(connection: Connection, job: Job, number: int) -> None:
    """Settle slides until told to stop, or until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    with threads(number), Claims(job.claims) as claims, suppress(EOFError):
        while order := connection.recv():
            stage, each, waited = order
            try:
                said: Settled | SlidesurvError = settle(stage, each, claims, partial(_tell, connection), waited=waited)
            except SlidesurvError as error:
                said = error
            _tell(connection, said)


def _tell(connection: Connection, said: Settled | int | SlidesurvError) -> None:
    try:
        connection.send(said)
    except OSError:  # the parent is gone: leave at once, so that no killed job goes on writing
        os._exit(1)
