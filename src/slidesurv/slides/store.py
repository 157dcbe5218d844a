"""A folder of feature files: which slides it has, whether they belong together, and the bags made of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slidesurv.errors import DataError, listing
from slidesurv.files import replacing, sha256
from slidesurv.slides.layouts import Header, read_attributes, read_features, read_first_tile, read_header
from slidesurv.slides.writer import hash_coords, stored
from slidesurv.types import Bag

__all__ = ["FeatureStore", "write_features"]

REMEDY = "Run 'slidesurv encode', or name the folder of what TRIDENT, CLAM, STAMP or slideflow made"
# Where a slide has more than one file the first is read: only .h5 files know where the tiles lie.
PLACES = (("", ".h5"), ("h5_files", ".h5"), ("", ".pt"), ("pt_files", ".pt"))


class FeatureStore:
    """A folder with one feature file per slide, of TRIDENT, CLAM, STAMP, slideflow or our own.

    Args:
        path: the folder; ``h5_files/`` and ``pt_files/`` below it are found.

    Raises:
        DataError: the folder holds no feature file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._files: dict[str, Path] = {}
        for folder, suffix in PLACES:
            for file in sorted((self.path / folder).glob(f"[!.]*{suffix}")):
                self._files.setdefault(file.name.removesuffix(suffix), file)
        if not self._files:
            raise DataError(
                f"'{self.path}' holds no feature files. Expected '<slide>.h5' or '<slide>.pt' in it, "
                f"or in 'h5_files' or 'pt_files' below it. {REMEDY}."
            )

    def __contains__(self, slide: str) -> bool:
        return slide in self._files

    @property
    def slides(self) -> tuple[str, ...]:
        """Every slide that has a file, whichever cohort it is of."""
        return tuple(self._files)

    def width_of(self, slides: Iterable[str]) -> int:
        """D of slides that `check` found to agree, taken from the first; 0 for no slides."""
        return next((self.header(slide).width for slide in slides), 0)

    def missing(self, slides: Iterable[str]) -> list[str]:
        """Slides that have no file, in the order given."""
        return [slide for slide in slides if slide not in self]

    def header(self, slide: str) -> Header:
        """Read what a slide's file says of itself, without its values."""
        return read_header(self._file(slide))

    def read(self, slide: str) -> tuple[Tensor, Tensor]:
        """Read one slide.

        Returns:
            (N, D) float32 features and (N, 2) int64 coordinates.

        Raises:
            DataError: names the file and the field that cannot be used.
        """
        return read_features(self._file(slide))

    def digest(self, slide: str) -> str:
        """Hash the values of a slide's tiles and where they lie: two slides that share it are one.

        Raises:
            DataError: names the file and the field that cannot be used.
        """
        features, coords = self.read(slide)
        return sha256(str(tuple(features.shape)).encode(), features.numpy().tobytes(), coords.numpy().tobytes())

    def attributes(self, slide: str) -> dict[str, Any]:
        """What a slide's file says of itself and of its tiles; nothing for a file that says nothing."""
        return read_attributes(self._file(slide))

    def bag(self, patient: str, slides: Sequence[str]) -> Bag:
        """Join all tiles of a patient's slides, in the order of the slides; no slides give a bag (0, 0).

        Raises:
            DataError: a file cannot be used, or the slides differ in width.
        """
        pieces = [self.read(slide) for slide in slides]
        widths = {features.shape[1] for features, _ in pieces} or {0}
        if len(widths) > 1:
            raise DataError(
                f"The slides of patient '{patient}' have features of widths {sorted(widths)}; one is needed. "
                "Encode all with one encoder."
            )
        if len(pieces) == 1:  # the usual case, without a copy
            features, coords = pieces[0]
            return Bag(patient, features, coords, torch.zeros(len(features), dtype=torch.int64))
        features = torch.cat([torch.zeros(0, widths.pop()), *(piece for piece, _ in pieces)])
        coords = torch.cat([torch.zeros(0, 2, dtype=torch.int64), *(piece for _, piece in pieces)])
        tiles = torch.tensor([len(piece) for piece, _ in pieces], dtype=torch.int64)
        return Bag(patient, features, coords, torch.repeat_interleave(tiles))

    def check(
        self, slides: Sequence[str], *, cohort: str = "", allow_mixed: bool = False, values: bool = True
    ) -> dict[str, Header]:
        """Check, before any training, that slides can be used together.

        Args:
            slides: slide ids.
            cohort: whose slides they are, for the message.
            allow_mixed: accept files that name different encoders or resolutions.
            values: read every file to its end; False looks at shapes and attributes only.

        Returns:
            The header of every slide; slides with 0 tiles are among them.

        Raises:
            DataError: slides are missing, differ in width or origin, or a file cannot be used.
        """
        if missing := self.missing(slides):
            owner = f" of cohort '{cohort}'" if cohort else ""
            raise DataError(
                f"{len(missing)} of {len(slides)} slides{owner} have no features in '{self.path}': {listing(missing)}. "
                f'{REMEDY}, or set [cohort] missing = "drop".'
            )
        headers = {slide: self.header(slide) for slide in slides}
        self._refuse_mix("width", (f"D={header.width}" for header in headers.values()), "Encode all with one encoder.")
        if not allow_mixed:
            origins = (header.origin or "no attributes" for header in headers.values())
            self._refuse_mix("origin", origins, "Use one encoder at one resolution, or set allow_mixed = true.")
        for slide in slides if values else ():
            self.read(slide)
        return headers

    def fingerprint(self, slides: Iterable[str]) -> str:
        """Hash names, sizes, shapes, attributes and first tiles of slides, for records of what was used.

        No file is read to its end, so a change behind the first tile that keeps the size is not seen. The order of the
        slides, the folder's place and the files' dates do not matter.
        """
        digests = []
        for slide in sorted(slides):
            file = self._file(slide)
            said = f"{slide} {file.suffix} {file.stat().st_size} {read_header(file)}"
            digests.append(sha256(said.encode(), read_first_tile(file)))
        return sha256("\n".join(digests).encode())

    def _file(self, slide: str) -> Path:
        try:
            return self._files[slide]
        except KeyError:
            raise DataError(f"Slide '{slide}' has no features in '{self.path}'. {REMEDY}.") from None

    def _refuse_mix(self, what: str, seen: Iterable[str], remedy: str) -> None:
        histogram = Counter(seen).most_common()
        if len(histogram) > 1:
            counts = "; ".join(f"{count} slides with {value}" for value, count in histogram[:5])
            more = f"; and {len(histogram) - 5} more" if len(histogram) > 5 else ""
            raise DataError(f"The feature files in '{self.path}' differ in {what}: {counts}{more}. {remedy}")


def write_features(
    path: Path,
    features: NDArray[np.floating],
    coords: NDArray[np.integer],
    *,
    encoder: str,
    half: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write one slide in TRIDENT's layout, atomically, in one contiguous block.

    Args:
        path: ``<slide>.h5``.
        features: (N, D) tile features.
        coords: (N, 2) top-left corners, level-0 pixels.
        encoder: its name; stands on ``features``, where TRIDENT has it.
        half: keep float16: half the bytes, a relative error of up to 5e-4.
        attributes: provenance, such as ``mpp_target``; stands on the file.

    Raises:
        DataError: the shapes do not match, or a value is not finite.
        ConfigError: a value does not fit into float16.
    """
    kept = stored(features, coords, np.dtype(np.float16 if half else np.float32), path)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        dataset = file.create_dataset("features", data=kept)
        dataset.attrs.update(encoder=encoder, name=path.name.removesuffix(".h5"))
        file.create_dataset("coords", data=coords.astype(np.int64, copy=False))
        said = {"dtype": str(kept.dtype), "coords_sha256": hash_coords(coords), **(attributes or {})}
        file.attrs.update({"schema_version": 1, "tool_version": version("slidesurv"), **said})
