"""What a network's distribution over its palette of chroma says besides its mean: likely colours, confidence, likeness."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.colour.cielab import lab_to_srgb, srgb_to_lab

FloatArray = npt.NDArray[np.float32]

_DISTINCT = 18.0  # distance in a*, b* within which two colours of the palette count as one
_TONES = 8  # bands of lightness in which a reference's colours are counted
_SPREAD = 12.0  # deviation in a*, b* by which a reference's colour also counts for similar ones of the palette
_STRENGTH = 0.5  # power of the ratio between a reference's colours and the network's own; see docs/decisions.md
_BOUND = 4.0  # largest change of a logit by a reference


@dataclass(frozen=True)
class Suggestion:
    """A colour that a place may have: ``rgb`` bytes at the place's own lightness, ``ab`` CIELAB, ``probability`` 0..1."""

    rgb: tuple[int, int, int]
    ab: tuple[float, float]
    probability: float


def probabilities(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Softmax over the first axis: (K, h, w) -> (K, h, w)."""
    scaled = (logits - logits.max(axis=0)) / np.float32(temperature)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def mean_chroma(logits: FloatArray, palette: FloatArray, temperature: float) -> FloatArray:
    """The annealed mean: logits (K, h, w) over ``palette`` (K, 2) a*, b* -> (2, h, w)."""
    return np.asarray(np.tensordot(palette.T, probabilities(logits, temperature), axes=1), np.float32)


def confidence(logits: FloatArray) -> FloatArray:
    """How peaked the distribution of each cell is, (h, w): 1 for one certain colour, 0 where all are as likely."""
    p = probabilities(logits)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=0)
    return np.asarray(np.clip(1 - entropy / np.log(len(p)), 0, 1), np.float32)


def confidence_picture(logits: FloatArray, size: tuple[int, int]) -> Image.Image:
    """`confidence` as a grey image of ``size`` (width, height), to which the cells belong: white where it is 1."""
    return Image.fromarray(np.rint(enlarged(confidence(logits)[None], size)[0] * 255).astype(np.uint8))


def likeliest(p: FloatArray, palette: FloatArray, lightness: float, count: int) -> list[Suggestion]:
    """The ``count`` likeliest distinct colours of a distribution ``p`` (K,) over ``palette`` (K, 2) a*, b*, best first.

    The most probable colour takes the probability of those close to it, then the next of what is left. ``lightness``: L*
    0..100 of the place.
    """
    left = p.astype(np.float64).copy()
    found: list[Suggestion] = []
    while len(found) < count and left.max() > 0:
        near = (np.linalg.norm(palette - palette[left.argmax()], axis=1) <= _DISTINCT) & (left > 0)
        share = float(left[near].sum())
        a, b = (palette[near] * left[near, None]).sum(axis=0) / share
        shown = lab_to_srgb(np.array([lightness, a, b], np.float32))
        red, green, blue = (int(value) for value in np.rint(shown * 255))
        found.append(Suggestion((red, green, blue), (float(a), float(b)), share))
        left[near] = 0
    return sorted(found, key=lambda suggestion: -suggestion.probability)


class Reference:
    """The colours of a picture (H, W, 3) sRGB, 0..1, that another one is to be like, over ``palette`` (K, 2) a*, b*."""

    def __init__(self, rgb: FloatArray, palette: FloatArray) -> None:
        lab = srgb_to_lab(rgb).reshape(-1, 3)
        lab = lab[:: max(1, len(lab) // 20_000)]
        distance = ((lab[:, None, 1:] - palette) ** 2).sum(axis=2)  # (M, K)
        nearness = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / (2 * _SPREAD**2))
        shares = nearness / nearness.sum(axis=1, keepdims=True)
        tones = _tones(lab[:, 0])  # (M, T)
        self._palette = palette
        everywhere = shares.mean(axis=0)
        amount = tones.sum(axis=0)[:, None]
        enough = 0.02 * len(lab)  # a tone that the reference hardly has takes the colours of all
        self._frequency = (tones.T @ shares + enough * everywhere) / (amount + enough)  # (T, K)

    def _reweighted(self, logits: FloatArray, lightness: FloatArray) -> FloatArray:
        """Logits (K, h, w) with the reference's colours made likelier and others rarer, by lightness L* (h, w).

        Of what the network holds possible at a place, that is chosen which the reference has in this tone. The frequencies
        of the network's own colours are those of the whole picture. By Bayes' rule, as for a classifier whose classes have
        other frequencies than in its training (Saerens, Latinne, Decaestecker 2002).
        """
        p = probabilities(logits)
        tones = _tones(lightness.ravel())  # (h·w, T)
        flat = p.reshape(len(p), -1).T
        own = (tones.T @ flat + 0.05 * len(flat) * flat.mean(axis=0)) / (tones.sum(axis=0)[:, None] + 0.05 * len(flat))
        change = _STRENGTH * (np.log(self._frequency + 1e-4) - np.log(own + 1e-4))  # (T, K)
        moved = np.clip(tones @ change, -_BOUND, _BOUND).T.reshape(logits.shape)
        return np.asarray(logits + moved, np.float32)

    def change(self, logits: FloatArray, perceived: FloatArray, temperature: float) -> FloatArray:
        """What the reference changes of the mean chroma of ``logits`` (K, h, w): (2, H, W).

        ``perceived`` (H, W): `colour.perceived` of the picture; a cell of the logits covers 4 x 4 of its pixels.
        """
        cells = logits.shape[2], logits.shape[1]
        lightness = 116 * np.asarray(cv2.resize(perceived, cells, interpolation=cv2.INTER_AREA), np.float32) - 16
        changed, own = (
            mean_chroma(values, self._palette, temperature) for values in (self._reweighted(logits, lightness), logits)
        )
        return enlarged(changed - own, (perceived.shape[1], perceived.shape[0]))


def _tones(lightness: FloatArray) -> FloatArray:
    """Shares (M, T) of the bands of tone that lightness L* (M,) lies in, between two neighbours."""
    position = np.clip(lightness / 100, 0, 1) * (_TONES - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(position[:, None] - np.arange(_TONES))), np.float32)


def enlarged(planes: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Cells (C, h, w) of 4 x 4 pixels at ``size`` (width, height) pixels: (C, H, W)."""
    whole = planes.shape[2] * 4, planes.shape[1] * 4
    grown = [cv2.resize(plane, whole, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]] for plane in planes]
    return np.asarray(np.stack(grown), np.float32)
