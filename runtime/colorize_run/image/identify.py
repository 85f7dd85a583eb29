"""What a file is by its beginning, and the opening of a picture in a known format."""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from colorize_run.errors import ImageFileError
from colorize_run.image import tiff
from colorize_run.image.formats import READABLE

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# How files of each kind begin, to say more of one that Pillow does not know.
_MAGIC = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WEBP", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"II+\0": "TIFF", b"MM\0+": "TIFF", b"BM": "BMP",
    b"GIF8": "GIF", b"ftypavif": "AVIF", b"ftypavis": "AVIF", b"ftyp": "HEIC",
}  # fmt: skip


def undecoded(file: BinaryIO | tiff.StartingAt) -> Image.Image:
    """Open, but not decode. Errors: ImageFileError for anything but a picture of READABLE, and for HEIC without its extra."""
    file.seek(0)
    start = file.read(32)
    file.seek(0)
    formats = [kind for kind in READABLE if kind != "HEIF"]
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and b"avif" not in start:
        _know_heif()
        formats = ["HEIF"]
    try:
        return Image.open(file, formats=formats)  # type: ignore[arg-type]  # of the protocol, it needs read, seek and tell alone
    except UnidentifiedImageError as error:
        kind = next((kind for magic, kind in _MAGIC.items() if magic in (start[: len(magic)], start[4 : 4 + len(magic)])), None)
        if kind == "TIFF":
            tiff.refuse_raw(file)
            raise ImageFileError(
                "is a TIFF file that is damaged or has an unknown layout: save it as grey or RGB, 8 or 16 bits."
            ) from error
        if kind:
            raise ImageFileError(f"begins like a {kind} file, but is damaged or incomplete.") from error
        raise ImageFileError(f"is not a picture in a known format ({', '.join(READABLE)}).") from error


def _know_heif() -> None:
    """Register HEIF with Pillow; ImageFileError names the extra that is missing."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageFileError("is a HEIC picture, which needs an extra: pip install 'colorize-run[heif]'.") from error
    pillow_heif.register_heif_opener()
