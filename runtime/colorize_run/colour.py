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
TO_XYZ = _LINEAR_RGB_TO_XYZ / _LINEAR_RGB_TO_XYZ.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(TO_XYZ)
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
_Y_WEIGHTS = TO_XYZ[1:2].astype(np.float32)
_XYZ_TO_LEVELS = (_FROM_XYZ * _LEVELS).astype(np.float32)


def _f(t: FloatArray) -> FloatArray:
    """CIELAB's f: cube root above (6/29)³, its tangent below."""
    return np.where(t > _C**3, np.cbrt(t), t / (3 * _C * _C) + 4 / 29).astype(np.float32)


def _f_inverse(u: FloatArray) -> FloatArray:
    """Inverse of f: cube above 6/29, its tangent below."""
    return np.where(u > _C, u * u * u, 3 * _C * _C * (u - 4 / 29)).astype(np.float32)


def srgb_to_lab(encoded: FloatArray) -> FloatArray:
    """sRGB-encoded (..., 3), 0..1 -> CIELAB (..., 3): L* 0..100, a* and b* about -110..110."""
    xyz = srgb_to_linear(encoded) @ TO_XYZ.T.astype(np.float32)
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


def perceived(pixels: Pixels) -> FloatArray:
    """CIELAB's f(Y), (L* + 16) / 116, 0.138..1, as (H, W): from grey or RGB, bytes or floats, as `luminance` takes them."""
    return _f(luminance(pixels))


def perceived_of_linear(y: FloatArray) -> FloatArray:
    """CIELAB's f(Y), 0.138..1, of relative luminance, 0..1; any shape."""
    return _f(y)


def linear_of_perceived(u: FloatArray) -> FloatArray:
    """Inverse of `perceived_of_linear`, also for X and Z; any shape."""
    return _f_inverse(u)


def to_grey(rgb: Pixels, weights: Sequence[float]) -> FloatArray:
    """Weighted mean of sRGB-encoded R, G, B: (H, W, 3) or grey (H, W), bytes or 0..1 -> (H, W) float32, 0..1."""
    scaled = rgb.astype(np.float32)
    if rgb.dtype == np.uint8:
        scaled *= np.float32(1 / 255)
    return scaled if rgb.ndim == 2 else scaled @ np.asarray(weights, np.float32)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) with Pillow's antialiased bilinear filter, modes L, RGB and F.

    Large reductions are box-averaged first, to no less than three times the final size, which is four times as fast
    and changes a photograph by a quarter of a level on average. First of all by 4: for that Pillow has a fast path.
    """
    if image.size == size:
        return image
    box: tuple[float, float, float, float] = (0, 0, image.width, image.height)
    if image.width >= 12 * size[0] and image.height >= 12 * size[1]:
        box = (0, 0, image.width / 4, image.height / 4)  # the last column and row may be less than whole
        image = image.reduce(4)
    return image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=3.0)


class Joiner:
    """Joins strips of a picture with new chroma, in buffers of its own; one for each thread.

    Two things decide the speed here: that a strip's planes stay in the processor's cache, and that no plane is
    allocated anew, since large allocations are mapped and unmapped each time. Hence strips, and ``out=`` everywhere.
    """

    def __init__(self, max_pixels: int) -> None:
        self._three = [np.empty(3 * max_pixels, np.float32) for _ in range(2)]
        self._one = [np.empty(max_pixels, np.float32) for _ in range(3)]
        self._index = np.empty(3 * max_pixels, np.uint16)
        self._bytes = np.empty(3 * max_pixels, np.uint8)
        self._mask = np.empty(3 * max_pixels, np.bool_)

    def join(self, pixels: Pixels, ab: FloatArray, out: ByteArray) -> int:
        """Join a strip's own luminance with new chroma into ``out``.

        ``pixels``: grey (H, W) or RGB (H, W, 3), bytes or floats 0..1, sRGB-encoded; ``ab``: (2, H, W) CIELAB a*, b*, or
        (4, H, W) slopes and offsets of a* and b* as straight lines over `perceived` luminance (`colorize_run.guided`);
        ``out``: (H, W, 4) bytes, R, G, B and a fourth that means nothing, as Pillow's mode RGBX has it.
        Returns the number of pixels whose chroma sRGB cannot show at their luminance: those are moved straight
        towards grey in linear light, which keeps their luminance, as clipping would not.
        """
        h, w = pixels.shape[:2]
        n = h * w
        fy, u, scratch = (buffer[:n].reshape(h, w) for buffer in self._one)
        xyz = self._three[0][: 3 * n].reshape(3, h, w)
        self._luminance(pixels, xyz[1])
        self._f(xyz[1], fy, scratch)
        for plane, (axis, scale) in enumerate(((0, 1 / 500), (2, -1 / 200))):
            chroma = ab[plane]
            if len(ab) == 4:
                chroma = np.multiply(ab[plane], fy, out=scratch)
                np.add(chroma, ab[plane + 2], out=scratch)
            cv2.scaleAdd(chroma, scale, fy, dst=u)
            self._f_inverse(u, scratch, out=xyz[axis])
        levels = np.matmul(_XYZ_TO_LEVELS, xyz.reshape(3, n), out=self._three[1][: 3 * n].reshape(3, n))
        np.multiply(xyz[1], np.float32(_LEVELS), out=fy)
        moved = self._move_into_gamut(levels, fy.ravel(), out=xyz.reshape(3, n))
        index, encoded = (buffer[: 3 * n].reshape(3, h, w) for buffer in (self._index, self._bytes))
        index[...] = xyz
        cv2.LUT(index.reshape(3 * h, w), _ENCODE, dst=encoded.reshape(3 * h, w))
        cv2.merge([encoded[0], encoded[1], encoded[2], encoded[2]], dst=out)
        return moved

    def _luminance(self, pixels: Pixels, out: FloatArray) -> None:
        if pixels.dtype != np.uint8:
            out[...] = luminance(pixels)
        elif pixels.ndim == 2:
            cv2.LUT(pixels, _DECODE, dst=out)
        else:
            linear = self._three[1][: pixels.size].reshape(pixels.shape)
            cv2.LUT(pixels, _DECODE, dst=linear)
            cv2.transform(linear, _Y_WEIGHTS, dst=out)

    def _f(self, y: FloatArray, out: FloatArray, scratch: FloatArray) -> None:
        """`_f` in place: the root of what is above (6/29)³, plus the line of what is below."""
        np.clip(y, np.float32(_C**3), np.float32(2), out=scratch)
        np.cbrt(scratch, out=out)
        np.clip(y, np.float32(0), np.float32(_C**3), out=scratch)
        cv2.addWeighted(scratch, 1 / (3 * _C * _C), out, 1, -_C / 3, dst=out)

    def _f_inverse(self, u: FloatArray, scratch: FloatArray, out: FloatArray) -> None:
        """`_f_inverse` in place: the cube of what is above 6/29, plus the line of what is below."""
        np.clip(u, np.float32(_C), np.float32(9), out=scratch)
        np.multiply(scratch, scratch, out=out)
        np.multiply(out, scratch, out=out)
        np.clip(u, np.float32(-9), np.float32(_C), out=scratch)
        cv2.addWeighted(scratch, 3 * _C * _C, out, 1, -3 * _C**3, dst=out)

    def _move_into_gamut(self, levels: FloatArray, grey: FloatArray, out: FloatArray) -> int:
        """Copy (3, n) levels, those outside the gamut moved to the grey (n,) of their luminance; returns how many.

        What lies outside by less than one level is cut off by the conversion to integers, and not counted.
        """
        np.clip(levels, np.float32(-0.9), np.float32(_LEVELS + 0.9), out=out)
        mask = self._mask[: levels.size].reshape(levels.shape)
        np.not_equal(levels, out, out=mask)
        np.logical_or(mask[0], mask[1], out=mask[0])
        np.logical_or(mask[0], mask[2], out=mask[0])
        outside = np.flatnonzero(mask[0])
        if outside.size:
            y = np.take(grey, outside)
            planes = [np.take(plane, outside) for plane in levels]
            high = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
            low = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
            room_up = np.divide(_LEVELS - y, high - y, out=np.ones_like(y), where=high > _LEVELS)
            room_down = np.divide(y, y - low, out=np.ones_like(y), where=low < 0)
            scale = np.clip(np.minimum(room_up, room_down), 0, 1)
            for target, plane in zip(out, planes, strict=True):
                target[outside] = np.clip(y + (plane - y) * scale, 0, _LEVELS)
        return int(outside.size)


def join(pixels: Pixels, ab: FloatArray) -> tuple[ByteArray, int]:
    """`Joiner.join` of a single picture: RGB (H, W, 3) bytes, and the number of pixels that gave way."""
    h, w = pixels.shape[:2]
    out = np.empty((h, w, 4), np.uint8)
    moved = Joiner(h * w).join(pixels, ab, out)
    return out[..., :3], moved
