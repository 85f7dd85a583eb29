"""Chroma that ends where the object ends: the network's small chroma, enlarged under the guidance of the picture."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Both chosen on photographs of which the truth is known: `python -m benchmarks.edges`.
RADIUS = 1 / 64  # of the window, as a share of the short side at which the network worked
EPSILON = 5e-4  # variance of `colour.perceived` below which a window counts as flat: a deviation of 2.6 of L*


def slopes_and_offsets(guide: FloatArray, ab: FloatArray, radius: int, epsilon: float = EPSILON) -> FloatArray:
    """Straight lines that say chroma from luminance, for each pixel: (4, h, w), slopes of a*, b*, then offsets.

    ``guide`` (h, w): `colour.perceived`; ``ab`` (2, h, w) CIELAB a*, b*. Within a window of ``2 radius + 1`` pixels chroma
    is taken to be a straight line over luminance; the lines of all windows that a pixel lies in are averaged. Enlarged
    and applied to the full picture's luminance, chroma follows the full picture's edges. What the lines miss of the
    network's chroma on average over half a window is put back, so that small things keep their colour.
    Source: He and Sun 2015, "Fast Guided Filter", after He, Sun, Tang 2013, "Guided Image Filtering".
    """
    mean = _mean(guide, radius)
    variance = _mean(guide * guide, radius) - mean * mean
    result = np.empty((4, *guide.shape), np.float32)
    for channel, plane in enumerate(ab):
        plane_mean = _mean(plane, radius)
        slope = (_mean(guide * plane, radius) - mean * plane_mean) / (variance + np.float32(epsilon))
        slopes, offsets = _mean(slope, radius), _mean(plane_mean - slope * mean, radius)
        missed = _mean(plane - slopes * guide - offsets, -(-radius // 2))
        result[channel], result[channel + 2] = slopes, offsets + missed
    return result


def _mean(plane: npt.NDArray[Any], radius: int) -> FloatArray:
    """Mean over the window around each pixel."""
    side = 2 * radius + 1
    mean: FloatArray = np.asarray(cv2.boxFilter(plane, -1, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)
    return mean


def colour_lines(guide: FloatArray, plane: FloatArray, radius: int, epsilon: float) -> FloatArray:
    """Planes that say ``plane`` from colour, for each pixel: (4, h, w), the slopes over R, G, B, then the offset.

    ``guide`` (3, h, w) R, G, B, 0..1; ``plane`` (h, w). As `slopes_and_offsets`, over three channels; ``epsilon`` is the
    variance below which a channel counts as flat. Source: He, Sun, Tang 2013, "Guided Image Filtering", equations 19, 20.
    """
    mean, plane_mean = [_mean(channel, radius) for channel in guide], _mean(plane, radius)
    rr, rg, rb, gg, gb, bb = (
        _mean(guide[i] * guide[j], radius) - mean[i] * mean[j] + np.float32(epsilon if i == j else 0)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    with_plane = [_mean(guide[i] * plane, radius) - mean[i] * plane_mean for i in range(3)]
    # The inverse of the symmetric matrix of covariances, by its cofactors
    cofactors = ((gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb),
                 (gb * rb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb),
                 (rg * gb - gg * rb, rb * rg - rr * gb, rr * gg - rg * rg))  # fmt: skip
    determinant = rr * cofactors[0][0] + rg * cofactors[0][1] + rb * cofactors[0][2]
    lines = np.empty((4, *plane.shape), np.float32)
    offset = plane_mean
    for i, row in enumerate(cofactors):
        slope = (row[0] * with_plane[0] + row[1] * with_plane[1] + row[2] * with_plane[2]) / determinant
        offset = offset - slope * mean[i]
        lines[i] = _mean(slope, radius)
    lines[3] = _mean(offset, radius)
    return lines
