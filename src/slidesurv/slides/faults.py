"""What can be wrong with a slide.

::

    DataError
    └── SlideError
        ├── FormatError      E_FORMAT   no slide that a reader takes
        ├── ReadError        E_READ     cut short, damaged, or not allowed to be read
        │   └── TileError               one region of an otherwise good slide
        ├── ResolutionError  E_MPP      no usable micrometres per pixel
        └── PixelError       E_PIXELS   pixels of a kind that is not taken, or too many of them

The code opens the message, so that it reaches ``failures.csv`` through every record of a failure.
"""

from typing import ClassVar

from slidesurv.errors import DataError

__all__ = ["FormatError", "PixelError", "ReadError", "ResolutionError", "SlideError", "TileError"]


class SlideError(DataError):
    """A slide, or a part of one, that cannot be used."""

    code: ClassVar[str] = "E_SLIDE"

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


class FormatError(SlideError):
    """The file is no slide that a reader takes."""

    code = "E_FORMAT"


class ReadError(SlideError):
    """The file is cut short, damaged, or may not be read."""

    code = "E_READ"


class TileError(ReadError):
    """One region of an otherwise good slide cannot be read."""


class ResolutionError(SlideError):
    """The micrometres per pixel are missing, implausible, or too coarse for what was asked."""

    code = "E_MPP"


class PixelError(SlideError):
    """The pixels are of a kind that is not taken, or there are too many of them."""

    code = "E_PIXELS"
