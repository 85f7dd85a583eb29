"""PBM, PGM, PPM and PAM files: plain and binary, 1 to 16 bits.

Source: Netpbm's pages pbm(5), pgm(5), ppm(5), pam(5). Pillow reads 16-bit colours as 8 bits, and odd maxima value by value.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.errors import ImageFileError
from colorize_run.image.late import IncompleteError, LateImage, Values, scaled

Numbers = npt.NDArray[np.integer]

_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
_PLAIN, _BITS = (b"P1", b"P2", b"P3"), (b"P1", b"P4")
_TUPLES = {
    "BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3, "BLACKANDWHITE_ALPHA": 2, "GRAYSCALE_ALPHA": 2, "RGB_ALPHA": 4,
}  # fmt: skip
# Every byte belongs to one branch alone: the time stays in proportion to the length.
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,10})")
_HEADER_END = re.compile(rb"#[^\r\n]*[\r\n]|\s")
_COMMENT = re.compile(rb"#[^\r\n]*")
_OTHER = re.compile(rb"[^0-9\s]")
_SPACE = b" \t\r\n\v\f"
_PADDING = b"\0\xff\r\n \x1a"
_HEADER_BYTES, _FURTHER_HEADER_BYTES = 1 << 16, 1 << 10
_BLOCK = 1 << 18  # bytes that are parsed at once
_LONGEST = 9  # digits that are converted without a look at each
_LEAST_SHARE = 0.015  # of the values: with less there is no picture


@dataclass(frozen=True)
class _Header:
    """``most``: the value of white; ``start``: where the values begin in the file."""

    magic: bytes
    width: int
    height: int
    channels: int
    most: int
    start: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a binary file."""
        return -(-self.width // 8) if self.magic in _BITS else self.width * self.channels * (1 + (self.most > 255))


def opened(file: BinaryIO) -> LateImage:
    """A PNM file's image, to be decoded later. Errors: ValueError for damage, ImageFileError for a PAM of another kind."""
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    header = _header_of(head, 0)
    kind = "PAM" if header.magic == b"P7" else "PPM"
    bits = 8 if header.most < 256 else 16
    image = LateImage(kind, (header.width, header.height), header.channels, bits, lambda: _decode(header, file))
    if comments := _COMMENT.findall(head[: header.start]):
        image.info["comment"] = b"\n".join(line[1:].strip() for line in comments)
    return image


def _header_of(head: bytes, at: int) -> _Header:
    """The header that ``head`` begins with; ``at``: its place in the file."""
    header = _of_pam(head, at) if head[:2] == b"P7" else _of_pnm(head, at)
    if not (header.width and header.height and 0 < header.most < 65536):
        raise ValueError("its header makes no sense")
    return header


def _of_pnm(head: bytes, start: int) -> _Header:
    magic, at, numbers = head[:2], 2, []
    for _ in range(2 if magic in _BITS else 3):
        token = _TOKEN.match(head, at)
        if token is None:
            raise ValueError("its header is incomplete")
        numbers.append(int(token[1]))
        at = token.end()
    end = _HEADER_END.match(head, at)
    width, height, most = (*numbers, 1)[:3]
    return _Header(magic, width, height, _CHANNELS[magic], most, start + (end.end() if end else at))


def _of_pam(head: bytes, start: int) -> _Header:
    fields, types, at = dict[bytes, int](), list[str](), 2
    while (end := head.find(b"\n", at)) >= 0:
        words, at = head[at:end].split(None, 1), end + 1
        if words[:1] == [b"ENDHDR"]:
            break
        if len(words) < 2 or words[0].startswith(b"#"):
            continue
        if words[0] == b"TUPLTYPE":
            types.append(words[1].strip().decode("ascii", "replace"))
        elif words[0] in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL") and re.fullmatch(rb"\d{1,10}\s*", words[1]):
            fields[words[0]] = int(words[1])
    if end < 0 or len(fields) < 4:
        raise ValueError("its header is incomplete")
    depth = fields[b"DEPTH"]
    _check_type(" ".join(types), depth)
    return _Header(b"P7", fields[b"WIDTH"], fields[b"HEIGHT"], depth, fields[b"MAXVAL"], start + at)


def _check_type(name: str, depth: int) -> None:
    """ImageFileError for a PAM whose channels are no grey, RGB or alpha. Without a type their number says what they are."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name[:40])
    if name and name not in _TUPLES:
        raise ImageFileError(f"is a PAM picture of the type {shown}, which cannot be read; save it as RGB first.")
    if name and depth != _TUPLES[name]:
        needed = _TUPLES[name]
        raise ImageFileError(f"is a PAM picture of {depth} channels, but its type {shown} has {needed}; correct its header.")
    if not 1 <= depth <= 4:
        raise ImageFileError(f"is a PAM picture of {depth} channels, and only 1 to 4 can be read; save it as RGB first.")


def _decode(header: _Header, file: BinaryIO) -> Values:
    """All values, (height, width, channels). Errors: IncompleteError if a part of them is there, else ValueError."""
    count = header.width * header.height * header.channels
    length = file.seek(0, os.SEEK_END) - header.start
    if header.magic in _PLAIN:
        share = (length + 1) / count if header.magic == b"P1" else (length + 1) / (2 * count)
    else:
        share = length / (header.row_bytes * header.height)
    if share < _LEAST_SHARE:  # nothing is allotted for a size that is only promised
        raise ValueError(f"its {max(0, length)} bytes cannot hold {header.width} x {header.height} pixels")
    file.seek(header.start)
    values: Values = np.zeros(count, np.uint8 if header.most < 256 else np.uint16)
    at, reason = 0, ""
    try:
        for part in _parts(header, file):
            part = part[: count - at]
            values[at : at + len(part)] = part
            at += len(part)
            if at == count:
                break
    except ValueError as error:
        reason = str(error)
    values = values.reshape(header.height, header.width, header.channels)
    if at < count:
        reason = reason or f"{at} values of {count} are there"
        if at < _LEAST_SHARE * count:
            raise ValueError(reason)
        raise IncompleteError(reason, values, 1 - at / count)
    return values


def _parts(header: _Header, file: BinaryIO) -> Iterator[Values]:
    """The values from here to the end of the file at most, at their full range, part by part."""
    if header.magic == b"P1":
        for text in _texts(file):
            if other := re.search(rb"[^01\s]", text):
                raise ValueError(f"it holds {_shown(other[0])}, and its pixels are 0 or 1")
            yield 255 * (ord("1") - np.frombuffer(b"".join(text.split()), np.uint8))
    elif header.magic in _PLAIN:
        for text in _texts(file):
            for numbers in _numbers(text, header.most):
                yield scaled(numbers, header.most)
    elif header.magic == b"P4":
        yield from _packed(header, file)
    else:
        kind = np.dtype(np.uint8 if header.most < 256 else ">u2")
        left = header.row_bytes * header.height
        while left > 0 and (data := file.read(min(left, _BLOCK))):
            left -= len(data)
            yield scaled(np.frombuffer(data, kind, len(data) // kind.itemsize), header.most)


def _packed(header: _Header, file: BinaryIO) -> Iterator[Values]:
    """Rows of a binary PBM, a bit a pixel, 1 for black."""
    rows = max(1, _BLOCK // header.row_bytes)
    while data := file.read(rows * header.row_bytes):
        whole = len(data) // header.row_bytes
        packed = np.frombuffer(data, np.uint8, whole * header.row_bytes).reshape(whole, header.row_bytes)
        yield 255 * (1 - np.unpackbits(packed, axis=1)[:, : header.width].ravel())


def _texts(file: BinaryIO) -> Iterator[bytes]:
    """The text from here to the end without comments, in parts that begin and end between two values."""
    rest = comment = b""
    while block := file.read(_BLOCK):
        text = comment + rest + block
        line = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
        comment = b"#" if b"#" in line else b""  # it goes on in the next part
        text = _COMMENT.sub(b"", text)
        cut = len(text) if comment else max(text.rfind(space) for space in (bytes([byte]) for byte in _SPACE)) + 1
        rest = text[cut:]
        if len(rest) > _BLOCK:  # no value is as long as that
            cut, rest = len(text), b""
        yield text[:cut]
    yield rest


def _numbers(text: bytes, most: int) -> Iterator[Numbers]:
    """The whole numbers of a text. Errors: ValueError for what is none of 0..``most``, behind those before it."""
    tokens = text.split()
    if not _OTHER.search(text) and max(map(len, tokens), default=0) <= _LONGEST:
        numbers = np.fromiter(map(int, tokens), np.int64, len(tokens))
        if numbers.max(initial=0) <= most:
            yield numbers
            return
    good = 0
    while good < len(tokens) and tokens[good].isdigit() and int(tokens[good].lstrip(b"0")[:_LONGEST] or b"0") <= most:
        good += 1
    yield np.array([int(token.lstrip(b"0") or b"0") for token in tokens[:good]], np.int64)
    if good < len(tokens):
        raise ValueError(f"it holds {_shown(tokens[good])}, and its values are whole numbers from 0 to {most}")


def _shown(token: bytes) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in token[:20].decode("ascii", "replace"))


def left_out(file: BinaryIO, _image: Image.Image) -> Iterator[str]:
    """Notes of what stands behind the first picture of a binary file: further pictures, and other bytes."""
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    if head[:2] in _PLAIN:
        return
    header, pictures, end = _header_of(head, 0), 0, file.seek(0, os.SEEK_END)
    while (behind := header.start + header.row_bytes * header.height) < end:
        file.seek(behind)
        head = file.read(_FURTHER_HEADER_BYTES)
        try:
            if head[:2] not in (b"P4", b"P5", b"P6", b"P7"):
                raise ValueError("no picture begins here")
            header = _header_of(head, behind)
        except (ValueError, ImageFileError):
            break
        pictures += 1
    if pictures:
        yield f"{pictures} further {'picture was' if pictures == 1 else 'pictures were'} left out"
    file.seek(min(behind, end))
    if rest := file.read().strip(_PADDING):
        yield f"{len(rest)} bytes behind the picture were left out"


def encode(values: Values, kind: str, comment: bytes | None = None) -> bytes:
    """RGB, or RGBA for PAM, (H, W, 3 or 4), as a binary file of 8 or 16 bits; ``comment`` in its header."""
    said = b"".join(b"# " + line + b"\n" for line in (comment or b"").splitlines())
    height, width, channels = values.shape
    most = np.iinfo(values.dtype).max
    if kind == "PAM":
        tuples = "RGB" if channels == 3 else "RGB_ALPHA"
        head = f"WIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {most}\nTUPLTYPE {tuples}\nENDHDR\n"
    else:
        head = f"{width} {height}\n{most}\n"
    return (
        (b"P7\n" if kind == "PAM" else b"P6\n") + said + head.encode() + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )
