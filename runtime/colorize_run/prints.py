"""Which pictures are in colour for their owner, and which are black-and-white prints in surroundings that have colours.

A picture has no colours if it is a print: all of it but marks has one tone (`colour.tone`, `marks`). If it is not, it may
hold prints, rectangular or oval: inside a sheet of one colour, or around the middle. These are judged in the same way, and
if they are prints, what surrounds them (paper, cardboard, a frame, a ruler) keeps its own colours. All this is judged at a
small size. The limits were chosen with `python -m benchmarks.prints`; docs/decisions.md has its figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour.tone import Tone
from colorize_run.image.picture import Picture
from colorize_run.marks import ellipse, marks, touching

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_JUDGED_AT = 128  # pixels, the long side: noise and JPEG's chroma are averaged away, a thin rule is still there
_WIDE = 16  # pixels: in what is narrower at that size, nothing surrounds anything
_SHOWN_AT = 512  # pixels, the long side of the map of what keeps its colours
_OTHER, _OTHER_SHARE = 3.0, 90.0  # distance from the tone in a*, b* that this share of a print's pixels must keep, in %
_STEP = 3.0  # a*, b*: by which the tones of prints side by side differ
_LEVEL_SHARE = 0.2  # of the picture: what one of ten levels of lightness counts at most
_LEVELS = 3  # a print in a mat in a frame
_LEAST, _LEAST_PIXELS = 0.12, 200  # share of the picture that prints must have; and pixels of each
_SHADES = 3.0  # standard deviation of L* that is a photograph's, and not a blank sheet's
_SHEET_L, _SHEET_AB, _SHEET_RIM = 16.0, 8.0, 0.7  # how far a sheet's colours lie apart, and its share of the rim
_SHEET_CHROMA = 4.0  # a*, b* from which paper has a colour that can be kept
_INNER, _INNER_OUTSIDE = 6.0, 0.4  # distance from the middle's tone that ends a print; share of the rest that must exceed it
_THINNEST, _ONE_SIDE = 0.03, 0.25  # of the area: what surrounds a print, and what lies on one side of it at most
_FILLED, _SOLID, _OVAL = 0.84, 0.95, (0.74, 0.83)  # of the smallest rectangle or hull around a print; pi / 4 is an oval's
# Where a photograph's white runs into the sheet, each side of its rectangle must still be there in part.
_LEAKING, _SUPPORTED = 0.4, 0.5
_EVEN = 6.0  # pixels of that map: a stain is one over dark and light details of the photograph
_KEPT = 1.5, 12.0  # distances from the tone, a*, b*: from "gets new colours" to "keeps its own"


@dataclass(frozen=True)
class Look:
    """What a picture is. ``has_colours``: it is in colour. Else it is a print, and ``share`` (h, w), 0..1, says how much of
    the new colours a place gets; None if all of it gets them."""

    has_colours: bool
    share: FloatArray | None = None


def look_at(picture: Picture) -> Look:
    """Whether a picture is in colour, and where not. What lies under transparency does not count."""
    image = picture.in_bytes()
    if image.mode == "L":
        return Look(has_colours=False)
    alpha = picture.alpha_in_bytes()
    lab = _reduced(image, alpha, _JUDGED_AT)
    lab[..., 1:] = cv2.GaussianBlur(lab[..., 1:], (0, 0), 1.0)
    whole = np.ones(lab.shape[:2], np.bool_)
    wide = min(lab.shape[:2]) >= _WIDE
    found = _prints(lab, whole, _LEVELS if wide else 0)
    if found is None:
        return Look(has_colours=True)
    if wide and len(found) == 1 and found[0].valid.all():
        found = _in_margins(lab, found[0])
    if found[0].valid.all() and not found[0].marks.any():
        return Look(has_colours=False)
    return Look(has_colours=False, share=_share(_reduced(image, alpha, _SHOWN_AT), found))


def _reduced(image: Image.Image, alpha: Image.Image | None, side: int) -> FloatArray:
    """CIELAB (h, w, 3) of an image whose long side is ``side`` at most; grey under transparency."""
    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(colour.resize(rgb, size), np.float32) / np.float32(255)
    if alpha is not None:
        opacity = np.asarray(colour.resize(alpha, size), np.float32)[..., None] / np.float32(255)
        small = small * opacity + np.float32(0.5) * (1 - opacity)
    return np.array(colour.srgb_to_lab(small), np.float32)


@dataclass(frozen=True)
class _Print:
    """A print: its pixels ``valid`` (h, w), its tone, and the ``marks`` (h, w) on it."""

    valid: BoolArray
    tone: Tone
    marks: BoolArray


def _as_print(lab: FloatArray, valid: BoolArray) -> _Print | None:
    """The pixels ``valid`` as one print; None if they have colours."""
    tone = Tone(lab, valid)
    differences = tone.differences(lab)
    if np.median(np.linalg.norm(differences[valid], axis=1)) > _OTHER:  # most colour photographs end here
        return None
    marked = marks(differences, valid)
    if marked is None:
        return None
    rest = valid & ~marked
    if np.count_nonzero(rest) < 0.5 * np.count_nonzero(valid):
        return None
    away = _usual_distance(differences[rest], lab[rest][:, 0])
    return _Print(valid, tone, marked) if away <= _OTHER else None


def _usual_distance(differences: FloatArray, lightness: FloatArray) -> float:
    """The distance from its tone that _OTHER_SHARE of a print keeps; a white or black background counts for no more than a
    fifth of the picture."""
    distance = np.linalg.norm(differences, axis=1)
    level = np.clip(lightness / 10, 0, 9).astype(np.intp)
    weights = np.minimum(1, _LEVEL_SHARE * len(level) / np.maximum(np.bincount(level, minlength=10), 1))[level]
    order = np.argsort(distance)
    total = np.cumsum(weights[order])
    return float(distance[order][np.searchsorted(total, _OTHER_SHARE / 100 * total[-1])])


def _prints(lab: FloatArray, valid: BoolArray, levels: int) -> list[_Print] | None:
    """The prints among the pixels ``valid``; None if there are colours outside of surroundings."""
    one = _as_print(lab, valid)
    if one is not None:
        return [one]
    if levels == 0:
        return None
    sheet = _sheet(lab, valid)
    found = None
    if sheet is not None:
        found = _in_windows(lab, valid, _windows(valid & ~sheet), levels)
    found = found or _in_windows(lab, valid, _windows_in_the_middle(lab, valid), levels)
    return found or (_side_by_side(lab, valid) if levels == _LEVELS else None)


def _side_by_side(lab: FloatArray, valid: BoolArray) -> list[_Print] | None:
    """Two prints of different tones that meet in a straight line."""
    for axis in (0, 1):
        steps = np.roll(lab[..., 1:], -2, axis) - np.roll(lab[..., 1:], 2, axis)
        along = np.linalg.norm(np.median(steps, axis=1 - axis), axis=1)
        least = len(along) // 5
        line = least + int(np.argmax(along[least:-least]))
        if along[line] < _STEP:
            continue
        place = np.arange(len(along)).reshape((-1, 1) if axis == 0 else (1, -1))
        first = _as_photograph(lab, valid & (place < line - 1))
        second = _as_photograph(lab, valid & (place > line + 1)) if first else None
        if first and second:
            return [first, second]
    return None


def _in_windows(lab: FloatArray, valid: BoolArray, windows: list[tuple[BoolArray, bool]], levels: int) -> list[_Print] | None:
    """The prints in ``windows``, if they are large enough, and most of what is in windows at all."""
    prints, area = list[_Print](), 0
    for window, formed in windows:
        inside = _eroded(_eroded(window & valid))  # the colours of the surroundings were blurred into it
        if formed and _has_shades(lab, inside):
            found = _prints(lab, inside, levels - 1)
            if found is not None:
                prints += found
                area += int(np.count_nonzero(window))
    every = sum(int(np.count_nonzero(window)) for window, _ in windows)
    return prints if area >= max(_LEAST * np.count_nonzero(valid), 0.7 * every, 1) else None


def _has_shades(lab: FloatArray, pixels: BoolArray) -> bool:
    """Whether there is a photograph: enough pixels, and of many lightnesses."""
    return int(np.count_nonzero(pixels)) >= _LEAST_PIXELS and float(lab[pixels][:, 0].std()) >= _SHADES


def _as_photograph(lab: FloatArray, pixels: BoolArray) -> _Print | None:
    """`_as_print`, of what has shades."""
    return _as_print(lab, pixels) if _has_shades(lab, pixels) else None


def _eroded(pixels: BoolArray) -> BoolArray:
    return cv2.erode(np.pad(pixels.astype(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0


def _sheet(lab: FloatArray, valid: BoolArray) -> BoolArray | None:
    """The sheet of one colour that reaches the rim of ``valid``; None if there is none."""
    rim = valid & ~_eroded(valid)
    middle = np.median(lab[rim], axis=0)
    near = (np.abs(lab[..., 0] - middle[0]) < _SHEET_L) & (np.linalg.norm(lab[..., 1:] - middle[1:], axis=2) < _SHEET_AB)
    if near[rim].mean() < _SHEET_RIM:
        return None
    return touching(near & valid, rim)


def _windows_in_the_middle(lab: FloatArray, valid: BoolArray) -> list[tuple[BoolArray, bool]]:
    """Windows of what has the tone of the middle of ``valid``, if what surrounds them has another one."""
    x, y, width, height = cv2.boundingRect(valid.astype(np.uint8))
    rows, columns = np.ogrid[: lab.shape[0], : lab.shape[1]]
    away = ((rows - y - height / 2) / (0.2 * height)) ** 2 + ((columns - x - width / 2) / (0.2 * width)) ** 2
    tone = Tone(lab, valid, np.exp(-away).astype(np.float32), changes=False)
    other = np.linalg.norm(tone.differences(lab), axis=2) > _INNER
    inner = cv2.morphologyEx((~other & valid).astype(np.uint8), cv2.MORPH_CLOSE, ellipse(5)) > 0
    result = []
    for window, formed in _windows(inner & valid):
        outside = valid & ~window
        share = np.count_nonzero(outside) / np.count_nonzero(valid)
        around = share < _ONE_SIDE or _is_around((x, y, width, height), cv2.boundingRect(window.astype(np.uint8)))
        if share > _THINNEST:
            result.append((window, formed and around and bool(other[outside].mean() > _INNER_OUTSIDE)))
    return result


def _is_around(outer: Sequence[int], inner: Sequence[int]) -> bool:
    """Whether the rectangle ``outer`` (x, y, width, height) is larger than ``inner`` on two sides or more."""
    (x, y, width, height), (left, top, across, down) = outer, inner
    margins = (left - x) / width, (x + width - left - across) / width, (top - y) / height, (y + height - top - down) / height
    return sum(margin > _THINNEST for margin in margins) > 1


def _windows(pixels: BoolArray) -> list[tuple[BoolArray, bool]]:
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
        square = filled > _FILLED or (filled > _LEAKING and _sides(rectangle, window) > _SUPPORTED)
        oval = area > _SOLID * (cv2.contourArea(hull) + len(outline) / 2) and _OVAL[0] < filled < _OVAL[1]
        if square:
            hull = cv2.boxPoints(rectangle).round().astype(np.int32)
        if square or oval:
            window = cv2.fillConvexPoly(np.zeros_like(opened), hull, 1)
        result.append((window > 0, square or oval))
    return result


def _sides(rectangle: cv2.typing.RotatedRect, pixels: npt.NDArray[Any]) -> float:
    """Along which share of the side where it is least the rectangle's sides run beside ``pixels``."""
    centre, (a, b), angle = rectangle
    corners = cv2.boxPoints((centre, (max(a - 3, 1), max(b - 3, 1)), angle))
    steps = np.linspace(0.02, 0.98, 48)[:, None]
    shares = []
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        columns, rows = (first + steps * (second - first)).round().astype(int).T
        height, width = pixels.shape
        shares.append(pixels[rows.clip(0, height - 1), columns.clip(0, width - 1)].mean())
    return float(min(shares))


def _in_margins(lab: FloatArray, whole: _Print) -> list[_Print]:
    """A print of one tone with its paper, without the margins if the paper has a colour."""
    sheet = _sheet(lab, whole.valid)
    if sheet is None or np.linalg.norm(np.median(lab[sheet][:, 1:], axis=0)) < _SHEET_CHROMA:
        return [whole]
    inside = _in_windows(lab, whole.valid, _windows(~sheet), 1)
    return inside or [whole]


def _share(lab: FloatArray, prints: list[_Print]) -> FloatArray:
    """Share of the new colours (H, W): none outside of prints; none where marks, or paper at the edge, have their own."""
    height, width = lab.shape[:2]
    share: FloatArray = np.zeros((height, width), np.float32)
    for each in prints:
        inside = each.valid.astype(np.float32)
        distance = np.linalg.norm(each.tone.differences(lab), axis=2).astype(np.float32)
        even = np.maximum(distance, cv2.GaussianBlur(distance, (0, 0), _EVEN))
        kept = cv2.morphologyEx(each.marks.astype(np.uint8), cv2.MORPH_OPEN, ellipse(5))  # no specks
        marked = cv2.resize(kept.astype(np.float32), (width, height))
        edge = cv2.resize(1 - _eroded(_eroded(each.valid)).astype(np.float32), (width, height))
        own = np.maximum(_kept(even) * np.minimum(2 * marked, 1), _kept(distance) * np.minimum(2 * edge, 1))
        np.maximum(share, cv2.resize(cv2.dilate(inside, ellipse(5)), (width, height)) * (1 - own), out=share)
    return np.asarray(cv2.GaussianBlur(share, (0, 0), 1.0), np.float32)


def _kept(distance: FloatArray) -> FloatArray:
    """How much a place keeps of its own colours, 0..1, by its distance from the tone."""
    return np.asarray(np.clip((distance - _KEPT[0]) / (_KEPT[1] - _KEPT[0]), 0, 1), np.float32)
