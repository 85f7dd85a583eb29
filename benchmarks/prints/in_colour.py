"""Colour photographs: each is made from a photograph and a generator of chances."""

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.prints.marked import with_date
from benchmarks.prints.parts import MOUNTS, PAPERS, Colour, FloatArray, Maker, Rng, around, choice, grey_of, put_on, toned, wood


def as_it_is(photograph: FloatArray, rng: Rng) -> FloatArray:
    """As it is."""
    return photograph


def pale(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Half of its colours gone."""
    grey = grey_of(photograph)[..., None]
    return np.asarray(grey + rng.uniform(0.4, 0.7) * (photograph - grey), np.float32)


def faded(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Dyes that faded: weak contrast, weak colours, and a cast."""
    cast = np.array([(24, -6, 4), (18, 10, -14), (-4, 8, 14)][rng.integers(3)], np.float32)
    weaker = grey_of(photograph)[..., None] * 0.3 + 0.7 * photograph
    return np.asarray(60 + 0.66 * weaker + cast, np.float32)


def white_border(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour print with white margins."""
    return put_on(photograph, np.array((246, 245, 242), np.float32), (0.02, 0.12), rng)


def coloured_border(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour print on paper, cardboard or wood."""
    return put_on(photograph, choice(PAPERS + MOUNTS, rng), (0.02, 0.18), rng)


def _vivid(photograph: FloatArray, there: npt.NDArray[np.bool_], rng: Rng) -> FloatArray:
    """Grey but for what is ``there`` (H, W), which has one strong colour or, if it has one, its own."""
    grey = grey_of(photograph)[..., None]
    own = photograph - grey
    if np.abs(own[there]).max(axis=1).mean() < 40:
        paint = np.array(
            [(210, 40, 40), (40, 90, 200), (240, 190, 30), (230, 110, 20), (40, 150, 70)][rng.integers(5)], np.float32
        )
        own = (paint - paint.mean()) * (0.3 + grey / 255)
    soft = cv2.GaussianBlur(there.astype(np.float32), (0, 0), 1.0)[..., None]
    return np.asarray(grey + soft * own, np.float32)


def small_subject(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A small coloured thing, a car or a bird, in a grey picture: 1 to 6 % of its area."""
    height, width = photograph.shape[:2]
    area = rng.uniform(0.01, 0.06) * height * width
    a = np.sqrt(area / np.pi * rng.uniform(1, 2.2))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - rng.uniform(0.25, 0.75) * height, x - rng.uniform(0.25, 0.75) * width
    around = np.arctan2(y, x)
    uneven = 1 + 0.2 * np.sin(3 * around + rng.uniform(0, 6)) + 0.12 * np.sin(5 * around + rng.uniform(0, 6))
    return _vivid(photograph, np.hypot(x / a, y / (area / np.pi / a)) < uneven, rng)


def selective(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A grey picture in which the things of one hue have kept their colours."""
    own = photograph - grey_of(photograph)[..., None]
    hue = np.arctan2(np.sqrt(3) * (own[..., 1] - own[..., 2]), 2 * own[..., 0] - own[..., 1] - own[..., 2])
    strength = np.abs(own).max(axis=2)
    wanted = hue[np.unravel_index(np.argmax(cv2.blur(strength, (15, 15))), hue.shape)]
    near = np.abs((hue - wanted + np.pi) % (2 * np.pi) - np.pi) < 0.5
    there = cv2.medianBlur((near & (strength > 25)).astype(np.uint8), 5) > 0
    return small_subject(photograph, rng) if there.mean() < 0.01 else _vivid(photograph, there, rng)


def stamped(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour photograph with a camera's date."""
    strokes = np.abs(with_date(photograph, rng) - toned(photograph, rng, "neutral")).max(axis=2, keepdims=True) > 90
    return np.asarray(np.where(strokes, np.array((255, 140, 40), np.float32), photograph), np.float32)


def hazy(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour photograph in mist."""
    share = rng.uniform(0.25, 0.4)
    return np.asarray((1 - share) * photograph + share * np.array((226, 230, 233), np.float32), np.float32)


def on_table(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour print with a white margin on a wooden table."""
    printed = white_border(photograph, rng)
    sheet, rows, columns = around(printed, (0.1, 0.2), rng)
    sheet[...] = wood(sheet.shape[:2], rng)
    sheet[rows, columns] = printed
    return sheet


def with_poster(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour photograph that shows a black-and-white print in a white rim, somewhere around its middle."""
    share = rng.uniform(0.35, 0.65)
    return _shown(photograph, put_on(toned(photograph, rng, "neutral"), np.full(3, 248, np.float32), (0.02, 0.04), rng), share)


def with_screen(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A colour photograph that shows a television's grey picture in a black rim, or a white page with words."""
    if rng.random() < 0.5:
        shown = put_on(0.7 * toned(photograph, rng, "neutral"), np.full(3, 20, np.float32), (0.02, 0.06), rng, even=True)
        return _shown(photograph, shown, rng.uniform(0.4, 0.6))
    height, width = photograph.shape[:2]
    page = np.full((height, width, 3), 245, np.uint8)
    for line in range(2, 14):
        place, words = (width // 12, line * height // 15), "Invoice of the year: total to be paid"[: rng.integers(12, 37)]
        cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, width / 800, (15, 15, 15), 2, cv2.LINE_AA)
    return _shown(photograph, page.astype(np.float32), rng.uniform(0.4, 0.6))


def _shown(photograph: FloatArray, shown: FloatArray, share: float) -> FloatArray:
    """``shown`` in the middle of a photograph, with this share of its width and height."""
    height, width = photograph.shape[:2]
    size = round(share * width), round(share * height)
    picture, top, left = photograph.copy(), (height - size[1]) // 2, (width - size[0]) // 2
    picture[top : top + size[1], left : left + size[0]] = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return picture


def vivid(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Of one strong hue but for black and white: under water, in a forest, a flower, an evening."""
    light = grey_of(photograph)
    hues: list[Colour] = [(20, 90, 200), (10, 140, 150), (50, 150, 60), (240, 130, 20), (200, 30, 80), (130, 60, 190)]
    middle = choice(hues, rng)
    channels = [np.interp(light, [0, 128, 255], (0.15 * each, each, 0.45 * each + 0.55 * 255)) for each in middle]
    return np.stack(channels, 2).astype(np.float32)


def few_hues(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A blue or evening sky that grows pale towards the horizon, and ground of another hue that has the photograph's light."""
    height, width = photograph.shape[:2]
    skies = [((50, 110, 210), (190, 215, 245)), ((40, 70, 150), (250, 160, 80)), ((90, 150, 235), (150, 195, 245))]
    top, low = (np.array(sky, np.float32) for sky in skies[rng.integers(len(skies))])
    ground = choice([(220.0, 190.0, 140.0), (70.0, 130.0, 50.0), (190.0, 110.0, 60.0), (30.0, 90.0, 140.0)], rng)
    horizon = round(rng.uniform(0.35, 0.65) * height)
    share = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None]
    sky = np.repeat((1 - share) * top + share * low, width, axis=1)
    light = 0.4 + 0.6 * grey_of(photograph)[horizon:, :, None] / max(1.0, float(grey_of(photograph)[horizon:].max()))
    return np.asarray(np.concatenate([sky, ground * light]), np.float32)


KINDS: list[Maker] = [
    as_it_is, pale, faded, white_border, coloured_border, stamped, small_subject, selective, with_poster, with_screen, vivid,
    few_hues,
]  # fmt: skip
HELD_OUT: list[Maker] = [hazy, on_table]
