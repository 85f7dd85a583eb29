"""The tone of a photographic print: chroma as a function of lightness, stronger here and weaker there.

Sepia, cyanotype and plain grey are such functions. Time adds a veil, a yellowed corner for example, and takes tone away.
So a print's chroma is modelled as ``strength(x, y) * tone(lightness) + veil(x, y)``, where strength and veil change slowly over
the picture and everything together has one hue. What differs from that is no toning.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_DEGREE = 5  # of the tone's polynomial: a cyanotype's has a bend in the middle
_STEPS = 4  # of the robust fit
_ROBUST, _FAR = 3.0, 12.0  # a*, b*: what is further away than this hardly counts, for the tone and for the slow changes
_SLOW = 0.08  # of the long side: standard deviation of the blur that leaves slow changes alone
_TRUST = 10.0  # squared chroma: a weaker tone says nothing of its strength
_STRONGEST = 2.5
_ROUNDS = 2
_REVERSED = 1.5  # a*, b*: no print is sepia on its left and blue on its right


def _scale(lightness: FloatArray) -> FloatArray:
    """By how much a filter's a*, b* grow with L*: what takes the same share of the light everywhere has a*, b* ~ L* + 16."""
    return np.asarray((lightness + 16) / 70, np.float32)


def _powers(lightness: FloatArray) -> FloatArray:
    """Chebyshev polynomials of L* (..., degree + 1)."""
    x = lightness / np.float32(50) - 1
    rows = [np.ones_like(x), x]
    while len(rows) <= _DEGREE:
        rows.append(2 * x * rows[-1] - rows[-2])
    return np.stack(rows, axis=-1)


def _fitted(powers: FloatArray, chroma: FloatArray, scale: FloatArray, weights: FloatArray) -> FloatArray:
    """Coefficients (degree + 1, 2), by least squares in which what is far away counts less from step to step."""
    now, few = weights, np.float32(1e-4) * np.eye(powers.shape[1], dtype=np.float32)
    for _ in range(_STEPS):
        weighted = powers * now[:, None]
        found = np.linalg.solve(weighted.T @ powers + few * now.sum(), weighted.T @ chroma)
        away = np.square((chroma - powers @ found) * scale[:, None]).sum(axis=1)
        now = weights / (1 + away / _ROBUST**2) ** 2
    return np.asarray(found, np.float32)


class Tone:
    """The tone of the pixels ``valid`` (h, w) of a small picture ``lab`` (h, w, 3) in CIELAB, and how it changes.

    ``weights`` (h, w): how much a pixel counts. Unless ``changes``, the tone is the same everywhere.
    """

    def __init__(self, lab: FloatArray, valid: BoolArray, weights: FloatArray | None = None, *, changes: bool = True) -> None:
        half = slice(None, None, 2), slice(None, None, 2)  # the picture was blurred: every second pixel says as much
        self._valid, lightness = valid[half], np.ascontiguousarray(lab[half][..., 0])
        self._scale, self._powers = _scale(lightness), _powers(lightness)
        self._chroma = lab[half][..., 1:] / self._scale[..., None]
        self._weights = self._scale**2 * self._valid * (1 if weights is None else weights[half]) + np.float32(1e-9)
        self._coefficients = self._fit(np.ones_like(lightness), np.zeros_like(self._chroma))
        self._changes: tuple[FloatArray, FloatArray, FloatArray] | None = None  # strength, veil, hue
        if changes:
            self._changes = self._found_changes()

    def _fit(self, strength: FloatArray, veil: FloatArray) -> FloatArray:
        powers = (self._powers * strength[..., None]).reshape(-1, _DEGREE + 1)
        return _fitted(powers, (self._chroma - veil).reshape(-1, 2), self._scale.ravel(), self._weights.ravel())

    def _found_changes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        sigma = _SLOW * max(self._valid.shape)

        def blur(values: FloatArray) -> FloatArray:
            return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(values, np.float32), (0, 0), sigma), np.float32)

        strength, veil = np.ones_like(self._scale), np.zeros_like(self._chroma)
        for turn in range(_ROUNDS):
            if turn:
                self._coefficients = self._fit(strength, veil)
            tone = self._powers @ self._coefficients
            away = np.square((self._chroma - tone * strength[..., None] - veil) * self._scale[..., None]).sum(axis=2)
            count = self._weights / (1 + away / _FAR**2) + np.float32(1e-6)
            total = blur(count)
            along = blur(((self._chroma - veil) * tone).sum(axis=2) * count) / total
            strength = (along + _TRUST) / (blur(np.square(tone).sum(axis=2) * count) / total + _TRUST)
            strength = np.clip(strength, 0, _STRONGEST)
            toned = tone * strength[..., None]
            veil = blur((self._chroma - toned) * count[..., None]) / total[..., None]
            hue = self._hue_of(toned + veil)
            veil = (_one_way((toned + veil) @ hue, tone @ hue) - toned @ hue)[..., None] * hue
        return strength, veil, hue

    def _hue_of(self, chroma: FloatArray) -> FloatArray:
        """The direction (2,) in which most of ``chroma`` lies."""
        there = (chroma * self._scale[..., None])[self._valid]
        hue: npt.NDArray[Any] = np.linalg.eigh(there.T @ there)[1][:, 1]
        return np.asarray(-hue if (there @ hue).mean() < 0 else hue, np.float32)

    def differences(self, lab: FloatArray) -> FloatArray:
        """a*, b* (H, W, 2) by which the same picture, at any size (H, W, 3), differs from its tone."""
        height, width = lab.shape[:2]
        lightness = np.ascontiguousarray(lab[..., 0])
        tone, scale = _powers(lightness) @ self._coefficients, _scale(lightness)
        if self._changes is not None:
            strength, veil, hue = self._changes
            size, everywhere = (width, height), tone @ hue
            tone = tone * cv2.resize(strength, size)[..., None] + cv2.resize(veil, size)
            along = tone @ hue
            tone += (_one_way(along, everywhere) - along)[..., None] * hue
        return np.asarray(lab[..., 1:] - tone * scale[..., None], np.float32)


def _one_way(along: npt.NDArray[Any], tone: npt.NDArray[Any]) -> FloatArray:
    """Chroma along the hue, no further on its other side than the tone itself, whose shadows may be blue and lights yellow."""
    return np.asarray(np.maximum(along, np.minimum(tone, -_REVERSED)), np.float32)
