"""Grey, CIELAB and resizing: the one implementation, used by the runtime and by training.

Pictures are sRGB-encoded (IEC 61966-2-1) with a D65 white; CIELAB is CIE 15. The join of a photograph's own
luminance with predicted chroma works in linear light, where luminance is a weighted sum of R, G and B.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating[Any]]  # float32 throughout; wider only within an expression
ByteArray = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]  # bytes, or floats 0..1

_LINEAR_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Rows divided by the white, so that X/Xn = Y/Yn = Z/Zn = 1 for white and every grey has a* = b* = 0 exactly.
_TO_XYZ = _LINEAR_RGB_TO_XYZ / _LINEAR_RGB_TO_XYZ.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_C = 6 / 29  # where f(t) of CIELAB turns from a cube root into a line

# Linear light in steps of 1/65535 -> sRGB byte. The steepest part of the sRGB curve is 12.92, so that one step
# is at most 0.05 of a byte.
_LEVELS = 65535


def srgb_to_linear(encoded: FloatArray) -> FloatArray:
    """sRGB-encoded values, 0..1 -> linear light, 0..1; any shape."""
    curve = np.power((np.maximum(encoded, 0.04045) + 0.055) / 1.055, 2.4)
    return np.where(encoded <= 0.04045, encoded / 12.92, curve).astype(np.float32)


def linear_to_srgb(linear: FloatArray) -> FloatArray:
    """Linear light, 0..1 -> sRGB-encoded values, 0..1; any shape."""
    curve = 1.055 * np.power(np.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, curve).astype(np.float32)


# The half puts each entry in the middle of its step, so that a level may be cut off instead of rounded.
_ENCODE = np.rint(linear_to_srgb((np.arange(_LEVELS + 1, dtype=np.float32) + 0.5) / _LEVELS) * 255).astype(np.uint8)
_DECODE = srgb_to_linear(np.arange(256, dtype=np.float32) / 255)
_Y_WEIGHTS = _TO_XYZ[1:2].astype(np.float32)
_XYZ_TO_LEVELS = (_FROM_XYZ * _LEVELS).astype(np.float32)


def _f(t: FloatArray) -> FloatArray:
    """CIELAB's f: cube root above (6/29)³, a line of equal slope below."""
    root: FloatArray = np.cbrt(t)
    if t.size and t.min() <= _C**3:
        line = t * np.float32(1 / (3 * _C * _C)) + np.float32(4 / 29)
        np.copyto(root, line, where=t <= np.float32(_C**3))
    return root


def _f_inverse(u: FloatArray) -> FloatArray:
    """Inverse of f; without a branch: the tangent line at 6/29 plus what the cube rises above it."""
    if u.size and u.min() >= _C:
        cube: FloatArray = u * u * u
        return cube
    d = np.maximum(u - np.float32(_C), np.float32(0))
    rise: FloatArray = d * d
    rise *= d + np.float32(3 * _C)
    rise += (u - np.float32(4 / 29)) * np.float32(3 * _C * _C)
    return rise


def srgb_to_lab(encoded: FloatArray) -> FloatArray:
    """sRGB-encoded (..., 3), 0..1 -> CIELAB (..., 3): L* 0..100, a* and b* about -110..110."""
    xyz = srgb_to_linear(encoded) @ _TO_XYZ.T.astype(np.float32)
    x, y, z = (_f(np.ascontiguousarray(xyz[..., i])) for i in range(3))
    lab: FloatArray = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab


def lab_to_srgb(lab: FloatArray) -> FloatArray:
    """CIELAB (..., 3) -> sRGB-encoded (..., 3), clipped to 0..1."""
    y = (lab[..., 0] + 16) / 116
    x, z = y + lab[..., 1] / 500, y - lab[..., 2] / 200
    linear = np.stack([_f_inverse(x), _f_inverse(y), _f_inverse(z)], axis=-1) @ _FROM_XYZ.T.astype(np.float32)
    return linear_to_srgb(np.clip(linear, 0, 1))


def luminance(pixels: Pixels) -> FloatArray:
    """Relative luminance Y, 0..1, as (H, W): from grey (H, W) or RGB (H, W, 3), bytes or floats 0..1, sRGB-encoded."""
    linear: Any = srgb_to_linear(pixels) if pixels.dtype != np.uint8 else cv2.LUT(pixels, _DECODE)
    y: FloatArray = linear if linear.ndim == 2 else cv2.transform(linear, _Y_WEIGHTS)
    return y


def lightness(pixels: Pixels) -> FloatArray:
    """CIELAB L*, 0..100, as (H, W): from grey or RGB, bytes or floats, as `luminance` takes them."""
    return 116 * _f(luminance(pixels)) - 16


def to_grey(rgb: Pixels, weights: Sequence[float]) -> FloatArray:
    """Weighted mean of sRGB-encoded R, G, B: (H, W, 3) or grey (H, W), bytes or 0..1 -> (H, W) float32, 0..1."""
    scaled = rgb.astype(np.float32)
    if rgb.dtype == np.uint8:
        scaled *= np.float32(1 / 255)
    return scaled if rgb.ndim == 2 else scaled @ np.asarray(weights, np.float32)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) with Pillow's antialiased bilinear filter, modes L, RGB and F.

    Large reductions are box-averaged first, to no less than three times the final size, which is four times
    faster and changes no value by more than a level or two.
    """
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def join(pixels: Pixels, ab: FloatArray) -> tuple[ByteArray, int]:
    """Join a picture's own luminance with new chroma.

    ``pixels``: grey (H, W) or RGB (H, W, 3), bytes or floats 0..1, sRGB-encoded; ``ab``: (2, H, W) CIELAB a*, b*.
    Returns RGB (H, W, 3) bytes and the number of pixels whose chroma sRGB cannot show at their luminance: those
    are moved straight towards grey in linear light, which keeps their luminance, as clipping would not.
    """
    y = luminance(pixels)
    fy = _f(y)
    xyz = np.empty((3, *y.shape), np.float32)
    xyz[0] = _f_inverse(ab[0] * np.float32(1 / 500) + fy)
    xyz[1] = y
    xyz[2] = _f_inverse(fy - ab[1] * np.float32(1 / 200))
    levels = np.matmul(_XYZ_TO_LEVELS, xyz.reshape(3, -1))
    moved = _move_into_gamut(levels, y.ravel())
    np.clip(levels, 0, _LEVELS, out=levels)
    encoded = cv2.LUT(levels.astype(np.uint16), _ENCODE).reshape(xyz.shape)
    return cv2.merge([encoded[0], encoded[1], encoded[2]]), moved


def _move_into_gamut(levels: FloatArray, y: FloatArray) -> int:
    """Scale the chroma of out-of-gamut pixels in place, (3, n) levels about (n,) luminance; returns how many.

    What lies outside by less than half a byte is left to rounding and not counted.
    """
    low_limit, high_limit = -0.5 / 255 / 12.92 * _LEVELS, (1 + 1 / 255) * _LEVELS
    if not levels.size or (levels.min() >= low_limit and levels.max() <= high_limit):
        return 0
    lowest, highest = levels.min(axis=0), levels.max(axis=0)
    outside = np.flatnonzero((lowest < np.float32(low_limit)) | (highest > np.float32(high_limit)))
    grey, low, high = y[outside] * np.float32(_LEVELS), lowest[outside], highest[outside]
    room_up = np.divide(_LEVELS - grey, high - grey, out=np.ones_like(grey), where=high > _LEVELS)
    room_down = np.divide(grey, grey - low, out=np.ones_like(grey), where=low < 0)
    scale = np.clip(np.minimum(room_up, room_down), 0, 1)
    levels[:, outside] = grey + (levels[:, outside] - grey) * scale
    return int(outside.size)
