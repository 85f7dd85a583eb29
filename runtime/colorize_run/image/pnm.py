"""PBM, PGM, PPM and PAM files: plain and binary, 1 to 16 bits.

Source: Netpbm's pages pbm(5), pgm(5), ppm(5), pam(5). Pillow reads 16-bit colours as 8 bits, and odd maxima value by value.
"""

import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from colorize_run.image.late import LateImage, Values, scaled

_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
_PLAIN, _BITS = (b"P1", b"P2", b"P3"), (b"P1", b"P4")
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*)*(\d{1,10})")
_COMMENT = re.compile(rb"#[^\r\n]*")
_FIELD = re.compile(rb"^\s*(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+(\d{1,10})\s*$", re.M)
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class _Header:
    magic: bytes
    width: int
    height: int
    channels: int
    most: int
    start: int


def opened(file: BinaryIO) -> LateImage:
    """A PNM file's image, to be decoded later. Errors: ValueError for damage."""
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    header = _of_pam(head) if head[:2] == b"P7" else _of_pnm(head)
    if not (header.width and header.height and 1 <= header.channels <= 4 and 0 < header.most < 65536):
        raise ValueError("its header makes no sense")

    def decode() -> Values:
        file.seek(header.start)
        return _decode(header, file.read())

    kind = "PAM" if head[:2] == b"P7" else "PPM"
    image = LateImage(kind, (header.width, header.height), header.channels, 8 if header.most < 256 else 16, decode)
    if comments := _COMMENT.findall(head[: header.start]):
        image.info["comment"] = b"\n".join(line[1:].strip() for line in comments)
    return image


def _of_pnm(head: bytes) -> _Header:
    magic, at, numbers = head[:2], 2, []
    for _ in range(2 if magic in _BITS else 3):
        token = _TOKEN.match(head, at)
        if token is None:
            raise ValueError("its header is incomplete")
        numbers.append(int(token[1]))
        at = token.end()
    width, height, most = (*numbers, 1)[:3]
    return _Header(magic, width, height, _CHANNELS[magic], most, at + (magic != b"P1"))  # one white space behind the last


def _of_pam(head: bytes) -> _Header:
    end = re.search(rb"^ENDHDR[ \t\r]*\n", head, re.M)
    if end is None:
        raise ValueError("its header is incomplete")
    fields = {name: int(value) for name, value in _FIELD.findall(head[: end.start()])}
    if set(fields) != {b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"}:
        raise ValueError("its header is incomplete")
    return _Header(b"P7", fields[b"WIDTH"], fields[b"HEIGHT"], fields[b"DEPTH"], fields[b"MAXVAL"], end.end())


def _decode(header: _Header, data: bytes) -> Values:
    count = header.width * header.height * header.channels
    if header.magic in _BITS:
        return (255 * (1 - _bits(header, data, count))).astype(np.uint8).reshape(header.height, header.width, 1)
    values: npt.NDArray[np.generic]
    if header.magic in _PLAIN:
        values = np.array(_COMMENT.sub(b"", data).split()[:count], np.int64)
    else:
        values = np.frombuffer(data[: count * (1 + (header.most > 255))], np.uint8 if header.most < 256 else ">u2")
    if len(values) < count:
        raise ValueError(f"{len(values)} values of {count} are there")
    return scaled(values, header.most).reshape(header.height, header.width, header.channels)


def _bits(header: _Header, data: bytes, count: int) -> npt.NDArray[np.uint8]:
    """The bits of a PBM, 1 for black."""
    if header.magic == b"P1":
        digits = np.frombuffer(b"".join(_COMMENT.sub(b"", data).split())[:count], np.uint8) - ord("0")
        if len(digits) < count or digits.max(initial=0) > 1:
            raise ValueError("its bits are incomplete")
        return digits
    row = -(-header.width // 8)
    if len(data) < row * header.height:
        raise ValueError(f"{len(data)} bytes of {row * header.height} are there")
    packed = np.frombuffer(data, np.uint8, row * header.height).reshape(header.height, row)
    return np.unpackbits(packed, axis=1)[:, : header.width]


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
