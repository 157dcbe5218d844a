"""From a manifest of the Genomic Data Commons to the files it lists.

A file lies in a folder that is called after its id, as gdc-client lays it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from slidesurv.cohorts.arrival import Arrival
from slidesurv.cohorts.inventory import Entry
from slidesurv.cohorts.web import Web
from slidesurv.engine import Outcome
from slidesurv.errors import DataError
from slidesurv.files import inside, write_csv

__all__ = ["download"]

PIECE = 16 * 2**20  # bytes asked for at a time: a second or two
SPARE = 2**30  # bytes that a disk keeps free


def download(
    entries: Sequence[Entry],
    folder: Path,
    web: Web,
    *,
    piece: int = PIECE,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Fetch what is not there yet. Whenever this is interrupted, the same call goes on where it stopped.

    A file that cannot be had fails with its reason, also in ``failures.csv``, and the others go on.

    Args:
        entries: of a manifest.
        folder: made if it is not there.
        web: GDC's API; the pieces of all files share its connections.
        piece: bytes of one request; larger files are fetched by several at a time.
        report: called with each outcome as it comes, skipped ones first.

    Returns:
        One outcome an entry: "done", "skipped" (it was there) or "failed".

    Raises:
        DataError: the disk has no room or cannot be written, or another process downloads into the folder.
    """
    with _claimed(folder):
        outcomes = {entry: Outcome(entry.place, "skipped") for entry in entries if _stands(folder, entry)}
        for outcome in outcomes.values():
            report(outcome)
        coming = [Arrival(entry, folder, piece) for entry in entries if entry not in outcomes]
        _require_room(folder, sum(arrival.missing for arrival in coming))
        for entry, outcome in _fetch_all(coming, web):
            outcomes[entry] = outcome
            report(outcome)
        ended = [outcomes[entry] for entry in entries]
        _write_failures(folder / "failures.csv", entries, ended)
    return ended


def _stands(folder: Path, entry: Entry) -> bool:
    path = inside(folder, entry.place)
    return path.is_file() and path.stat().st_size == entry.size


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it when this one ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".fetch.lock").open("w")
    except OSError as error:
        raise DataError(f"Cannot write into '{folder}': {error.strerror}. Choose another folder.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another process downloads into '{folder}'. Wait for it, or choose another.") from None
        yield


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed and needed + SPARE > free:
        raise DataError(
            f"'{folder}' has room for {free / 1e9:,.1f} GB, and {needed / 1e9:,.1f} GB are to come. Make room, or "
            "download a part of the manifest."
        )


def _fetch_all(coming: Sequence[Arrival], web: Web) -> Iterator[tuple[Entry, Outcome]]:
    """Fetch the spans of every file side by side, first files first."""
    pool = ThreadPoolExecutor(web.connections)
    try:
        tasks = [pool.submit(arrival.fetch, span, web) for arrival in coming for span in arrival.spans]
        for task in as_completed(tasks):
            if (ended := task.result()) is not None:
                yield ended
    except OSError as error:
        raise DataError(f"Cannot write what comes: {error}. Mend that, and run the same command again.") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who closes the client ends those under way


def _write_failures(path: Path, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
    path.unlink(missing_ok=True)  # of an earlier download
    failed = [
        {"file_id": entry.id, "file_name": entry.name, "reason": outcome.reason}
        for entry, outcome in zip(entries, outcomes, strict=True)
        if outcome.status == "failed"
    ]
    if failed:
        write_csv(path, failed, ("file_id", "file_name", "reason"))
