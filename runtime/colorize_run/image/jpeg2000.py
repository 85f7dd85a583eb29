"""JPEG 2000 files: read with all their bits, profile and metadata, and written as whole.

Pillow decodes 8 bits and cuts colours of more down to 8; OpenCV decodes and encodes 16. Neither writes a profile or
metadata, so the boxes around the codestream are made here. Source: ISO/IEC 15444-1, annexes A and I; 15444-2, annex M.
"""

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import cv2
import numpy as np
from cv2.utils import logging as log
from PIL import Image

from colorize_run.errors import ImageFileError
from colorize_run.image.late import LateImage, Values, scaled
from colorize_run.system.native import captured_output, is_own_process

SIGNATURE, CODESTREAM = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
EXIF = b"JpgTiffExif->JP2"
_MOST_METADATA = 64 << 20
_SRGB, _GREY, _SYCC, _CMYK = 16, 17, 18, 12
_READ_COLOURS = (0, 15, _CMYK, _SRGB, _GREY, _SYCC)  # EnumCS; 0 and 15 are black and white
_COLOURS = {13: "e-sRGB", 14: "CIELab", 19: "CIEJab", 20: "e-sRGB", 21: "ROMM-RGB", 24: "e-sYCC"}
_WHOLE = 1000  # OpenCV's compression in thousandths: nothing is lost
_LOSSY_DB = 50  # quality of files that were compressed with loss
_LEVEL = threading.Lock()


@dataclass
class _Contents:
    """What the boxes of a file say. ``codestream``: its place; ``colours``: EnumCS or None; ``palette``: whether it has one."""

    codestream: int | None = None
    colours: int | None = None
    palette: bool = False
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Components:
    """Of a codestream: picture size, bits of each component, whether one is signed, whether one has fewer pixels than the
    picture, and whether compression loses."""

    size: tuple[int, int]
    bits: tuple[int, ...]
    signed: bool
    subsampled: bool
    lossy: bool


def opened(file: BinaryIO) -> Image.Image:
    """A JPEG 2000 file's image, to be decoded later. Errors: ImageFileError for colours that are not known; ValueError."""
    file.seek(0)
    bare = file.read(4) == CODESTREAM
    contents = _Contents(0) if bare else _contents(file)
    if contents.codestream is None:
        raise ValueError("it has no codestream")
    if contents.colours is not None and contents.colours not in _READ_COLOURS:
        name = _COLOURS.get(contents.colours, f"number {contents.colours}")
        raise ImageFileError(f"is a JPEG 2000 picture in colours that are not known here ({name}); save it as sRGB first.")
    parts = _components(file, contents.codestream)
    if parts.subsampled and max(parts.bits) > 8:
        bits, way = max(parts.bits), "save it with whole channels first"
        raise ImageFileError(f"is a JPEG 2000 picture of {bits} bits whose channels differ in size (subsampled); {way}.")
    image = _deep(file, parts) if _is_deep(parts, contents) else _shallow(file)
    image.format = "J2K" if bare else "JPEG2000"
    image.info = image.info | contents.info | {"irreversible": parts.lossy}
    if isinstance(image, LateImage) or contents.palette:
        return image
    image.info["cut_bits"] = max(parts.bits) > 8 and image.mode != "I;16"
    return _widened(image, parts.bits[0]) if max(parts.bits) < 8 and image.mode in ("L", "LA", "RGB", "RGBA") else image


def _is_deep(parts: _Components, contents: _Contents) -> bool:
    """Whether OpenCV reads all bits rightly: more than 8 in each component, of grey, RGB or RGBA.

    Its luma and chroma (sYCC) are off by up to 13 of 255.
    """
    uniform = len(set(parts.bits)) == 1 and 8 < parts.bits[0] <= 16
    plain = not (parts.signed or contents.palette) and contents.colours not in (_CMYK, _SYCC)
    return uniform and plain and len(parts.bits) in (1, 3, 4)


@contextlib.contextmanager
def _opencv_output() -> Iterator[list[str]]:
    """What OpenCV says of a file; in a program of others, whose output is not collected, it says nothing."""
    if is_own_process():
        with captured_output() as lines:
            yield lines
        return
    with _LEVEL:  # it holds for the whole process
        before = log.getLogLevel()
        log.setLogLevel(log.LOG_LEVEL_SILENT)
        try:
            yield []
        finally:
            log.setLogLevel(before)


def _shallow(file: BinaryIO) -> Image.Image:
    file.seek(0)
    return Image.open(file, formats=["JPEG2000"])


def _deep(file: BinaryIO, parts: _Components) -> LateImage:
    def decode() -> Values:
        file.seek(0)
        data = np.frombuffer(file.read(), np.uint8)
        with _opencv_output() as lines:
            values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if values is None:
            reasons = [line.partition("errorLogCallback OpenJPEG2000: ")[2] for line in lines]
            raise ValueError(next(filter(None, reasons), "its codestream cannot be decoded"))
        values = values[..., None] if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]
        return scaled(np.asarray(values), (1 << parts.bits[0]) - 1)

    image = LateImage("JPEG2000", parts.size, len(parts.bits), 16, decode)
    image.info = {name: value for name, value in _shallow(file).info.items() if name in ("dpi", "comment")}
    return image


def _widened(image: Image.Image, bits: int) -> LateImage:
    """Of less than 8 bits, which Pillow moves up without filling the lowest."""

    def decode() -> Values:
        image.load()
        values = np.asarray(image).reshape(image.height, image.width, -1) >> (8 - bits)
        return np.asarray(np.rint(values * (255 / ((1 << bits) - 1))), np.uint8)

    widened = LateImage("JPEG2000", image.size, len(image.getbands()), 8, decode)
    widened.format, widened.info = image.format, image.info
    return widened


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the contents of the boxes in a range of a file."""
    while start + 8 <= end:
        file.seek(start)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            length, head = int.from_bytes(file.read(8), "big"), 16
        stop = end if length == 0 else start + length
        if stop < start + head or stop > end:
            if name != b"jp2c":
                return
            stop = end  # incomplete: the decoder tells
        yield name, start + head, stop
        start = stop


def _contents(file: BinaryIO) -> _Contents:
    contents = _Contents()
    for name, start, end in boxes(file, 0, file.seek(0, io.SEEK_END)):
        if name == b"jp2h":
            for inner, begin, stop in boxes(file, start, end):
                _read_header(file, inner, begin, stop, contents)
        elif name == b"jp2c" and contents.codestream is None:
            contents.codestream = start
        elif name == b"uuid" and end - start <= _MOST_METADATA:
            file.seek(start)
            kind, data = file.read(16), file.read(max(0, end - start - 16))
            if kind == XMP:
                contents.info["xmp"] = data
            elif kind == EXIF:
                contents.info["exif"] = b"Exif\0\0" + data.removeprefix(b"Exif\0\0")
    return contents


def _read_header(file: BinaryIO, name: bytes, start: int, end: int, contents: _Contents) -> None:
    file.seek(start)
    if name == b"pclr":
        contents.palette = True
    elif name == b"colr" and contents.colours is None and "icc_profile" not in contents.info:
        method = file.read(3)[:1]
        if method == b"\1" and end - start >= 7:
            contents.colours = int.from_bytes(file.read(4), "big")
        elif method in (b"\2", b"\3"):
            contents.info["icc_profile"] = file.read(min(_MOST_METADATA, end - start - 3))


def _components(file: BinaryIO, start: int) -> _Components:
    """From the segments SIZ and COD of a codestream's main header. Errors: ValueError, struct.error."""
    file.seek(start + 4)
    length = struct.unpack(">H", file.read(2))[0]
    body = file.read(length - 2)
    width, height, left, top = struct.unpack_from(">4I", body, 2)
    count = struct.unpack_from(">H", body, 34)[0]
    depths = body[36 : 36 + 3 * count : 3]
    if len(depths) == count > 4:
        raise ImageFileError(f"is a JPEG 2000 picture of {count} channels, and only 1 to 4 can be read; save it as RGB first.")
    if len(depths) != count or not count or width <= left or height <= top:
        raise ValueError("its header makes no sense")
    bits = tuple((depth & 0x7F) + 1 for depth in depths)
    steps = {*body[37 : 36 + 3 * count : 3], *body[38 : 36 + 3 * count : 3]}
    signed = any(depth & 0x80 for depth in depths)
    return _Components((width - left, height - top), bits, signed, steps != {1}, _is_lossy(file))


def _is_lossy(file: BinaryIO) -> bool:
    """Whether the wavelet that follows in the header is the irreversible one."""
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != 0x90:
        body = file.read(max(0, struct.unpack(">H", head[2:])[0] - 2))
        if head[1] == 0x52 and len(body) > 9:
            return body[9] == 0
    return False


@dataclass(frozen=True)
class Boxes:
    """What stands around a codestream. ``profile``: ICC; ``table``: whether it holds tables; ``exif``: with its header."""

    profile: bytes | None = None
    table: bool = False
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def encode(values: Values, *, lossy: bool, boxes: Boxes | None) -> bytes:
    """RGB or RGBA (H, W, 3 or 4) of 8 or 16 bits as a file, or as a bare codestream without ``boxes``; lossless unless
    ``lossy``, which holds for 8 bits.

    Errors: OSError of Pillow's encoder, ValueError of OpenCV's.
    """
    codestream = _bytes_codestream(values, lossy) if values.dtype == np.uint8 else _deep_codestream(values)
    if boxes is None:
        return codestream
    height, width, channels = values.shape
    header = _box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, 8 * values.itemsize - 1, 7, 0, 0))
    if boxes.profile is None:
        header += _box(b"colr", struct.pack(">BBBI", 1, 0, 0, _SRGB))
    else:
        header += _box(b"colr", bytes((3 if boxes.table else 2, 0, 0)) + boxes.profile)
    if channels == 4:
        header += _box(b"cdef", struct.pack(">13H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0))
    if boxes.dpi:
        across, down = (_resolution(side) for side in boxes.dpi)
        fields = struct.pack(">HHHHBB", *down[:2], *across[:2], down[2], across[2])
        header += _box(b"res ", _box(b"resc", fields))
    brand = b"jpx " if boxes.table else b"jp2 "
    parts = [SIGNATURE, _box(b"ftyp", brand + bytes(4) + b"jp2 " + brand * boxes.table), _box(b"jp2h", header)]
    if boxes.exif:
        parts.append(_box(b"uuid", EXIF + boxes.exif.removeprefix(b"Exif\0\0")))
    if boxes.xmp:
        parts.append(_box(b"uuid", XMP + boxes.xmp))
    return b"".join([*parts, _box(b"jp2c", codestream)])


def _resolution(dpi: float) -> tuple[int, int, int]:
    """Numerator, denominator and power of ten of pixels a metre, to a tenth of a pixel an inch or to four digits."""
    power = 3
    while dpi * 10 ** (4 - power) > 65535:
        power += 1
    return round(dpi * 10 ** (4 - power)), 254, power


def _box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, name) + data


def _bytes_codestream(values: Values, lossy: bool) -> bytes:
    buffer = io.BytesIO()
    how: dict[str, Any] = {"irreversible": True, "quality_mode": "dB", "quality_layers": [_LOSSY_DB]} if lossy else {}
    Image.fromarray(values).save(buffer, "JPEG2000", no_jp2=True, mct=1, **how)
    return buffer.getvalue()


def _deep_codestream(values: Values) -> bytes:
    swapped = np.ascontiguousarray(values[..., [2, 1, 0, 3][: values.shape[2]]])
    with _opencv_output():
        done, data = cv2.imencode(".jp2", swapped, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, _WHOLE])
    if not done:
        raise ValueError("OpenCV's encoder failed")
    file = io.BytesIO(data.tobytes())
    return next(file.getvalue()[start:end] for name, start, end in boxes(file, 0, len(data)) if name == b"jp2c")
