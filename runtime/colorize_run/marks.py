"""Marks on a print that have colours of their own, and yet do not make it a colour photograph.

Ink is thin. A stamp, or a strip of colour patches, is a rectangle at the edge. Stains are brown, and either soft or small. What
is compact, strong and none of these is a coloured thing, such as the red car of a colour photograph.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# Pixels of a picture whose long side is 128, and distances in a*, b*; chosen by `python -m benchmarks.prints`.
_STRONG = 9.0
_COMPACT = 5  # pixels in all directions: ink is thinner, or blurred together from thinner strokes
_INK_RADIUS, _INK_AREA = 4.5, 0.05  # half of the thickest stroke, and share of the print
_WORD_RADIUS, _WORD_AREA = 3.2, 0.02
_AREA = 0.002  # share of the print that may be coloured without being a mark
_ALL = 0.15  # share of the print that all marks but stains may have, with the pixels beside them
_LARGEST, _PATCH = 0.13, 0.015  # share of the print of what is stuck on it, and of one patch of colour
_RIM, _EDGE, _CORNER = 0.016, 0.065, 0.08  # of the print's width or height
_RECTANGLE = 0.66  # share of the smallest rectangle around it
_STRIP, _WORD = 1.4, 2.2  # times as long as wide
_BROWN = 45.0, 128.0  # degrees of hue
_WEAK, _BROWN_MOST = 2.5, 38.0
_SOFT = 0.2  # share of the stain's strength by which it falls from one pixel to the next
_SPOT_RADIUS = 4.0


class _Mark:
    """One group of strong pixels ``there`` (h, w); ``core``: those in compact parts."""

    def __init__(self, there: BoolArray, core: BoolArray, frame: Sequence[int]) -> None:
        points = np.argwhere(there)[:, ::-1].astype(np.int32)
        (_, (a, b), _) = cv2.minAreaRect(points)
        self.short, self.long = sorted((a + 1, b + 1))
        self.area, self.core = len(points), core
        self.fill = self.area / (self.short * self.long)
        self.solidity = self.area / (cv2.contourArea(cv2.convexHull(points)) + self.long + 1)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0) + 1
        x, y, width, height = frame
        margins = (left - x) / width, (x + width - right) / width, (top - y) / height, (y + height - bottom) / height
        self.on_rim, self.at_edge = min(margins) <= _RIM, min(margins) <= _EDGE
        self.in_corner = max(min(margins[:2]), min(margins[2:])) <= _CORNER

    def is_ink(self, radius: float, area: int) -> bool:
        """Lines, or a word. ``radius``: half of the thickest stroke; ``area``: of the print."""
        lines = radius < _INK_RADIUS and self.solidity < 0.62 and self.area < _INK_AREA * area
        word = radius < (_INK_RADIUS if self.at_edge else _WORD_RADIUS) and self.area < _WORD_AREA * area
        return lines or (word and self.long > _WORD * self.short)

    def is_stuck_on(self, short_side: int, area: int, *, brown: bool) -> bool:
        """A postage stamp, a strip of colour patches or one of them, or a piece of yellow tape, at the edge."""
        strip = self.long > _STRIP * self.short and self.fill > 0.8 and self.short < 0.16 * short_side
        patch = self.fill > 0.84 and self.area < _PATCH * area
        stamp = self.in_corner and self.fill > _RECTANGLE and self.area < 0.6 * _LARGEST * area
        tape = brown and (self.solidity > 0.85 or self.on_rim)
        return self.at_edge and self.area < _LARGEST * area and (strip or patch or stamp or tape)


def marks(differences: FloatArray, valid: BoolArray) -> BoolArray | None:
    """Where marks lie on the print ``valid`` (h, w), whose chroma differs by a*, b* (h, w, 2) from its tone.

    None if there is a coloured thing that is no mark.
    """
    distance = np.linalg.norm(differences, axis=2).astype(np.float32)
    strong = ((distance > _STRONG) & valid).astype(np.uint8)
    labels = cv2.connectedComponents(cv2.dilate(strong, ellipse(_COMPACT)))[1]
    core = cv2.morphologyEx(strong, cv2.MORPH_OPEN, ellipse(_COMPACT)) > 0
    compact, missed = np.unique(labels[core]), 0
    thin = (labels > 0) & ~np.isin(labels, compact)
    found = thin.copy()
    if not len(compact):
        return found
    brown = _brown(differences, distance) & valid
    radius = cv2.distanceTransform(np.pad(strong, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    slope = _slope(distance)
    frame, area, stained = cv2.boundingRect(valid.astype(np.uint8)), int(np.count_nonzero(valid)), False
    for number in compact:
        around = labels == number
        mark = _Mark(around & (strong > 0), around & core, frame)
        thickest, is_brown = float(radius[around].max()), bool(brown[mark.core].mean() > 0.8)
        strength = np.percentile(distance[mark.core], 90)
        soft = np.percentile(slope[around], 90) < _SOFT * strength
        stain = is_brown and strength < _BROWN_MOST and (soft or thickest < _SPOT_RADIUS)
        tape = is_brown and strength < _BROWN_MOST
        if stain or mark.is_ink(thickest, area) or mark.is_stuck_on(min(valid.shape), area, brown=tape):
            found |= around
            stained |= stain
            continue
        missed += int(np.count_nonzero(mark.core))
        if missed > _AREA * area:
            return None
    if np.count_nonzero(found & ~brown) > _ALL * area:
        return None
    return _with_weak_stains(found, thin, brown, brown & (slope < _SOFT * distance)) if stained else found


def _with_weak_stains(found: BoolArray, thin: BoolArray, brown: BoolArray, soft: BoolArray) -> BoolArray:
    """What is ``found``, and stains that fade out: there are weak ones beside a strong one. In dark places they do not show."""
    found = found & ~(thin & (cv2.dilate(brown.astype(np.uint8), ellipse(_COMPACT)) > 0))
    return np.asarray(found | touching(brown | found, found) | soft, np.bool_)


def _brown(differences: FloatArray, distance: FloatArray) -> BoolArray:
    hue = np.degrees(np.arctan2(differences[..., 1], differences[..., 0]))
    return np.asarray((distance > _WEAK) & (hue > _BROWN[0]) & (hue < _BROWN[1]), np.bool_)


def _slope(distance: FloatArray) -> FloatArray:
    """By how much the distance changes from one pixel to the next."""
    steps = [cv2.Sobel(distance, cv2.CV_32F, *axes, ksize=3, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.asarray(np.hypot(*steps), np.float32)


def ellipse(size: int) -> npt.NDArray[np.uint8]:
    """A round structuring element."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def touching(pixels: BoolArray, seeds: BoolArray) -> BoolArray:
    """The connected parts of ``pixels`` that hold any of the ``seeds``."""
    labels = cv2.connectedComponents(pixels.astype(np.uint8))[1]
    chosen = np.zeros(labels.max() + 1, np.bool_)
    chosen[labels[seeds & pixels]] = True
    chosen[0] = False
    return np.asarray(chosen[labels], np.bool_)
