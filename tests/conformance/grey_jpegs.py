"""Grey JPEG files of many kinds: sizes, encoders, scans, tables, headers, metadata, and what follows the picture.

Programs that are not installed make none. ffmpeg makes none either: its encoder writes no JPEG with one component.
"""

import io
import itertools
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
Plane = NDArray[np.uint8]
Encoder = Callable[[Plane, int], bytes]
Item = TypeVar("Item")

# -- Kinds of files -------------------------------------------------------------------------------------------

SIZES = (
    *((1, 1), (1, 8), (8, 1), (2, 2), (7, 9), (8, 8), (9, 7), (15, 17), (16, 16), (17, 15), (23, 25), (31, 33), (63, 65)),
    *((64, 64), (65, 63), (97, 131), (100, 75), (256, 255), (257, 256), (451, 300), (640, 480), (333, 1000), (1200, 801)),
    *((1001, 1), (3, 20000), (20000, 3), (2000, 1500)),
)
PICTURES = ("chelsea", "coffee", "rocket", "noise", "flat", "gradient", "black", "white")
QUALITIES = (1, 3, 10, 20, 35, 50, 65, 75, 80, 85, 90, 92, 95, 98, 100)
SCAN_SCRIPTS = {
    "one": "0;",
    "spectral": "0: 0-0, 0, 0; 0: 1-5, 0, 0; 0: 6-63, 0, 0;",
    "refined": "0: 0-0, 0, 2; 0: 0-0, 2, 1; 0: 1-5, 0, 2; 0: 0-0, 1, 0; 0: 6-63, 0, 2; 0: 1-63, 2, 1; 0: 1-63, 1, 0;",
    "unfinished": "0: 0-0, 0, 1; 0: 1-9, 0, 2;",  # legal: the file sends only a part of the coefficients
}
# Changes of the headers, which leave the picture alone: identifier, sampling factors, slots for tables, SOF1. Identifier 255
# is left out: ffmpeg 5 misreads even the grey file with it.
PATCHES: dict[str, dict[str, int]] = {
    "": {}, "sof1": {"extended": 1}, "id0": {"identifier": 0}, "id2": {"identifier": 2}, "id3": {"identifier": 3},
    "id82": {"identifier": 82}, "id254": {"identifier": 254}, "2x2": {"sampling": 0x22}, "1x2": {"sampling": 0x12},
    "4x1": {"sampling": 0x41}, "dqt1": {"quantisation": 1}, "dqt3": {"quantisation": 3}, "dht1": {"dc": 1, "ac": 1},
    "dc1": {"dc": 1, "ac": 0}, "ac1": {"dc": 0, "ac": 1}, "sof1-dht23": {"extended": 1, "dc": 2, "ac": 3},
    "id82-2x2-dqt2-dht1": {"identifier": 82, "sampling": 0x22, "quantisation": 2, "dc": 1, "ac": 1},
}  # fmt: skip
TAILS = {"": b"", "garbage": bytes(range(251)) * 9, "zeros": bytes(4096), "newline": b"\r\n"}


def picture(kind: str, size: tuple[int, int], random: np.random.Generator) -> Plane:
    """A grey picture with the shape (height, width), values 0-255."""
    width, height = size
    if kind in ("black", "white", "flat"):
        return np.full((height, width), {"black": 0, "white": 255, "flat": 119}[kind], np.uint8)
    if kind == "gradient":
        return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    if kind == "noise":
        return random.integers(0, 256, (height, width), np.uint8)
    with Image.open(ROOT / "docs" / "samples" / f"{kind}.jpg") as image:
        return np.asarray(ImageOps.fit(image.convert("L"), size))


def by_pillow(**options: bool | int) -> Encoder:
    def encode(pixels: Plane, quality: int) -> bytes:
        file = io.BytesIO()
        with mock.patch.object(ImageFile, "MAXBLOCK", 1 << 24):  # noise needs more than Pillow's buffer
            Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
        return file.getvalue()

    return encode


def by_opencv(*flags: int) -> Encoder:
    return lambda pixels, quality: cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, *flags])[1].tobytes()


def by_program(*command: str, output: str = "", scans: str = "") -> Encoder:
    """An encoder that pipes a PGM file through a command; no bytes if it fails. ``scans`` is a scan script for cjpeg."""

    def encode(pixels: Plane, quality: int) -> bytes:
        with tempfile.NamedTemporaryFile("w", suffix=".scans") as script:
            script.write(scans)
            script.flush()
            options = ["-quality", str(quality), *(["-scans", script.name] if scans else []), *([output] if output else [])]
            pgm = f"P5 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode() + pixels.tobytes()
            return subprocess.run([*command, *options], input=pgm, capture_output=True, check=False).stdout

    return encode


def encoders() -> dict[str, Encoder]:
    """Encoders by name: those of the libraries, and those of the programs that are installed."""
    known = {"pillow": by_pillow(), "pillow_optimised": by_pillow(optimize=True), "opencv": by_opencv()}
    known |= {"pillow_progressive": by_pillow(progressive=True), "pillow_restart_7": by_pillow(restart_marker_blocks=7)}
    known["pillow_restart_row"] = by_pillow(restart_marker_rows=1)
    known["opencv_optimised"] = by_opencv(cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    known["pillow_progressive_restart"] = by_pillow(progressive=True, restart_marker_blocks=5)
    known["opencv_progressive"] = by_opencv(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    known["opencv_restart"] = by_opencv(cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
    if shutil.which("cjpeg"):
        for flags in ("", "-baseline", "-optimize", "-progressive", "-restart 2", "-restart 1B", "-progressive -restart 4B"):
            known["cjpeg" + re.sub("[- ]+", "_", flags)] = by_program("cjpeg", "-grayscale", *flags.split())
        for name, scans in SCAN_SCRIPTS.items():
            known[f"cjpeg_scans_{name}"] = by_program("cjpeg", "-grayscale", scans=scans)
    if program := magick():
        known["magick"] = by_program(program, "pgm:-", output="jpg:-")
        known["magick_progressive"] = by_program(program, "pgm:-", "-interlace", "JPEG", output="jpg:-")
        known["magick_4x2"] = by_program(program, "pgm:-", "-sampling-factor", "4x2", output="jpg:-")
    return known


def magick() -> str | None:
    """ImageMagick's command for conversion: ``magick`` of version 7, ``convert`` of version 6."""
    return shutil.which("magick") or shutil.which("convert")


# -- Headers --------------------------------------------------------------------------------------------------


class Segment(NamedTuple):
    """A marker, where it starts with its fill bytes, where its contents start after the length, and where they end."""

    marker: int
    start: int
    body: int
    end: int


def segments(data: bytes) -> list[Segment]:
    """All segments of a JPEG file after SOI, up to EOI and with it."""
    known: list[Segment] = []
    at = 2
    while match := re.compile(rb"\xff+([^\xff\x00\xd0-\xd7])").search(data, at):
        at = match.end()
        if match[1] == b"\xd9":
            return [*known, Segment(0xD9, match.start(), at, at)]
        end = at + int.from_bytes(data[at : at + 2], "big")
        known.append(Segment(match[1][0], match.start(), at + 2, end))
        at = end
    return known


def frame_of(data: bytes) -> Segment:
    """The frame header, SOF0 to SOF2; ``StopIteration`` if the file has none."""
    return next(part for part in segments(data) if part.marker in (0xC0, 0xC1, 0xC2))


def patched(data: bytes, changes: dict[str, int]) -> bytes:
    """A file with one component whose headers have other numbers, but the same picture."""
    out = bytearray(data)
    dc, ac = changes.get("dc", 0), changes.get("ac", 0)
    for marker, _, body, end in segments(data):
        if marker in (0xC0, 0xC1, 0xC2):
            out[body - 3] = 0xC1 if marker == 0xC0 and "extended" in changes else marker
            names = ("identifier", "sampling", "quantisation")
            out[body + 6 : body + 9] = [changes.get(name, data[body + 6 + place]) for place, name in enumerate(names)]
        elif marker == 0xDA:
            out[body + 1 : body + 3] = [changes.get("identifier", data[body + 1]), data[body + 2] | dc << 4 | ac]
        while marker == 0xDB and body < end:
            out[body] |= changes.get("quantisation", 0)
            body += 65 + 64 * (data[body] >> 4)
        while marker == 0xC4 and body < end:
            out[body] |= ac if data[body] & 0x10 else dc
            body += 17 + sum(data[body + 1 : body + 17])
    return bytes(out)


def with_segments(data: bytes, added: bytes, jfif: bool, fill: int) -> bytes:
    """A file with more segments after JFIF, perhaps without JFIF, and with ``fill`` bytes 0xFF before each marker."""
    first = segments(data)[0]
    has_jfif = data[first.body : first.body + 4] == b"JFIF"
    end = first.end if has_jfif else 2
    data = data[: end if jfif else 2] + added + data[end:]
    for part in reversed(segments(data)):
        data = data[: part.start] + b"\xff" * fill + data[part.start :]
    return data


def segment(marker: int, contents: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents


def exif(orientation: int, thumbnail: bytes = b"") -> bytes:
    """An APP1 segment with an orientation, and with a JPEG thumbnail if one is given."""
    first = struct.pack(">HHHIHH", 1, 0x112, 3, 1, orientation, 0) + struct.pack(">I", 26 if thumbnail else 0)
    entries = (0x103, 3, 1, 6 << 16), (0x201, 4, 1, 26 + 42), (0x202, 4, 1, len(thumbnail))
    second = struct.pack(">H", 3) + b"".join(struct.pack(">HHII", *entry) for entry in entries) + bytes(4)
    return segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08" + first + (second + thumbnail if thumbnail else b""))


def grey_profile(gamma: float) -> bytes:
    """A small ICC profile, version 2, for grey with a power curve."""
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Grey\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"CC0\0", b"wtpt": white, b"kTRC": curve}
    table, contents = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(contents), len(value))
        contents += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s6H4s", 0, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", 2020, 1, 1, 0, 0, 0, b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    profile = head.ljust(128, b"\0") + table + contents
    return struct.pack(">I", len(profile)) + profile[4:]


def icc(profile: bytes, parts: int = 1) -> bytes:
    """APP2 segments that hold a profile in so many parts."""
    step = -(-len(profile) // parts)
    chunks = [profile[at : at + step] for at in range(0, len(profile), step)]
    return b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, parts]) + chunk) for n, chunk in enumerate(chunks, 1))


def metadata() -> dict[str, bytes]:
    """Segments to add, by what they are."""
    thumbnail = by_pillow()(picture("chelsea", (80, 53), np.random.default_rng(0)), 60)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    known = {f"exif{turn}": exif(turn) for turn in range(1, 9)} | {"": b"", "thumbnail": exif(6, thumbnail)}
    known |= {"icc_grey": icc(grey_profile(2.2)), "icc_linear": icc(grey_profile(1.0), 3), "icc_srgb": icc(srgb)}
    known["adobe0"] = segment(0xEE, b"Adobe\0\x64" + bytes(5))
    known["xmp"] = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    known["iptc"] = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0b\x1c\x02\x78\0\x06A grey\0")
    known["comment"] = segment(0xFE, b"A comment") + segment(0xFE, b"and \xff\xda\xff\xd9 in it")
    known["unknown"] = segment(0xEB, b"HDR_RI ver=11") + segment(0xE9, bytes(60000)) * 2
    names = ("thumbnail", "xmp", "iptc", "comment", "icc_grey", "adobe0", "comment", "unknown")
    return known | {"everything": b"".join(known[name] for name in names)}


def cycle(options: Iterable[Item], random: np.random.Generator) -> Iterator[Item]:
    """All options in a random order, then all in another order, without end."""
    known = list(options)
    while True:
        yield from (known[place] for place in random.permutation(len(known)))


def is_grey(data: bytes) -> bool:
    """Whether Pillow reads the file, and as grey."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.mode == "L"
    except (OSError, SyntaxError):
        return False


def generate(folder: Path, count: int, seed: int) -> list[Path]:
    """Make ``count`` grey JPEG files with names that say what they are; the same seed makes the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    random, paths, added = np.random.default_rng(seed), list[Path](), metadata()
    tails = TAILS | {"jpeg": by_pillow()(picture("noise", (40, 30), random), 50)}
    kinds = cycle(encoders().items(), random), cycle(SIZES, random), cycle(PICTURES, random), cycle(QUALITIES, random)
    changes = cycle(PATCHES.items(), random), cycle(added.items(), random), cycle(tails.items(), random)
    forms = cycle(itertools.product((True, True, False), (0, 0, 3)), random)
    for (maker, encode), size, kind, quality, (change, numbers), (extra, more), (tail, end), (jfif, fill) in zip(
        *kinds, *changes, forms, strict=True
    ):
        data = patched(encode(picture(kind, size, random), quality), numbers)
        data = data and with_segments(data, more, jfif, fill) + end
        if is_grey(data):
            words = [f"{len(paths):04}", f"{size[0]}x{size[1]}", kind, f"q{quality}", maker, change, extra]
            words += ["" if jfif else "no_jfif", "fill" if fill else "", f"then_{tail}" if tail else ""]
            paths.append(folder / ("-".join(filter(None, words)) + ".jpg"))
            paths[-1].write_bytes(data)
        if len(paths) == count:
            break
    return paths
