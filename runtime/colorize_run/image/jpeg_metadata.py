"""What the segments of a JPEG say, as edits of the file: everything stays that is still true of the coloured picture."""

import struct
from collections.abc import Callable, Iterable

from colorize_run.image import exif, jpeg, undo
from colorize_run.image.metadata import Metadata, without_thumbnails
from colorize_run.image.undo import Edit
from colorize_run.image.xmp import Provenance, xmp_without_thumbnails

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_JFIF, _JFXX, _PHOTOSHOP, _MPF = b"JFIF\0", b"JFXX\0", b"Photoshop 3.0\0", b"MPF\0"
_JFIF_SIZE, _ADOBE_SIZE = 14, 12  # bytes of their bodies
_ENTRIES = 0xB002  # MP Entry, CIPA DC-007, table 4
ChangeThumbnail = Callable[[bytes], bytes | None]


def _having(data: bytes, layout: jpeg.Layout, marker: int, header: bytes) -> list[jpeg.Segment]:
    """The segments of a kind that begin with ``header``."""
    return [each for each in layout.segments if each.marker == marker and data.startswith(header, each.body, each.end)]


def signed(data: bytes, layout: jpeg.Layout, provenance: Provenance, notes: list[str]) -> list[Edit]:
    """XMP says where the colours come from, and has no thumbnails of the picture before."""
    if any(b"c2pa" in data[each.body : each.body + 100] for each in layout.segments if each.marker == jpeg.APP11):
        notes.append("its content credentials (C2PA) stay in the file, but hold for the picture of before")
    found = _having(data, layout, jpeg.APP1, _XMP)[:1]
    packet = xmp_without_thumbnails(data[found[0].body + len(_XMP) : found[0].end], notes) if found else None
    new = Metadata(xmp=packet, notes=notes).signed(provenance).xmp or b""
    if len(_XMP) + len(new) > jpeg.MAX_BODY:
        notes.append("its XMP has no room to say that the colours were made by a model")
        return []
    start, end = (found[0].start, found[0].end) if found else (_behind_first(data, layout),) * 2
    return [Edit(start, end, jpeg.segment(jpeg.APP1, _XMP + new))]


def _behind_first(data: bytes, layout: jpeg.Layout) -> int:
    """The place behind JFIF and EXIF, which must come first."""
    first = [*_having(data, layout, jpeg.APP0, _JFIF)[:1], *_having(data, layout, jpeg.APP1, _EXIF)[:1]]
    return max((each.end for each in first if each.end <= jpeg.head_end(layout)), default=2)


def with_profile(data: bytes, layout: jpeg.Layout, profile: bytes) -> list[Edit]:
    """Another ICC profile in place of the file's own; an empty one removes that."""
    size = jpeg.MAX_BODY - len(_ICC) - 2
    parts = [profile[start : start + size] for start in range(0, len(profile), size)]
    new = b"".join(
        jpeg.segment(jpeg.APP2, _ICC + bytes((number, len(parts))) + part) for number, part in enumerate(parts, 1)
    )  # fmt: skip
    found = _having(data, layout, jpeg.APP2, _ICC)
    return [Edit(each.start, each.end, b"" if index else new) for index, each in enumerate(found)]


def thumbnails(data: bytes, layout: jpeg.Layout, change: ChangeThumbnail, notes: list[str]) -> list[Edit]:
    """EXIF's thumbnail as ``change`` makes it, or removed where that gives None; all others are removed."""
    edits = []
    for each in _having(data, layout, jpeg.APP1, _EXIF):
        before = data[each.body : each.end]
        after = _exif_with_thumbnail(before, change, notes)
        if after != before:  # so that a record need not hold all of it
            edits.append(Edit(each.body - 2, each.body, (len(after) + 2).to_bytes(2, "big")))
            edits.append(undo.trimmed(data, each.body, each.end, after))
    edits += [Edit(each.start, each.end, b"") for each in _having(data, layout, jpeg.APP0, _JFXX)]
    edits += _without_jfif_thumbnails(data, layout)
    return edits + _without_photoshop_thumbnails(data, layout)


def _without_jfif_thumbnails(data: bytes, layout: jpeg.Layout) -> list[Edit]:
    return [
        Edit(each.start, each.end, jpeg.segment(jpeg.APP0, data[each.body : each.body + _JFIF_SIZE - 2] + b"\0\0"))
        for each in _having(data, layout, jpeg.APP0, _JFIF)
        if each.end - each.body > _JFIF_SIZE  # pixels follow
    ]


def _exif_with_thumbnail(block: bytes, change: ChangeThumbnail, notes: list[str]) -> bytes:
    try:
        after = exif.with_thumbnail(block, change)
        return after if len(after) <= jpeg.MAX_BODY else exif.with_thumbnail(block, lambda _: None)
    except Exception:  # every camera writes EXIF in its own way
        notes.append("its EXIF is damaged and was kept as it is")
        return block


def _without_photoshop_thumbnails(data: bytes, layout: jpeg.Layout) -> list[Edit]:
    found = _having(data, layout, jpeg.APP13, _PHOTOSHOP)
    before = b"".join(data[each.body + len(_PHOTOSHOP) : each.end] for each in found)
    after = without_thumbnails(before)
    if after == before:
        return []
    size = jpeg.MAX_BODY - len(_PHOTOSHOP)
    parts = [after[start : start + size] for start in range(0, len(after), size)]
    new = b"".join(jpeg.segment(jpeg.APP13, _PHOTOSHOP + part) for part in parts)
    return [Edit(each.start, each.end, b"" if index else new) for index, each in enumerate(found)]


def stripped(data: bytes, layout: jpeg.Layout, orientation: int, *, profile: bool) -> list[Edit]:
    """Nothing that describes the picture but its resolution, its ``profile``, if there is one, and how it is turned.

    Nor is there anything behind its end.
    """
    jfif, adobe = _having(data, layout, jpeg.APP0, _JFIF), _having(data, layout, jpeg.APP14, b"Adobe")
    kept = [*jfif, *adobe, *(_having(data, layout, jpeg.APP2, _ICC) if profile else [])]
    edits = _without_jfif_thumbnails(data, layout)
    for each in adobe:
        if each.end - each.body > _ADOBE_SIZE:  # more than the standard has: it may be anything
            edits.append(Edit(each.body - 2, each.body, (_ADOBE_SIZE + 2).to_bytes(2, "big")))
            edits.append(Edit(each.body + _ADOBE_SIZE, each.end, b""))
    edits += [Edit(each.start, each.end, b"") for each in layout.segments if jpeg.describes(each) and each not in kept]
    edits.append(Edit(layout.eoi.end, len(data), b""))
    if orientation != 1:
        place = max((each.end for each in jfif), default=2)
        edits.insert(0, Edit(place, place, jpeg.segment(jpeg.APP1, exif.orientation_alone(orientation))))
    return edits


def further_pictures(data: bytes, layout: jpeg.Layout, growth: Callable[[int], int]) -> list[Edit]:
    """Where the other pictures of a multi-picture file lie now, and how long the first is; CIPA DC-007.

    ``growth``: by how many bytes a place of the file moves. Nothing for a file that has none, or a damaged list.
    """
    edits: list[Edit] = []
    for each in _having(data, layout, jpeg.APP2, _MPF):
        base = each.body + len(_MPF)
        try:
            moved = list(_moved_entries(data[base : each.end], base, layout.eoi.end, growth))
            undo.edited(data, moved)  # ValueError where two entries are in one place
        except (struct.error, KeyError, ValueError):
            continue
        edits += moved
    return edits


def late_further_pictures(data: bytes, layout: jpeg.Layout) -> bool:
    """Whether a list of further pictures stands behind what the decoder needs."""
    return any(each.start > jpeg.head_end(layout) for each in _having(data, layout, jpeg.APP2, _MPF))


def damaged_profile(data: bytes, layout: jpeg.Layout, profile: bytes | None) -> bool:
    """Whether the file has segments of a profile, but no ``profile`` could be read from them."""
    return not profile and bool(_having(data, layout, jpeg.APP2, _ICC))


def _moved_entries(block: bytes, base: int, end: int, growth: Callable[[int], int]) -> Iterable[Edit]:
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    at = struct.unpack_from(order + "I", block, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from(order + "H", block, at)[0], 12):
        tag, _, count, place = struct.unpack_from(order + "HHII", block, entry)
        if tag != _ENTRIES:
            continue
        for number in range(place, place + count - 15, 16):
            size, offset = struct.unpack_from(order + "II", block, number + 4)
            here = base + number + 4
            if offset == 0:  # the first picture, this one
                yield Edit(here, here + 4, struct.pack(order + "I", size + growth(end)))
            else:
                moved = offset + growth(base + offset) - growth(base)
                yield Edit(here + 4, here + 8, struct.pack(order + "I", moved))
