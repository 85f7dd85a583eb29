"""Colour hints: places of a picture whose colour is given, as planes beside the grey."""

import numpy as np
import numpy.typing as npt

CHANNELS = 3  # a* / SCALE, b* / SCALE, and 1 where there is a hint; all 0 elsewhere
SCALE = 110.0  # of a*, b* in the planes
MOST = 64  # places in a sample of the training
FloatArray = npt.NDArray[np.float32]


def planes(side: tuple[int, int]) -> FloatArray:
    """Planes (CHANNELS, H, W) without a hint; ``side`` is H, W."""
    return np.zeros((CHANNELS, *side), np.float32)


def add(hints: FloatArray, y: int, x: int, radius: int, ab: npt.NDArray[np.floating]) -> None:
    """Set the square of 2 ``radius`` + 1 pixels around ``y``, ``x`` of ``hints`` (CHANNELS, H, W) to ``ab``, its a*, b*."""
    value = np.array([ab[0] / SCALE, ab[1] / SCALE, 1], np.float32)[:, None, None]
    hints[:, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = value


def in_ab(hints: FloatArray) -> FloatArray:
    """Planes (…, CHANNELS, H, W) with a*, b* themselves, as exported graphs take them."""
    return hints * np.array([SCALE, SCALE, 1], np.float32)[:, None, None]


def draw(ab: FloatArray, cell: int, rng: np.random.Generator) -> FloatArray:
    """Hints for a sample of the training: (CHANNELS, h · cell, w · cell) of the true a*, b* of its cells, (h, w, 2).

    Half of the samples get none. The others get 1 to 64 squares of 1 to 9 pixels, few more often than many. A square has
    the mean colour of the cells in it. After Zhang et al. 2017, "Real-Time User-Guided Image Colorization with Learned
    Deep Priors".
    """
    height, width = ab.shape[0] * cell, ab.shape[1] * cell
    hints = planes((height, width))
    if rng.random() < 0.5:
        return hints
    for _ in range(round(MOST ** rng.random())):
        y, x, radius = int(rng.integers(height)), int(rng.integers(width)), int(rng.integers(5))
        rows = slice(max(0, y - radius) // cell, (y + radius) // cell + 1)
        columns = slice(max(0, x - radius) // cell, (x + radius) // cell + 1)
        add(hints, y, x, radius, ab[rows, columns].mean(axis=(0, 1)))
    return hints
