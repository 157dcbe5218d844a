"""Tissue is where the colours are saturated; CLAM's way."""

import numpy as np
from numpy.typing import NDArray

from slidesurv.slides.libraries import cv2
from slidesurv.slides.tissue import Preset, segmenter

__all__ = ["saturation"]


@segmenter("saturation")
def saturation(picture: NDArray[np.uint8], preset: Preset) -> NDArray[np.bool_]:
    """Median filter of the saturation, a threshold, and a closing.

    Source:
        Lu et al., Nature Biomedical Engineering 2021; the specification's section 2.1, steps 2-4.
    """
    colour = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1]  # (h, w)
    smooth = cv2.medianBlur(colour, preset.blur)
    way = cv2.THRESH_BINARY | (cv2.THRESH_OTSU if preset.otsu else 0)
    mask = cv2.threshold(smooth, preset.threshold, 255, way)[1]
    if preset.close > 0:
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((preset.close, preset.close), np.uint8))
    return mask > 0
