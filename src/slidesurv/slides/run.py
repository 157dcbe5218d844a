"""Run a job: every slide through every stage, on one machine or on many that share the folder.

::

    tally = run_job("slides", "job", TileSettings(), EncodeSettings(encoder="texture"), workers=2)
    tally.failed                                    # what could not be used, with the reason

A slide that is done is skipped when its content is right, and done again when it is not. A slide that fails is recorded
with the reason, and the others go on. What another process has claimed is looked at again at the end.
"""

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slidesurv.errors import ConfigError, listing
from slidesurv.files import write_json
from slidesurv.slides.crew import Crew, threads
from slidesurv.slides.encode import EncodeStage, ready
from slidesurv.slides.job import FAILED, TILING, Job, read_config, remember
from slidesurv.slides.manifest import SlideFile, Sources, find_slides, read_lock, write_lock
from slidesurv.slides.prefetch import Clock
from slidesurv.slides.settings import SLIDES, EncodeSettings, Pace, TileSettings
from slidesurv.slides.settle import ELSEWHERE, SKIPPED, Settled, Stage, finished
from slidesurv.slides.summary import describe_machine, write_summary
from slidesurv.slides.tiling import TileStage

__all__ = ["Step", "Tally", "encode_job", "run_job"]

PATIENCE = 2.0  # seconds between two looks at what others work on


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a stage is.

    Attributes:
        stage: "patches", or the folder of the features.
        slides: of the stage.
        settled: slides so far.
        expected: tiles of the stage that were not there already; 0 where that is not known.
        tiles: that came since the last step.
        elsewhere: slides that others work on, when nothing else is left to do.
        ended: the slide that ended with this step.
    """

    stage: str
    slides: int
    settled: int
    expected: int
    tiles: int = 0
    elsewhere: int = 0
    ended: Settled | None = None


Report = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Tally:
    """How a job ended.

    Attributes:
        settled: every slide in every stage that it reached.
        notes: what was seen on the way, a line each.
        seconds: wall time.
    """

    settled: tuple[Settled, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Settled, ...]:
        """Slides that could not be used; each stands here once."""
        return tuple(each for each in self.settled if each.status == FAILED)

    @property
    def clock(self) -> Clock:
        """Where the time went, in all workers together."""
        return sum((each.clock for each in self.settled), Clock())

    def counts(self, stage: str) -> Counter[str]:
        """Slides by what became of them."""
        return Counter(each.status for each in self.settled if each.stage == stage)


def run_job(
    slides: Path | str | Sources,
    folder: Path | str,
    tiles: TileSettings | None = None,
    features: EncodeSettings | None = None,
    *,
    pace: Pace | None = None,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    masks: Path | None = None,
    command: str = "",
    report: Report = lambda step: None,
) -> Tally:
    """Tile slides, and encode the tiles where that is asked for.

    A worker holds four batches, one chunk of features and the coordinates of one slide; and while it looks for tissue a
    picture of at most 10⁸ pixels. Its memory does not grow with the slides, nor with their number.

    Args:
        slides: a folder, or slides found in it or in a manifest.
        folder: of the job; an earlier part of the same job is gone on with.
        tiles: where the tiles are; the defaults are 256 px at 0.5 µm/px.
        features: what is made of them; None stops at the tiles.
        pace: device, batches and threads.
        workers: processes; 1 works here.
        shard: (i, n) takes the i-th of n parts of the slides, from 1.
        masks: folder of outlines that stand for the segmenter.
        command: for the record.
        report: called with every step.

    Returns:
        What became of every slide.

    Raises:
        ConfigError: the job was begun with other settings, or the encoder cannot be had.
        DataError: there are no slides, two would share a name, or the disk refuses.
    """
    tiles, pace = tiles or TileSettings(), pace or Pace()
    sources = slides if isinstance(slides, Sources) else find_slides(Path(slides))
    job = Job(Path(folder), tiles.target.folder)
    if features and features.limits and not tiles.quality:
        raise ConfigError("Tiles whose quality is not measured cannot be limited by it: measure it, or give no limits.")
    if masks and not masks.is_dir():
        raise ConfigError(f"There is no folder of masks '{masks}'. Name the one that holds <slide>.geojson.")
    with threads(pace.threads):
        stages: list[Stage] = [TileStage(job, sources.root, tiles, pace, masks)]
        stages += [_encoding(job, sources.root, tiles, features, pace)] if features else []
        return _Run(
            job=job, sources=sources, stages=stages, workers=workers, shard=shard, command=command, report=report
        ).go(_note(job, sources))


def encode_job(
    folder: Path | str,
    features: EncodeSettings,
    *,
    root: Path | None = None,
    tiles: str | None = None,
    pace: Pace | None = None,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    command: str = "",
    report: Report = lambda step: None,
) -> Tally:
    """Encode the tiles of a job that `run_job` has begun.

    Args:
        folder: of the job.
        features: what is made of the tiles.
        root: the folder of slides, where it is not where it was.
        tiles: name of their folder, where the job has several.
        pace: device, batches and threads.
        workers: processes; 1 works here.
        shard: (i, n) takes the i-th of n parts of the slides, from 1.
        command: for the record.
        report: called with every step.

    Returns:
        What became of every slide.

    Raises:
        ConfigError: there is no such job, it was begun with other settings, or the encoder cannot be had.
        DataError: the disk refuses.
    """
    job, pace = Job.find(Path(folder), tiles), pace or Pace()
    config = read_config(job.folder)
    settings = TileSettings.from_sections(config, job.tiles)
    sources = read_lock(job.lock, root or job.folder / config["slides"]["root"])
    if not sources.root.is_dir():
        raise ConfigError(f"The folder of slides is not '{sources.root}'. Say where it is with --slides-root.")
    if features.limits and not settings.quality:
        raise ConfigError(f"'{folder}' was tiled without measuring quality: tile it again with it, or give no limits.")
    with threads(pace.threads):
        stages = [_encoding(job, sources.root, settings, features, pace)]
        return _Run(
            job=job, sources=sources, stages=stages, workers=workers, shard=shard, command=command, report=report
        ).go(())


def _encoding(job: Job, root: Path, tiles: TileSettings, features: EncodeSettings, pace: Pace) -> EncodeStage:
    """The stage of an encoder that was made ready, so that what is missing is missed before the first slide."""
    ready.cache_clear()  # the file of weights may have changed since
    return EncodeStage(job, root, tiles, features, pace, ready(features, pace.device).provenance)


def _note(job: Job, sources: Sources) -> tuple[str, ...]:
    notes = [f"Left out: '{place}', unfinished or DICOM without a manifest" for place in sources.left_out]
    if job.lock.exists():
        earlier = {each.slide for each in read_lock(job.lock, sources.root).slides}
        gone = sorted(earlier - {each.slide for each in sources.slides})
        notes += [f"No longer listed: {listing(gone)}"] if gone else []
    return tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One call of a job."""

    job: Job
    sources: Sources
    stages: Sequence[Stage]
    workers: int
    shard: tuple[int, int]
    command: str
    report: Report

    def go(self, notes: tuple[str, ...]) -> Tally:
        start, began = time.monotonic(), datetime.now(UTC)
        job, slides = self.job, _part(self.sources.slides, self.shard)
        self._remember()
        settled: list[Settled] = []
        with Crew(job, self.workers, self.stages[0].pace) as crew:
            for stage in self.stages:
                ended = list(_settle(crew, stage, slides, self.report))
                settled += ended
                bad = {each.slide for each in ended if each.status == FAILED}
                slides = [each for each in slides if each.slide not in bad]
        tally = Tally(tuple(settled), notes, time.monotonic() - start)
        features = sorted(read_config(job.folder).get("features", {}).get(job.tiles, {}))
        said = [job.anonymous(note, self.sources.root) for note in notes]
        write_summary(job, [each.slide for each in self.sources.slides], features, said)
        name = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        write_json(job.folder / "runs" / f"{name}.json", self._describe(tally))
        return tally

    def _remember(self) -> None:
        """Write down what is asked for, before the first slide."""
        sections = {key: section for stage in self.stages for key, section in stage.sections().items()}
        if SLIDES in sections:
            root = Path(os.path.relpath(self.sources.root, self.job.folder)).as_posix()
            sections[SLIDES] = {**sections[SLIDES], "root": root}
        remember(self.job.folder, sections)
        if SLIDES in sections:
            write_lock(self.job.lock, self.sources)

    def _describe(self, tally: Tally) -> dict[str, Any]:
        pace = self.stages[0].pace
        return {
            "command": self.command,
            "seconds": round(tally.seconds, 1),
            "workers": self.workers,
            "shard": self.shard,
            "pace": asdict(pace),
            "counts": {stage.name: dict(tally.counts(stage.name)) for stage in self.stages},
            "clock": asdict(tally.clock),
            "machine": describe_machine(pace.device),
        }


def _part(slides: Sequence[SlideFile], shard: tuple[int, int]) -> list[SlideFile]:
    number, parts = shard
    if not 1 <= number <= parts:
        raise ConfigError(f"There is no shard {number} of {parts}: give 1/{parts} to {parts}/{parts}.")
    return list(slides[number - 1 :: parts])


def _settle(crew: Crew, stage: Stage, slides: Sequence[SlideFile], report: Report) -> Iterator[Settled]:
    """Bring every slide through a stage, by own work or by that of others."""
    counted = _Counted(stage, slides, report)
    for each in slides:
        if ended := finished(stage, each):
            yield counted.note(ended)
    waiting, waited = [each for each in slides if each.slide not in counted.settled], False
    while waiting:
        for ended in crew.settle(stage, waiting, counted.tick, waited=waited):
            if ended.status != ELSEWHERE:
                yield counted.note(ended)
        waiting = [each for each in waiting if each.slide not in counted.settled]
        if waiting and waited:
            counted.wait(len(waiting))
        waited = True


class _Counted:
    """Counts a stage and reports it."""

    def __init__(self, stage: Stage, slides: Sequence[SlideFile], report: Report) -> None:
        self.settled: set[str] = set()
        self._report = report
        records = stage.job.records(TILING, [each.slide for each in slides]) if stage.name != TILING else ()
        tiles = {record.slide: record.tiles for record in records}
        self._step = Step(stage=stage.name, slides=len(slides), settled=0, expected=sum(tiles.values()))
        self._tiles = tiles
        report(self._step)

    def tick(self, tiles: int) -> None:
        self._report(replace(self._step, tiles=tiles))

    def wait(self, elsewhere: int) -> None:
        self._report(replace(self._step, elsewhere=elsewhere))
        time.sleep(PATIENCE)

    def note(self, ended: Settled) -> Settled:
        self.settled.add(ended.slide)
        left = self._step.expected - (self._tiles.get(ended.slide, 0) if ended.status == SKIPPED else 0)
        self._step = replace(self._step, settled=len(self.settled), expected=left)
        self._report(replace(self._step, ended=ended))
        return ended
