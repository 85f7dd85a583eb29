"""Chroma for a grey JPEG: its own scans stay as they are, byte for byte, and two scans of Cb and Cr follow them.

The frame header is made one of three components, of which luma has twice the samples of the others on each side (4:2:0). Each
scan has one component, so that the order of blocks in the scans of luma stays what it was.
"""

import struct

from colorize_run.image import jpeg
from colorize_run.image.undo import Edit

_Y, _CB, _CR = 1, 2, 3  # numbers of components by which every decoder knows Y'CbCr (JFIF 1.02)
_KINDS = jpeg.BASELINE, jpeg.EXTENDED, jpeg.PROGRESSIVE
_ADOBE = b"Adobe"
_ADOBE_TRANSFORM = 11  # its place in the segment's body
_YCBCR = 1
_NO_RESTARTS = jpeg.segment(jpeg.DRI, b"\0\0")


def takes_chroma(layout: jpeg.Layout) -> bool:
    """Whether a file is a grey JPEG of 8 bits, to which chroma can be added."""
    frame = layout.frame
    return len(frame.components) == 1 and frame.precision == 8 and frame.segment.marker in _KINDS


def _is_finished(data: bytes, layout: jpeg.Layout) -> bool:
    """Whether every coefficient of luma comes to its last bit."""
    if not layout.progressive:
        return True
    missing = [1] * 64
    for header, _, _ in layout.scans:
        first, last, bits = data[header.end - 3 : header.end]
        missing[first : last + 1] = [bits & 15] * (last + 1 - first)
    return not any(missing)


def _sampling(data: bytes, layout: jpeg.Layout) -> int:
    """How many samples of luma stand beside one of chroma, on each side.

    1 where coefficients do not come to their last bit: libjpeg guesses at these, in a way that depends on sampling factors.
    """
    return 2 if _is_finished(data, layout) else 1


def has_chroma(data: bytes, layout: jpeg.Layout) -> bool:
    """Whether a file is coded as Y', Cb, Cr of 8 bits, by what every decoder takes for a sign of it."""
    frame = layout.frame
    if len(frame.components) != 3 or frame.precision != 8 or frame.segment.marker not in _KINDS:
        return False
    numbers = tuple(part.number for part in frame.components)
    bodies = [(each.marker, data[each.body : each.end]) for each in layout.segments]
    adobe = [body for marker, body in bodies if marker == jpeg.APP14 and body.startswith(_ADOBE)]
    if adobe:
        return all(body[_ADOBE_TRANSFORM : _ADOBE_TRANSFORM + 1] == b"\1" for body in adobe)
    return numbers == (_Y, _CB, _CR) or any(marker == jpeg.APP0 and body.startswith(b"JFIF\0") for marker, body in bodies)


def chroma_size(data: bytes, layout: jpeg.Layout) -> tuple[int, int]:
    """Width and height of the Cb and Cr that a grey JPEG takes."""
    step = _sampling(data, layout)
    return -(-layout.frame.width // step), -(-layout.frame.height // step)


def chroma_edits(data: bytes, layout: jpeg.Layout, chroma: tuple[bytes, bytes]) -> list[Edit]:
    """What adds ``chroma`` to the grey JPEG ``data``: Cb and Cr, each a grey JPEG of `chroma_size`.

    They must have the same quantisation table, and be progressive if and only if ``data`` is. ``layout`` must be one that
    `takes_chroma`.
    """
    frame = layout.frame
    own = frame.components[0]
    table, free = _free_table(data, layout, own.table)
    components = bytes((_Y, 0x11 * _sampling(data, layout), own.table, _CB, 0x11, table, _CR, 0x11, table))
    head = struct.pack(">BHHB", frame.precision, frame.height, frame.width, 3)
    edits = [Edit(frame.segment.start, frame.segment.end, jpeg.segment(frame.segment.marker, head + components))]
    if own.number != _Y:  # in a scan's header it stands behind the number of components
        edits += [Edit(header.body + 1, header.body + 2, bytes((_Y,))) for header, _, _ in layout.scans]
    for each in layout.segments:
        body = data[each.body : each.end]
        if each.marker == jpeg.APP14 and body.startswith(_ADOBE) and len(body) > _ADOBE_TRANSFORM:
            place = each.body + _ADOBE_TRANSFORM
            edits.append(Edit(place, place + 1, bytes((_YCBCR,))))
    scans = b"".join(_scans_of(plane, number) for plane, number in zip(chroma, (_CB, _CR), strict=True))
    place = frame.segment.start if free else layout.eoi.start  # where no table of luma is wanted any more
    edits.insert(0, Edit(place, place, _table_of(chroma[0], table)))
    restarts = any(each.marker == jpeg.DRI and data[each.body : each.end] != b"\0\0" for each in layout.segments)
    edits.append(Edit(layout.eoi.start, layout.eoi.start, (_NO_RESTARTS if restarts else b"") + scans))
    return edits


def _free_table(data: bytes, layout: jpeg.Layout, own: int) -> tuple[int, bool]:
    """A slot for a quantisation table, and whether it is free: never used by the file. One that is not luma's otherwise."""
    used = {own}
    for each in layout.segments:
        if each.marker == jpeg.DQT:
            used |= {slot for slot, _ in _tables(data[each.body : each.end])}
    free = [slot for slot in (1, 0, 2, 3) if slot not in used]
    return (free[0], True) if free else ((own + 1) % 4, False)


def _tables(body: bytes) -> list[tuple[int, bytes]]:
    """(slot, entry) of each table of a DQT segment, the entry being its first byte and its 64 numbers."""
    tables, at = [], 0
    while at < len(body):
        size = 1 + 64 * (2 if body[at] >> 4 else 1)
        tables.append((body[at] & 15, body[at : at + size]))
        at += size
    return tables


def _table_of(plane: bytes, slot: int) -> bytes:
    """The quantisation table of a grey JPEG, as a segment for another slot."""
    for each in jpeg.parse(plane).segments:
        if each.marker == jpeg.DQT:
            ((_, entry),) = _tables(plane[each.body : each.end])
            return jpeg.segment(jpeg.DQT, bytes((entry[0] & 0xF0 | slot,)) + entry[1:])
    raise AssertionError("an encoder wrote no quantisation table")


def _scans_of(plane: bytes, number: int) -> bytes:
    """The scans of a grey JPEG as those of component ``number``, with the Huffman tables that each needs before it."""
    layout = jpeg.parse(plane)
    parts: list[bytes] = []
    starts = {header.start: (start, end) for header, start, end in layout.scans}
    for each in layout.segments:
        body = plane[each.body : each.end]
        if each.marker == jpeg.DHT:
            parts.append(plane[each.start : each.end])
        elif each.marker == jpeg.SOS:
            parts.append(jpeg.segment(jpeg.SOS, body[:1] + bytes((number,)) + body[2:]))
            start, end = starts[each.start]
            parts.append(plane[start:end])
    return b"".join(parts)
