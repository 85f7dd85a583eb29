"""Sound files of a known format that no decoder here reads: found by their headers, before any decoder says "damaged".

Sources: ITU-T T.81 (JPEG), T.87 (JPEG-LS); Microsoft, Bitmap Header Types.
"""

import struct
from typing import BinaryIO

from colorize_run.errors import ImageFileError
from colorize_run.image.signatures import SAVE
from colorize_run.image.tiff import File

_MOST_SEGMENTS = 20_000
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC lie among the codes of frames
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_KINDS_OF_JPEG = {
    0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xDE: "hierarchical",
    0xCB: "lossless and arithmetic-coded", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
}  # fmt: skip
_JPEG_SIDE = 65_500  # of libjpeg
_AVIF_SIDE, _AVIF_PIXELS = 32_768, 1 << 28  # of libavif
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_AVIF_HEADER = 1 << 16
_BITMAP_COMPRESSIONS = {4: "holds a JPEG picture", 5: "holds a PNG picture", 11: "is CMYK", 12: "is CMYK", 13: "is CMYK"}
_BIT_FIELDS, _ALPHA_BIT_FIELDS = 3, 6


def check_jpeg(file: BinaryIO) -> None:
    """ImageFileError for a JPEG whose frame is of a kind that is not read: 12 bits, JPEG-LS, two channels and so on."""
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        head = file.read(4)
        while head[:1] == b"\xff" and head[1:2] == b"\xff":  # fill bytes
            head = head[1:] + file.read(1)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return  # damaged, or no frame before the first scan: decoders tell
        marker, length = head[1], struct.unpack(">H", head[2:])[0]
        if marker == _JPEG_LS or marker in _KINDS_OF_JPEG or (0xC0 <= marker < 0xD0 and marker not in _NO_FRAMES):
            _check_frame(marker, file.read(max(0, length - 2)))
            return
        file.seek(max(0, length - 2), 1)


def _check_frame(marker: int, body: bytes) -> None:
    if marker == _JPEG_LS:
        raise ImageFileError(f"is a JPEG-LS picture; {SAVE}")
    if marker in _KINDS_OF_JPEG:
        raise ImageFileError(f"is a JPEG of a rare kind that cannot be read ({_KINDS_OF_JPEG[marker]}); {SAVE}")
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        return
    precision, height, width, channels = struct.unpack_from(">BHHB", body)
    what = "a lossless JPEG" if marker == _LOSSLESS else "a JPEG"
    if precision != 8:
        raise ImageFileError(f"is {what} of {precision} bits per channel, and only those of 8 can be read; {SAVE}")
    if channels not in (1, 3, 4):
        raise ImageFileError(f"is {what} of {channels} channels, and only those of 1, 3 or 4 can be read; {SAVE}")
    if max(width, height) > _JPEG_SIDE:
        raise ImageFileError(f"is {what} of {width} x {height} pixels, and only {_JPEG_SIDE} a side can be read; {SAVE}")
    if width and not height:
        raise ImageFileError(f"is {what} that gives its height behind its pixels (DNL), which cannot be read; {SAVE}")


def too_large_avif(file: File) -> tuple[int, int] | None:
    """Width and height of an AVIF picture that libavif refuses for its size; None for others, and where they are not found."""
    file.seek(0)
    start = file.read(_AVIF_HEADER)
    at = start.find(b"ispe")
    if at < 0 or at + 16 > len(start):
        return None
    width, height = struct.unpack_from(">II", start, at + 8)
    return (width, height) if max(width, height) > _AVIF_SIDE or width * height > _AVIF_PIXELS else None


def check_png(start: bytes) -> None:
    """ImageFileError for the form of PNG that is made for iPhones' programs alone."""
    if start[12:16] == b"CgBI":
        raise ImageFileError(f"is a PNG in Apple's own form (CgBI); {SAVE}")


def check_bitmap(start: bytes) -> None:
    """ImageFileError for a BMP that holds another format's picture, is CMYK, or is of a rare header or depth."""
    if len(start) < 54:
        return
    size = struct.unpack_from("<I", start, 14)[0]
    if size not in _BITMAP_HEADERS:
        if 16 <= size < 64:  # OS/2 2.x, which may be cut short
            raise ImageFileError(f"is a BMP with a rare header of {size} bytes (OS/2), which cannot be read; {SAVE}")
        return
    if size == 12:
        return
    bits, compression = struct.unpack_from("<HI", start, 28)
    if compression in _BITMAP_COMPRESSIONS:
        raise ImageFileError(f"is a BMP that {_BITMAP_COMPRESSIONS[compression]}, which cannot be read; {SAVE}")
    if bits in (0, 2, 64):
        raise ImageFileError(f"is a BMP of {bits} bits per pixel, which cannot be read; {SAVE}")


def describe_bit_fields(start: bytes) -> str | None:
    """A sentence for a BMP whose pixels Pillow refused, if its channels lie in bit fields; None for others."""
    if len(start) < 66 or struct.unpack_from("<I", start, 14)[0] not in _BITMAP_HEADERS[1:]:
        return None
    if struct.unpack_from("<I", start, 30)[0] not in (_BIT_FIELDS, _ALPHA_BIT_FIELDS):
        return None
    masks = struct.unpack_from("<4I", start.ljust(70, b"\0"), 54)
    counts = "-".join(str(mask.bit_count()) for mask in masks if mask)
    return f"is a BMP with a rare layout of bits (fields of {counts} bits), which cannot be read; {SAVE}"
