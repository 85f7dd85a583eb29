"""TIFF pages of 16 bits that Pillow does not know, CIELAB and grey with alpha: opened by a directory that calls them another.

The page's own directory is copied behind the file, with other colours, bits or predictor. Pillow's decoders and their
checks of damage hold for these pages, too, and all other tags stay.
"""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from colorize_run.colour.space import srgb_of_lab
from colorize_run.image.tiff import Directory, File, StartingAt

Deep = npt.NDArray[np.uint16]
Tag = ExifTags.Base

LAYOUT = "deep_layout"  # key of `Image.info`
_RGB, _LAB = 2, 8  # PhotometricInterpretation
_UNSPECIFIED, _MULTIPLIED, _UNASSOCIATED = 0, 1, 2  # ExtraSamples
_DIFFERENCES = 2  # Predictor
_SHORT = 3


def opened(file: File, page: Directory) -> Image.Image:
    """The page as RGB of 16 bits that is CIELAB, or as RGBA whose bytes are grey and alpha; not decoded.

    Grey with a channel that is no alpha becomes RGB whose first two bytes are grey.
    """
    lab = page.first(Tag.PhotometricInterpretation) == _LAB
    changes = {Tag.PhotometricInterpretation: _RGB}
    if not lab:
        extra = _UNASSOCIATED if _has_alpha(page) else _UNSPECIFIED
        changes |= {Tag.BitsPerSample: 8, Tag.SamplesPerPixel: 4, Tag.ExtraSamples: extra, Tag.Predictor: 1}
    length = file.seek(0, io.SEEK_END)
    start = length + length % 2
    order, directory = _changed(file, page.offset, changes)
    tail = bytes(start - length) + directory
    image = Image.open(StartingAt(file, start, tail), formats=["TIFF"])  # type: ignore[arg-type]
    image.info[LAYOUT] = {"lab": lab, "order": order, "page": page}
    return image


def _has_alpha(page: Directory) -> bool:
    return page.first(Tag.ExtraSamples) in (_MULTIPLIED, _UNASSOCIATED)


def _changed(file: File, offset: int, changes: dict[Any, int]) -> tuple[str, bytes]:
    """The file's byte order, and a directory of it, the last of its chain, with other values, one for each tag."""
    file.seek(0)
    head = file.read(4)
    order, big = "<" if head[:2] == b"II" else ">", head[2:] in (b"+\0", b"\0+")
    count_form, width, room = (order + "Q", 20, 8) if big else (order + "H", 12, 4)
    file.seek(offset)
    start = struct.calcsize(count_form)
    count = struct.unpack(count_form, file.read(start))[0]
    data = bytearray(file.read(count * width))
    for at in range(0, len(data), width):
        tag = struct.unpack_from(order + "H", data, at)[0]
        if tag in changes:
            struct.pack_into(order + ("HQ" if big else "HI"), data, at + 2, _SHORT, 1)
            data[at + width - room : at + width] = struct.pack(order + "H", changes[tag]).ljust(room, b"\0")
    return order, struct.pack(count_form, count) + bytes(data) + bytes(room)


def is_grey_with_alpha(image: Image.Image) -> bool:
    """Whether an image of `opened` holds grey and alpha as bytes."""
    return LAYOUT in image.info and not image.info[LAYOUT]["lab"]


def is_lab(image: Image.Image) -> bool:
    """Whether an image of `opened` holds CIELAB."""
    return LAYOUT in image.info and bool(image.info[LAYOUT]["lab"])


def read_grey(image: Image.Image) -> tuple[Deep, Deep | None, bool]:
    """Grey (H, W), alpha (H, W) or None, and whether grey is multiplied with alpha, of an image that `is_grey_with_alpha`."""
    layout = image.info[LAYOUT]
    page: Directory = layout["page"]
    image.load()
    whole = len(image.getbands()) // 2 * 2  # bytes of RGB or RGBA that are 16-bit values
    values = np.ascontiguousarray(np.asarray(image)[..., :whole]).view(layout["order"] + "u2").astype(np.uint16)
    if page.first(Tag.Predictor, 1) == _DIFFERENCES:
        step = page.first(Tag.TileWidth) or image.width
        for left in range(0, image.width, step):
            part = values[:, left : left + step]
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    grey = np.ascontiguousarray(values[..., 0])
    alpha = np.ascontiguousarray(values[..., 1]) if _has_alpha(page) else None
    if page.first(Tag.PhotometricInterpretation) == 0:
        np.subtract(65535, grey, out=grey)
    return grey, alpha, page.first(Tag.ExtraSamples) == _MULTIPLIED


def from_lab(image: Image.Image, colours: Deep) -> Deep:
    """The colours of an image of `opened` as sRGB, if they are CIELAB; else as they are. Changes them in place."""
    if not is_lab(image):
        return colours
    for row in colours:
        lab = np.empty(row.shape, np.float32)
        lab[:, 0] = row[:, 0] * np.float32(100 / 65535)
        lab[:, 1:] = row[:, 1:].astype(np.int16) / np.float32(256)
        row[:] = srgb_of_lab(lab)
    return colours
