"""The layout of a JPEG file: its segments, its frame, its scans, and what follows it. Source: ITU-T T.81, annex B."""

import re
import struct
from dataclasses import dataclass

SOI, EOI, SOS, DQT, DHT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
MAX_BODY = 65_533  # bytes of a segment after its length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, 0xCC}  # all kinds of SOF
_FORBIDDEN = {0xDC, 0xDE, 0xDF, 0xC8, 0xCC}  # number of lines, hierarchical files, reserved, arithmetic coding
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FILL = re.compile(rb"\xff*")
_MOST_SEGMENTS = 20_000  # of which files from cameras have tens
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # begins with a plain byte, for which `re` has a fast search


class UnknownLayoutError(ValueError):
    """A file that is not one whole JPEG picture of a kind that `parse` knows; it may still be one that others decode."""


@dataclass(frozen=True)
class Segment:
    """``data[start:end]`` of a file: a marker with its fill bytes, and its ``body`` at ``data[body:end]``, if it has one."""

    marker: int
    start: int
    body: int
    end: int


@dataclass(frozen=True)
class Component:
    """One component of a frame: its number, its sampling factors, and the slot of its quantisation table."""

    number: int
    across: int
    down: int
    table: int


@dataclass(frozen=True)
class Frame:
    """A frame header: its segment, bits per sample, size in pixels, and components."""

    segment: Segment
    precision: int
    width: int
    height: int
    components: tuple[Component, ...]


@dataclass(frozen=True)
class Layout:
    """A whole JPEG file. ``segments``: all between SOI and EOI, in order, the headers of scans among them.

    ``scans``: (header, start, end), the entropy-coded bytes of each scan with its restart markers being
    ``data[start:end]``; ``eoi``: the end of the picture, behind which anything may follow.
    """

    frame: Frame
    segments: tuple[Segment, ...]
    scans: tuple[tuple[Segment, int, int], ...]
    eoi: Segment

    @property
    def progressive(self) -> bool:
        """Whether scans refine one another."""
        return self.frame.segment.marker == PROGRESSIVE


def parse(data: bytes) -> Layout:
    """The layout of a JPEG file: one frame of 8 bits or more, Huffman-coded, sequential or progressive, complete up to EOI.

    Nothing is decoded, and time is linear in the file's length. Errors: UnknownLayoutError.
    """
    if data[:2] != b"\xff\xd8":
        raise UnknownLayoutError("no JPEG")
    segments: list[Segment] = []
    scans: list[tuple[Segment, int, int]] = []
    frame, at = None, 2
    while True:
        segment = _segment(data, at)
        at = segment.end
        if segment.marker == EOI:
            break
        segments.append(segment)
        if len(segments) > _MOST_SEGMENTS:
            raise UnknownLayoutError("very many segments")
        if segment.marker in _FRAMES:
            if frame is not None:
                raise UnknownLayoutError("several frames")
            frame = _frame(data, segment)
        elif segment.marker == SOS:
            if frame is None:
                raise UnknownLayoutError("a scan before its frame")
            _check_scan(data, segment, frame)
            end = _end_of_scan(data, at)
            scans.append((segment, at, end))
            at = end
    if frame is None or not scans:
        raise UnknownLayoutError("no picture")
    return Layout(frame, tuple(segments), tuple(scans), segment)


def _end_of_scan(data: bytes, start: int) -> int:
    """Where the marker behind entropy-coded bytes begins, with its fill bytes; restart markers belong to the scan."""
    found = _MARKER.search(data, start)
    if found is None:
        raise UnknownLayoutError("no end of the picture")
    end = found.start()
    return end if data[end - 1] != 0xFF else start + len(data[start:end].rstrip(b"\xff"))


def _segment(data: bytes, start: int) -> Segment:
    fill = _FILL.match(data, start)
    at = fill.end() if fill else start
    if at == start or at >= len(data):
        raise UnknownLayoutError("no marker where one must be")
    marker = data[at]
    if marker == EOI:
        return Segment(marker, start, at + 1, at + 1)
    if marker in _FORBIDDEN or marker in _WITHOUT_LENGTH or marker in (0, SOI):
        raise UnknownLayoutError(f"a marker {marker:02x}")
    length = int.from_bytes(data[at + 1 : at + 3], "big")
    end = at + 1 + length
    if length < 2 or end > len(data):
        raise UnknownLayoutError("a segment beyond the end")
    return Segment(marker, start, at + 3, end)


def _frame(data: bytes, segment: Segment) -> Frame:
    body = data[segment.body : segment.end]
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise UnknownLayoutError("a damaged frame header")
    precision, height, width = struct.unpack_from(">BHH", body)
    parts = tuple(Component(n, hv >> 4, hv & 15, tq) for n, hv, tq in struct.iter_unpack("BBB", body[6:]))
    sound = all(1 <= part.across <= 4 and 1 <= part.down <= 4 and part.table < 4 for part in parts)
    if not (width and height and parts and sound):
        raise UnknownLayoutError("a damaged frame header")
    return Frame(segment, precision, width, height, parts)


def _check_scan(data: bytes, segment: Segment, frame: Frame) -> None:
    body = data[segment.body : segment.end]
    if not body or len(body) != 4 + 2 * body[0]:
        raise UnknownLayoutError("a damaged scan header")
    if not set(body[1 : 1 + 2 * body[0] : 2]) <= {part.number for part in frame.components}:
        raise UnknownLayoutError("a scan of a component that is not there")


def describes(part: Segment) -> bool:
    """Whether a segment says something of the picture, and is of no use to the decoder but for its colours."""
    return APP0 <= part.marker <= 0xEF or part.marker == COM


def head_end(layout: Layout) -> int:
    """The place behind the segments that describe the picture, and before those that the decoder needs."""
    return next(part.start for part in layout.segments if not describes(part))


def segment(marker: int, body: bytes) -> bytes:
    """A segment's bytes. Errors: ValueError for a body of more than `MAX_BODY` bytes."""
    if len(body) > MAX_BODY:
        raise ValueError(f"{len(body)} bytes do not fit a segment")
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
