"""Keep the encoder fed: threads read and decode the next batches while it works on this one, and the time is taken.

Memory is bounded whatever the slide: `DEPTH` batches wait, one is made and one is used.
"""

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from threading import Lock
from typing import Self, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import TileError
from slidesurv.slides.reader import Reader, Slide

__all__ = ["DEPTH", "Clock", "ahead", "timed"]

DEPTH = 2

Item = TypeVar("Item")


@dataclass(slots=True)
class Clock:
    """Where the time went, seconds; reading happens beside the rest, so they do not add up to the whole.

    Attributes:
        read: threads waited for the file, or for a core.
        decode: threads decoded what they had read.
        prepare: tiles were resized, measured and normalised.
        network: the encoder worked.
        starved: the encoder waited for tiles.
        tiles: that were read.
    """

    read: float = 0.0
    decode: float = 0.0
    prepare: float = 0.0
    network: float = 0.0
    starved: float = 0.0
    tiles: int = 0

    def __add__(self, other: Self) -> Self:
        """What two pieces of work took together."""
        both = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        return type(self)(**both)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Take the time of a block."""
        start = time.perf_counter()
        yield
        setattr(self, what, getattr(self, what) + time.perf_counter() - start)


def ahead(items: Iterator[Item], clock: Clock) -> Generator[Item, None, None]:
    """Give items that a thread makes before they are asked for; the order stays.

    Close it before what the thread reads from is closed.

    Args:
        items: none of them None; an error comes where its item would.
        clock: notes how long was waited for each.
    """
    pool = ThreadPoolExecutor(1)
    try:
        coming = deque(pool.submit(next, items, None) for _ in range(DEPTH))
        while True:
            with clock.of("starved"):
                item = coming.popleft().result()
            if item is None:
                return
            coming.append(pool.submit(next, items, None))
            yield item
    finally:  # also when the caller closes it: then nothing reads any more
        pool.shutdown(wait=True, cancel_futures=True)


def timed(slide: Slide, clock: Clock) -> Slide:
    """The same slide, with a reader that notes its time, and for which a disk that fails is a tile that fails."""
    return Slide(slide.path, _TimedReader(slide.reader, clock), slide.mpp, slide.mpp_source)


@final
class _TimedReader(Reader):
    def __init__(self, reader: Reader, clock: Clock) -> None:
        self.levels, self.stated_mpp, self.power = reader.levels, reader.stated_mpp, reader.power
        self.private = reader.private
        self._reader = reader
        self._clock = clock
        self._guard = Lock()

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        wall, worked = time.perf_counter(), time.thread_time()
        try:
            self._reader.fill(out, left, top, level)
        except OSError as error:
            raise TileError(f"The region at ({left}, {top}) of level {level} cannot be read: {error}.") from error
        worked = time.thread_time() - worked
        with self._guard:
            self._clock.decode += worked
            self._clock.read += max(0.0, time.perf_counter() - wall - worked)

    @override
    def close(self) -> None:
        self._reader.close()
