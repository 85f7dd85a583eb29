"""What a file is by its beginning, and the opening of a picture in a known format."""

import io
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from colorize_run.errors import ImageFileError
from colorize_run.image import jpeg2000, pnm, signatures, tiff, tiff_deep, tiff_layout, variants
from colorize_run.image.formats import READABLE

_HEVC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_AVIF_BRANDS = (b"avif", b"avis")
# How files of the formats that are read begin
_MAGIC = {
    b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    b"BM": "BMP", b"GIF8": "GIF", jpeg2000.CODESTREAM: "J2K",
}  # fmt: skip
# A comment may be longer than what is looked at. Every byte belongs to one branch alone, so that the time stays short.
_PNM = re.compile(rb"P(?:[1-6](?:\s|#[^\r\n]*[\r\n])+(?:\d|#[^\r\n]*\Z)|[1-6]#[^\r\n]*\Z|7[ \t\r\v\f]*\n\s*(?:#|[A-Z]))")
_NO_STILLS = (b"mjp2", b"jpm ")  # brands that share JPEG 2000's signature
# Formats that are decoded here and not by Pillow alone
_OPENERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "JPEG2000": jpeg2000.opened, "J2K": jpeg2000.opened, "PPM": pnm.opened, "PAM": pnm.opened,
}  # fmt: skip


def undecoded(file: BinaryIO | tiff.StartingAt) -> Image.Image:
    """Open, but not decode; of a TIFF file of several pages the first that can be opened.

    Errors: ImageFileError for anything but a picture of READABLE, and for HEIC without its extra.
    """
    file.seek(0)
    start = file.read(signatures.BEGINNING)
    kind = kind_of(start)
    if kind is None:
        raise ImageFileError(_refusal(start, file))
    if kind == "TIFF":
        return _of_tiff(file, start)
    assert not isinstance(file, tiff.StartingAt)
    _check_variant(kind, start, file)
    if kind in _OPENERS:
        return _own(kind, file)
    if kind == "HEIF":
        _know_heif()
    file.seek(0)
    try:
        return Image.open(file, formats=[kind])
    except UnidentifiedImageError as error:
        raise ImageFileError(_of_unopened(kind, file)) from error
    except OSError as error:
        if kind == "BMP" and (sentence := variants.describe_bit_fields(start)):
            raise ImageFileError(sentence) from error
        raise


def _of_tiff(file: BinaryIO | tiff.StartingAt, start: bytes) -> Image.Image:
    """The page that a file starts at, or the first that can be opened."""
    if isinstance(file, tiff.StartingAt):
        return _of_page(file)
    if start.startswith(b"MM\0+"):
        raise ImageFileError("is a BigTIFF in big-endian order, which cannot be read; save it as TIFF.")
    pages, first = tiff.directories(file), tiff.first(file)
    if not pages or (len(pages) == 1 and first and pages[0].offset == first.offset):
        return _of_page(file)
    failure: Exception | None = None
    for page in pages:
        try:
            return _of_page(tiff.StartingAt(file, page.offset))
        except (ImageFileError, OSError, ValueError) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _of_page(file: BinaryIO | tiff.StartingAt) -> Image.Image:
    """The first page of a file, checked by its own directory alone."""
    page = tiff.first(file)
    if page is not None:
        tiff_layout.check(page)
        if page.needs_tiff_deep:
            return tiff_deep.opened(file, page)
    file.seek(0)
    try:
        # of the protocol, Pillow needs read, seek and tell alone
        return Image.open(file, formats=["TIFF"])  # type: ignore[arg-type]
    except UnidentifiedImageError as error:
        if page is None or not 0 < page.end <= file.seek(0, io.SEEK_END):
            raise ImageFileError("begins like a TIFF file, but is damaged or incomplete.") from error
        sentence = tiff_layout.describe_unknown(page)
        raise ImageFileError(sentence or "is a TIFF file that is damaged or has an unknown layout.") from error


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "AVIF" else f"a {kind}"


def _own(kind: str, file: BinaryIO) -> Image.Image:
    try:
        return _OPENERS[kind](file)
    except (ValueError, struct.error, UnidentifiedImageError) as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise ImageFileError(f"begins like {_article(kind)} file, but is damaged or incomplete{reason}.") from error


def kind_of(start: bytes) -> str | None:
    """Which of READABLE a file is whose first bytes are ``start``, 32 at least; None for all others."""
    if start[:4] == b"RIFF" and (start[8:12] == b"WEBP" or len(start) < 12):
        return "WEBP"
    if start[4:8] == b"ftyp":
        end = min(len(start), int.from_bytes(start[:4], "big"))
        return _of_brands([start[8:12], *(start[at : at + 4] for at in range(16, end, 4))])
    if start.startswith(jpeg2000.SIGNATURE) and start[20:24] not in _NO_STILLS:
        return "JPEG2000"
    if _PNM.match(start):
        return "PAM" if start[1:2] == b"7" else "PPM"
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    return None if kind == "BMP" and not _is_bitmap(start) else kind


def _of_brands(brands: list[bytes]) -> str | None:
    """AVIF, HEIF or None by the brands of a file of ISO 14496-12, the major one first."""
    if brands[0] in signatures.BRANDS:
        return None
    if brands[0] in _AVIF_BRANDS or (brands[0] not in _HEVC_BRANDS and set(brands) & set(_AVIF_BRANDS)):
        return "AVIF"
    return "HEIF" if set(brands) & {*_HEVC_BRANDS, b"mif1", b"msf1"} else None


def _is_bitmap(start: bytes) -> bool:
    """Two letters are too few: also a text may begin with them."""
    return len(start) < 26 or start[15:18] == bytes(3)


def _check_variant(kind: str, start: bytes, file: BinaryIO) -> None:
    if kind == "JPEG":
        variants.check_jpeg(file)
    elif kind == "PNG":
        variants.check_png(start)
    elif kind == "BMP":
        variants.check_bitmap(start)


def _of_unopened(kind: str, file: BinaryIO) -> str:
    """A sentence for a file that begins as one of a known format does, but that Pillow does not open."""
    if kind == "AVIF" and (size := variants.too_large_avif(file)):
        return f"has {size[0]} x {size[1]} pixels, more than can be read of an AVIF file (32768 a side, 268 megapixels)."
    return f"begins like {_article(kind)} file, but is damaged or incomplete."


def _refusal(start: bytes, file: BinaryIO | tiff.StartingAt) -> str:
    """A sentence for a file that is of no known format."""
    if what := signatures.describe(start):
        return f"is {what}"
    if not start:
        return "is empty (0 bytes)."
    if not start.strip(b"\0"):
        return f"is damaged: it {'holds nothing but' if _all_zero(file) else 'begins with'} zero bytes."
    return f"is not a picture in a known format ({', '.join(READABLE)})."


def _all_zero(file: BinaryIO | tiff.StartingAt) -> bool:
    file.seek(0)
    return not any(block.strip(b"\0") for block in iter(lambda: file.read(1 << 20), b""))


def _know_heif() -> None:
    """Register HEIF with Pillow; ImageFileError names the extra that is missing."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageFileError("is a HEIC picture, which needs an extra: pip install 'colorize-run[heif]'.") from error
    pillow_heif.register_heif_opener()
