"""One slide to its tiles: tissue, grid, quality, and the pictures that a person looks at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError
from slidesurv.files import replacing, sha256
from slidesurv.slides.batches import read_batches, refuse_unreadable
from slidesurv.slides.faults import TileError
from slidesurv.slides.job import TILING, Job
from slidesurv.slides.libraries import cv2
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.outline import overlay, read_outline, write_outline
from slidesurv.slides.prefetch import Clock, ahead, timed
from slidesurv.slides.quality import COLUMNS, Quality, measure, read_quality, write_quality
from slidesurv.slides.reader import Slide, open_slide
from slidesurv.slides.resolution import Sampling, sample
from slidesurv.slides.settings import Pace, TileSettings
from slidesurv.slides.tiles import grid, read_coords, write_coords
from slidesurv.slides.tissue import Tissue, find_tissue

__all__ = ["GIVEN", "Tick", "TileStage", "opened"]

GIVEN = "given"  # the segmenter of an outline that a person drew or edited
THUMBNAILS = (1024, 512, 256, 128)  # pixels of the long side; a smaller one where a part of the larger is damaged

# What stands on the coordinates and in the record of a slide.
SAID = (
    "created_with", "status", "n_unreadable", "mpp_source", "segmenter", "outline_sha256", "pieces", "pieces_left_out",
    "picture_sha256", "coords_sha256",
)  # fmt: skip

Tick = Callable[[int], None]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Measured:
    """The tiles that could be read, and how good they are."""

    places: Ints
    quality: Quality
    unreadable: int


@dataclass(frozen=True, slots=True)
class _Tiling:
    """What was found on a slide."""

    sampling: Sampling
    tissue: Tissue
    coords: Ints
    measured: _Measured | None
    picture: NDArray[np.uint8]

    @property
    def status(self) -> str:
        return "done" if len(self.coords) else "empty" if len(self.tissue) else "no_tissue"


@final
@dataclass(frozen=True, slots=True)
class TileStage:
    """Tiles of slides.

    Attributes:
        job: where the files go.
        root: the folder of slides.
        settings: what a tile should be.
        pace: batches and threads.
        masks: folder of ``<slide>.geojson`` that stand for the segmenter where they are.
    """

    job: Job
    root: Path
    settings: TileSettings
    pace: Pace
    masks: Path | None = None

    @property
    def name(self) -> str:
        """Of the stage, and of its folder."""
        return TILING

    def sections(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """What the file of the job says of it."""
        return self.settings.sections()

    def outputs(self, slide: str) -> tuple[Path, ...]:
        """The files of a slide; the last is written last."""
        job = self.job
        measured = (job.quality(slide),) if self.settings.quality else ()
        return (job.thumbnail(slide), job.overlay(slide), job.outline(slide), *measured, job.coords(slide))

    def known(self, slide: str) -> dict[str, Any]:
        """Read what was made of a slide to its end: status, numbers and facts of a `Record`.

        Raises:
            DataError: a file is not what was written.
        """
        coords, said = read_coords(self.job.coords(slide))
        if not set(SAID) <= set(said):
            raise DataError("its tiles were made by another tool")
        readable = len(coords) - int(said["n_unreadable"])
        if self.settings.quality and (measured := len(read_quality(self.job.quality(slide))[0])) != readable:
            raise DataError(f"its table of quality has {measured} of {readable} tiles")
        facts = {
            "mpp": np.asarray(said["mpp_slide"]).tolist(),
            "size": [int(said["level0_width"]), int(said["level0_height"])],
            **{name: said[name].item() if isinstance(said[name], np.generic) else said[name] for name in SAID},
        }
        return {
            "status": facts.pop("status"),
            "tiles": len(coords),
            "unreadable": facts.pop("n_unreadable"),
            "facts": facts,
        }

    def disagreement(self, each: SlideFile, facts: Mapping[str, Any]) -> str | None:
        """Why what is known of a slide is not what is wanted; None when it is."""
        if facts["created_with"] != self.settings.identity():
            return "its tiles were made with other settings"
        if _stated_otherwise(each.mpp, self.settings.default_mpp, facts):
            return "its µm per pixel are now stated otherwise"
        if facts["outline_sha256"] != _hash(self._mask(each.slide) or self.job.outline(each.slide)):
            return "the outline of its tissue has changed"
        return None

    def perform(self, each: SlideFile, tick: Tick) -> Clock:
        """Tile one slide.

        Args:
            each: the slide.
            tick: called with the number of tiles that were measured since the last time.

        Raises:
            DataError: the slide, or its outline, cannot be used.
        """
        clock, given = Clock(), self._given(each.slide)
        with opened(each, self.root, self.settings, clock) as slide:
            tiling = self._look(each.slide, slide, given, clock, tick)
            self._write(each.slide, slide, tiling, given)
        return clock

    def _look(self, name: str, slide: Slide, given: Path | None, clock: Clock, tick: Tick) -> _Tiling:
        settings = self.settings
        sampling = sample(slide.levels, slide.mpp, settings.target, name=name)
        tissue = (
            read_outline(given, slide.dimensions)
            if given
            else find_tissue(slide, segmenter=settings.segmenter, preset=settings.preset)
        )
        coords = grid(
            tissue,
            size=sampling.size,
            step=sampling.step,
            dimensions=slide.dimensions,
            rule=settings.rule,
            padding=settings.padding,
        )
        measured = self._measure(slide, coords, sampling, clock, tick) if settings.quality else None
        return _Tiling(sampling, tissue, coords, measured, _overview(slide))

    def _measure(self, slide: Slide, coords: Ints, sampling: Sampling, clock: Clock, tick: Tick) -> _Measured:
        """Read every tile once."""
        places, rows, unreadable = [np.zeros(0, np.int64)], [], 0
        reading = read_batches(slide, coords, sampling, size=self.pace.batch, threads=self.pace.readers)
        with closing(ahead(reading, clock)) as batches:
            for batch in batches:
                unreadable += len(batch.unreadable)
                refuse_unreadable(slide.name, unreadable, len(coords), most=self.settings.max_unreadable)
                with clock.of("prepare"):
                    rows.append(measure(batch.pixels))
                places.append(batch.places)
                tick(len(batch.places))
        empty = np.zeros(0, np.float32)
        quality = {name: np.concatenate([empty, *(row[name] for row in rows)]) for name in COLUMNS}
        return _Measured(np.concatenate(places), quality, unreadable)

    def _write(self, name: str, slide: Slide, tiling: _Tiling, given: Path | None) -> None:
        """Write everything; the coordinates last, because with them the slide is done."""
        drawn = overlay(tiling.picture, slide.dimensions, tiling.tissue, tiling.coords, tiling.sampling.size)
        _write_picture(self.job.thumbnail(name), tiling.picture)
        _write_picture(self.job.overlay(name), drawn)
        if tiling.measured:
            write_quality(self.job.quality(name), tiling.coords[tiling.measured.places], tiling.measured.quality)
        said = {
            "name": name,
            "created_with": self.settings.identity(),
            "segmenter": GIVEN if given else self.settings.segmenter,
            "outline_sha256": self._write_outline(name, tiling.tissue, given),
            "pieces": len(tiling.tissue),
            "pieces_left_out": tiling.tissue.small,
            "n_unreadable": tiling.measured.unreadable if tiling.measured else 0,
            "status": tiling.status,
            "picture_sha256": sha256(str(slide.dimensions).encode(), tiling.picture.tobytes()),
        }
        write_coords(
            self.job.coords(name),
            tiling.coords,
            slide=slide,
            target=self.settings.target,
            sampling=tiling.sampling,
            attributes=said,
        )

    def _write_outline(self, slide: str, tissue: Tissue, given: Path | None) -> str:
        """Put the outline in its place, as it was found or as it was given, and tell its hash."""
        path = self.job.outline(slide)
        if given is None:
            write_outline(path, tissue)
        elif given != path:
            _write_bytes(path, given.read_bytes())
        return _hash(path)

    def _mask(self, slide: str) -> Path | None:
        path = self.masks / f"{slide}.geojson" if self.masks else None
        return path if path and path.exists() else None

    def _given(self, slide: str) -> Path | None:
        """The outline that a person gave: in the folder of masks, or by editing the one of the job."""
        if mask := self._mask(slide):
            return mask
        outline, before = self.job.outline(slide), self._before(slide)
        if not before or not outline.exists():
            return None
        edited = before["segmenter"] == GIVEN or before["outline_sha256"] != _hash(outline)
        return outline if edited else None

    def _before(self, slide: str) -> Mapping[str, Any]:
        """What is known of the tiles that were made before: by their file, else by the record."""
        try:
            said = read_coords(self.job.coords(slide))[1]
        except DataError:
            record = self.job.read(slide, TILING)
            said = dict(record.facts) if record else {}
        return said if "outline_sha256" in said else {}


@contextmanager
def opened(each: SlideFile, root: Path, settings: TileSettings, clock: Clock) -> Iterator[Slide]:
    """Open a slide of a job, and take the time of what is read of it."""
    with open_slide(
        each.path(root),
        reader=settings.reader,
        mpp=each.mpp,
        default_mpp=settings.default_mpp,
        anisotropic=settings.anisotropic,
    ) as slide:
        yield timed(slide, clock)


def _overview(slide: Slide) -> NDArray[np.uint8]:
    """A thumbnail, from a coarser picture where the finer one is damaged."""
    for most in THUMBNAILS[:-1]:
        try:
            return slide.thumbnail(most)
        except TileError:
            continue
    return slide.thumbnail(THUMBNAILS[-1])


def _stated_otherwise(mpp: float | None, default: float | None, facts: Mapping[str, Any]) -> bool:
    """Whether the manifest, or the default, says another µm per pixel than when the tiles were made."""
    source = facts["mpp_source"]
    if (mpp is not None) != (source == "manifest"):
        return True
    stated = {"manifest": mpp, "default": default}.get(source)
    return stated is not None and set(facts["mpp"]) != {stated}


def _hash(path: Path) -> str:
    return sha256(path) if path.exists() else ""


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    _write_bytes(path, cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())


def _write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
