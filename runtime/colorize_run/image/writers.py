"""PNG of 16 bits and TIFF of several pages, written a strip of rows at a time."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from colorize_run.errors import ImageFileError
from colorize_run.image.exif import TIFF_DESCRIPTION, as_written

Samples = npt.NDArray[Any]
_STRIP_BYTES = 1 << 20


@dataclass(frozen=True)
class Page:
    """Pixels that are handed out by strips of rows: ``rows(top, bottom)`` gives (rows, width, channels) of ``bits`` each."""

    width: int
    height: int
    channels: int
    bits: int
    rows: Callable[[int, int], Samples]

    @classmethod
    def of_values(cls, colours: Samples, alpha: Samples | None) -> "Page":
        """From colours (H, W, 3), or grey (H, W), and alpha (H, W) or None."""

        def rows(top: int, bottom: int) -> Samples:
            strip = colours[top:bottom]
            strip = strip if strip.ndim == 3 else np.repeat(strip[..., None], 3, axis=2)
            return strip if alpha is None else np.concatenate([strip, alpha[top:bottom, :, None]], axis=-1)

        return cls(colours.shape[1], colours.shape[0], 3 + (alpha is not None), 8 * colours.itemsize, rows)

    @classmethod
    def of_image(cls, image: Image.Image) -> "Page":
        """From an image of 8 bits; alpha where its mode is RGBA."""
        mode = "RGBA" if image.mode == "RGBA" else "RGB"

        def rows(top: int, bottom: int) -> Samples:
            return np.asarray(image.crop((0, top, image.width, bottom)).convert(mode))

        return cls(image.width, image.height, len(mode), 8, rows)


def png(page: Page, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A 16-bit PNG file, with further chunks before the pixels."""
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    kind = 2 if page.channels == 3 else 6
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", page.width, page.height, page.bits, kind, 0, 0, 0))
    for name, data in chunks:
        _chunk(file, name, data)
    packer = zlib.compressobj(4, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    step = page.channels * page.bits // 8
    for top, bottom in _strips(page.width * step, page.height):
        rows = page.rows(top, bottom).astype(">u2").view(np.uint8).reshape(bottom - top, -1)
        packed = packer.compress(_filtered(rows, step))
        if packed:
            _chunk(file, b"IDAT", packed)
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")
    return file.getvalue()


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def _strips(row_bytes: int, height: int) -> list[tuple[int, int]]:
    """(top, bottom) of strips of about a megabyte."""
    rows = max(1, _STRIP_BYTES // row_bytes)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def _filtered(rows: npt.NDArray[np.uint8], step: int) -> bytes:
    """Rows of bytes under PNG's filter Sub: each less what lies a pixel, ``step`` bytes, to its left."""
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    result[:, 0] = 1
    result[:, 1 : step + 1] = rows[:, :step]
    np.subtract(rows[:, step:], rows[:, :-step], out=result[:, step + 1 :])
    return result.tobytes()


class TiffWriter:
    """A TIFF file written page by page: 8 or 16 bits, RGB or RGBA, raw or deflated with differences from pixel to pixel."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._file.write(b"II*\0" + bytes(4))
        self._link = 4  # where the position of the next page stands

    def add(self, page: Page, tags: dict[int, Any], exif: bytes | None, *, packed: bool) -> None:
        """Append a page; ``tags`` besides those of the layout. Errors: ImageFileError beyond TIFF's 4 GiB."""
        directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
        strips = _strips(page.width * page.channels * page.bits // 8, page.height)
        layout = {
            256: page.width, 257: page.height, 258: (page.bits,) * page.channels, 259: 8 if packed else 1, 262: 2,
            277: page.channels, 284: 1, 278: strips[0][1],
        }  # fmt: skip
        if packed:
            layout[317] = 2
        if page.channels == 4:
            layout[338] = 2
        places = [self._write_strip(page.rows(*strip), packed=packed) for strip in strips]
        for tag, value in (exif_tags(exif) | tags | layout).items():
            directory[tag] = value
        directory.tagtype |= {273: TiffTags.LONG, 279: TiffTags.LONG}
        directory[273] = directory[279] = tuple(size for _, size in places)
        start = self._file.tell()
        data = bytearray(directory.tobytes(start))
        _set_longs(data, start, 273, [place for place, _ in places])  # Pillow believes that strips follow
        self._write(bytes(data))
        self._file.seek(self._link)
        self._file.write(struct.pack("<I", start))
        self._file.seek(0, io.SEEK_END)
        self._link = start + 2 + 12 * int(struct.unpack_from("<H", data)[0])

    def _write_strip(self, rows: Samples, *, packed: bool) -> tuple[int, int]:
        """Rows as a strip, little-endian; packed: differences from pixel to pixel, deflated. Returns its place and size."""
        order = rows.dtype.newbyteorder("<")
        if packed:
            differences = rows.copy()
            np.subtract(rows[:, 1:], rows[:, :-1], out=differences[:, 1:])
            data = zlib.compress(differences.astype(order).tobytes(), 5)
        else:
            data = rows.astype(order).tobytes()
        place = self._file.tell()
        self._write(data)
        return place, len(data)

    def _write(self, data: bytes) -> None:
        """Append, up to an even place."""
        if self._file.tell() + len(data) >= (1 << 32) - 1:
            raise ImageFileError("would be larger than 4 GiB, the limit of a TIFF file.")
        self._file.write(data + bytes(len(data) % 2))

    def finish(self) -> bytes:
        """The whole file."""
        return self._file.getvalue()


def _set_longs(directory: bytearray, start: int, tag: int, values: list[int]) -> None:
    """Set the numbers of an entry of a directory that stands at ``start`` of its file."""
    entries = struct.unpack_from("<H", directory)[0]
    entry = next(at for at in range(2, 2 + 12 * entries, 12) if struct.unpack_from("<H", directory, at)[0] == tag)
    at = entry + 8 if len(values) == 1 else struct.unpack_from("<I", directory, entry + 8)[0] - start
    struct.pack_into(f"<{len(values)}I", directory, at, *values)


def exif_tags(exif: bytes | None) -> dict[int, Any]:
    """The tags of an EXIF block that a TIFF page may carry as its own, with EXIF's and GPS's directories."""
    block = Image.Exif()
    block.load(exif or b"")
    tags = {tag: as_written(value) for tag, value in block.items() if tag in TIFF_DESCRIPTION}
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := block.get_ifd(directory):
            tags[directory] = {tag: as_written(value) for tag, value in values.items()}
    return tags
