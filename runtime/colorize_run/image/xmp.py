"""XMP packets: set upright, and signed with where the colours come from."""

import re
import xml.dom.minidom as minidom
from dataclasses import dataclass
from xml.parsers.expat import ExpatError

_MAX_XMP = 16 << 20
_DECLARED = re.compile(r"(?<=<\?xml)[^>]*(?=\?>)")  # version and encoding
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "http://colorize-run.invalid/ns/1.0/"  # a name, not an address: .invalid can never lead anywhere (RFC 2606)
SIGNATURE = _OWN.encode()  # bytes that every file holds whose provenance was written
# "Composite with trained algorithmic media": a photograph to which a model has added. https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_NO_THUMBNAILS = (_XMP, "Thumbnails", None)
# What lies beside a picture in its file, and goes with it: gain map, motion photo, depth map, and the rest of a long packet
_BESIDES = (
    "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.google.com/photos/1.0/camera/", "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/dd/1.0/device/", "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/", "http://ns.adobe.com/xmp/note/",
)  # fmt: skip
_EMPTY_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta><?xpacket end="w"?>'
)


@dataclass(frozen=True)
class Provenance:
    """Where colours come from: the model's name and the SHA-256 of its file, and the version of this program."""

    model: str
    sha256: str
    version: str


def upright_xmp(packet: bytes, notes: list[str]) -> bytes | None:
    """The packet with orientation 1, and without thumbnails and what lay beside the picture; else unchanged to the byte."""
    besides = tuple((namespace, "*", None) for namespace in _BESIDES)
    return _with_values(packet, notes, ((_TIFF, "Orientation", "1"), _NO_THUMBNAILS, *besides))


def xmp_without_thumbnails(packet: bytes, notes: list[str]) -> bytes | None:
    """The packet without thumbnails; unchanged to the byte where it has none."""
    return _with_values(packet, notes, (_NO_THUMBNAILS,))


def _with_values(packet: bytes, notes: list[str], values: tuple[tuple[str, str, str | None], ...]) -> bytes | None:
    """The packet with other values of properties that it has, by (namespace, name), * for all; None removes one."""
    try:
        document = _parsed(packet)
    except (ExpatError, ValueError):
        notes.append("its XMP is damaged and was left out")
        return None
    changed = False
    for namespace, name, value in values:
        for element in list(document.getElementsByTagNameNS(namespace, name)):
            _set_or_drop(element, value)
            changed = True
        for description in document.getElementsByTagNameNS(_RDF, "Description"):
            for attribute in _attributes(description, namespace, name):
                changed = True
                if value is None:
                    description.removeAttributeNode(attribute)
                else:
                    attribute.value = value
    return _serialised(document) if changed else packet


def _attributes(description: minidom.Element, namespace: str, name: str) -> list[minidom.Attr]:
    every = [description.attributes.item(number) for number in range(description.attributes.length)]
    attributes = [each for each in every if isinstance(each, minidom.Attr)]
    return [each for each in attributes if each.namespaceURI == namespace and name in ("*", each.localName)]


def _set_or_drop(element: minidom.Element, value: str | None) -> None:
    if value is None:
        if element.parentNode is not None:  # within another that was dropped
            element.parentNode.removeChild(element)
        return
    for child in list(element.childNodes):
        element.removeChild(child)
    element.appendChild(element.ownerDocument.createTextNode(value))  # type: ignore[union-attr]


def _parsed(packet: bytes) -> minidom.Document:
    """Errors: ExpatError; ValueError for documents that are too large, declare entities, or hold no RDF."""
    text = as_utf8(packet).strip(b"\0 \r\n\t")
    if len(text) > _MAX_XMP or b"<!" in text.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise ValueError("declarations")
    document = minidom.parseString(text)  # noqa: S318 - see the import
    if not document.getElementsByTagNameNS(_RDF, "RDF"):
        raise ValueError("no RDF")
    return document


def as_utf8(packet: bytes) -> bytes:
    """A packet in UTF-8; the standard also knows UTF-16, with or without a byte order mark."""
    start = packet.lstrip(b" \r\n\t")
    for marks, encoding in (((b"\xff\xfe", b"<\0"), "utf-16-le"), ((b"\xfe\xff", b"\0<"), "utf-16-be")):
        if start.startswith(marks):
            text = start.decode(encoding, "replace").lstrip("\ufeff")
            return _DECLARED.sub(' version="1.0"', text, count=1).encode("utf-8", "replace")
    return packet


def _serialised(document: minidom.Document) -> bytes:
    return "".join(node.toxml() for node in document.childNodes).encode("utf-8", "replace")


def sign_xmp(packet: bytes | None, provenance: Provenance) -> bytes:
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
