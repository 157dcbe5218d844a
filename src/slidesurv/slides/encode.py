"""One slide's tiles to its features."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from slidesurv.errors import DataError
from slidesurv.slides.batches import Batch, read_batches, refuse_unreadable
from slidesurv.slides.encoders.base import Encoder, open_encoder
from slidesurv.slides.faults import ReadError
from slidesurv.slides.job import FAILED, TILING, Job
from slidesurv.slides.manifest import SlideFile
from slidesurv.slides.normalise import Normaliser, fit_normaliser
from slidesurv.slides.prefetch import Clock, ahead
from slidesurv.slides.quality import read_quality
from slidesurv.slides.reader import Slide
from slidesurv.slides.resolution import Sampling, sample
from slidesurv.slides.settings import EncodeSettings, Pace, TileSettings, hash_of
from slidesurv.slides.tiles import read_coords
from slidesurv.slides.tiling import Tick, opened
from slidesurv.slides.writer import FeatureWriter, hash_coords, reread, writing

__all__ = ["EncodeStage", "ready"]

SAMPLE = 64  # tiles from all over a slide that a stain normalisation is fitted to
# What TRIDENT writes on the coordinates of its feature files.
TRIDENT = (
    "patch_size", "patch_size_level0", "level0_magnification", "target_magnification", "overlap", "level0_width",
    "level0_height", "name", "savetodir",
)  # fmt: skip
# What stands on the file and in the record of a slide.
SAID = ("created_with", "status", "n_unreadable", "n_limited", "tiles_sha256")


@lru_cache(maxsize=1)
def ready(settings: EncodeSettings, device: str) -> Encoder:
    """The encoder of a job; weights and access to them are looked for here, before the first slide is read.

    Raises:
        ConfigError: it cannot be had, see `open_encoder`.
    """
    return open_encoder(settings.encoder, weights=settings.weights, device=device, precision=settings.precision)


@final
@dataclass(frozen=True, slots=True)
class EncodeStage:
    """Features of tiles.

    Attributes:
        job: where the files are and go.
        root: the folder of slides.
        tiles: how they were tiled.
        settings: what is made of the tiles.
        pace: device, batches and threads.
        origin: what the encoder says of itself.
    """

    job: Job
    root: Path
    tiles: TileSettings
    settings: EncodeSettings
    pace: Pace
    origin: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the stage, and of its folder."""
        return self.settings.folder

    def outputs(self, slide: str) -> tuple[Path, ...]:
        """The file of a slide."""
        return (self.job.features(slide, self.name),)

    def sections(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """What the file of the job says of it."""
        return {("features", self.job.tiles, self.name): self.settings.section(self.origin)}

    def identity(self) -> str:
        """A short name of everything that shapes a feature, but for the tiles."""
        return hash_of(self.settings.section(self.origin))

    def known(self, slide: str) -> dict[str, Any]:
        """Read what was made of a slide to its end: status, numbers and facts of a `Record`.

        Raises:
            DataError: the file is not what was written, or a value is not finite.
        """
        coords, said = reread(self.job.features(slide, self.name))
        if not set(SAID) <= set(said):
            raise DataError("its features were made by another tool")
        facts = {name: said[name].item() if isinstance(said[name], np.generic) else said[name] for name in SAID}
        return {
            "status": facts.pop("status"),
            "tiles": len(coords),
            "unreadable": facts.pop("n_unreadable"),
            "facts": facts,
        }

    def disagreement(self, each: SlideFile, facts: Mapping[str, Any]) -> str | None:
        """Why what is known of a slide is not what is wanted; None when it is."""
        if facts["created_with"] != self.identity():
            return "its features were made with other settings"
        tiling = self.job.read(each.slide, TILING)
        if tiling and tiling.facts.get("coords_sha256") != facts["tiles_sha256"]:
            return "its tiles have changed"
        return None

    def perform(self, each: SlideFile, tick: Tick) -> Clock:
        """Encode the tiles of one slide.

        Args:
            each: the slide.
            tick: called with the number of tiles that were encoded since the last time.

        Raises:
            DataError: the slide or its tiles cannot be used.
            ConfigError: the encoder cannot go on, or a feature does not fit into float16.
        """
        clock, encoder = Clock(), ready(self.settings, self.pace.device)
        planned, tiling = self._planned(each.slide)
        coords = self._within_limits(each.slide, planned)
        with (
            opened(each, self.root, self._as_tiled(tiling), clock) as slide,
            writing(
                self.job.features(each.slide, self.name),
                encoder=encoder.name,
                width=encoder.dim,
                most=len(coords),
                half=self.settings.half,
                tiling={name: tiling[name] for name in TRIDENT},
            ) as file,
        ):
            sampling = self._sampling(slide, tiling)
            normaliser = self._fit(slide, coords, sampling)
            with closing(ahead(self._batches(slide, coords, sampling, normaliser, clock), clock)) as batches:
                unreadable = self._encode(batches, coords, file, clock, tick)
            status = "done" if len(coords) else "no_tissue" if len(planned) else tiling["status"]
            file.attributes |= self._provenance(planned, tiling, normaliser) | {
                "n_unreadable": unreadable,
                "n_limited": len(planned) - len(coords),
                "status": status,
            }
        return clock

    def _as_tiled(self, tiling: Mapping[str, Any]) -> TileSettings:
        """The settings that open the slide again as it was tiled, whatever the default is now."""
        return replace(self.tiles, default_mpp=float(tiling["mpp_slide"][0]), anisotropic=True)

    def _encode(
        self, batches: Iterator[Batch], coords: NDArray[np.int64], file: FeatureWriter, clock: Clock, tick: Tick
    ) -> int:
        """Encode batch by batch; the number of tiles that could not be read comes back."""
        encoder, unreadable = ready(self.settings, self.pace.device), 0
        for batch in batches:
            unreadable += len(batch.unreadable)
            refuse_unreadable(file.slide, unreadable, len(coords), most=self.settings.max_unreadable)
            with clock.of("network"):
                features = encoder.encode(batch.pixels)  # (M, D)
            file.append(features, coords[batch.places])
            clock.tiles += len(batch.places)
            tick(len(batch.places))
        return unreadable

    def _provenance(
        self, planned: NDArray[np.int64], tiling: Mapping[str, Any], normaliser: Normaliser | None
    ) -> dict[str, Any]:
        """What the file says of its origin."""
        limits = self.settings.limits
        return {
            **self.origin,
            **{name: tiling[name] for name in ("mpp_target", "mpp_slide", "mpp_source", "tile_um")},
            "stain_norm": self.settings.normalise or "none",
            "stain_norm_fit": json.dumps(dict(normaliser.record), sort_keys=True) if normaliser else "",
            "limits": json.dumps(asdict(limits), sort_keys=True) if limits else "none",
            "tiles_sha256": hash_coords(planned),
            "created_with": self.identity(),
        }

    def _planned(self, slide: str) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """The tiles of a slide, (N, 2), and what their file says."""
        path = self.job.coords(slide)
        if not path.exists():
            record = self.job.read(slide, TILING)
            failed = record is not None and record.status == FAILED
            raise DataError(record.reason if record and failed else f"Slide '{slide}' is not tiled yet. Tile it first.")
        return read_coords(path)

    def _within_limits(self, slide: str, planned: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tiles that are good enough; those that could not be measured are left for the reader to refuse."""
        if self.settings.limits is None:
            return planned
        measured, quality = read_quality(self.job.quality(slide))
        keep = self.settings.limits.keep(quality)
        bad = {(x, y) for x, y in measured[~keep].tolist()}
        return planned[np.array([(x, y) not in bad for x, y in planned.tolist()], np.bool_)]

    def _sampling(self, slide: Slide, tiling: Mapping[str, Any]) -> Sampling:
        """How the tiles are read; the slide must be the one that was tiled."""
        sampling = sample(slide.levels, slide.mpp, self.tiles.target, name=slide.name)
        before = (tiling["level0_width"], tiling["level0_height"]), tuple(np.asarray(tiling["mpp_slide"]).tolist())
        if (slide.dimensions, slide.mpp) != before:
            raise ReadError(
                f"Slide '{slide.name}' has {slide.dimensions} pixels of {slide.mpp} µm, but had {before[0]} of "
                f"{before[1]} when it was tiled. Tile it again."
            )
        return sampling

    def _fit(self, slide: Slide, coords: NDArray[np.int64], sampling: Sampling) -> Normaliser | None:
        """Fit the stain normalisation to tiles from all over the slide."""
        if self.settings.normalise is None or len(coords) == 0:
            return None
        places = np.unique(np.linspace(0, len(coords) - 1, SAMPLE).round().astype(int))
        (batch,) = read_batches(slide, coords[places], sampling, size=SAMPLE, threads=self.pace.readers)
        return fit_normaliser(self.settings.normalise, batch.pixels)

    def _batches(
        self,
        slide: Slide,
        coords: NDArray[np.int64],
        sampling: Sampling,
        normaliser: Normaliser | None,
        clock: Clock,
    ) -> Iterator[Batch]:
        """Batches as the encoder takes them; all of this runs in the thread that reads ahead."""
        for batch in read_batches(slide, coords, sampling, size=self.pace.batch, threads=self.pace.readers):
            with clock.of("prepare"):
                pixels = normaliser(batch.pixels) if normaliser else batch.pixels
                pixels = _pinned(pixels) if self.pace.device.startswith("cuda") else pixels
            yield Batch(batch.places, pixels, batch.unreadable)


def _pinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pixels in memory that a GPU fetches by itself, while the CPU does something else."""
    return np.asarray(torch.from_numpy(pixels).pin_memory().numpy())
