"""The libraries of the extra ``slides``, asked for in one place."""

from importlib import import_module
from typing import Any

from slidesurv.errors import MissingExtra

try:
    import cv2
    import imagecodecs
    import openslide
    import simplejpeg
    import tifffile
    from PIL import Image
except ImportError as error:
    raise MissingExtra(
        f"Reading slides needs the library '{error.name}', which is not installed. "
        "Run: pip install 'slidesurv[slides]'. Feature files of other tools can be used without it."
    ) from error

__all__ = ["Image", "cv2", "imagecodecs", "need", "openslide", "simplejpeg", "tifffile"]


def need(module: str) -> Any:
    """Import the library of an optional reader.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"The reader '{module}' needs the library '{error.name}', which is not installed. "
            "Run: pip install 'slidesurv[readers]', or choose reader 'auto'."
        ) from error
