"""What a report shows of a picture: the change of its lightness, and thumbnails."""

import contextlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from colorize_run import colour
from colorize_run.colour.space import SRGB, Space
from colorize_run.image import cmyk, icc
from colorize_run.image.identify import undecoded
from colorize_run.image.picture import Picture, to_bytes
from colorize_run.image.source import opened_file

_STRIP_PIXELS = 160_000
_LEVELS = 65535
# L* by luminance in steps of 1/65535: at most 0.014 apart, where L* is steepest.
_LIGHTNESS = (116 * colour.perceived_of_linear(np.arange(_LEVELS + 1, dtype=np.float32) / _LEVELS) - 16).astype(np.float32)


class Lightness:
    """Differences of CIELAB L* between the pixels read and the coloured pixels before encoding, exact to 0.02."""

    def __init__(self) -> None:
        self._sum, self._count, self._largest = 0.0, 0, 0.0

    def add(self, before: Image.Image | npt.NDArray[Any], picture: Picture) -> None:
        """Compare the pixels of a frame, (H, W) or (H, W, 3) or an image, with the coloured frame."""
        height = picture.size[1]
        rows = max(1, _STRIP_PIXELS // picture.size[0])
        for top in range(0, height, rows):
            pair = (_strip(pixels, top, min(top + rows, height)) for pixels in (before, picture.pixels))
            first, second = (_lightness(strip, picture.space) for strip in pair)
            difference = cv2.absdiff(first, second)
            self._sum += cv2.sumElems(difference)[0]
            self._count += difference.size
            self._largest = max(self._largest, float(difference.max()))

    def figures(self) -> tuple[float, float] | None:
        """Mean and largest difference over all frames; None where none was compared."""
        return (round(self._sum / self._count, 4), round(self._largest, 3)) if self._count else None


def _strip(pixels: Image.Image | npt.NDArray[Any], top: int, bottom: int) -> npt.NDArray[Any]:
    if not isinstance(pixels, Image.Image):
        return pixels[top:bottom]
    strip = np.asarray(pixels.crop((0, top, pixels.width, bottom)))
    return strip if strip.ndim == 2 or strip.shape[2] == 3 else cv2.cvtColor(strip, cv2.COLOR_RGBA2RGB)


def _lightness(strip: npt.NDArray[Any], space: Space | None) -> npt.NDArray[np.float32]:
    y: Any
    if space is None and strip.dtype == np.uint8:
        y = colour.luminance(strip)
    else:
        space = space or SRGB
        y = space.linear(strip) @ space.to_xyz[1].astype(np.float32)
    steps = cv2.multiply(y, float(_LEVELS), dtype=cv2.CV_16U)  # type: ignore[call-overload]  # rounds, and keeps within the table
    return np.asarray(cv2.LUT(steps, _LIGHTNESS), np.float32)


def thumbnail(source: Path | BinaryIO, side: int) -> tuple[bytes, tuple[int, int]]:
    """A picture file's first frame as a WebP in sRGB of at most ``side`` pixels, and its width and height.

    Transparency stays. Errors: those of `opened_file`, `undecoded` and Pillow.
    """
    with opened_file(source) as file, undecoded(file) as image:
        profile = image.info.get("icc_profile")
        image.draft("RGB", (side, side))  # JPEG alone: decodes an eighth or a quarter
        small = ImageOps.exif_transpose(_shrunk(image, side, profile))
        with contextlib.suppress(*icc.CMS_ERRORS):  # a damaged profile is noted when the picture is converted
            if profile and small.mode == "RGB" and not icc.is_srgb(profile):
                small = icc.to_srgb(small, profile)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=60, method=2)
        return buffer.getvalue(), small.size


def _shrunk(image: Image.Image, side: int, profile: bytes | None) -> Image.Image:
    """Mode RGB or RGBA, at most ``side`` pixels long; EXIF's orientation still to be applied."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray(to_bytes(np.asarray(image, np.uint16)))
    clear = "A" in image.getbands() or "transparency" in image.info
    exif = image.info.get("exif")
    image = image if image.mode == "CMYK" else image.convert("RGBA" if clear else "RGB")
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if image.mode == "CMYK":
        with contextlib.suppress(*icc.CMS_ERRORS):
            image = cmyk.to_srgb(image, profile)[0]
        image = image.convert("RGB")
    if exif:
        image.info["exif"] = exif
    return image
