"""A polite client of one web service: few connections, patience with what passes, none with what does not.

httpx, because its client is safe to share between threads, bounds its connections and every wait, and streams.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from slidesurv import __version__
from slidesurv.errors import ConfigError, DataError, MissingExtra

if TYPE_CHECKING:
    import httpx

__all__ = ["PassingError", "Patience", "Web"]

PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that the same question may not get again
LONGEST_REST = 60.0  # seconds, where the service does not say how long
LONGEST_ASKED = 600.0  # seconds that we wait when it does


class PassingError(Exception):
    """A question that is worth asking again.

    Attributes:
        after: seconds that the service asks to wait; 0 when it says nothing.
    """

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Web:
    """One service.

    Args:
        base_url: ``https://…``; paths are relative to it.
        connections: most at a time.
        attempts: how often in a row a question may fail without getting further.
        pause: seconds before the second attempt; doubled for each further one.
        timeout: seconds of silence that end a connection.

    Raises:
        ConfigError: base_url is no web address, or there are no connections or attempts.
        MissingExtra: httpx is not installed.
    """

    def __init__(
        self, base_url: str, *, connections: int = 4, attempts: int = 6, pause: float = 1.0, timeout: float = 60.0
    ) -> None:
        if not base_url.startswith(("https://", "http://")):
            raise ConfigError(f"'{base_url}' is no web address. Write --base-url https://…")
        if connections < 1 or attempts < 1:
            raise ConfigError(f"{connections} connections and {attempts} attempts fetch nothing: give 1 or more.")
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("Fetching needs httpx: 'pip install slidesurv[fetch]'.") from error
        self.base_url, self.connections, self.attempts, self.pause = base_url, connections, attempts, pause
        self._failure = httpx.RequestError
        self._client = httpx.Client(
            base_url=base_url,
            limits=httpx.Limits(max_connections=connections),
            timeout=httpx.Timeout(timeout, pool=None),  # a thread may wait for its turn as long as it takes
            headers={"User-Agent": f"slidesurv/{__version__}", "Accept-Encoding": "identity"},
            follow_redirects=True,
        )
        self._stop, self._lock, self._quiet_until = Event(), Lock(), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()  # wakes whoever rests
        self._client.close()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask and read the answer as JSON, with patience.

        Args:
            path: of the question.
            body: sent as JSON; None only asks.

        Raises:
            DataError: the service refuses, does not answer, or answers something else.
        """
        patience = Patience(self)
        while True:
            try:
                with self.stream(path, body=body) as reply:
                    text = reply.read()
                break
            except PassingError as error:
                patience.wait(error)
        try:
            return json.loads(text)
        except ValueError:
            raise DataError(
                f"'{self.base_url}' answered '{path}' with no JSON: {text[:80]!r}. Check --base-url, or try later."
            ) from None

    @contextmanager
    def stream(
        self, path: str, *, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Ask once, and read the answer as it comes.

        Raises:
            PassingError: the connection broke, also while reading, or the service is busy.
            DataError: the service refuses.
        """
        self.rest(self._quiet_until - time.monotonic())
        method = "GET" if body is None else "POST"
        try:
            with self._client.stream(method, path, json=body, headers=headers) as reply:
                if reply.status_code not in {200, 206}:
                    self._refuse(reply, path)
                yield reply
        except self._failure as error:
            raise PassingError(f"{type(error).__name__} {error}".strip()) from error

    def rest(self, seconds: float) -> None:
        """Wait, unless the client is closed meanwhile.

        Raises:
            DataError: it was closed.
        """
        if self._stop.wait(max(seconds, 0.0)):
            raise DataError("Stopped. Run the same command again, and it goes on where it was.")

    def _refuse(self, reply: httpx.Response, path: str) -> None:
        words = f"answered {reply.status_code} {reply.reason_phrase}".strip()
        after = _seconds(reply.headers.get("Retry-After", ""))
        if reply.status_code in PASSING and after <= LONGEST_ASKED:
            with self._lock:  # nobody asks meanwhile, on any connection
                self._quiet_until = max(self._quiet_until, time.monotonic() + after)
            raise PassingError(words, after)
        told = reply.read()[:200].decode("utf-8", "replace").strip()
        advice = {
            401: "It is not open; use gdc-client with a token.",
            403: "It is not open; use gdc-client with a token.",
            404: "Make the manifest again: it may be of another release.",
            416: "The file is shorter than the manifest says; make it again.",
        }.get(reply.status_code, f"Try again after {after:.0f} seconds." if after else "Check what was asked for.")
        raise DataError(f"'{self.base_url}' {words} to '{path}' ({told}). {advice}")


class Patience:
    """How long one question is asked again.

    Args:
        web: whose settings count.
    """

    def __init__(self, web: Web) -> None:
        self._web, self._failures = web, 0

    def wait(self, error: PassingError, *, progress: bool = False) -> None:
        """Rest before the next attempt.

        Args:
            error: why the last one failed.
            progress: it got further than those before; then it does not count.

        Raises:
            DataError: as many attempts in a row failed as are allowed.
        """
        self._failures = 0 if progress else self._failures + 1
        if self._failures >= self._web.attempts:
            where = f"{self._failures} attempts at '{self._web.base_url}'"
            raise DataError(f"Given up after {where}: {error}. Run the same command again later.")
        backoff = self._web.pause * 2 ** max(self._failures - 1, 0)
        self._web.rest(max(error.after, min(backoff, LONGEST_REST)))


def _seconds(retry_after: str) -> float:
    """Read a Retry-After header: seconds or a date; 0 for none, or one that says nothing."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return 0.0
