"""One slide through one stage: skipped when it is done, taken when nobody else has it, and recorded."""

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from slidesurv.errors import DataError
from slidesurv.slides.claims import Claims
from slidesurv.slides.job import FAILED, Job, Record
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.prefetch import Clock
from slidesurv.slides.settings import Pace

__all__ = ["ELSEWHERE", "SKIPPED", "Settled", "Stage", "fail", "finished", "settle"]

ELSEWHERE, SKIPPED = "elsewhere", "skipped"
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # what no other slide would fare better with


class Stage(Protocol):
    """Something that is done with every slide; see `TileStage` and `EncodeStage`."""

    @property
    def job(self) -> Job:
        """Where records are kept."""

    @property
    def root(self) -> Path:
        """Folder of the slides, which messages must not name."""

    @property
    def pace(self) -> Pace:
        """How many readers, threads and tiles at a time; changes no result."""

    @property
    def name(self) -> str:
        """Of the stage, and of its folder."""

    def sections(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """What the file of the job says of it."""

    def outputs(self, slide: str) -> tuple[Path, ...]:
        """The files of a slide; the last is written last."""

    def known(self, slide: str) -> dict[str, Any]:
        """Read what was made of a slide to its end: status, numbers and facts of a `Record`.

        Raises:
            DataError: it cannot be read to its end.
        """

    def disagreement(self, each: SlideFile, facts: Mapping[str, Any]) -> str | None:
        """Why what is known of a slide is not what is wanted; None when it is."""

    def perform(self, each: SlideFile, tick: Callable[[int], None]) -> Clock:
        """Do it, and say where the time went; ``tick`` is called with numbers of tiles.

        Raises:
            DataError: it cannot be done with this slide.
        """


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one slide in one stage.

    Attributes:
        slide: its id.
        stage: its name.
        status: as of a `Record`; or "skipped", "elsewhere".
        reason: why it failed, or why it was done again.
        tiles: in the file.
        seconds: that it took.
        clock: where they went.
    """

    slide: str
    stage: str
    status: str
    reason: str = ""
    tiles: int = 0
    seconds: float = 0.0
    clock: Clock = field(default_factory=Clock)


def settle(stage: Stage, each: SlideFile, claims: Claims, tick: Callable[[int], None], *, waited: bool) -> Settled:
    """Bring a slide through a stage, unless it is through already or somebody else does it.

    Args:
        stage: what is done.
        each: the slide.
        claims: of the job.
        tick: called with numbers of tiles.
        waited: others were waited for: what somebody who is gone has left is taken over, and what another found to fail
            is believed.

    Raises:
        ConfigError: what was asked for cannot be done with any slide.
        DataError: the disk refuses.
    """
    claim = claims.take(stage.job.key(each.slide, stage.name), over=waited)
    if claim is None:
        return Settled(each.slide, stage.name, ELSEWHERE)
    try:
        return _settle_claimed(stage, each, tick, waited)
    finally:
        claims.release(claim)


def finished(stage: Stage, each: SlideFile) -> Settled | None:
    """A slide that is done, whose files are as they were when their content was last read; None for any other."""
    record = stage.job.read(each.slide, stage.name)
    done = _is_unchanged(record, stage) and stage.disagreement(each, record.facts) is None
    return Settled(each.slide, stage.name, SKIPPED) if done else None


def _is_unchanged(record: Record | None, stage: Stage) -> TypeGuard[Record]:
    """Whether a slide was done, and its files have the sizes and times that were noted then."""
    return record is not None and record.status != FAILED and record.stamp == _stamp(stage, record.slide)


def _stamp(stage: Stage, slide: str) -> tuple[tuple[int, int], ...]:
    """Size and time of every file of a slide; nothing when one is missing."""
    try:
        stats = [path.stat() for path in stage.outputs(slide)]
    except FileNotFoundError:
        return ()
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


def _settle_claimed(stage: Stage, each: SlideFile, tick: Callable[[int], None], waited: bool) -> Settled:
    start, before = time.monotonic(), stage.job.read(each.slide, stage.name)
    fault = _fault(stage, each, before)
    if fault is None:
        return Settled(each.slide, stage.name, SKIPPED)
    if waited and before and before.status == FAILED:
        return Settled(each.slide, stage.name, FAILED, before.reason)
    _sweep(stage, each.slide)
    try:
        clock = stage.perform(each, tick)
        record = _record(stage, each.slide, stage.known(each.slide), time.monotonic() - start)
    except DataError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK:
            raise
        return fail(stage, each.slide, stage.job.anonymous(str(error), stage.root))
    return Settled(each.slide, stage.name, record.status, fault, record.tiles, record.seconds, clock)


def _fault(stage: Stage, each: SlideFile, before: Record | None) -> str | None:
    """Why a slide is not done; "" when nothing is there, None when its content is as it should be."""
    if _is_unchanged(before, stage):
        return stage.disagreement(each, before.facts)
    *others, last = stage.outputs(each.slide)
    if not last.exists():
        return ""
    if missing := [path.name for path in others if not path.exists()]:
        return f"'{missing[0]}' is missing"
    try:
        known = stage.known(each.slide)
    except DataError as error:
        return stage.job.anonymous(str(error), stage.root)
    fault = stage.disagreement(each, known["facts"])
    if fault is None:
        _record(stage, each.slide, known, before.seconds if before else 0.0)
    return fault


def _record(stage: Stage, slide: str, known: Mapping[str, Any], seconds: float) -> Record:
    place, stamp = f"{stage.job.tiles}/{stage.name}", _stamp(stage, slide)
    record = Record(slide=slide, stage=place, stamp=stamp, seconds=round(seconds, 2), **known)
    stage.job.write(record)
    return record


def _sweep(stage: Stage, slide: str) -> None:
    """Remove what a killed process left half-written."""
    for path in (*stage.outputs(slide), stage.job.state(slide, stage.name)):
        for part in path.parent.glob(f".{path.name}.*.part"):
            part.unlink(missing_ok=True)


def fail(stage: Stage, slide: str, reason: str) -> Settled:
    """Record that a slide failed; what was known of it before is kept."""
    before = stage.job.read(slide, stage.name)
    failed = Record(slide=slide, stage=f"{stage.job.tiles}/{stage.name}", status=FAILED, reason=reason)
    stage.job.write(replace(failed, facts=before.facts) if before else failed)
    return Settled(slide, stage.name, FAILED, reason)
