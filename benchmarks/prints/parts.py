"""What the pictures of `benchmarks.prints` are put together from. Pictures are floats (H, W, 3), 0..255."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rng = np.random.Generator
Maker = Callable[[FloatArray, Rng], FloatArray]
Colour = tuple[float, float, float]

# What black, middle grey and white become.
TONES: dict[str, tuple[Colour, Colour, Colour]] = {
    "neutral": ((0, 0, 0), (128, 128, 128), (255, 255, 255)),
    "sepia": ((38, 24, 14), (150, 122, 92), (250, 236, 205)),
    "warm": ((22, 18, 16), (134, 126, 117), (252, 246, 234)),
    "selenium": ((24, 14, 20), (130, 120, 124), (246, 242, 238)),
    "cyanotype": ((8, 22, 60), (86, 124, 160), (236, 244, 246)),
    "gold": ((20, 20, 30), (126, 122, 126), (240, 232, 214)),
}
PAPERS: list[Colour] = [(238, 220, 170), (242, 232, 205), (226, 208, 168), (214, 190, 140), (247, 240, 222), (232, 214, 188)]
MOUNTS: list[Colour] = [(60, 80, 130), (110, 30, 40), (40, 80, 60), (120, 84, 50), (70, 60, 90), (196, 170, 120), (30, 90, 110)]
INKS: list[Colour] = [(40, 50, 150), (160, 30, 50), (90, 40, 130), (30, 110, 80), (30, 40, 90)]


def grey_of(photograph: FloatArray) -> FloatArray:
    """Luma (H, W)."""
    return np.asarray(photograph @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def toned(photograph: FloatArray, rng: Rng, tone: str | None = None) -> FloatArray:
    """The photograph as a print of one tone; half of the prints are neutral."""
    name = tone or (list(TONES)[rng.integers(1, len(TONES))] if rng.random() < 0.5 else "neutral")
    grey = grey_of(photograph)
    return np.stack([np.interp(grey, [0, 128, 255], channel) for channel in zip(*TONES[name], strict=True)], 2).astype(
        np.float32
    )


def choice(colours: list[Colour], rng: Rng) -> FloatArray:
    """One of the colours, or almost."""
    return np.array(colours[rng.integers(len(colours))], np.float32) + rng.normal(0, 6, 3).astype(np.float32)


def cloud(shape: tuple[int, int], rng: Rng, cells: int = 4) -> FloatArray:
    """Smooth chance (H, W), -1..1 or so."""
    small = rng.normal(0, 0.5, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def paper(shape: tuple[int, int], colour: FloatArray, rng: Rng) -> FloatArray:
    """A sheet of one colour, a little darker here and there, with fibres."""
    light = 1 + 0.04 * cloud(shape, rng) + rng.normal(0, 0.012, shape).astype(np.float32)
    return np.asarray(colour * light[..., None], np.float32)


def around(picture: FloatArray, share: tuple[float, float], rng: Rng, *, even: bool = False) -> tuple[FloatArray, slice, slice]:
    """An empty sheet around ``picture``, and its place there; margins are ``share`` of the short side, from and to."""
    height, width = picture.shape[:2]
    margins = rng.uniform(*share, 4) if not even else np.full(4, rng.uniform(*share))
    top, bottom, left, right = (max(2, round(margin * min(height, width))) for margin in margins)
    sheet = np.empty((height + top + bottom, width + left + right, 3), np.float32)
    return sheet, slice(top, top + height), slice(left, left + width)


def put_on(picture: FloatArray, colour: FloatArray, share: tuple[float, float], rng: Rng, *, even: bool = False) -> FloatArray:
    """``picture`` on a sheet of this colour, whose margins are ``share`` of the short side, from and to."""
    sheet, rows, columns = around(picture, share, rng, even=even)
    sheet[...] = paper(sheet.shape[:2], colour, rng)
    sheet[rows, columns] = picture
    return sheet


def wood(shape: tuple[int, int], rng: Rng) -> FloatArray:
    """Brown boards (H, W, 3)."""
    grain = cv2.resize(rng.normal(0, 1, (max(2, shape[0] // 3), 4)).astype(np.float32), shape[::-1])
    board = choice([(120, 78, 42), (150, 104, 60), (84, 52, 30), (170, 130, 84)], rng)
    return np.asarray(board * (1 + 0.16 * grain[..., None] + 0.05 * cloud(shape, rng)[..., None]), np.float32)


def inked(picture: FloatArray, strokes: npt.NDArray[np.uint8], colour: FloatArray, strength: float) -> FloatArray:
    """``picture`` with ink where ``strokes`` (H, W) are white: ink takes light away, as a filter does."""
    share = strength * strokes.astype(np.float32)[..., None] / 255
    return np.asarray(picture * (1 - share) + share * (colour * (0.35 + 0.65 * picture / 255)), np.float32)


def scanned(picture: FloatArray, rng: Rng) -> npt.NDArray[np.uint8]:
    """With the noise of a scanner, and the dark corners of a lens in every third picture; bytes (H, W, 3)."""
    height, width = picture.shape[:2]
    if rng.random() < 1 / 3:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        picture = picture * (1 - rng.uniform(0.1, 0.3) * (x**2 + y**2) / 2)[..., None]
    noise = rng.normal(0, rng.uniform(0, 4), (height, width, 1)) + rng.normal(0, rng.uniform(0, 3), (height, width, 3))
    return np.asarray((picture + noise).clip(0, 255), np.uint8)
