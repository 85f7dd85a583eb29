"""EXIF of a picture: read, set upright, its thumbnail removed. It is corrected in place, byte for byte."""

import struct
from collections.abc import Callable
from typing import Any

from PIL import ExifTags, Image

# In a TIFF file EXIF's first directory is the picture's own, whose layout must not be copied into another file.
TIFF_DESCRIPTION = {
    269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,
    42033, 42034, 42035, 42036, 42037, 50708, 50735,
}  # fmt: skip

_EXIF_HEADER = b"Exif\0\0"
_INTEGERS = {3: "H", 4: "I", 8: "h", 9: "i"}  # SHORT, LONG, SSHORT, SLONG: some cameras take the wrong one


def read_exif(image: Image.Image, turned: bool, notes: list[str]) -> bytes | None:
    """The EXIF block of a picture that is upright now, with header; None without one. ``turned``: its sides changed places."""
    try:
        if image.format == "TIFF":
            return _exif_of_tiff(image)
        data = image.info.get("exif")
        if data is None and image.getexif():  # PNG's older ways of keeping it
            data = image.getexif().tobytes()
        return None if not data else _EXIF_HEADER + _upright_exif(data.removeprefix(_EXIF_HEADER), turned)
    except Exception:  # every camera writes EXIF in its own way; a picture is worth more than its tags
        notes.append("its EXIF is damaged and was left out")
        return None


def _exif_of_tiff(image: Image.Image) -> bytes | None:
    original, kept = image.getexif(), Image.Exif()
    for tag, value in original.items():
        if tag in TIFF_DESCRIPTION:
            kept[tag] = as_written(value)
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := original.get_ifd(directory):
            kept.get_ifd(directory).update({tag: as_written(value) for tag, value in values.items()})
    return kept.tobytes() if len(kept) or kept._ifds else None


def merged(own: bytes | None, other: bytes | None) -> bytes | None:
    """The EXIF block of a page of a TIFF file, with header, and what only ``other`` says."""
    if not own or not other:
        return own or other
    result = Image.Exif()
    for data in (other, own):
        block = Image.Exif()
        block.load(data)
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if values := block.get_ifd(directory):
                result.get_ifd(directory).update({tag: as_written(value) for tag, value in values.items()})
        for tag, value in block.items():
            if tag in TIFF_DESCRIPTION:
                result[tag] = as_written(value)
    return result.tobytes()


def as_written(value: Any) -> Any:
    """Text as the bytes that Pillow made it of; it would write question marks for what is not ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and value.isascii() is False else value


def with_thumbnail(data: bytes, change: Callable[[bytes], bytes | None]) -> bytes:
    """An EXIF block, with header, whose thumbnail is what ``change`` makes of it; without one where that gives None.

    Unchanged where it has none. Errors: whatever a damaged block leads to.
    """
    block = bytearray(data.removeprefix(_EXIF_HEADER))
    order, link, second = _second_directory(block)
    if not second:
        return data
    places = {tag: at for tag, kind, _, at in _entries(block, order, second) if kind == 4 and tag in (513, 514)}
    values = {tag: struct.unpack_from(order + "I", block, at)[0] for tag, at in places.items()}
    offset, length = values.get(513, 0), values.get(514, 0)
    new = change(bytes(block[offset : offset + length])) if offset and 0 < length <= len(block) - offset else None
    if new is None:
        struct.pack_into(order + "I", block, link, 0)
        _blank_thumbnail(block, order, second)
        return _EXIF_HEADER + bytes(block)
    if offset + length >= len(block) - 3:  # where it usually lies
        del block[offset:]
    else:
        block[offset : offset + length] = bytes(length)
        block += bytes(len(block) % 2)
    struct.pack_into(order + "I", block, places[513], len(block))
    struct.pack_into(order + "I", block, places[514], len(new))
    return _EXIF_HEADER + bytes(block) + new


def orientation_alone(orientation: int) -> bytes:
    """An EXIF block, with header, that says nothing but how a picture is turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


def _second_directory(block: bytes | bytearray) -> tuple[str, int, int]:
    """Byte order of a TIFF structure, the place of the first directory's link, and where that leads: the second, or 0."""
    order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
    first = struct.unpack_from(order + "I", block, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0]
    return order, link, struct.unpack_from(order + "I", block, link)[0]


def _upright_exif(data: bytes, turned: bool) -> bytes:
    """A TIFF structure with orientation 1, without a second directory and the thumbnail that it describes."""
    block = bytearray(data)
    order, link, second = _second_directory(block)
    _patch_directory(block, order, struct.unpack_from(order + "I", block, 4)[0], turned)
    if second:
        struct.pack_into(order + "I", block, link, 0)
        _blank_thumbnail(block, order, second)
    return bytes(block)


def _entries(block: bytes | bytearray, order: str, start: int) -> list[tuple[int, int, int, int]]:
    """(tag, kind, count, position of the value) of each entry of a directory."""
    count = struct.unpack_from(order + "H", block, start)[0]
    positions = range(start + 2, start + 2 + 12 * count, 12)
    return [(*struct.unpack_from(order + "HHI", block, at), at + 8) for at in positions]


def _patch_directory(block: bytearray, order: str, start: int, turned: bool) -> None:
    """Reset orientation, and swap the dimensions of a turned picture."""
    entries = _entries(block, order, start)
    for tag, kind, _, at in entries:
        if tag == ExifTags.Base.Orientation and kind in _INTEGERS:
            struct.pack_into(order + _INTEGERS[kind], block, at, 1)
        elif tag == ExifTags.IFD.Exif and turned:
            inner = struct.unpack_from(order + "I", block, at)[0]
            sides = {t: at for t, _, n, at in _entries(block, order, inner) if n == 1 and t in (40962, 40963)}
            if len(sides) == 2:
                width, height = sides.values()
                block[width - 6 : width + 4], block[height - 6 : height + 4] = (
                    block[height - 6 : height + 4], block[width - 6 : width + 4],
                )  # fmt: skip


def _blank_thumbnail(block: bytearray, order: str, start: int) -> None:
    values = {
        tag: struct.unpack_from(order + "I", block, at)[0] for tag, kind, _, at in _entries(block, order, start) if kind == 4
    }
    offset, length = values.get(513, 0), values.get(514, 0)
    if offset and offset + length >= len(block) - 3:  # where it usually lies
        del block[offset:]
    elif offset:
        block[offset : offset + length] = bytes(length)
    size = 6 + 12 * struct.unpack_from(order + "H", block, start)[0]
    block[start : start + size] = bytes(len(block[start : start + size]))
