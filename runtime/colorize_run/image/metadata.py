"""What a file contains besides its pixels: EXIF, XMP, IPTC, comments; and what is added: that colours came from a model.

EXIF is corrected in place, byte for byte, and not rewritten: makers' notes hold offsets that would no longer point
anywhere. XMP is parsed, as it must stay valid XML when properties are added.
"""

import struct
from dataclasses import dataclass, field, replace
from typing import Any
from xml.parsers.expat import ExpatError

from PIL import Image, TiffImagePlugin

from colorize_run.image.exif import merged, read_exif
from colorize_run.image.xmp import Provenance, as_utf8, sign_xmp, upright_xmp

# Resources of a Photoshop block that show the picture of before, or hold what is written elsewhere.
_THUMBNAILS = {0x0409, 0x040C}
_ELSEWHERE = {0x040F, 0x0422, 0x0423, 0x0424}  # ICC profile, EXIF, XMP
_IPTC_RESOURCE = 0x0404
_LAYERS = 37724  # TIFF's ImageSourceData
# GeoTIFF 1.1: scale, tie points, transformation, keys and their values; GDAL's notes and empty value; RPC coefficients
PLACE = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844)
_ENCODERS = (b"Created by OpenJPEG", b"Kakadu")  # how those of JPEG 2000 sign
# What each format holds besides XMP
_HELD = {
    "JPEG": {"its comment", "its IPTC", "its EXIF"}, "PNG": {"its comment", "its texts", "its IPTC", "its EXIF"},
    "TIFF": {"its IPTC", "its EXIF", "its place on the map (GeoTIFF)"}, "GIF": {"its comment"},
    **{kind: {"its EXIF"} for kind in ("WEBP", "AVIF", "HEIF", "JPEG2000")},
}  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """What a file says of an upright picture, none of it about the layout of pixels.

    ``exif``: with header, orientation reset, no thumbnail; ``xmp``: a packet; ``resources``: Photoshop's image resources by
    number, IPTC records among them; ``comment``: of JPEG and GIF; ``text``: keywords and texts of PNG;
    ``place``: GeoTIFF's tags, which say where on the map the pixels lie, as (tag, value).
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    resources: tuple[tuple[int, bytes], ...] = ()
    comment: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    place: tuple[tuple[int, Any], ...] = ()
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def iptc(self) -> bytes | None:
        """The IPTC-IIM records."""
        return dict(self.resources).get(_IPTC_RESOURCE)

    @property
    def photoshop(self) -> bytes | None:
        """The image resources, as they stand in TIFF's tag 34377."""
        packed = [
            b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2) for number, data in self.resources
        ]
        return b"".join(packed) or None

    def beyond(self, kind: str) -> list[str]:
        """A note of what a file of format ``kind`` cannot hold of it, if it holds metadata at all."""
        carried = {
            "its comment": self.comment, "its texts": self.text, "its IPTC": self.resources, "its EXIF": self.exif,
            "its place on the map (GeoTIFF)": self.place,
        }  # fmt: skip
        lost = [name for name, value in carried.items() if value and kind in _HELD and name not in _HELD[kind]]
        was = "was" if len(lost) == 1 else "were"
        return [f"{kind} cannot hold {' and '.join(lost)}, which {was} left out"] if lost else []

    def completed(self, other: "Metadata") -> "Metadata":
        """A copy that takes from ``other`` what it does not say itself."""
        exif = merged(self.exif, other.exif)
        return replace(self, exif=exif, xmp=self.xmp or other.xmp, resources=self.resources or other.resources)

    def signed(self, provenance: Provenance) -> "Metadata":
        """A copy whose XMP says that the colours were made by a model, and by which."""
        try:
            return replace(self, xmp=sign_xmp(self.xmp, provenance))
        except (ExpatError, ValueError):
            self.notes.append("its XMP is damaged and was left out")
            return replace(self, xmp=sign_xmp(None, provenance))


def read(image: Image.Image, turned: bool, moved: bool = False) -> Metadata:
    """The metadata of a decoded file; ``turned`` by a quarter says that width and height change places.

    ``moved``: pixels are no longer where they were stored, as the picture was turned or mirrored.
    """
    notes: list[str] = []
    _note_layers(image, notes)
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return Metadata(
        exif=read_exif(image, turned, notes),
        xmp=upright_xmp(as_utf8(xmp.encode() if isinstance(xmp, str) else xmp), notes) if xmp else None,
        resources=_resources(image),
        comment=_comment(image),
        text=_text(image),
        place=_place(image, moved, notes),
        notes=notes,
    )


def _place(image: Image.Image, moved: bool, notes: list[str]) -> tuple[tuple[int, Any], ...]:
    """GeoTIFF's tags; none for pixels that moved, as the tags count rows and columns of the file."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if tags is None or not any(tag in tags for tag in PLACE):
        return ()
    if moved:
        notes.append("its place on the map (GeoTIFF) was left out, because the picture was turned")
        return ()
    return tuple((tag, tags[tag]) for tag in PLACE if tag in tags)


def _note_layers(image: Image.Image, notes: list[str]) -> None:
    if _LAYERS in getattr(image, "tag_v2", {}):
        notes.append("its Photoshop layers were left out; they show the picture of before")


def _resources(image: Image.Image) -> tuple[tuple[int, bytes], ...]:
    """Photoshop's image resources of a JPEG or TIFF, without thumbnails; IPTC records from wherever they stand."""
    if image.format in ("JPEG", "MPO"):
        header = b"Photoshop 3.0\0"
        segments = [data for name, data in getattr(image, "applist", []) if name == "APP13" and data.startswith(header)]
        return _unpacked(b"".join(data.removeprefix(header) for data in segments))
    tags = getattr(image, "tag_v2", {})
    resources = _unpacked(_as_bytes(tags.get(34377)))
    iptc = _as_bytes(tags.get(33723)) or _raw_profile(image.info.get("Raw profile type iptc"))
    if image.format == "PNG":
        return _unpacked(iptc) if iptc.startswith(b"8BIM") else ((_IPTC_RESOURCE, iptc),) if iptc else ()
    return (*(entry for entry in resources if entry[0] != _IPTC_RESOURCE), (_IPTC_RESOURCE, iptc)) if iptc else resources


def _as_bytes(value: Any) -> bytes:
    """A TIFF tag of undefined kind; Pillow gives some as tuples of numbers, old writers kept IPTC as 32-bit words."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, tuple) and all(isinstance(word, int) for word in value):
        value = struct.pack(f"<{len(value)}I", *value).rstrip(b"\0")
    return value if isinstance(value, bytes) else b""


def _raw_profile(text: Any) -> bytes:
    """What ImageMagick and ExifTool wrap into PNG text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:])) if text else b""
    except ValueError:
        return b""


def _unpacked(block: bytes) -> tuple[tuple[int, bytes], ...]:
    resources, at = [], 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number, name = struct.unpack_from(">HB", block, at + 4)
        at += 7 + name
        at += at % 2
        size = struct.unpack_from(">I", block.ljust(at + 4, b"\0"), at)[0]
        if number not in _THUMBNAILS | _ELSEWHERE and at + 4 + size <= len(block):
            resources.append((number, block[at + 4 : at + 4 + size]))
        at += 4 + size + size % 2
    return tuple(resources)


def without_thumbnails(block: bytes) -> bytes:
    """A Photoshop block without the resources that are thumbnails; the others as they are, byte for byte."""
    kept, at = [], 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number, name = struct.unpack_from(">HB", block, at + 4)
        head = at + 7 + name
        head += head % 2
        size = struct.unpack_from(">I", block.ljust(head + 4, b"\0"), head)[0]
        end = head + 4 + size + size % 2
        if number not in _THUMBNAILS:
            kept.append(block[at:end])
        at = end
    return b"".join([*kept, block[at:]])


def _comment(image: Image.Image) -> bytes | None:
    comment = image.info.get("comment")
    comment = comment.encode("utf-8", "replace") if isinstance(comment, str) else comment
    return None if comment and comment.startswith(_ENCODERS) else comment


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    try:
        texts = getattr(image, "text", {}) if image.format == "PNG" else {}
    except AssertionError:  # of a damaged file whose pixels were taken all the same
        texts = {}
    return tuple(
        (key, str(value))
        for key, value in texts.items()
        if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")
    )
