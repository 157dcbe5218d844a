"""Independent, resumable tasks: here, or in worker processes.

A task is a call whose result is one file. Where the file stands the task is done and is not run again, so that
the same command after an interruption goes on where it stopped. Tasks share nothing; their order and the number
of workers change no result.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from slidesurv.errors import ConfigError, DataError, SlidesurvError, listing

__all__ = ["Outcome", "Task", "run"]


@dataclass(frozen=True, slots=True)
class Task:
    """One call.

    Attributes:
        name: what progress and failures call it; unique in a run.
        call: a function at the top level of a module, so that a worker process can import it.
        args: its arguments; must survive pickling between our own processes.
        output: the file that the call writes last.
    """

    name: str
    call: Callable[..., None]
    args: tuple[Any, ...]
    output: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Attributes:
        status: "done", "skipped" (the output stood already) or "failed".
        reason: the error's message; "" unless failed.
        seconds: wall time of the call.
    """

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0


def run(
    tasks: Sequence[Task], *, workers: int = 1, report: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Run every task that is not done yet.

    An error of ours (`SlidesurvError`) fails its task, is kept with its reason, and the others go on. Any other
    exception is a bug and ends the run; tasks that have not begun by then are not begun.

    Args:
        tasks: independent of each other.
        workers: processes; 1 runs here.
        report: called with each outcome as it comes, skipped ones first.

    Returns:
        One outcome a task, in the order of the tasks.

    Raises:
        ConfigError: two tasks share a name or an output, or there are no workers.
        DataError: a worker process was killed.
    """
    _check(tasks, workers)
    outcomes = {task.name: Outcome(task.name, "skipped") for task in tasks if task.output.exists()}
    for outcome in outcomes.values():
        report(outcome)
    waiting = [task for task in tasks if task.name not in outcomes]
    for outcome in _here(waiting) if workers == 1 else _in_processes(waiting, workers):
        outcomes[outcome.name] = outcome
        report(outcome)
    return [outcomes[task.name] for task in tasks]


def _check(tasks: Sequence[Task], workers: int) -> None:
    if workers < 1:
        raise ConfigError(f"{workers} workers cannot run anything: give 1 or more.")
    for what, values in (
        ("name", [task.name for task in tasks]),
        ("output", [str(task.output) for task in tasks]),
    ):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ConfigError(f"Tasks share a {what}: {listing(twice)}. Give each its own.")


def _here(tasks: Sequence[Task]) -> Iterator[Outcome]:
    for task in tasks:
        yield _perform(task)


def _in_processes(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    # spawn: a forked copy of a process that has used OpenMP may hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent)
    try:
        for future in as_completed([pool.submit(_perform, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"One of {workers} workers was killed, most likely because the memory ran out. What is finished is kept: "
            "run the same command again with fewer --workers, and it goes on where it stopped."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when the process that started it is gone: a killed run leaves no writer behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _perform(task: Task) -> Outcome:
    start = time.monotonic()
    try:
        task.call(*task.args)
        if not task.output.exists():
            raise DataError(f"Task '{task.name}' ended without its output '{task.output}'.")
    except SlidesurvError as error:
        return Outcome(task.name, "failed", str(error), time.monotonic() - start)
    return Outcome(task.name, "done", seconds=time.monotonic() - start)
