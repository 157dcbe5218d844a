"""One file on its way from a service, in spans that several threads fetch.

Until all of it is there and its md5 is right it is ``.<name>.part``, and ``.<name>.part.json`` says which bytes are on
the disk; both outlive the program.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from slidesurv.cohorts.inventory import Entry, md5
from slidesurv.cohorts.web import PassingError, Patience, Web
from slidesurv.engine import Outcome
from slidesurv.errors import DataError
from slidesurv.files import inside, read_json, replacing, write_json

if TYPE_CHECKING:
    import httpx

__all__ = ["Arrival", "Span"]


@dataclass(slots=True)
class Span:
    """Bytes [start, stop) of a file, of which those before ``reached`` are there."""

    start: int
    stop: int
    reached: int

    @property
    def missing(self) -> int:
        """Bytes to come."""
        return self.stop - self.reached


class _NoRangesError(Exception):
    """The service sends whole files alone."""


class Arrival:
    """One file.

    Args:
        entry: what it must be.
        folder: where its own folder stands.
        piece: bytes of a span.

    Attributes:
        spans: to be given to `fetch`, each once, by any thread.
    """

    def __init__(self, entry: Entry, folder: Path, piece: int) -> None:
        self.entry, self._path = entry, inside(folder, entry.place)
        self._part = self._path.with_name(f".{entry.name}.part")
        self._journal = self._path.with_name(f".{entry.name}.part.json")
        starts = range(0, max(entry.size, 1), piece)
        self.spans = [Span(start, min(start + piece, entry.size), start) for start in starts]
        self._lock, self._left, self._failure = Lock(), len(self.spans), ""
        self._begun, self._ranges = 0.0, True
        self._whole: Span | None = None  # once the file is taken from one answer
        self._resume()

    @property
    def missing(self) -> int:
        """Bytes to come."""
        return sum(span.missing for span in ([self._whole] if self._whole else self.spans))

    def fetch(self, span: Span, web: Web) -> tuple[Entry, Outcome] | None:
        """Fetch one span; whoever ends last makes the file, and says how it ended."""
        try:
            self._begin()
            self._fetch(span, web)
        except DataError as error:
            self._failure = self._failure or str(error)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        return (self.entry, self._end(web)) if last else None

    def _resume(self) -> None:
        """Take over what an earlier run left, if it was fetched for the same file in the same spans."""
        if not self._journal.exists() or not self._part.exists() or self._part.stat().st_size != self.entry.size:
            return
        with suppress(DataError):  # a journal that cannot be read says nothing
            known = read_json(self._journal)
            if known.get("md5") == self.entry.md5 and known.get("starts") == [span.start for span in self.spans]:
                for span, reached in zip(self.spans, known["reached"], strict=True):
                    span.reached = min(max(int(reached), span.start), span.stop)

    def _save(self) -> None:
        """Write down which bytes are there, once the disk has them."""
        with self._lock:
            known = {"starts": [span.start for span in self.spans], "reached": [span.reached for span in self.spans]}
            with self._part.open("rb") as file:
                os.fsync(file.fileno())
            write_json(self._journal, {"md5": self.entry.md5, **known})

    def _begin(self) -> None:
        """Make room for the bytes, once."""
        with self._lock:
            if self._begun:
                return
            self._begun = time.monotonic()
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if not any(span.reached > span.start for span in self.spans):
                with self._part.open("wb") as file:
                    file.truncate(self.entry.size)

    def _fetch(self, span: Span, web: Web) -> None:
        """Ask for the rest of a span until it is there."""
        patience = Patience(web)
        try:
            while span.missing and self._ranges and not self._failure:
                before = span.reached
                try:
                    self._receive(span, web)
                except PassingError as error:
                    patience.wait(error, progress=span.reached > before)
        except _NoRangesError:
            self._fetch_alone(web)
        finally:
            if self.missing:
                self._save()

    def _fetch_alone(self, web: Web) -> None:
        """Fetch the whole file, unless another thread does."""
        with self._lock:
            first, self._ranges = self._ranges, False
        if first:
            self._fetch_whole(web)

    def _fetch_whole(self, web: Web) -> None:
        """Take the file from one answer; every attempt begins anew."""
        self._whole = whole = Span(0, self.entry.size, 0)
        patience = Patience(web)
        while whole.missing:
            whole.reached = 0
            try:
                self._receive(whole, web)
            except PassingError as error:
                patience.wait(error)

    def _receive(self, span: Span, web: Web) -> None:
        """Take one answer, as far as it goes.

        Raises:
            PassingError: it ends early.
            DataError: it is not of this file.
        """
        entire = (span.reached, span.stop) == (0, self.entry.size)
        headers = {} if entire else {"Range": f"bytes={span.reached}-{span.stop - 1}"}
        with web.stream(f"data/{self.entry.id}", headers=headers) as reply, self._part.open("r+b", buffering=0) as file:
            self._place(reply, span)
            file.seek(span.reached)
            for chunk in reply.iter_raw():
                if len(chunk) > span.missing:
                    raise DataError(f"More than its {self.entry.size} bytes came. Make the manifest again.")
                file.write(chunk)
                span.reached += len(chunk)
        if span.missing:
            raise PassingError(f"the answer ended at byte {span.reached} of {self.entry.size}")

    def _place(self, reply: httpx.Response, span: Span) -> None:
        """Find where in the file an answer belongs: where it was asked for, or at the beginning."""
        if reply.status_code == 200:
            if (span.start, span.stop) != (0, self.entry.size):
                raise _NoRangesError
            span.reached = 0
            return
        asked = f"bytes {span.reached}-{span.stop - 1}/{self.entry.size}"
        told = reply.headers.get("Content-Range", "")
        if told != asked:
            raise DataError(f"The service sent '{told}' where '{asked}' was asked for. Make the manifest again.")

    def _end(self, web: Web) -> Outcome:
        """Give the file its name, if it is what the manifest says."""
        try:
            if not self._failure:
                self._require_md5(web)
                with replacing(self._path) as temporary:
                    self._part.replace(temporary)
                self._journal.unlink(missing_ok=True)
        except DataError as error:
            self._failure = str(error)
        seconds = time.monotonic() - self._begun
        return Outcome(self.entry.place, "failed" if self._failure else "done", self._failure, seconds)

    def _require_md5(self, web: Web) -> None:
        """Check what came; if it is wrong, fetch all of it once more."""
        if md5(self._part) == self.entry.md5:
            return
        self._fetch_whole(web)
        if (found := md5(self._part)) != self.entry.md5:
            self._part.unlink()
            self._journal.unlink(missing_ok=True)
            raise DataError(
                f"Its md5 is {found}, fetched twice, but {self.entry.md5} in the manifest. Nothing was kept; make the "
                "manifest again."
            )
