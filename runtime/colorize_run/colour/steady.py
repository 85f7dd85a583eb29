"""Chroma that holds still from frame to frame of a moving picture."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
# How far luminance (`colour.perceived`) may differ between two frames for a place to count as the same: about 2 of L*.
_SAME = 0.02


class TemporalSmoother:
    """Chroma that holds still where the picture does.

    A network looks at each frame anew, and what moves in one corner changes its mind in another. So each frame's chroma is
    mixed with that of the frame before, by how much luminance stayed what it was: a place that does not change keeps its
    colour, one that does, or a cut, gets the new one.
    """

    def __init__(self) -> None:
        self._luminance: FloatArray | None = None
        self._chroma: FloatArray | None = None

    def apply(self, luminance: FloatArray, chroma: FloatArray) -> FloatArray:
        """The frame's chroma (2, h, w), given its `colour.perceived` luminance (h, w)."""
        if self._luminance is not None and self._chroma is not None and self._luminance.shape == luminance.shape:
            change = np.abs(luminance - self._luminance).astype(np.float32)
            nearby = np.maximum(change, cv2.blur(change, (5, 5)))
            kept = np.exp(-((nearby / _SAME) ** 2))
            chroma = (kept * self._chroma + (1 - kept) * chroma).astype(np.float32)
        self._luminance, self._chroma = luminance, chroma
        return chroma
