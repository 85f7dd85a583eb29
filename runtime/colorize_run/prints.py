"""Which pictures are in colour for their owner, and which are black-and-white prints in surroundings that have colours.

A picture has no colours if it is a print: all of it but marks has one tone (`colour.tone`, `marks`). If it is not, it may
hold prints, rectangular or oval: inside a sheet of one colour, or around the middle. These are judged in the same way, and
if they are prints, what surrounds them (paper, cardboard, a frame, a ruler) keeps its own colours. All this is judged at a
small size. The limits were chosen with `python -m benchmarks.prints`; docs/decisions.md has its figures.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour.tone import Tone
from colorize_run.image.picture import Picture
from colorize_run.marks import ellipse, marks
from colorize_run.surroundings import eroded, is_blank, lies_on, sheet_of, windows_in_the_middle, windows_of

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_JUDGED_AT = 128  # pixels, the long side: noise and JPEG's chroma are averaged away, a thin rule is still there
_WIDE = 16  # pixels: in what is narrower at that size, nothing surrounds anything
_SHOWN_AT = 512  # pixels, the long side of the map of what keeps its colours
_OTHER, _OTHER_SHARE = 3.0, 90.0  # distance from the tone in a*, b* that this share of a print's pixels must keep, in %
_VIVID, _VIVID_BROWN, _VIVID_GREEN = (
    30.0,
    45.0,
    12.0,
)  # a*, b*: nine tenths of a print are weaker, and half of it than the first
_BROWN, _GREEN = (40.0, 108.0), 210.0  # degrees of hue: those of sepia, and where green ends
_STEP = 3.0  # a*, b*: by which the tones of prints side by side differ
_LEVEL_SHARE = 0.2  # of the picture: what one of ten levels of lightness counts at most
_LEVELS = 3  # a print in a mat in a frame
_LEAST, _LEAST_IN_THE_MIDDLE, _LEAST_PIXELS = 0.12, 0.25, 200  # share of the picture that prints have; pixels of each
_EVENNESS = 2.5, 5.0, None  # of paper around a print: whichever shows the print as a rectangle or an oval
_SHADES = 3.0  # standard deviation of L* that is a photograph's, and not a blank sheet's
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
    lab, opaque = _reduced(image, alpha, _JUDGED_AT)
    if not opaque[::2, ::2].any():  # a tone is fitted to every second pixel
        opaque[...] = True
    lab[..., 1:] = _blurred(lab[..., 1:], opaque)
    found = _prints(lab, opaque, _LEVELS if min(lab.shape[:2]) >= _WIDE else 0)
    if found is None:
        return Look(has_colours=True)
    if found[0].valid is opaque and not found[0].marks.any():
        return Look(has_colours=False)
    return Look(has_colours=False, share=_share(_reduced(image, alpha, _SHOWN_AT)[0], found))


def _blurred(chroma: FloatArray, pixels: BoolArray) -> FloatArray:
    """a*, b* (h, w, 2), each a mean of the ``pixels`` beside it."""
    weights = pixels.astype(np.float32)
    total = np.maximum(cv2.GaussianBlur(weights, (0, 0), 1.0), np.float32(1e-3))
    return np.asarray(cv2.GaussianBlur(chroma * weights[..., None], (0, 0), 1.0) / total[..., None], np.float32)


def _reduced(image: Image.Image, alpha: Image.Image | None, side: int) -> tuple[FloatArray, BoolArray]:
    """CIELAB (h, w, 3) of an image whose long side is ``side`` at most, grey under transparency; and what is opaque (h, w)."""
    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(colour.resize(rgb, size), np.float32) / np.float32(255)
    opaque = np.ones(small.shape[:2], np.bool_)
    if alpha is not None:
        opacity = np.asarray(colour.resize(alpha, size), np.float32)[..., None] / np.float32(255)
        small = small * opacity + np.float32(0.5) * (1 - opacity)
        opaque = cv2.erode((opacity[..., 0] > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # no mixtures with grey
    return np.array(colour.srgb_to_lab(small), np.float32), opaque


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
    if _is_vivid(lab[valid][:, 1:] - differences[valid]):
        return None
    marked = marks(differences, valid)
    if marked is None:
        return None
    rest = valid & ~marked
    if np.count_nonzero(rest) < 0.5 * np.count_nonzero(valid):
        return None
    away = _usual_distance(differences[rest], lab[rest][:, 0])
    return _Print(valid, tone, marked) if away <= _OTHER else None


def _is_vivid(tone: FloatArray) -> bool:
    """Whether a tone, a*, b* of all pixels (n, 2), is stronger than that of prints: sepia may yellow besides, green is rare."""
    strength, (a, b) = np.linalg.norm(tone, axis=1), tone.mean(axis=0)
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    usual, strong = np.percentile(strength, [50, 90])
    if _BROWN[0] < hue < _BROWN[1]:
        return bool(usual > _VIVID or strong > _VIVID_BROWN)
    return bool(strong > (_VIVID_GREEN if _BROWN[1] < hue < _GREEN else _VIVID))


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
    if levels == 0:
        return None if one is None else [one]
    if one is not None:
        return _in_margins(lab, one, levels)
    sheet, found = sheet_of(lab, valid), None
    if sheet is not None:
        found = _in_windows(lab, valid, windows_of(valid & ~sheet), levels)
    found = found or _in_windows(lab, valid, windows_in_the_middle(lab, valid), levels, _LEAST_IN_THE_MIDDLE)
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


def _in_windows(
    lab: FloatArray, valid: BoolArray, windows: list[tuple[BoolArray, bool]], levels: int, least: float = _LEAST
) -> list[_Print] | None:
    """The prints in ``windows``, if they have this ``least`` share of ``valid``, and most of what is in windows at all."""
    prints, area = list[_Print](), 0
    for window, formed in windows:
        inside = eroded(eroded(window & valid))  # the colours of the surroundings were blurred into it
        if formed and _has_shades(lab, inside):
            found = _prints(lab, inside, levels - 1)
            if found is not None:
                prints += found
                area += int(np.count_nonzero(window))
    every = sum(int(np.count_nonzero(window)) for window, _ in windows)
    return prints if area >= max(least * np.count_nonzero(valid), 0.7 * every, 1) else None


def _has_shades(lab: FloatArray, pixels: BoolArray) -> bool:
    """Whether there is a photograph: enough pixels, and of many lightnesses."""
    return int(np.count_nonzero(pixels)) >= _LEAST_PIXELS and float(lab[pixels][:, 0].std()) >= _SHADES


def _as_photograph(lab: FloatArray, pixels: BoolArray) -> _Print | None:
    """`_as_print`, of what has shades."""
    return _as_print(lab, pixels) if _has_shades(lab, pixels) else None


def _in_margins(lab: FloatArray, one: _Print, levels: int) -> list[_Print]:
    """A print of one tone, its paper among it, without the paper: a blank sheet that lies around it."""
    for even in _EVENNESS:
        sheet = sheet_of(lab, one.valid, even)
        if sheet is None or not is_blank(lab, sheet):
            continue
        windows = windows_of(one.valid & ~sheet)
        if all(formed and lies_on(window, sheet) for window, formed in windows):
            inside = _in_windows(lab, one.valid, windows, levels)
            if inside and len(inside) >= len(windows):
                return inside
    return [one]


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
        edge = cv2.resize(1 - eroded(eroded(each.valid)).astype(np.float32), (width, height))
        own = np.maximum(_kept(even) * np.minimum(2 * marked, 1), _kept(distance) * np.minimum(2 * edge, 1))
        np.maximum(share, cv2.resize(cv2.dilate(inside, ellipse(5)), (width, height)) * (1 - own), out=share)
    return np.asarray(cv2.GaussianBlur(share, (0, 0), 1.0), np.float32)


def _kept(distance: FloatArray) -> FloatArray:
    """How much a place keeps of its own colours, 0..1, by its distance from the tone."""
    return np.asarray(np.clip((distance - _KEPT[0]) / (_KEPT[1] - _KEPT[0]), 0, 1), np.float32)
