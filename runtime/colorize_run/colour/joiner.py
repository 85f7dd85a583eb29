"""Luminance of a picture and new chroma, joined for 8-bit sRGB in strips that fit the cache."""

import cv2
import numpy as np

from colorize_run.colour.cielab import (
    CIELAB_KNEE,
    FROM_XYZ,
    SRGB_BYTES_TO_LINEAR,
    Y_WEIGHTS,
    ByteArray,
    FloatArray,
    Pixels,
    linear_to_srgb,
    luminance,
)

# Linear light in steps of 1/65535 -> sRGB byte. The steepest part of the sRGB curve is 12.92, so that one step
# is at most 0.05 of a byte.
_LEVELS = 65535
# The half puts each entry in the middle of its step, so that a level may be cut off instead of rounded.
_ENCODE = np.rint(linear_to_srgb((np.arange(_LEVELS + 1, dtype=np.float32) + 0.5) / _LEVELS) * 255).astype(np.uint8)
_XYZ_TO_LEVELS = (FROM_XYZ * _LEVELS).astype(np.float32)


class Joiner:
    """Joins strips of a picture with new chroma, in buffers of its own; one for each thread.

    Two things decide the speed here: that a strip's planes stay in the processor's cache, and that no plane is
    allocated again and again, since large allocations are mapped and unmapped each time. Hence strips, and ``out=`` everywhere.
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
        (4, H, W) slopes and offsets of a* and b* as straight lines over `perceived` luminance (`colorize_run.colour.guided`);
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
            cv2.LUT(pixels, SRGB_BYTES_TO_LINEAR, dst=out)
        else:
            linear = self._three[1][: pixels.size].reshape(pixels.shape)
            cv2.LUT(pixels, SRGB_BYTES_TO_LINEAR, dst=linear)
            cv2.transform(linear, Y_WEIGHTS, dst=out)

    def _f(self, y: FloatArray, out: FloatArray, scratch: FloatArray) -> None:
        """`_f` in place: the root of what is above (6/29)³, plus the line of what is below."""
        np.clip(y, np.float32(CIELAB_KNEE**3), np.float32(2), out=scratch)
        np.cbrt(scratch, out=out)
        np.clip(y, np.float32(0), np.float32(CIELAB_KNEE**3), out=scratch)
        cv2.addWeighted(scratch, 1 / (3 * CIELAB_KNEE * CIELAB_KNEE), out, 1, -CIELAB_KNEE / 3, dst=out)

    def _f_inverse(self, u: FloatArray, scratch: FloatArray, out: FloatArray) -> None:
        """`_f_inverse` in place: the cube of what is above 6/29, plus the line of what is below."""
        np.clip(u, np.float32(CIELAB_KNEE), np.float32(9), out=scratch)
        np.multiply(scratch, scratch, out=out)
        np.multiply(out, scratch, out=out)
        np.clip(u, np.float32(-9), np.float32(CIELAB_KNEE), out=scratch)
        cv2.addWeighted(scratch, 3 * CIELAB_KNEE * CIELAB_KNEE, out, 1, -3 * CIELAB_KNEE**3, dst=out)

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
