"""TIFF pages that keep each channel in a plane of its own: read by Pillow where it can, else plane by plane, else refused.

Pillow reads planes of 8 bits. It takes uncompressed planes of 16 bits for 8, and cuts compressed ones down to 8. So each
of these is opened as a grey picture of its own, by a directory that is made for it: Pillow's decoders and their checks of
damage hold for them, too.
"""

import os
import struct

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from colorize_run.errors import ImageFileError
from colorize_run.image.tiff import StartingAt

Deep = npt.NDArray[np.uint16]
Tag = ExifTags.Base

_SEPARATE = 2  # PlanarConfiguration
_BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR = 1, 2, 5, 6  # PhotometricInterpretation
_MULTIPLIED, _UNASSOCIATED = 1, 2  # ExtraSamples
_PLACES, _LENGTHS = (Tag.StripOffsets, Tag.TileOffsets), (Tag.StripByteCounts, Tag.TileByteCounts)
_SAME_IN_ALL = (
    Tag.ImageWidth, Tag.ImageLength, Tag.Compression, Tag.FillOrder, Tag.RowsPerStrip, Tag.Predictor, Tag.TileWidth,
    Tag.TileLength,
)  # fmt: skip
_LONG, _LONG8 = 4, 16
INTERLEAVED = "save it with interleaved (chunky) channels."  # what to do with planes that cannot be read


def check(image: Image.Image) -> None:
    """ImageFileError for a TIFF page, not loaded yet, with planes that would be read wrongly or in part."""
    tags = getattr(image, "tag_v2", {})
    samples = tags.get(Tag.SamplesPerPixel, 1)
    if tags.get(Tag.PlanarConfiguration, 1) != _SEPARATE or samples == 1 or are_deep(image):
        return
    if max(tags.get(Tag.BitsPerSample, (1,))) > 8:
        raise ImageFileError(f"keeps 16-bit colours in separate planes; {INTERLEAVED}")
    unpacked = image.info.get("compression") == "raw"
    planes = {str(tile.args[0]) for tile in getattr(image, "tile", [])} if unpacked else set()
    extra = tags.get(Tag.ExtraSamples, ())
    known = (
        tags.get(Tag.PhotometricInterpretation) in ((_RGB, _CMYK) if unpacked else (_RGB, _CMYK, _YCBCR))
        and image.mode in ("RGB", "RGBA", "CMYK")
        and planes <= set("RGBACMYK")  # one letter each; for others Pillow has no decoder
        and (samples == len(image.getbands()) or max(extra, default=1) == 0)  # Pillow leaves out what is unspecified
    )
    if not known:
        raise ImageFileError(f"keeps its channels in separate planes of a kind that cannot be read; {INTERLEAVED}")


def are_deep(image: Image.Image) -> bool:
    """Whether a page, not loaded yet, is RGB in planes of 16 bits, with or without alpha, which `read_deep` reads."""
    if not isinstance(image, TiffImageFile) or not image.tile:
        return False
    tags = image.tag_v2
    samples = tags.get(Tag.SamplesPerPixel, 1)
    return (
        tags.get(Tag.PlanarConfiguration, 1) == _SEPARATE
        and tags.get(Tag.PhotometricInterpretation) == _RGB
        and samples >= 3
        and set(tags.get(Tag.BitsPerSample, ())) == {16}
        and set(tags.get(Tag.SampleFormat, (1,))) == {1}
        and any(len(tags.get(places, ())) >= samples for places in _PLACES)
    )


def read_deep(image: Image.Image) -> tuple[Deep, Deep | None, bool]:
    """Colours (H, W, 3), alpha (H, W) or None, and whether the colours are multiplied with alpha. See `are_deep`.

    The picture is as it is stored: not turned. Errors: ValueError for damage; what Pillow's decoders raise.
    """
    assert isinstance(image, TiffImageFile)
    extra = image.tag_v2.get(Tag.ExtraSamples, ())
    kind = extra[0] if extra else 0
    first = _plane(image, 0)
    colours = np.empty((*first.shape, 3), np.uint16)
    colours[..., 0] = first
    for number in (1, 2):
        colours[..., number] = _plane(image, number)
    return colours, _plane(image, 3) if kind in (_MULTIPLIED, _UNASSOCIATED) else None, kind == _MULTIPLIED


def _plane(image: TiffImageFile, number: int) -> Deep:
    assert image.fp is not None
    image.fp.seek(0)
    big = image.fp.read(4) in (b"II+\0", b"MM\0+")
    length = image.fp.seek(0, os.SEEK_END)
    start = length + length % 2
    directory = bytes(start - length) + _directory(image, number, start, big)
    with Image.open(StartingAt(image.fp, start, directory), formats=["TIFF"]) as plane:  # type: ignore[arg-type]
        plane.load()
        return np.asarray(plane).astype(np.uint16)


def _directory(image: TiffImageFile, number: int, start: int, big: bool) -> bytes:
    """A directory at ``start``, in the file's own byte order, that says that one plane is a grey picture."""
    tags = image.tag_v2
    fields = {tag: (int(tags[tag]),) for tag in _SAME_IN_ALL if tag in tags}
    fields |= {Tag.BitsPerSample: (16,), Tag.PhotometricInterpretation: (_BLACK_IS_ZERO,), Tag.SamplesPerPixel: (1,)}
    for tag in (*_PLACES, *_LENGTHS):
        if tag in tags:
            count, rest = divmod(len(tags[tag]), tags[Tag.SamplesPerPixel])
            if rest:
                raise ValueError("its planes are not of one size")
            fields[tag] = tuple(tags[tag][number * count : (number + 1) * count])
    order = "<" if tags.prefix == b"II" else ">"
    kind, letter, size = (_LONG8, "Q", 8) if big else (_LONG, "I", 4)
    head = struct.pack(order + ("Q" if big else "H"), len(fields))
    values_at = start + len(head) + len(fields) * (4 + 2 * size) + size
    entries, values = b"", b""
    for tag in sorted(fields):
        packed = struct.pack(f"{order}{len(fields[tag])}{letter}", *fields[tag])
        inline = packed if len(packed) == size else struct.pack(order + letter, values_at + len(values))
        values += b"" if len(packed) == size else packed
        entries += struct.pack(f"{order}HH{letter}", tag, kind, len(fields[tag])) + inline
    return head + entries + bytes(size) + values
