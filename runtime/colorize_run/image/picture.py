"""A decoded picture, and what each file format can hold of it."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.colour.space import Space
from colorize_run.image.metadata import Metadata


@dataclass
class Picture:
    """A decoded picture, upright, and what its file said besides.

    ``pixels``: a Pillow image of mode L, RGB or RGBX, or an array (H, W) or (H, W, 3) of uint16; encoded in ``space``, None
    standing for sRGB in 8 bits. ``depth``: bits per channel of the file, 8 or 16. ``alpha``: a mode L image, or uint16 (H, W).
    ``profile``: the ICC profile to write, into whose space pixels in sRGB are converted on writing when ``convert_back``.
    ``duration``: of a moving picture's frame, in ms. ``notes``: what could not be carried over, for the person to read;
    ``damage``: those that are about missing pixels.
    """

    pixels: Image.Image | npt.NDArray[np.uint16]
    format: str
    space: Space | None = None
    depth: int = 8
    alpha: Image.Image | npt.NDArray[np.uint16] | None = None
    profile: bytes | None = None
    convert_back: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    save_options: dict[str, Any] = field(default_factory=dict)
    duration: float | None = None
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.size
        return self.pixels.shape[1], self.pixels.shape[0]

    def become(self, image: Image.Image) -> None:
        """Take other pixels of mode L or RGB, 8 bits, sRGB, and keep the rest."""
        self.pixels, self.space, self.depth, self.profile, self.convert_back = image, None, 8, None, False

    def in_bytes(self) -> Image.Image:
        """The pixels with 8 bits per channel, still encoded in ``space``: a mode L, RGB or RGBX image."""
        return self.pixels if isinstance(self.pixels, Image.Image) else Image.fromarray(to_bytes(self.pixels))

    def alpha_in_bytes(self) -> Image.Image | None:
        """Alpha as a mode L image."""
        if self.alpha is None or isinstance(self.alpha, Image.Image):
            return self.alpha
        return Image.fromarray(to_bytes(self.alpha))


def to_bytes(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """16-bit values rounded to 8 bits."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=1 / 257))


def have_one_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same proportions, up to rounding."""
    return abs(first[0] * second[1] - first[1] * second[0]) <= max(*first, *second)
