"""Edits of a file that can be undone: the edited file holds, in segments of its own, what gives the original back.

The record says which stretches of the edited file are the original's, and gives the bytes that are missing. It ends in
the SHA-256 of both files, so that one that was changed since is refused instead of restored to something else.
"""

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from colorize_run.errors import ImageFileError
from colorize_run.image import jpeg

# A JUMBF box, the standard's place for what only some programs understand (ISO/IEC 19566-5), in segments APP11 of which
# each has a number and repeats the head of the box
_MARKER = 0xEB
_TYPE = bytes.fromhex("6f2a1c5e93d04b7f8a41c7d25be0931d")  # a random UUID, which stands for this record
_LABEL = b"colorize-run.undo\0"
_HEAD = struct.Struct(">2sHI I4s")  # of a segment's body: JP, number of the box, of the part; length and kind of the box
_BOX = struct.Struct(">I4s")
_DESCRIPTION = _BOX.pack(_BOX.size + 17 + len(_LABEL), b"jumd") + _TYPE + b"\x03" + _LABEL
_NUMBER = 0x636F  # of the box among a file's others
_VERSION = 1
_MAX_PART = jpeg.MAX_BODY - _HEAD.size
_MAX_RECORD = 1 << 24  # bytes, unpacked
_RUN = struct.Struct(">QQI")  # bytes of the edited file to skip, to copy, and new bytes that follow
_TAIL = struct.Struct(">B32s32s")


class NoRecordError(ImageFileError):
    """A file that holds no record, so that nothing can be given back."""


@dataclass(frozen=True)
class Edit:
    """In place of ``data[start:end]`` of the original: ``new``. With ``start`` = ``end``, an insertion."""

    start: int
    end: int
    new: bytes


def edited(data: bytes, edits: Iterable[Edit]) -> bytes:
    """``data`` with ``edits``, which may come in any order; those at one place keep theirs.

    Errors: ValueError for edits that overlap.
    """
    return b"".join(_pieces(data, _in_order(edits)))


def _in_order(edits: Iterable[Edit]) -> list[Edit]:
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    if any(first.end > second.start for first, second in itertools.pairwise(ordered)):
        raise ValueError("edits of one place")
    return ordered


def _pieces(data: bytes, ordered: Iterable[Edit]) -> Iterator[bytes | memoryview]:
    view, at = memoryview(data), 0
    for edit in ordered:
        yield view[at : edit.start]
        yield edit.new
        at = edit.end
    yield view[at:]


def trimmed(data: bytes, start: int, end: int, new: bytes) -> Edit:
    """The edit that makes ``new`` of ``data[start:end]``, without what both have in common at their ends."""
    old = data[start:end]
    most = min(len(old), len(new))
    before = next((i for i in range(most) if old[i] != new[i]), most)
    after = next((i for i in range(most - before) if old[-1 - i] != new[-1 - i]), most - before)
    return Edit(start + before, end - after, new[before : len(new) - after])


def growth(edits: Iterable[Edit], place: int) -> int:
    """By how many bytes ``edits`` move what is at ``place`` of the original."""
    return sum(len(edit.new) - (edit.end - edit.start) for edit in edits if edit.end <= place)


def unused_number(data: bytes, layout: jpeg.Layout) -> int:
    """A number for a box in APP11 that no box of the file has."""
    taken = {data[each.body + 2 : each.body + 4] for each in layout.segments if each.marker == _MARKER}
    return next(number for number in range(_NUMBER, 1 << 16) if number.to_bytes(2, "big") not in taken)


def record_of(data: bytes, edits: Iterable[Edit], size: int = 0, number: int = _NUMBER) -> bytes:
    """Segments that undo ``edits`` of ``data``, to be inserted into the edited file by a further edit.

    They have at least ``size`` bytes: a length that is known before its content is, if that can vary by a few bytes.
    ``number``: `unused_number` of the file. Errors: ValueError for edits that replace too much.
    """
    ordered = _in_order(edits)
    changed = edited(data, ordered)
    runs, skip, at = [], 0, 0
    for edit in ordered:
        runs.append(_RUN.pack(skip, edit.start - at, edit.end - edit.start) + data[edit.start : edit.end])
        skip, at = len(edit.new), edit.end
    runs.append(_RUN.pack(skip, len(data) - at, 0))
    digests = _TAIL.pack(_VERSION, hashlib.sha256(data).digest(), hashlib.sha256(changed).digest())
    content = b"".join(runs) + digests
    if len(content) > _MAX_RECORD:
        raise ValueError("a record of that size")
    record = zlib.compress(content, 9)
    segments = _in_segments(record, number)
    return segments if len(segments) >= size else _in_segments(record + bytes(size - len(segments)), number)


def _in_segments(record: bytes, box: int) -> bytes:
    content = _DESCRIPTION + _BOX.pack(_BOX.size + 16 + len(record), b"uuid") + _TYPE + record
    parts = [content[start : start + _MAX_PART] for start in range(0, len(content), _MAX_PART)]
    length = _BOX.size + len(content)
    heads = (_HEAD.pack(b"JP", box, number, length, b"jumb") for number in range(1, len(parts) + 1))
    return b"".join(jpeg.segment(_MARKER, head + part) for head, part in zip(heads, parts, strict=True))


def without_records(data: bytes, layout: jpeg.Layout) -> list[Edit]:
    """Edits that take records of former edits out of a file."""
    return [Edit(each.start, each.end, b"") for each in _records(data, layout)]


def _records(data: bytes, layout: jpeg.Layout) -> list[jpeg.Segment]:
    """The segments of a record. The first part of a box says what it is; further ones have its number."""
    boxes = [each for each in layout.segments if each.marker == _MARKER and data.startswith(b"JP", each.body, each.end)]
    for first in boxes:
        if data.startswith(_DESCRIPTION, first.body + _HEAD.size, first.end):
            head = data[first.body : first.body + 4]
            return [each for each in boxes if data.startswith(head, each.body, each.end)]
    return []


def restored(data: bytes) -> bytes:
    """The original of a file with a `record_of` its edits.

    Errors: NoRecordError; ImageFileError for a file that was changed since; without the file's name.
    """
    record, rest = _split(data)
    if not record:
        raise NoRecordError("holds no record of its original.")
    unpacked = _unpacked(record)
    version, original, changed = _TAIL.unpack(unpacked[-_TAIL.size :])
    if version != _VERSION:
        raise ImageFileError("was coloured by a newer version of colorize-run: restore it with that one.")
    if hashlib.sha256(rest).digest() != changed:
        raise _changed()
    result = _replayed(unpacked[: -_TAIL.size], rest)
    if hashlib.sha256(result).digest() != original:
        raise _changed()
    return result


def _changed() -> ImageFileError:
    return ImageFileError("was changed after it was coloured, so its original cannot be given back byte for byte.")


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The record, and the file without it."""
    try:
        layout = jpeg.parse(data)
    except jpeg.UnknownLayoutError as error:
        if data[:2] != b"\xff\xd8":
            raise ImageFileError("is not a JPEG file; only those hold a record of their original.") from error
        raise ImageFileError("is a JPEG file that is damaged or incomplete, or of a kind that holds no record.") from error
    content = b"".join(data[each.body + _HEAD.size : each.end] for each in _records(data, layout))
    return content[len(_DESCRIPTION) + _BOX.size + 16 :], edited(data, without_records(data, layout))


def _unpacked(record: bytes) -> bytes:
    packer = zlib.decompressobj()
    try:
        unpacked = packer.decompress(record, _MAX_RECORD)
    except zlib.error as error:
        raise _changed() from error
    if not packer.eof or packer.unused_data.strip(b"\0") or len(unpacked) < _TAIL.size:
        raise _changed()
    return unpacked


def _replayed(runs: bytes, edited_data: bytes) -> bytes:
    """The original, by a record's runs. Errors: ImageFileError for runs that do not lie in the file."""
    parts: list[bytes | memoryview] = []
    view, at, place = memoryview(edited_data), 0, 0
    while at < len(runs):
        if at + _RUN.size > len(runs):
            raise _changed()
        skip, copied, count = _RUN.unpack_from(runs, at)
        at += _RUN.size
        place += skip
        if place + copied > len(edited_data) or at + count > len(runs):
            raise _changed()
        parts += [view[place : place + copied], runs[at : at + count]]
        place, at = place + copied, at + count
    return b"".join(parts)
