"""Pictures that have no colour to find: print, drawings, maps, charts, night skies, X-rays and microscopy.

They are drawn, or made of a photograph's grey. A network that has seen them stays grey where it must not guess.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
_LETTERS = "aaabcdeeeeefghiiijklmnnoooprrsssttuuvwyz"


def colourless(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A picture without colour, (H, W) 0..1, of the size of ``grey`` (H, W), 0..1, the grey of a photograph.

    Two of the kinds keep what the photograph shows (halftone, sketch); the others only take its size.
    """
    drawn = KINDS[rng.integers(len(KINDS))](grey, rng)
    return np.clip(drawn, 0, 1).astype(np.float32)


def _paper(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """An empty sheet: light, with a slight shade and texture."""
    h, w = grey.shape
    shade = np.linspace(0, float(rng.uniform(-0.15, 0.15)), w, dtype=np.float32)[None]
    texture = rng.standard_normal((h, w), np.float32) * np.float32(rng.uniform(0, 0.02))
    return np.clip(np.float32(rng.uniform(0.75, 1)) + shade + texture, 0, 1)


def _printed(paper: FloatArray, ink: npt.NDArray[Any]) -> FloatArray:
    """``paper`` with ``ink`` on it, 255 for black. Ink is drawn in bytes, as OpenCV smooths lines in no other type."""
    return paper * (1 - ink.astype(np.float32) / np.float32(255))


def _blackness(rng: np.random.Generator) -> int:
    return int(rng.integers(150, 256))


def _smooth(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> FloatArray:
    """Noise whose features are ``scale`` pixels large, 0..1."""
    h, w = shape
    small = rng.random((max(2, round(h / scale)), max(2, round(w / scale))), np.float32)
    return np.clip(cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)


def _blurred(picture: npt.NDArray[Any], deviation: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(deviation)), np.float32)


def _halftone(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The photograph as dots or lines of ink, as newspapers print it."""
    h, w = grey.shape
    pitch, angle = rng.uniform(2.5, 8), rng.uniform(0, np.pi)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    u, v = (
        (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch,
        (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / pitch,
    )
    screen = np.sin(u) if rng.random() < 0.25 else (np.sin(u) + np.sin(v)) / 2
    steepness = rng.uniform(3, 20)
    dots = 1 / (1 + np.exp(-steepness * (2 * grey - 1 + screen)))
    return _blurred(dots.astype(np.float32), rng.uniform(0.3, 1))


def _sketch(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The photograph's edges, as a pencil or a pen draws them."""
    if rng.random() < 0.5:
        soft = _blurred(1 - grey, rng.uniform(1.5, 6))
        return np.asarray(grey / np.maximum(1 - soft, 0.05), np.float32)
    low = rng.uniform(30, 90)
    edges = cv2.Canny(np.rint(grey * 255).astype(np.uint8), low, 2.5 * low)
    ink = _blurred(edges.astype(np.float32) / 255, rng.uniform(0.4, 1))
    picture: FloatArray = _paper(grey, rng) - np.float32(rng.uniform(0.6, 1)) * np.minimum(1, 1.5 * ink)
    return picture if rng.random() < 0.8 else 1 - picture


def _words(rng: np.random.Generator, length: int) -> str:
    letters = rng.choice(list(_LETTERS), length)
    letters[rng.random(length) < 0.17] = " "
    return "".join(letters)


def _page(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Lines of text, maybe in columns, maybe slanted."""
    h, w = grey.shape
    ink, black = np.zeros((h, w), np.uint8), _blackness(rng)
    columns, scale, font = int(rng.integers(1, 4)), rng.uniform(0.2, 0.8), _FONTS[rng.integers(len(_FONTS))]
    line, thickness = max(5, round(30 * scale * rng.uniform(0.9, 1.6))), int(rng.integers(1, 3)) if scale > 0.5 else 1
    for column in range(columns):
        for y in range(int(rng.integers(0, line)), h + line, line):
            if rng.random() < 0.9:
                text = _words(rng, max(1, round(w / columns / (19 * scale) * rng.uniform(0.5, 1))))
                cv2.putText(ink, text, (column * w // columns + 3, y), font, scale, black, thickness, cv2.LINE_AA)
    turned = cv2.getRotationMatrix2D((w / 2, h / 2), float(rng.normal(0, 3)), 1)
    return _printed(_paper(grey, rng), cv2.warpAffine(ink, turned, (w, h)))


def _lines(ink: ByteArray, rng: np.random.Generator, count: int) -> None:
    """``count`` curves, ellipses or polygons, in place."""
    h, w = ink.shape
    for _ in range(count):
        black, thickness = _blackness(rng), int(rng.integers(1, 4))
        centre, kind = (int(rng.integers(w)), int(rng.integers(h))), rng.integers(3)
        if kind == 0:
            axes, until = (int(rng.integers(2, w // 3)), int(rng.integers(2, h // 3))), float(rng.uniform(90, 361))
            cv2.ellipse(ink, centre, axes, float(rng.uniform(0, 180)), 0, until, black, thickness, cv2.LINE_AA)
        else:
            steps = rng.normal(0, w / (6 if kind == 1 else 14), (int(rng.integers(2, 12)), 2))
            points = (np.cumsum(steps, axis=0) + centre).astype(np.int32)
            cv2.polylines(ink, [points[:, None]], bool(rng.random() < 0.4), black, thickness, cv2.LINE_AA)


def _drawing(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Line art: curves on paper, some of them hatched."""
    ink = np.zeros(grey.shape, np.uint8)
    _lines(ink, rng, int(rng.integers(5, 40)))
    if rng.random() < 0.4:
        y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
        hatches = np.sin((x * rng.normal() + y * rng.normal()) * 2) > 0.6
        ink[hatches & (_smooth(grey.shape, grey.shape[0] / 4, rng) > 0.55)] = 160
    return _printed(_paper(grey, rng), ink)


def _map(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Contours, areas, roads and names."""
    (h, w), ink, paper = grey.shape, np.zeros(grey.shape, np.uint8), _paper(grey, rng)
    height = _smooth(grey.shape, h / rng.uniform(2, 7), rng)
    if rng.random() < 0.6:
        paper *= 1 - np.float32(rng.uniform(0.05, 0.3)) * (height > rng.uniform(0.3, 0.7))
    levels = height * rng.uniform(4, 15)
    distance = np.abs(levels - np.rint(levels)) / (np.hypot(*np.gradient(levels)) + 1e-3)  # of the nearest contour, in pixels
    paper *= 1 - np.float32(rng.uniform(0.2, 0.7)) * np.clip(1.2 - distance, 0, 1).astype(np.float32)
    _lines(ink, rng, int(rng.integers(2, 12)))
    for _ in range(int(rng.integers(2, 15))):
        place, scale = (int(rng.integers(w)), int(rng.integers(h))), float(rng.uniform(0.2, 0.5))
        cv2.putText(ink, _words(rng, 7).strip().title(), place, _FONTS[rng.integers(4)], scale, 230, 1, cv2.LINE_AA)
    return _printed(paper, ink)


def _chart(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A table, a bar chart or a graph."""
    (h, w), ink = grey.shape, np.zeros(grey.shape, np.uint8)
    count = int(rng.integers(3, 12))
    for i in range(count):
        middle, half = round((i + 0.5) * w / count), w // (3 * count)
        if rng.random() < 0.7:
            top = int(rng.integers(h // 8, h - 8))
            cv2.rectangle(ink, (middle - half, top), (middle + half, h - 8), int(rng.integers(80, 256)), -1)
        if rng.random() < 0.5:
            cv2.line(ink, (0, i * h // count), (w, i * h // count), int(rng.integers(80, 200)), 1)
    curve = np.stack([np.linspace(0, w, 30), h * (1 - _smooth((1, 30), 4, rng)[0])], axis=1).astype(np.int32)
    cv2.polylines(ink, [curve[:, None]], False, 230, 1, cv2.LINE_AA)
    cv2.putText(ink, _words(rng, 12), (4, 12), _FONTS[0], 0.35, 230, 1, cv2.LINE_AA)
    sheet = _printed(_paper(grey, rng), ink)
    return sheet if rng.random() < 0.85 else 1 - sheet


def _night_sky(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Stars of many magnitudes, maybe a nebula or a moon."""
    h, w = grey.shape
    sky = np.full((h, w), rng.uniform(0, 0.12), np.float32) + rng.standard_normal((h, w), np.float32) * np.float32(
        rng.uniform(0.005, 0.04)
    )
    if rng.random() < 0.5:
        cloud = _smooth((h, w), h / 3, rng) * _smooth((h, w), h / 10, rng)
        sky += np.float32(rng.uniform(0.1, 0.6)) * cloud * cloud
    for _ in range(int(rng.integers(20, 300))):
        brightness, place = float(min(1.0, 0.15 + rng.exponential(0.3))), (int(rng.integers(w)), int(rng.integers(h)))
        cv2.circle(sky, place, int(brightness > 0.7) + int(brightness > 0.98), brightness, -1)
    if rng.random() < 0.25:
        cv2.circle(
            sky,
            (int(rng.integers(w)), int(rng.integers(h))),
            int(rng.integers(h // 12, h // 3)),
            float(rng.uniform(0.6, 1)),
            -1,
            cv2.LINE_AA,
        )
        sky *= np.float32(0.7) + np.float32(0.3) * _smooth((h, w), 6, rng)
    return _blurred(sky, rng.uniform(0.4, 1.2))


def _radiograph(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Bones and soft tissue as light shades on black, often symmetrical."""
    h, w = grey.shape
    light = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(2, 6))):  # tissue
        axes = int(rng.integers(w // 8, w // 2)), int(rng.integers(h // 8, h // 2))
        place = int(rng.integers(w)), int(rng.integers(h))
        blob = cv2.ellipse(np.zeros((h, w), np.float32), place, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        light += np.float32(rng.uniform(0.1, 0.5)) * _blurred(blob, rng.uniform(2, h / 12))
    for _ in range(int(rng.integers(3, 16))):  # bones: brighter at their edges
        centre, axes = (
            (int(rng.integers(w)), int(rng.integers(h))),
            (int(rng.integers(w // 8, w // 2)), int(rng.integers(3, h // 4))),
        )
        turn, start, width = float(rng.uniform(0, 180)), float(rng.uniform(0, 180)), int(rng.integers(2, max(3, h // 20)))
        bone = cv2.ellipse(
            np.zeros((h, w), np.float32), centre, axes, turn, start, start + float(rng.uniform(60, 200)), 1.0, width
        )
        light += np.float32(rng.uniform(0.1, 0.5)) * _blurred(bone, rng.uniform(0.5, 2))
    if rng.random() < 0.5:
        light = np.float32(0.5) * (light + light[:, ::-1])
    picture: FloatArray = np.power(np.clip(light / max(float(light.max()), 1e-3), 0, 1), np.float32(rng.uniform(0.6, 1.4)))
    picture += rng.standard_normal((h, w), np.float32) * np.float32(0.02)
    return picture if rng.random() < 0.8 else 1 - picture


def _chest(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Two dark lungs beside a light spine, ribs as arcs, and perhaps a heart, on a film of any tone."""
    h, w = grey.shape
    film = np.full((h, w), rng.uniform(0.2, 0.75), np.float32)
    middle, half, dark = w * rng.uniform(0.42, 0.58), w * rng.uniform(0.12, 0.2), float(rng.uniform(0, 0.25))
    for side in (-1, 1):
        centre = int(middle + side * half * rng.uniform(1.1, 1.4)), int(h * rng.uniform(0.42, 0.58))
        cv2.ellipse(
            film, centre, (int(half), int(h * rng.uniform(0.3, 0.45))), side * float(rng.uniform(0, 15)), 0, 360, dark, -1
        )
    if rng.random() < 0.6:
        cv2.ellipse(
            film,
            (int(middle + half / 2), int(0.65 * h)),
            (int(half), int(0.2 * h)),
            30,
            0,
            360,
            float(rng.uniform(0.5, 0.9)),
            -1,
        )
    spine = int(w * rng.uniform(0.02, 0.05))
    film[:, max(0, int(middle) - spine) : int(middle) + spine] = rng.uniform(0.6, 1)
    film = _blurred(film, rng.uniform(1, h / 20))
    ribs, width = np.zeros((h, w), np.float32), max(1, int(h * rng.uniform(0.01, 0.035)))
    for y in np.arange(0.1, 0.9, rng.uniform(0.07, 0.13)) * h:
        for side in (-1, 1):
            centre, axes = (int(middle + side * half), int(y)), (int(1.3 * half), int(h * rng.uniform(0.06, 0.12)))
            cv2.ellipse(ribs, centre, axes, side * 10, 180, 360, 1.0, width)
    picture = film + np.float32(rng.uniform(0.05, 0.4)) * _blurred(ribs, rng.uniform(0.5, 2))
    picture += rng.standard_normal((h, w), np.float32) * np.float32(rng.uniform(0, 0.03))
    return picture if rng.random() < 0.85 else 1 - picture


def _relief(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Facets or hills under raking light, as an electron microscope shows a surface."""
    h, w = grey.shape
    if rng.random() < 0.5:
        count = int(rng.integers(8, 120))
        y, x = np.mgrid[:h, :w].astype(np.float32)
        across, down = rng.random(count) * w, rng.random(count) * h
        distance = np.hypot(x[..., None] - across, y[..., None] - down)
        shade, nearest = rng.uniform(0.1, 0.9, count)[distance.argmin(axis=2)], distance.min(axis=2)
        picture = shade + rng.uniform(-1.5, 1.5) * nearest / h
        if rng.random() < 0.4:  # grooves between the facets
            picture -= 0.4 * ((np.partition(distance, 1, axis=2)[..., 1] - nearest) < rng.uniform(1, 3))
    else:
        height = sum(scale * _smooth((h, w), scale, rng) for scale in (h / 3, h / 8, h / 20))
        slope = np.gradient(height)
        picture = 0.5 + rng.uniform(0.05, 0.3) * (slope[0] * rng.normal() + slope[1] * rng.normal())
    noise = rng.standard_normal((h, w), np.float32) * np.float32(rng.uniform(0, 0.08))
    return _blurred(np.asarray(picture, np.float32) + noise, rng.uniform(0.3, 1))


def _micrograph(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Cells, fibres or grains on a plain ground."""
    h, w = grey.shape
    ground = rng.uniform(0.05, 0.9)
    picture = np.full((h, w), ground, np.float32) + np.float32(0.1) * _smooth((h, w), h / 4, rng)
    radius = rng.uniform(h / 40, h / 7)
    sign = 1 if ground < 0.5 else -1
    for _ in range(int(rng.integers(5, 80))):
        size = int(max(1, radius * rng.uniform(0.6, 1.4))), int(max(1, radius * rng.uniform(0.6, 1.4)))
        place, turn = (int(rng.integers(w)), int(rng.integers(h))), float(rng.uniform(0, 180))
        body = float(ground + sign * rng.uniform(0.05, 0.35))
        cv2.ellipse(picture, place, size, turn, 0, 360, body, -1)
        cv2.ellipse(picture, place, size, turn, 0, 360, float(body + rng.uniform(-0.3, 0.3)), int(rng.integers(1, 3)))
    picture += np.float32(rng.uniform(0, 0.25)) * (_smooth((h, w), float(rng.uniform(2, 8)), rng) - np.float32(0.5))
    return _blurred(picture, rng.uniform(0.5, 1.5))


KINDS: tuple[Callable[[FloatArray, np.random.Generator], FloatArray], ...] = (
    _halftone, _sketch, _page, _drawing, _map, _chart, _night_sky, _radiograph, _chest, _relief, _micrograph,
)  # fmt: skip
