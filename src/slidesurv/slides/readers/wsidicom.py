"""wsidicom: DICOM whole-slide images, one file a level in one folder."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import FormatError, TileError
from slidesurv.slides.libraries import need
from slidesurv.slides.reader import Reader, readers
from slidesurv.slides.resolution import Level

__all__ = ["WsiDicomReader"]


@readers.register("wsidicom")
class WsiDicomReader(Reader):
    """The pyramid that a file belongs to."""

    def __init__(self, path: Path) -> None:
        library, errors = need("wsidicom"), need("wsidicom.errors")
        self._path = path
        kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
        own = tuple(kind for kind in kinds if issubclass(kind, Exception))
        self._faults: tuple[type[Exception], ...] = (*own, ValueError, OSError)
        try:
            self._slide = library.WsiDicom.open(_volume(path))
        except self._faults as error:
            raise FormatError(f"'{path}' cannot be opened by wsidicom: {error}. Try --reader pydicom.") from error
        whole = self._slide.size.width
        self._numbers = [level.level for level in self._slide.levels]
        self.levels = tuple(
            Level(level.size.width, level.size.height, whole / level.size.width) for level in self._slide.levels
        )
        spacing = self._slide.mpp
        self.stated_mpp = (float(spacing.width), float(spacing.height)) if spacing else None

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        size = out.shape[1], out.shape[0]
        try:
            out[:] = self._slide.read_region((left, top), self._numbers[level], size, as_array=True)
        except self._faults as error:
            raise TileError(f"'{self._path}': the region at ({left}, {top}) of level {level}: {error}.") from error

    @override
    def close(self) -> None:
        self._slide.close()


def _volume(path: Path) -> list[Path]:
    """The files beside a file that hold levels of the same slide; labels and overviews are not among them."""
    pydicom = need("pydicom")

    def header(file: Path) -> Any:
        return pydicom.dcmread(file, specific_tags=["SeriesInstanceUID", "ImageType"])

    series = header(path).get("SeriesInstanceUID")
    beside = ((file, header(file)) for file in sorted(path.parent.glob("*.dcm")))
    return [
        file
        for file, said in beside
        if said.get("SeriesInstanceUID") == series and "VOLUME" in (said.get("ImageType") or ())
    ]
