"""Grey pictures that imitate old photographs: emulsions, fading, grain, bad lenses, worn prints and scans."""

import cv2
import numpy as np
import numpy.typing as npt

from training.conventions import LUMA

FloatArray = npt.NDArray[np.float32]

LUMA_WEIGHTS = np.array(LUMA, np.float32)
# Weights of R, G, B in the grey: an emulsion's sensitivity, or a filter in front of the lens
EMULSIONS = {
    "panchromatic": (0.33, 0.40, 0.27),
    "orthochromatic": (0.03, 0.57, 0.40),  # blind to red: lips and brick go dark
    "blue-sensitive": (0.0, 0.15, 0.85),  # before 1880: white skies, black foliage
    "red filter": (0.85, 0.15, 0.0),  # dark skies
    "yellow filter": (0.45, 0.50, 0.05),
}


def aged(rgb: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make a grey picture of ``rgb`` (H, W, 3), sRGB-encoded 0..1, aged at random: (H, W), 0..1.

    Half of the pictures are the runtime's luma without changes. The others get an emulsion and up to seven kinds of wear,
    each drawn independently.
    """
    if rng.random() < 0.5:
        return rgb @ LUMA_WEIGHTS
    grey = emulsion(rgb, rng)
    for wear, probability in (
        (_fade, 0.4),
        (_curve, 0.5),
        (_blur, 0.25),
        (_vignette, 0.15),
        (_grain, 0.4),
        (_sepia, 0.15),
        (_jpeg, 0.25),
    ):
        if rng.random() < probability:
            grey = np.clip(wear(grey, rng), 0, 1)
    return grey.astype(np.float32)


def emulsion(rgb: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Grey of ``rgb`` (H, W, 3) by the luma, one of EMULSIONS, or a random mixture of channels: (H, W)."""
    mixtures = [LUMA_WEIGHTS, *EMULSIONS.values(), rng.dirichlet((2, 3, 2))]
    mixture = mixtures[rng.integers(len(mixtures))]
    return rgb @ np.asarray(mixture, np.float32)


def _fade(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Black and white both move towards grey."""
    black, white = rng.uniform(0, 0.3), rng.uniform(0.65, 1)
    return np.float32(black) + grey * np.float32(white - black)


def _curve(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Contrast of the paper: gamma, and an S-curve or its opposite."""
    bent = np.power(grey, np.float32(2 ** rng.uniform(-0.8, 0.8)))
    strength = np.float32(rng.uniform(-0.5, 0.8))
    curved: FloatArray = (1 - strength) * bent + strength * bent * bent * (3 - 2 * bent)
    return curved


def _blur(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """An old lens, or a shaking hand."""
    return cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.4, 1.5)))  # type: ignore[return-value]


def _vignette(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    h, w = grey.shape
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)
    return grey * (1 - np.float32(rng.uniform(0.1, 0.35)) * (x * x + y * y))


def _grain(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Film grain: noise of one to two pixels, strongest in the middle tones."""
    noise = rng.standard_normal(grey.shape, np.float32)
    size = rng.uniform(0, 0.9)
    if size > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), float(size))  # type: ignore[assignment]
        noise /= noise.std() + np.float32(1e-6)
    return grey + noise * np.float32(rng.uniform(0.01, 0.08)) * (np.float32(0.3) + 2.8 * grey * (1 - grey))


def _sepia(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A toned print, photographed in colour and made grey again: another range of greys."""
    dark, light = rng.uniform((0.05, 0.02, 0.0), (0.3, 0.2, 0.1)), rng.uniform((0.85, 0.75, 0.55), (1.0, 0.95, 0.85))
    toned = dark + grey[..., None] * (light - dark)
    return toned.astype(np.float32) @ LUMA_WEIGHTS


def _jpeg(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Blocks of a strongly compressed file."""
    quality = int(rng.integers(15, 60))
    _, data = cv2.imencode(".jpg", np.rint(grey * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)).astype(np.float32) / np.float32(255)
