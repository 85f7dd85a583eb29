"""Colour spaces and depths other than 8-bit sRGB: what a file's numbers mean as light, and the way back.

Pictures stay in the space and depth that they came in. Luminance is read by the space's own curves and primaries, chroma
is added in linear light, and the result is encoded by the same curves: nothing passes through sRGB, which could not hold
it. The join of 8-bit sRGB, which is most pictures, has a path of its own that is faster (`colour.Joiner`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from colorize_run import colour

FloatArray = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[Any]  # uint8 or uint16, (H, W) or (H, W, 3)

# Linear light -> encoded, by the square root of light: equal steps of it are nearly equal steps to the eye, and to every
# usual curve. 2^18 of them keep 16 bits to within half a level.
_STEPS = (1 << 18) - 1
# Columns of linear sRGB -> XYZ, adapted to the D50 white that profiles are written in.
_SRGB_D50 = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])

# X, Y, Z as seen under D50 -> under D65, the white of the chroma that networks give. Source: Bradford, by Lindbloom.
_TO_D65 = np.array([[0.9555766, -0.0230393, 0.0631636], [-0.0282895, 1.0099416, 0.0210077], [0.0122982, -0.0204830, 1.3299098]])


@dataclass(frozen=True, eq=False)
class Space:
    """An RGB colour space: how much light each channel's values stand for, and what colours R, G, B are.

    ``curves`` (3, 65536) float32: linear light, 0..1, never falling, for the values k / 65535; ``to_xyz`` (3, 3): linear
    R, G, B -> X, Y, Z divided by the white's, so that every row sums to 1; ``from_chroma`` (3, 3): the same under
    D65, backwards; ``to_srgb`` (3, 3): linear R, G, B -> linear sRGB.
    """

    curves: npt.NDArray[np.float32]
    to_xyz: npt.NDArray[np.float64]
    from_chroma: npt.NDArray[np.float64]
    to_srgb: npt.NDArray[np.float64]

    @classmethod
    def of_primaries(cls, curves: npt.NDArray[np.float32], primaries: npt.NDArray[np.float64]) -> "Space":
        """From curves, and the D50 X, Y, Z of R, G, B as columns, as profiles hold them."""
        to_xyz, srgb, under_d65 = (_by_white(columns) for columns in (primaries, _SRGB_D50, _TO_D65 @ primaries))
        return cls(curves, to_xyz, np.asarray(np.linalg.inv(under_d65), np.float64), np.linalg.inv(srgb) @ to_xyz)

    @cached_property
    def _tables(self) -> dict[int, npt.NDArray[np.float32]]:
        """Look-up tables of `linear` as OpenCV wants them, (1, levels, 3), by bytes a value."""
        return {2: np.ascontiguousarray(self.curves.T[None]), 1: np.ascontiguousarray(self.curves.T[None, ::257])}

    def linear(self, pixels: Pixels) -> FloatArray:
        """Linear light (H, W, 3) of encoded pixels: uint8 or uint16, (H, W) grey or (H, W, 3)."""
        if pixels.ndim == 2:
            pixels = cv2.merge([pixels, pixels, pixels])
        return np.asarray(cv2.LUT(np.ascontiguousarray(pixels), self._tables[pixels.itemsize]), np.float32)

    def _linear_of_floats(self, encoded: FloatArray) -> FloatArray:
        """The same of a few pixels (h, w, 3), encoded as floats 0..1."""
        levels = np.arange(65536) / 65535
        planes: list[FloatArray] = [np.interp(encoded[..., i], levels, curve) for i, curve in enumerate(self.curves)]
        return np.stack(planes, axis=-1).astype(np.float32)

    def encoding(self, channel: int, depth: int) -> Pixels:
        """Table of a channel's encoded values, uint8 or uint16, by the square root of linear light, 0..2^18 - 1."""
        key = (channel, depth)
        if key not in self._encodings:
            light = (np.arange(_STEPS + 1) / _STEPS) ** 2
            levels = np.interp(light, self.curves[channel].astype(np.float64), np.arange(65536) / 65535)
            kind = np.uint8 if depth == 8 else np.uint16
            self._encodings[key] = np.rint(levels * (2**depth - 1)).astype(kind)
        return self._encodings[key]

    @cached_property
    def _encodings(self) -> dict[tuple[int, int], Pixels]:
        return {}

    def in_srgb(self, pixels: Pixels) -> npt.NDArray[np.uint16]:
        """Encoded 16-bit pixels (H, W) or (H, W, 3) as sRGB, (H, W, 3); colours that sRGB cannot show end at its border."""
        result = np.empty((*pixels.shape[:2], 3), np.uint16)
        for row, encoded in zip(result, pixels, strict=True):
            light = self.linear(encoded[None])[0] @ self.to_srgb.T.astype(np.float32)
            row[:] = np.rint(colour.linear_to_srgb(np.clip(light, 0, 1)) * np.float32(65535))
        return result

    def network_view(self, encoded: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A reduced picture as the network and the guide get it.

        ``encoded`` (h, w, 3) or grey (h, w), 0..1, in this space. Returns sRGB-encoded values of the same shape, and
        (h, w) `colour.perceived` luminance by this space's own curves and primaries.
        """
        grey = encoded.ndim == 2
        light = self._linear_of_floats(np.repeat(encoded[..., None], 3, axis=2) if grey else encoded)
        perceived = colour.perceived_of_linear((light @ self.to_xyz[1]).astype(np.float32))
        srgb = colour.linear_to_srgb(np.clip(light @ self.to_srgb.T, 0, 1).astype(np.float32))
        return (srgb[..., 1] if grey else srgb), perceived


def _by_white(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """X, Y, Z of R, G, B as columns, each row divided by the white's."""
    return np.asarray(columns / columns.sum(axis=1, keepdims=True))


def srgb_of_lab(lab: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """CIELAB (..., 3) under D50, as files hold it, as sRGB of 16 bits; colours that sRGB cannot show end at its border."""
    f = (lab[..., :1] + np.float32(16)) / np.float32(116) + lab * np.array([0, 1 / 500, -1 / 200], np.float32)
    xyz = colour.linear_of_perceived(np.ascontiguousarray(f[..., [1, 0, 2]]))
    light = xyz @ np.linalg.inv(_by_white(_SRGB_D50)).T.astype(np.float32)
    return np.asarray(np.rint(colour.linear_to_srgb(np.clip(light, 0, 1)) * np.float32(65535)), np.uint16)


_VALUES = np.arange(65536, dtype=np.float32) / 65535
SRGB = Space(np.stack([colour.srgb_to_linear(_VALUES)] * 3), colour.TO_XYZ, np.linalg.inv(colour.TO_XYZ), np.eye(3))


class SpaceJoiner:
    """Joins strips of a picture of any space with new chroma, and mixes them with the picture's own colours.

    ``depth``: bits per channel of what comes out, 8 or 16. May be used by several threads.
    """

    def __init__(self, space: Space, depth: int) -> None:
        self._space, self.depth = space, depth
        self._to_xyz = space.to_xyz.astype(np.float32)
        self._from_chroma = space.from_chroma.astype(np.float32)

    def join(self, pixels: Pixels, planes: FloatArray, out: Pixels, weight: FloatArray | float = 1.0) -> int:
        """Join a strip's own luminance with new chroma into the first three channels of ``out``.

        ``pixels``: grey (H, W) or RGB (H, W, 3), uint8 or uint16, encoded in the space; ``planes`` (4, H, W): slopes and
        offsets of a* and b* over perceived luminance; ``out`` (H, W, 3 or more), of this depth. ``weight``, 0..1, a number
        or (H, W): how much of the new colour is taken, the rest being the picture's own. Both have the same luminance,
        and mixed in linear light they keep it. Returns how many pixels had chroma that the space cannot show.
        """
        own = self._space.linear(pixels)
        y = own @ self._to_xyz[1]
        fy = colour.perceived_of_linear(y)
        xyz = np.empty((3, *y.shape), np.float32)
        xyz[1] = y
        for plane, (axis, scale) in enumerate(((0, 1 / 500), (2, -1 / 200))):
            chroma = planes[plane] * fy + planes[plane + 2]
            xyz[axis] = colour.linear_of_perceived(fy + np.float32(scale) * chroma)
        light = np.matmul(self._from_chroma, xyz.reshape(3, -1)).reshape(xyz.shape)
        if self._space is not SRGB:  # a colour whose X, Y, Z are right under D65 is a little off in Y under D50
            luminance = np.tensordot(self._to_xyz[1], light, 1)
            light *= np.clip(y / np.maximum(luminance, np.float32(1e-9)), np.float32(0.5), np.float32(2))
        moved = _move_into_gamut(light, y)
        if not isinstance(weight, float) or weight != 1.0:
            mixed = own.transpose(2, 0, 1)
            light = mixed + np.asarray(weight, np.float32) * (light - mixed)
        for channel, plane_of_light in enumerate(light):
            index = (np.sqrt(np.clip(plane_of_light, 0, 1)) * np.float32(_STEPS) + np.float32(0.5)).astype(np.int32)
            out[..., channel] = np.take(self._space.encoding(channel, self.depth), index)
        if not isinstance(weight, float):  # where nothing is coloured, the picture's own values, to the last bit
            untouched = np.asarray(weight) == 0
            values = pixels if pixels.ndim == 3 else pixels[..., None]
            if pixels.dtype == out.dtype:
                np.copyto(out[..., :3], values, where=untouched[..., None])
        return moved


def _move_into_gamut(light: FloatArray, y: FloatArray) -> int:
    """Move linear R, G, B (3, H, W) outside 0..1 straight towards the grey (H, W) of their luminance; returns how many."""
    high, low = light.max(axis=0), light.min(axis=0)
    tolerance = np.float32(1 / 65535)
    outside = (high > 1 + tolerance) | (low < -tolerance)
    count = int(np.count_nonzero(outside))
    if count:
        grey, top, bottom = y[outside], high[outside], low[outside]
        room_up = np.divide(1 - grey, top - grey, out=np.ones_like(grey), where=top > 1)
        room_down = np.divide(grey, grey - bottom, out=np.ones_like(grey), where=bottom < 0)
        scale = np.clip(np.minimum(room_up, room_down), 0, 1)
        for plane in light:
            plane[outside] = grey + (plane[outside] - grey) * scale
    return count
