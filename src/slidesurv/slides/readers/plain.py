"""A plain TIFF, PNG or JPEG: one picture, held in memory. Its µm per pixel must be stated, its dpi mean nothing."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from typing_extensions import override

from slidesurv.slides.faults import FormatError, PixelError, ReadError
from slidesurv.slides.inspection import inspect
from slidesurv.slides.libraries import Image
from slidesurv.slides.reader import Reader, on_white, readers
from slidesurv.slides.resolution import Level

__all__ = ["PlainReader"]

TAKEN = ("RGB", "RGBA", "P")


@readers.register("plain")
class PlainReader(Reader):
    """Pillow."""

    def __init__(self, path: Path) -> None:
        self._pixels = _pixels(path)  # (H, W, 3)
        height, width = self._pixels.shape[:2]
        self.levels = (Level(width, height, 1.0),)

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        out[:] = self._pixels[top : top + out.shape[0], left : left + out.shape[1]]


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Decode a picture after a look at its size and colours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.mode not in TAKEN:
                    raise PixelError(
                        f"'{path}' has pixels of kind '{picture.mode}'. Taken are 8-bit RGB, with or without alpha or "
                        "a palette: convert it, for example with 'vips'."
                    )
                return on_white(np.asarray(picture.convert("RGBA")))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PixelError(
            f"'{path}' is too large for a plain picture: {error} Make a pyramid of it, for example with "
            "'vips tiffsave --tile --pyramid'."
        ) from error
    except UnidentifiedImageError as error:
        raise FormatError(f"'{path}' is {inspect(path)}, not a picture that is read whole.") from error
    except (OSError, SyntaxError) as error:
        raise ReadError(f"'{path}' cannot be read: {error}. Fetch it again.") from error
