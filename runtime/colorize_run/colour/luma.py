"""Chroma beside luma: Cb and Cr for a picture whose Y' stays as it is.

Y', Cb and Cr are those of JPEG: weighted sums of the encoded R, G, B (ITU-R BT.601, JFIF 1.02), here 0..1 and -0.5..0.5.
"""

import cv2
import numpy as np
import numpy.typing as npt

from colorize_run.colour.cielab import srgb_to_linear
from colorize_run.colour.guided import EPSILON as PERCEIVED_EPSILON
from colorize_run.colour.joiner import join
from colorize_run.colour.strips import ChromaRows, tiles

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

# `guided.EPSILON` for Y', which rises by 1 where `perceived` rises by 100 / 116
EPSILON = PERCEIVED_EPSILON * 1.16**2
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
_CB, _CR = 0.564334, 0.713267  # of B - Y', R - Y'
_RED, _GREEN, _BLUE = (0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0)  # what Cb and Cr add to Y'
_VALUES = np.arange(65536, dtype=np.float32) / 65535


def looked_up(curve: FloatArray, encoded: FloatArray) -> FloatArray:
    """Linear light of encoded values, 0..1, by a curve (65536,) of the values k / 65535."""
    return np.asarray(np.interp(encoded, _VALUES, curve), np.float32)


def chroma_of(grey: FloatArray, ab: FloatArray, curve: FloatArray | None = None) -> tuple[FloatArray, float]:
    """Cb and Cr (2, h, w) of the colours that have the lightness of ``grey`` (h, w), sRGB-encoded, and a*, b* ``ab`` (2, h, w).

    Colours that sRGB cannot show become paler; returns also for which share of the pixels that was so. ``curve``: linear light
    of the file's own encoded values as in `looked_up`, None for sRGB's.
    """
    joined, moved = join(grey, ab)
    rgb = joined.astype(np.float32) / np.float32(255)
    if curve is not None:
        rgb = np.asarray(np.interp(srgb_to_linear(rgb), curve, _VALUES), np.float32)
    own = rgb @ _WEIGHTS
    return np.stack([_CB * (rgb[..., 2] - own), _CR * (rgb[..., 0] - own)]).astype(np.float32), moved / grey.size


def applied(
    lines: FloatArray, luma: ByteArray, share: FloatArray | float = 1.0, own: ByteArray | None = None
) -> tuple[ByteArray, int]:
    """Cb and Cr as bytes (2, h, w) for ``luma`` (h, w), by ``lines`` (4, h', w') over Y' (`guided.slopes_and_offsets`).

    What RGB cannot show at its luma becomes paler; returns also how many pixels did. ``share`` of the new chroma, 0..1, one
    number or (h, w), the rest being ``own`` (2, h, w) bytes, or none.
    """
    height, width = luma.shape
    rows = ChromaRows(lines, width, height)
    result, moved = np.empty((2, height, width), np.uint8), 0
    for top, bottom, left, right in tiles(width, height):  # so that no array of floats has the picture's size
        place = slice(top, bottom), slice(left, right)
        y = np.multiply(luma[place], np.float32(1 / 255), dtype=np.float32)
        tile = rows.between(top, bottom, left, right, out=np.empty((4, *y.shape), np.float32))
        chroma = tile[:2] * y + tile[2:]
        room, lost = _room(y, chroma)
        chroma *= room * np.float32(255)
        if not isinstance(share, float) or share != 1:
            before = np.float32(0) if own is None else own[:, *place].astype(np.float32) - np.float32(128)
            chroma = before + (share if isinstance(share, float) else share[place]) * (chroma - before)
        result[:, *place] = np.clip(np.rint(chroma + np.float32(128)), 0, 255)
        moved += lost
    return result, moved


def _room(y: FloatArray, chroma: FloatArray) -> tuple[FloatArray, int]:
    """The share of chroma (2, h, w), 0..1, that R, G and B can show beside ``y``, and how many pixels lose some."""
    room = np.ones_like(y)
    for of_cb, of_cr in (_RED, _GREEN, _BLUE):
        step = cv2.addWeighted(chroma[0], of_cb, chroma[1], of_cr, 0)
        space = np.where(step > 0, 1 - y, y)
        np.minimum(room, space / np.maximum(np.abs(step), np.float32(1e-6)), out=room)
    return room, int(np.count_nonzero(room < np.float32(0.99)))
