"""What surrounds a print, and the windows in it: sheets of one colour, and rectangles and ovals inside them or in the middle.

All is found in a small picture ``lab`` (h, w, 3) in CIELAB, whose long side is 128 pixels, among its pixels ``valid`` (h, w).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from colorize_run.colour.tone import Tone
from colorize_run.marks import ellipse, touching

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# Chosen by `python -m benchmarks.prints`.
_SHEET_L, _SHEET_AB, _SHEET_RIM = 16.0, 8.0, 0.7  # how far a sheet's colours lie apart, and its share of the rim
_ELLIPSE = 0.95  # share that a window and an ellipse have in common
_BLANK, _EVEN = 2.5, 4.0  # standard deviation of L* of a blank sheet, and pixels over which its light may change
_BESIDE, _BESIDE_PIXELS = 0.7, 2  # share of a window's side that has the sheet beside it, at this distance
_INNER, _INNER_OUTSIDE = 6.0, 0.4  # distance from the middle's tone that ends a print; share of the rest that must exceed it
_THINNEST, _ONE_SIDE = 0.03, 0.25  # of the area: what surrounds a print, and what lies on one side of it at most
_SIDE, _ALIKE = 0.02, 6.0  # of the area: what counts as a side; and how far the mean colours of opposite sides lie apart
_FILLED, _SOLID, _OVAL = 0.84, 0.95, (0.74, 0.83)  # of the smallest rectangle or hull around a print; pi / 4 is an oval's
# Where a photograph's white runs into the sheet, each side of its rectangle must still be there in part.
_LEAKING, _SUPPORTED = 0.4, 0.5


def eroded(pixels: BoolArray) -> BoolArray:
    """Without the pixels at the rim, which is also that of the picture."""
    return cv2.erode(np.pad(pixels.astype(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0


def sheet_of(lab: FloatArray, valid: BoolArray, even: float | None = None) -> BoolArray | None:
    """The sheet of one colour that reaches the rim of ``valid``; None if there is none.

    ``even``: so little differs its lightness from one that changes slowly, as under a lamp; then a photograph of nearly its
    colour is no part of it.
    """
    rim = valid & ~eroded(valid)
    middle = np.median(lab[rim], axis=0)
    coloured = np.linalg.norm(lab[..., 1:] - middle[1:], axis=2) < _SHEET_AB
    near = (np.abs(lab[..., 0] - middle[0]) < _SHEET_L) & coloured
    if near[rim].mean() < _SHEET_RIM:
        return None
    if even is not None:
        near = (np.abs(lab[..., 0] - _light(lab[..., 0], rim & near)) < even) & coloured
    return touching(near & valid, rim)


def _light(lightness: FloatArray, known: BoolArray) -> FloatArray:
    """Lightness (h, w) that changes slowly: a polynomial of the second degree through the ``known`` pixels."""
    y, x = (axis / max(lightness.shape) for axis in np.indices(lightness.shape, np.float32))
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    found = np.linalg.lstsq(powers[known], lightness[known], rcond=None)[0]
    return np.asarray(powers @ found, np.float32)


def windows_in_the_middle(lab: FloatArray, valid: BoolArray) -> list[tuple[BoolArray, bool]]:
    """Windows of what has the tone of the middle of ``valid``, if what surrounds them has another one."""
    x, y, width, height = cv2.boundingRect(valid.astype(np.uint8))
    rows, columns = np.ogrid[: lab.shape[0], : lab.shape[1]]
    away = ((rows - y - height / 2) / (0.2 * height)) ** 2 + ((columns - x - width / 2) / (0.2 * width)) ** 2
    tone = Tone(lab, valid, np.exp(-away).astype(np.float32), changes=False)
    other = np.linalg.norm(tone.differences(lab), axis=2) > _INNER
    inner = cv2.morphologyEx((~other & valid).astype(np.uint8), cv2.MORPH_CLOSE, ellipse(5)) > 0
    result = []
    for window, formed in windows_of(inner & valid):
        outside = valid & ~window
        share = np.count_nonzero(outside) / np.count_nonzero(valid)
        box = cv2.boundingRect(window.astype(np.uint8))
        around = share < _ONE_SIDE or _is_around((x, y, width, height), box)
        if share > _THINNEST:
            other_outside = bool(other[outside].mean() > _INNER_OUTSIDE)
            result.append((window, formed and around and other_outside and _is_alike(lab, outside, box)))
    return result


def _is_alike(lab: FloatArray, outside: BoolArray, box: Sequence[int]) -> bool:
    """Whether the pixels ``outside`` have the same colours on opposite sides of the ``box`` (x, y, width, height): what
    surrounds prints has, frames and patterns included; a colour photograph that shows a print, or a page, has not."""
    (x, y, width, height), (rows, columns) = box, np.ogrid[: lab.shape[0], : lab.shape[1]]
    for first, second in ((rows < y, rows >= y + height), (columns < x, columns >= x + width)):
        sides = outside & first, outside & second
        if min(np.count_nonzero(side) for side in sides) > _SIDE * outside.size:
            means = [lab[side][:, 1:].mean(axis=0) for side in sides]
            if np.linalg.norm(means[0] - means[1]) > _ALIKE:
                return False
    return True


def _is_around(outer: Sequence[int], inner: Sequence[int]) -> bool:
    """Whether the rectangle ``outer`` (x, y, width, height) is larger than ``inner`` on two sides or more."""
    (x, y, width, height), (left, top, across, down) = outer, inner
    margins = (left - x) / width, (x + width - left - across) / width, (top - y) / height, (y + height - top - down) / height
    return sum(margin > _THINNEST for margin in margins) > 1


def windows_of(pixels: BoolArray) -> list[tuple[BoolArray, bool]]:
    """The larger connected parts of ``pixels``: each as the rectangle or oval that it is, and whether it is one."""
    opened = cv2.morphologyEx(pixels.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    result = []
    for outline in cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        window = cv2.drawContours(np.zeros_like(opened), [outline], -1, 1, cv2.FILLED)
        area = int(np.count_nonzero(window))
        if area < 0.05 * pixels.size:
            continue
        rectangle, hull = cv2.minAreaRect(outline), cv2.convexHull(outline)
        (_, (a, b), _) = rectangle
        filled = area / ((a + 1) * (b + 1))
        square = filled > _FILLED or (filled > _LEAKING and _sides(rectangle, window, -1.5)[0] > _SUPPORTED)
        oval = area > _SOLID * (cv2.contourArea(hull) + len(outline) / 2) and _OVAL[0] < filled < _OVAL[1]
        oval = oval and _is_ellipse(window, hull)
        if square:
            hull = cv2.boxPoints(rectangle).round().astype(np.int32)
        if square or oval:
            window = cv2.fillConvexPoly(np.zeros_like(opened), hull, 1)
        result.append((window > 0, square or oval))
    return result


def _is_ellipse(window: npt.NDArray[Any], hull: cv2.typing.MatLike) -> bool:
    """Whether a window is the ellipse that fits best; round things are often not."""
    if len(hull) < 5:
        return False
    there = cv2.ellipse(np.zeros(window.shape, np.uint8), cv2.fitEllipse(hull), 1, cv2.FILLED) > 0
    both, either = np.count_nonzero((window > 0) & there), np.count_nonzero((window > 0) | there)
    return bool(both > _ELLIPSE * either)


def _sides(rectangle: cv2.typing.RotatedRect, pixels: npt.NDArray[Any], distance: float) -> list[float]:
    """Which shares of the rectangle's four sides have ``pixels`` at this ``distance`` outside of them; the least first."""
    centre, (a, b), angle = rectangle
    corners = cv2.boxPoints((centre, (max(a + 2 * distance, 1), max(b + 2 * distance, 1)), angle))
    steps = np.linspace(0.02, 0.98, 48)[:, None]
    shares = []
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        columns, rows = (first + steps * (second - first)).round().astype(int).T
        height, width = pixels.shape
        there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        shares.append(float((pixels[rows.clip(0, height - 1), columns.clip(0, width - 1)] * there).mean()))
    return sorted(shares)


def lies_on(window: BoolArray, sheet: BoolArray) -> bool:
    """Whether the ``sheet`` is beside three sides of the ``window`` at least."""
    points = np.argwhere(window)[:, ::-1].astype(np.int32)
    return _sides(cv2.minAreaRect(points), sheet, _BESIDE_PIXELS)[1] > _BESIDE


def is_blank(lab: FloatArray, sheet: BoolArray) -> bool:
    """Whether a sheet has nothing on it but a few words: its lightness changes slowly."""
    inside, lightness = eroded(sheet), np.ascontiguousarray(lab[..., 0])
    weights = inside.astype(np.float32)
    light = cv2.GaussianBlur(lightness * weights, (0, 0), _EVEN) / (cv2.GaussianBlur(weights, (0, 0), _EVEN) + np.float32(1e-6))
    return bool(inside.any() and 1.48 * np.median(np.abs(lightness - light)[inside]) < _BLANK)
