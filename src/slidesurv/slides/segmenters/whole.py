"""Everything is tissue: for regions that a person has cut out, with no glass in them."""

import numpy as np
from numpy.typing import NDArray

from slidesurv.slides.tissue import Preset, segmenter

__all__ = ["whole"]


@segmenter("whole")
def whole(picture: NDArray[np.uint8], preset: Preset) -> NDArray[np.bool_]:
    """The whole picture; no preset changes that."""
    return np.ones(picture.shape[:2], np.bool_)
