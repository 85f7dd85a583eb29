"""What a file says besides its pixels: EXIF, XMP, IPTC, comments; and what is added: that colours came from a model.

EXIF is corrected in place, byte for byte, and not written anew: makers' notes hold offsets that would no longer point
anywhere. XMP is parsed, as it must stay valid XML when properties are added.
"""

import struct
import xml.dom.minidom as minidom
from dataclasses import dataclass, field, replace
from typing import Any
from xml.parsers.expat import ExpatError

from PIL import ExifTags, Image

_EXIF_HEADER = b"Exif\0\0"
_MAX_XMP = 16 << 20
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "http://colorize-run.invalid/ns/1.0/"  # a name, not an address: .invalid can never lead anywhere (RFC 2606)
# "Composite with trained algorithmic media": a photograph to which a model has added. https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_EMPTY_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta><?xpacket end="w"?>'
)
# Resources of a Photoshop block that show the picture of before, or hold what is written elsewhere.
_THUMBNAILS = {0x0409, 0x040C}
_ELSEWHERE = {0x040F, 0x0422, 0x0423, 0x0424}  # ICC profile, EXIF, XMP
_IPTC_RESOURCE = 0x0404


@dataclass(frozen=True)
class Provenance:
    """Where colours come from: the model's name and the SHA-256 of its file, and the version of this program."""

    model: str
    sha256: str
    version: str


@dataclass(frozen=True)
class Metadata:
    """What a file says of an upright picture, none of it about the layout of pixels.

    ``exif``: with header, orientation reset, no thumbnail; ``xmp``: a packet; ``resources``: Photoshop's image resources by
    number, IPTC records among them; ``comment``: of JPEG and GIF; ``text``: keywords and texts of PNG.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    resources: tuple[tuple[int, bytes], ...] = ()
    comment: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
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

    def signed(self, provenance: Provenance) -> "Metadata":
        """A copy whose XMP says that the colours were made by a model, and by which."""
        try:
            return replace(self, xmp=_sign(self.xmp, provenance))
        except (ExpatError, ValueError):
            self.notes.append("its XMP is damaged and was left out")
            return replace(self, xmp=_sign(None, provenance))


def read(image: Image.Image, turned: bool) -> Metadata:
    """The metadata of a decoded file; ``turned`` by a quarter says that width and height change places."""
    notes: list[str] = []
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return Metadata(
        exif=_exif(image, turned, notes),
        xmp=_upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp, notes) if xmp else None,
        resources=_resources(image),
        comment=_comment(image),
        text=_text(image),
        notes=notes,
    )


# -- EXIF ------------------------------------------------------------------------------------------------------


def _exif(image: Image.Image, turned: bool, notes: list[str]) -> bytes | None:
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


# In a TIFF file EXIF's first directory is the picture's own, whose layout must not be copied into another file.
TIFF_DESCRIPTION = {
    269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,
    42033, 42034, 42035, 42036, 42037, 50708, 50735,
}  # fmt: skip


def _exif_of_tiff(image: Image.Image) -> bytes | None:
    found, kept = image.getexif(), Image.Exif()
    for tag, value in found.items():
        if tag in TIFF_DESCRIPTION:
            kept[tag] = as_written(value)
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := found.get_ifd(directory):
            kept.get_ifd(directory).update({tag: as_written(value) for tag, value in values.items()})
    return kept.tobytes() if len(kept) or kept._ifds else None


def as_written(value: Any) -> Any:
    """Text as the bytes that Pillow made it of; it would write question marks for what is not ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and value.isascii() is False else value


def _upright_exif(data: bytes, turned: bool) -> bytes:
    """A TIFF structure with orientation 1, without a second directory and the thumbnail that it describes."""
    block = bytearray(data)
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    first = struct.unpack_from(order + "I", block, 4)[0]
    end = _patch_directory(block, order, first, turned)
    second = struct.unpack_from(order + "I", block, end)[0]
    if second:
        struct.pack_into(order + "I", block, end, 0)
        _blank_thumbnail(block, order, second)
    return bytes(block)


def _entries(block: bytes | bytearray, order: str, start: int) -> list[tuple[int, int, int, int]]:
    """(tag, kind, count, position of the value) of each entry of a directory."""
    count = struct.unpack_from(order + "H", block, start)[0]
    positions = range(start + 2, start + 2 + 12 * count, 12)
    return [(*struct.unpack_from(order + "HHI", block, at), at + 8) for at in positions]


def _patch_directory(block: bytearray, order: str, start: int, turned: bool) -> int:
    """Reset orientation, swap the dimensions of a turned picture; returns where the directory's link stands."""
    entries = _entries(block, order, start)
    for tag, kind, _, at in entries:
        if tag == ExifTags.Base.Orientation and kind == 3:
            struct.pack_into(order + "H", block, at, 1)
        elif tag == ExifTags.IFD.Exif and turned:
            inner = struct.unpack_from(order + "I", block, at)[0]
            sides = {t: at for t, _, n, at in _entries(block, order, inner) if n == 1 and t in (40962, 40963)}
            if len(sides) == 2:
                width, height = sides.values()
                block[width - 6 : width + 4], block[height - 6 : height + 4] = (
                    block[height - 6 : height + 4], block[width - 6 : width + 4],
                )  # fmt: skip
    return start + 2 + 12 * len(entries)


def _blank_thumbnail(block: bytearray, order: str, start: int) -> None:
    found = {
        tag: struct.unpack_from(order + "I", block, at)[0] for tag, kind, _, at in _entries(block, order, start) if kind == 4
    }
    offset, length = found.get(513, 0), found.get(514, 0)
    if offset and offset + length >= len(block) - 3:  # where it usually lies
        del block[offset:]
    elif offset:
        block[offset : offset + length] = bytes(length)
    size = 6 + 12 * struct.unpack_from(order + "H", block, start)[0]
    block[start : start + size] = bytes(len(block[start : start + size]))


# -- IPTC and comments -----------------------------------------------------------------------------------------


def _resources(image: Image.Image) -> tuple[tuple[int, bytes], ...]:
    """Photoshop's image resources of a JPEG or TIFF, without thumbnails; IPTC records from wherever they stand."""
    if image.format in ("JPEG", "MPO"):
        header = b"Photoshop 3.0\0"
        segments = [data for name, data in getattr(image, "applist", []) if name == "APP13" and data.startswith(header)]
        return _unpacked(b"".join(data.removeprefix(header) for data in segments))
    tags = getattr(image, "tag_v2", {})
    found = _unpacked(_as_bytes(tags.get(34377)))
    iptc = _as_bytes(tags.get(33723)) or _raw_profile(image.info.get("Raw profile type iptc"))
    if image.format == "PNG":
        return _unpacked(iptc) if iptc.startswith(b"8BIM") else ((_IPTC_RESOURCE, iptc),) if iptc else ()
    return (*(entry for entry in found if entry[0] != _IPTC_RESOURCE), (_IPTC_RESOURCE, iptc)) if iptc else found


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
    found, at = [], 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number, name = struct.unpack_from(">HB", block, at + 4)
        at += 7 + name
        at += at % 2
        size = struct.unpack_from(">I", block.ljust(at + 4, b"\0"), at)[0]
        if number not in _THUMBNAILS | _ELSEWHERE and at + 4 + size <= len(block):
            found.append((number, block[at + 4 : at + 4 + size]))
        at += 4 + size + size % 2
    return tuple(found)


def _comment(image: Image.Image) -> bytes | None:
    found = image.info.get("comment")
    return found.encode("utf-8", "replace") if isinstance(found, str) else found


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    found = getattr(image, "text", {}) if image.format == "PNG" else {}
    return tuple(
        (key, str(value))
        for key, value in found.items()
        if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")
    )


# -- XMP -------------------------------------------------------------------------------------------------------


def _upright_xmp(packet: bytes, notes: list[str]) -> bytes | None:
    """The packet with orientation 1 and without thumbnails; unchanged to the byte where it has neither."""
    try:
        document = _parsed(packet)
    except (ExpatError, ValueError):
        notes.append("its XMP is damaged and was left out")
        return None
    changed = False
    for namespace, name, value in ((_TIFF, "Orientation", "1"), (_XMP, "Thumbnails", None)):
        for element in list(document.getElementsByTagNameNS(namespace, name)):
            _set_or_drop(element, value)
            changed = True
        for description in document.getElementsByTagNameNS(_RDF, "Description"):
            attribute = description.getAttributeNodeNS(namespace, name)
            if attribute is not None:
                changed = True
                if value is None:
                    description.removeAttributeNode(attribute)
                else:
                    attribute.value = value
    return _serialised(document) if changed else packet


def _set_or_drop(element: minidom.Element, value: str | None) -> None:
    if value is None:
        element.parentNode.removeChild(element)  # type: ignore[union-attr]
        return
    for child in list(element.childNodes):
        element.removeChild(child)
    element.appendChild(element.ownerDocument.createTextNode(value))  # type: ignore[union-attr]


def _parsed(packet: bytes) -> minidom.Document:
    """Errors: ExpatError; ValueError for documents that are too large, declare entities, or hold no RDF."""
    text = packet.strip(b"\0 \r\n\t")
    if len(text) > _MAX_XMP or b"<!" in text.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise ValueError("declarations")
    document = minidom.parseString(text)  # noqa: S318 - see the import
    if not document.getElementsByTagNameNS(_RDF, "RDF"):
        raise ValueError("no RDF")
    return document


def _serialised(document: minidom.Document) -> bytes:
    return "".join(node.toxml() for node in document.childNodes).encode("utf-8", "replace")


def _sign(packet: bytes | None, provenance: Provenance) -> bytes:
    """Add a description of its own to the packet's RDF, and drop what an earlier one said of the same."""
    document = _parsed(packet or _EMPTY_XMP.encode())
    root = document.getElementsByTagNameNS(_RDF, "RDF")[0]
    properties = {
        ("Iptc4xmpExt", _IPTC_EXTENSION): {
            "DigitalSourceType": _SOURCE_TYPE,
            "AISystemUsed": f"colorize-run, model {provenance.model}",
            "AISystemVersionUsed": f"{provenance.version}, sha256 {provenance.sha256}",
        },
        ("colorize_run", _OWN): {
            "Statement": "AI-colourised",
            "Model": provenance.model,
            "Version": provenance.version,
            "ModelSHA256": provenance.sha256,
        },
    }
    prefix = root.prefix or "rdf"
    added = document.createElementNS(_RDF, f"{prefix}:Description")
    added.setAttributeNS(_RDF, f"{prefix}:about", _subject(root))
    for (short, namespace), values in properties.items():
        added.setAttribute(f"xmlns:{short}", namespace)
        for name, value in values.items():
            for element in list(document.getElementsByTagNameNS(namespace, name)):
                _set_or_drop(element, None)
            for description in document.getElementsByTagNameNS(_RDF, "Description"):
                if description.hasAttributeNS(namespace, name):
                    description.removeAttributeNS(namespace, name)
            element = document.createElementNS(namespace, f"{short}:{name}")
            element.appendChild(document.createTextNode(value))
            added.appendChild(element)
    if not root.prefix:
        added.setAttribute("xmlns:rdf", _RDF)
    root.appendChild(added)
    return _serialised(document)


def _subject(root: minidom.Element) -> str:
    """What the packet's other descriptions are about: all must name the same."""
    for description in root.getElementsByTagNameNS(_RDF, "Description"):
        if description.hasAttributeNS(_RDF, "about"):
            return str(description.getAttributeNS(_RDF, "about"))
    return ""
