"""What a file carries besides its picture that a file made from its pixels does not: named, so that nothing goes in silence.

Thumbnails are no part of it: they show the picture of before, and are left out on purpose.
"""

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import Image, TiffImagePlugin
from PIL.TiffTags import TAGS_V2

from colorize_run.image import jpeg, jpeg2000, pnm
from colorize_run.image.animation import gif_blocks
from colorize_run.image.exif import TIFF_DESCRIPTION
from colorize_run.image.metadata import PLACE

CREDENTIALS = "its content credentials (C2PA) were left out, as they hold for the picture of before"
_VIDEO = re.compile(rb"ftyp(?:mp4|isom|iso\d|qt  |avc1|M4V)")
_PADDING = b"\0\xff\r\n \x1a"
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, TypeError, OSError, jpeg.UnknownLayoutError)
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.1, "Embedding manifests into BMFF-based assets"
_HEAD = 1 << 20  # bytes: where HEIF and AVIF say what they consist of
# JPEG's application segments that are kept, replaced, or thumbnails, by how they begin
_KNOWN_SEGMENTS = (
    (0xE0, b"JFIF\0"), (0xE0, b"JFXX\0"), (0xE1, b"Exif\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    (0xE2, b"ICC_PROFILE\0"), (0xE2, b"MPF\0"), (0xED, b"Photoshop 3.0\0"), (0xEE, b"Adobe"),
)  # fmt: skip
# PNG: the picture, its space, frames, resolution, texts; what holds for palettes and values of before; the last change
_KNOWN_CHUNKS = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"eXIf", b"tEXt",
    b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"hIST", b"sPLT", b"sBIT", b"tIME",
}  # fmt: skip
_KNOWN_BOXES = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"rreq"}  # JPEG 2000
_KNOWN_RIFF = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
# TIFF 6.0 and its supplements: the layout of pixels, resolution, XMP, IPTC, Photoshop's blocks, ICC profile, EXIF and GPS
_KNOWN_TAGS = {
    *range(254, 267), 273, 274, *range(277, 285), *range(290, 294), 296, 301, *range(317, 326), 330, *range(332, 343), 347,
    *range(512, 522), *range(529, 533), 700, 33723, 34377, 34665, 34675, 34853, 37724, 40965,
} | TIFF_DESCRIPTION | set(PLACE)  # fmt: skip
_COLOUR_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # by TIFF's PhotometricInterpretation


def leftovers(file: BinaryIO, image: Image.Image, kind: str) -> list[str]:
    """Notes of what a file, opened but not decoded as ``image`` of format ``kind``, carries and its coloured copy will not."""
    notes: list[str] = []
    search = _SEARCHES.get(kind)
    if search is not None:
        with contextlib.suppress(*_DAMAGE):  # what was found before the damage is noted
            notes.extend(search(file, image))
    return notes


def _named(what: str, names: list[str]) -> Iterator[str]:
    """One note of several things of one kind."""
    different = list(dict.fromkeys(names))
    if different:
        shown = ", ".join(different[:6]) + (f" and {len(different) - 6} more" if len(different) > 6 else "")
        yield f"the {what} {shown} was left out" if len(different) == 1 else f"the {what}s {shown} were left out"


def _behind(trailer: bytes) -> Iterator[str]:
    if _VIDEO.search(trailer):
        yield "the video behind the picture (motion photo) was left out"
    elif rest := trailer.strip(_PADDING):
        yield f"{len(rest)} bytes behind the picture were left out"


def _of_jpeg(file: BinaryIO, image: Image.Image) -> Iterator[str]:
    file.seek(0)
    data = file.read()
    layout = jpeg.parse(data)
    others = []
    for each in layout.segments:
        body = data[each.body : each.end]
        if not 0xE0 <= each.marker <= 0xEF or any(
            each.marker == marker and body.startswith(start) for marker, start in _KNOWN_SEGMENTS
        ):
            continue
        if each.marker == jpeg.APP11 and b"c2pa" in body[:100]:
            yield CREDENTIALS
        elif body.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            yield "a part of its XMP (extended XMP) was left out"
        else:
            name = re.sub(rb"[^ -~].*", b"", body[:24], flags=re.DOTALL).decode()
            others.append(f"APP{each.marker - 0xE0}" + (f" ({name})" if name else ""))
    yield from _named("segment", others)
    trailer = data[layout.eoi.end :]
    if image.format != "MPO" or _VIDEO.search(trailer):  # whose further pictures have a note of their own
        yield from _behind(trailer)


def _of_png(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    file.seek(8)
    others, name, has_alpha = [], b"", False
    while name != b"IEND":
        size, name = struct.unpack(">I4s", file.read(8))
        start = file.read(min(size, 10))
        if name == b"caBX":
            yield CREDENTIALS
        elif name == b"IHDR":
            has_alpha = bool(start[9] & 4)
        elif name == b"pHYs" and (shape := _pixel_shape(*struct.unpack(">IIB", start))):
            yield shape
        elif name not in _KNOWN_CHUNKS and (has_alpha or name != b"bKGD"):  # behind opaque pixels no background is seen
            others.append(name.decode("ascii", "replace"))
        file.seek(size - len(start) + 4, os.SEEK_CUR)
    yield from _named("PNG chunk", others)
    yield from _behind(file.read())


def _pixel_shape(down: float, across: float, unit: int) -> str:
    """What is said of pixels that are no squares, in a file without a resolution."""
    return f"the shape of its pixels, {float(across):g} : {float(down):g}, was left out" if unit == 0 and across != down else ""


def _of_webp(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    file.seek(4)
    end = 8 + struct.unpack("<I", file.read(4))[0]
    file.seek(12)
    others = []
    while file.tell() + 8 <= end:
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"C2PA":
            yield CREDENTIALS
        elif name not in _KNOWN_RIFF:
            others.append(name.decode("ascii", "replace"))
        file.seek(size + size % 2, os.SEEK_CUR)
    yield from _named("WebP chunk", others)
    file.seek(end)
    yield from _behind(file.read())


def _of_gif(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    others = []
    try:
        for label, first in gif_blocks(file):
            if label == b"\x01":
                others.append("text")
            elif label == b"\xff" and first[:8] not in (b"NETSCAPE", b"ANIMEXTS"):
                others.append("colour profile" if first.startswith(b"ICCRGBG1") else first.decode("ascii", "replace"))
    except IndexError:
        yield "the file is cut short, so that frames may be missing"
    yield from _named("GIF extension", others)
    yield from _behind(file.read())


def _of_tiff(_file: BinaryIO, image: Image.Image) -> Iterator[str]:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    others = [TAGS_V2[tag].name if tag in TAGS_V2 else str(tag) for tag in tags if tag not in _KNOWN_TAGS]
    yield from _named("TIFF tag", others)
    alpha = int(image.mode in ("RGBA", "LA", "PA", "RGBa", "La"))
    further = tags.get(277, 1) - _COLOUR_CHANNELS.get(tags.get(262, 1), 99) - alpha
    if further > 0:
        yield f"{further} further {'channel was' if further == 1 else 'channels were'} left out"
    if tags.get(296) == 1 and (shape := _pixel_shape(tags[282], tags[283], 0)):
        yield shape


def _of_bmp(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    file.seek(14)
    head = file.read(124)
    if struct.unpack_from("<I", head)[0] >= len(head) and head[56:60] in (b"DEBM", b"KNIL"):  # "MBED", "LINK", little-endian
        yield "its colour profile was left out, as this program reads none in BMP"


def _of_heif(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    """HEIF and AVIF: boxes are looked for by their names, in the part of the file that describes the rest."""
    file.seek(0)
    head = file.read(_HEAD)
    if b":depth\0" in head or b"auxid:2\0" in head:
        yield "its depth map was left out"
    if b"hdrgainmap\0" in head or re.search(rb"infe.{8,12}tmap", head, re.DOTALL):
        yield "its gain map (for HDR screens) was left out"
    if _C2PA_BOX in head:
        yield CREDENTIALS
    depths = [max(match[1]) for match in re.finditer(rb"pixi\0{4}[\1-\4]([\1-\20]{1,4})", head)]
    if depths and max(depths) > 8:
        yield f"its {max(depths)} bits per channel were rounded to 8"


def _of_jpeg_2000(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    others, end, size = [], 0, file.seek(0, os.SEEK_END)
    for name, start, stop in jpeg2000.boxes(file, 0, size):
        end = stop
        file.seek(start)
        kind = file.read(16)
        if name == b"uuid" and kind == _C2PA_BOX:
            yield CREDENTIALS
        elif name not in _KNOWN_BOXES and not (name == b"uuid" and kind in (jpeg2000.EXIF, jpeg2000.XMP)):
            others.append(name.decode("ascii", "replace").strip())
    yield from _named("JPEG 2000 box", others)
    file.seek(end)
    yield from _behind(file.read())


_SEARCHES: dict[str, Callable[[BinaryIO, Image.Image], Iterator[str]]] = {
    "JPEG": _of_jpeg, "PNG": _of_png, "WEBP": _of_webp, "GIF": _of_gif, "TIFF": _of_tiff, "BMP": _of_bmp, "HEIF": _of_heif,
    "AVIF": _of_heif, "PPM": pnm.left_out, "PAM": pnm.left_out, "JPEG2000": _of_jpeg_2000,
}  # fmt: skip
