"""From a `Picture`, or several, to the bytes of a file: each format as whole as it can hold the picture."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin

from colorize_run.errors import ImageFileError
from colorize_run.image import animation, icc, own_formats, writers
from colorize_run.image.formats import FORMATS, READABLE
from colorize_run.image.metadata import Metadata
from colorize_run.image.picture import Picture

_DEFAULTS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "PNG": {},
    "WEBP": {"quality": 95, "method": 4},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
    "GIF": {},
    "AVIF": {"quality": 90, "speed": 7},
    "HEIF": {"quality": 90},
}
Tag = ExifTags.Base
_INCH = 2  # of TIFF's ResolutionUnit
_MAX_SEGMENT = 65_533  # bytes in a segment of JPEG
_OWN_TIFF = ("raw", "tiff_adobe_deflate")  # the rest is left to libtiff


def encode(picture: Picture, kind: str | None = None) -> bytes:
    """The picture's bytes in its own format, or in another one of READABLE.

    Errors: ImageFileError when the format cannot hold the alpha channel or the picture's size.
    """
    writer = Writer(kind or picture.format)
    writer.add(picture)
    return writer.finish()


class Writer:
    """Encodes a file of one picture or of several: pages of a TIFF file one by one, frames of a moving picture at the end.

    ``loop_count``: how often a moving picture plays, 0 for ever.
    """

    def __init__(self, kind: str, *, pages: bool = False, loop_count: int = 0) -> None:
        if kind not in READABLE:
            raise ImageFileError(f"cannot be written as {kind}; known formats: {', '.join(READABLE)}.")
        self.kind, self._loop_count = kind, loop_count
        self._tiff = writers.TiffWriter() if pages else None
        self._pictures: list[Picture] = []

    def check_alpha(self, picture: Picture) -> None:
        """ImageFileError for transparency that the format cannot hold; alpha that hides nothing is left out."""
        if picture.alpha is None or FORMATS[self.kind].alpha:
            return
        if not _is_opaque(picture.alpha):
            raise ImageFileError(f"has transparency, which {self.kind} cannot hold; write PNG, WebP or TIFF.")
        picture.alpha = None

    def depth_of(self, picture: Picture) -> int:
        """Bits per channel that a picture is written with, 8 or 16. Errors: ImageFileError for too few pixels for its bits."""
        if picture.depth == 8 or not FORMATS[self.kind].deep:
            return 8
        width, height = picture.size
        if min(width, height) < (least := FORMATS[self.kind].deep_side):
            what = f"has {width} x {height} pixels of 16 bits, and {self.kind} needs {least} pixels a side for 16 bits"
            raise ImageFileError(f"{what}; write PNG or TIFF.")
        return 16

    def add(self, picture: Picture) -> None:
        """Append a picture. Errors: ImageFileError when the format cannot hold it."""
        self.check_alpha(picture)
        self.depth_of(picture)
        picture.notes += picture.metadata.beyond(self.kind)
        if picture.depth == 16 and not FORMATS[self.kind].deep:
            picture.notes.append(f"its 16 bits per channel were rounded to the 8 that {self.kind} holds")
        if self._tiff is not None:
            _add_page(self._tiff, picture)
            picture.pixels = Image.new("L", (1, 1))  # pages may be many
        else:
            self._pictures.append(picture)

    def finish(self, *, default_image: bool = False) -> bytes:
        """The whole file. ``default_image``: the first picture of a PNG file is shown only by programs that cannot play it.

        Errors: ImageFileError.
        """
        try:
            if self._tiff is not None:
                return self._tiff.finish()
            if len(self._pictures) > 1:
                return self._moving(default_image)
            return _still(self._pictures[0], self.kind)
        except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
            raise ImageFileError(f"cannot be written as {self.kind}: {error}.") from error

    def _moving(self, default_image: bool) -> bytes:
        first = self._pictures[0]
        options = _encoder_options(first, self.kind)
        frames = [_as_the_file_holds_it(picture, self.kind) for picture in self._pictures]
        durations = [picture.duration or 0 for picture in self._pictures]
        data = animation.encode(
            frames, self.kind, durations, options, loop_count=self._loop_count, default_image=default_image
        )  # fmt: skip
        return _with_gif_xmp(data, first.metadata.xmp) if self.kind == "GIF" else data


def _is_opaque(alpha: Image.Image | npt.NDArray[np.uint16]) -> bool:
    lowest = alpha.getextrema()[0] if isinstance(alpha, Image.Image) else int(alpha.min()) / 257
    return lowest == 255


def _still(picture: Picture, kind: str) -> bytes:
    page = _deep_page(picture, kind)
    if kind in own_formats.ENCODERS:
        _metadata_options(picture, kind)  # what the format cannot hold is noted
        page = page or writers.Page.of_image(_as_the_file_holds_it(picture, kind))
        return own_formats.ENCODERS[kind](page.rows(0, page.height), picture, kind)
    if page is not None and kind == "PNG":
        return writers.png(page, _png_chunks(picture))
    if kind == "TIFF" and (page is not None or _compression(picture) in _OWN_TIFF):
        writer = writers.TiffWriter()
        _add_page(writer, picture)
        return writer.finish()
    image = _as_the_file_holds_it(picture, kind)
    if kind == "BMP" and picture.alpha is not None:
        return _bmp_with_alpha(image, picture.save_options.get("dpi"))
    options = _encoder_options(picture, kind)
    if kind == "GIF":
        return _with_gif_xmp(animation.encode([image], kind, [], options), picture.metadata.xmp)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _deep_page(picture: Picture, kind: str) -> writers.Page | None:
    """The picture's 16 bits, where it has them and the format holds them."""
    if picture.depth != 16 or not FORMATS[kind].deep or isinstance(picture.pixels, Image.Image):
        return None
    if picture.profile and picture.space and not FORMATS[kind].profile:
        picture.pixels, picture.profile = picture.space.in_srgb(picture.pixels), None
    return writers.Page.of_values(picture.pixels, None if picture.alpha is None else np.asarray(picture.alpha))


def _as_the_file_holds_it(picture: Picture, kind: str) -> Image.Image:
    """Pixels of 8 bits in the file's own colour space, with their alpha."""
    image = picture.in_bytes()
    holds_profile = FORMATS[kind].profile
    if picture.profile and picture.convert_back and holds_profile:
        image = icc.from_srgb(image.convert("RGB"), picture.profile)
    elif picture.profile and not picture.convert_back and not holds_profile and not icc.is_srgb(picture.profile):
        image = icc.to_srgb(image.convert("RGB"), picture.profile)
    alpha = picture.alpha_in_bytes()
    if alpha is not None:
        image = image.convert("RGB").convert("RGBA")  # from RGBX straight, the fourth byte would become alpha
        image.putalpha(alpha)
    if image.mode == "RGBX" and kind != "JPEG":
        image = image.convert("RGB")
        if alpha is None:
            picture.pixels = image  # a large picture's other copy goes before its file comes
    if image.info:  # as it was read; encoders would write it beside what they are told to
        image = image.copy()
        image.info = {}
    return image


def _encoder_options(picture: Picture, kind: str) -> dict[str, Any]:
    options = dict(_DEFAULTS[kind])
    if kind == picture.format:
        if "qtables" in picture.save_options:
            options.pop("quality", None)
        options |= picture.save_options
    elif "dpi" in picture.save_options:
        options["dpi"] = picture.save_options["dpi"]
    if picture.profile and FORMATS[kind].profile:
        options["icc_profile"] = picture.profile
    return options | _metadata_options(picture, kind)


def _metadata_options(picture: Picture, kind: str) -> dict[str, Any]:
    """What Pillow's encoder of the format takes for metadata."""
    metadata = picture.metadata
    if kind == "PNG":
        return {"pnginfo": _png_text(metadata)} | ({"exif": metadata.exif} if metadata.exif else {})
    if kind == "JPEG":
        return _jpeg_metadata(picture)
    if kind == "TIFF":
        tags = Image.Exif()
        for tag, value in (writers.exif_tags(metadata.exif) | _tiff_tags(metadata)).items():
            if isinstance(value, dict):
                tags.get_ifd(tag).update(value)
            else:
                tags[tag] = value
        return {"exif": tags}
    if kind == "GIF":
        return {"comment": metadata.comment} if metadata.comment else {}
    if not FORMATS[kind].metadata:
        if metadata != Metadata():
            picture.notes.append(f"{kind} cannot hold metadata: EXIF, XMP and the note about the model were left out")
        return {}
    return {name: value for name, value in (("exif", metadata.exif), ("xmp", metadata.xmp)) if value}


def _jpeg_metadata(picture: Picture) -> dict[str, Any]:
    metadata = picture.metadata
    options: dict[str, Any] = {"comment": metadata.comment} if metadata.comment else {}
    photoshop = metadata.photoshop
    for name, value, header in (("EXIF", metadata.exif, 2), ("XMP", metadata.xmp, 31), ("IPTC", photoshop, 16)):
        if value is None:
            continue
        if len(value) + header > _MAX_SEGMENT:
            picture.notes.append(f"its {name} is larger than JPEG can hold and was left out")
        elif name == "IPTC":
            body = b"Photoshop 3.0\0" + value
            options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
        else:
            options[name.lower()] = value
    return options


def _png_text(metadata: Metadata) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in metadata.text:
        chunks.add_text(key, value, zip=len(value) > 1000)
    if metadata.comment and "Comment" not in dict(metadata.text):
        chunks.add_text("Comment", metadata.comment.decode("latin-1"))
    if metadata.iptc:  # as ImageMagick and ExifTool keep it: PNG has no place of its own
        block = Metadata(resources=((0x0404, metadata.iptc),)).photoshop or b""
        digits = block.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        chunks.add_text("Raw profile type iptc", f"\niptc\n{len(block):8d}\n{lines}\n", zip=True)
    if metadata.xmp:
        chunks.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    return chunks


def _png_chunks(picture: Picture) -> list[tuple[bytes, bytes]]:
    """The same, and profile, resolution and EXIF, as (name, data) for a file of 16 bits."""
    chunks = []
    if picture.profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.profile)))
    if dpi := picture.save_options.get("dpi"):
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(side / 0.0254) for side in dpi), 1)))
    if picture.metadata.exif:
        chunks.append((b"eXIf", picture.metadata.exif.removeprefix(b"Exif\0\0")))
    return chunks + [(chunk[0], chunk[1]) for chunk in _png_text(picture.metadata).chunks]


def _compression(picture: Picture) -> str:
    return str(picture.save_options.get("compression", "tiff_adobe_deflate"))


def _tiff_tags(metadata: Metadata) -> dict[int, Any]:
    tags = {Tag.XMLPacket: metadata.xmp, Tag.IPTCNAA: metadata.iptc, Tag.ImageResources: metadata.photoshop}
    return {tag: value for tag, value in tags.items() if value} | dict(metadata.place)


def _add_page(writer: writers.TiffWriter, picture: Picture) -> None:
    tags = _tiff_tags(picture.metadata)
    if picture.profile:
        tags[Tag.InterColorProfile] = picture.profile
    if dpi := picture.save_options.get("dpi"):
        tags |= {
            Tag.XResolution: float(dpi[0]),
            Tag.YResolution: float(dpi[1]),
            Tag.ResolutionUnit: _INCH,
        }
    page = _deep_page(picture, "TIFF") or writers.Page.of_image(_as_the_file_holds_it(picture, "TIFF"))
    writer.add(page, tags, picture.metadata.exif, packed=_compression(picture) != "raw")


def _bmp_with_alpha(image: Image.Image, dpi: Any) -> bytes:
    """A BMP file with a header of version 4, which says where alpha lies. Source: Microsoft, BITMAPV4HEADER."""
    width, height = image.size
    pixels = image.tobytes("raw", "BGRA", 0, -1)
    across, down = (round(side / 0.0254) for side in dpi or (0, 0))
    masks = struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")  # sRGB
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), across, down, 0, 0) + masks + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def _with_gif_xmp(data: bytes, xmp: bytes | None) -> bytes:
    """A GIF file with XMP as its last extension. Source: Adobe, XMP Specification Part 3, 1.1.2."""
    if not xmp or not data.endswith(b";"):
        return data
    # Read as blocks with their lengths, any byte of the packet leads into these, and they lead to the end.
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    return data[:-1] + b"!\xff\x0bXMP DataXMP" + xmp + trailer + b";"
