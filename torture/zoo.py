"""Strange and hostile pictures: each comes out as it would without a watch, or is quarantined for the right reason."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torture.kills import QUICK
from torture.oracle import judge
from torture.rig import FORMATS, Broken, Golden, Watch, children, rss

Bad = dict[str, tuple[bytes, str]]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A whole and valid PNG of zeros, however large, that is a few hundred kB at most."""
    row = bytes(1 + -(-width * depth * {0: 1, 2: 3, 3: 1}[colour] // 8))
    packer = zlib.compressobj(1)
    packed = b"".join([packer.compress(row * 16) for _ in range(height // 16)])
    packed += packer.compress(row * (height % 16)) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def good() -> dict[str, bytes]:
    """Strange pictures that must be done."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    grey, cmyk, palette = rgb.convert("L"), rgb.convert("CMYK"), rgb.quantize(16)
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey.convert("RGB")] * 3}
    found = {
        "one.png": _saved(rgb.resize((1, 1)), "PNG"), "column.png": _saved(rgb.resize((1, 3000)), "PNG"),
        "row.png": _saved(rgb.resize((3000, 1)), "PNG"), "grey.jpg": _saved(grey, "JPEG"), "cmyk.jpg": _saved(cmyk, "JPEG"),
        "palette.png": _saved(palette, "PNG", transparency=3), "la.png": _saved(rgba.convert("LA"), "PNG"),
        "rgba.png": _saved(rgba, "PNG"), "bit.png": _saved(grey.convert("1"), "PNG"),
        "bit.tif": _saved(grey.convert("1"), "TIFF"),
        "deep.png": _saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG"), "rgba.webp": _saved(rgba, "WEBP"),
        "frames.png": _saved(rgb, "PNG", **frames), "frames.webp": _saved(rgb, "WEBP", **frames),
        "pages.tif": _saved(rgb, "TIFF", **frames), "cmyk.tif": _saved(cmyk, "TIFF"),
        "progressive.jpg": _saved(rgb, "JPEG", progressive=True), "trailing.jpg": _saved(rgb, "JPEG") + b"junk" * 999,
        "polyglot.jpg": _saved(rgb, "JPEG") + b"PK\x03\x04" + bytes(99), "png.jpg": _saved(rgb, "PNG"),
        "comment.jpg": _saved(rgb, "JPEG", comment=b"x" * 60_000), "lossless.webp": _saved(rgb, "WEBP", lossless=True),
    }  # fmt: skip
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[274] = orientation
        found[f"turned{orientation}.jpg"] = _saved(rgb, "JPEG", exif=exif)
    return found


def bad() -> Bad:
    """Hostile files, and the class that each must be quarantined as."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return {
        "empty.jpg": (b"", "empty"), "byte.jpg": (b"\xff", "undecodable"), "text.jpg": (b"hello " * 99, "undecodable"),
        "html.jpg": (b"<!doctype html><title>404</title>", "undecodable"), "svg.png": (b"<svg xmlns='x'/>", "undecodable"),
        "eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "undecodable"),
        "pdf.jpg": (b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF", "undecodable"),
        "psd.png": (b"8BPS\0\1" + bytes(99), "undecodable"),
        "float.tif": (_saved(Image.fromarray(noise[..., 0].astype(np.float32)), "TIFF"), "undecodable"),
        "bomb1.png": (flat_png(50_000, 50_000, 1, 0), "too_many_pixels"),
        "bomb8.png": (flat_png(13_300, 13_300, 8, 2), "too_many_pixels"),
        "bomb16.png": (flat_png(9_400, 9_400, 16, 2), "too_many_pixels"), "long.png": (flat_png(1, 30_000, 8, 0), "too_long"),
    }  # fmt: skip


def cut_off(step: int) -> Bad:
    """Every format, cut off at every ``step`` per cent."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    found = {}
    for suffix, kind in FORMATS.items():
        whole = _saved(noise, kind)
        for percent in range(step, 100, step):
            found[f"cut{percent}{suffix}"] = (whole[: len(whole) * percent // 100], "undecodable")
    return found


def visited(folder: Path, model: Path, golden: Golden, step: int) -> tuple[int, int, float]:
    """The zoo, all at once; returns fixtures, the worker's peak in MB, and the slowest file's seconds."""
    fine, hostile = good(), bad() | cut_off(step)
    watch = Watch(folder, model, *QUICK, "--incomplete-timeout", "1")
    for name, data in (fine | {name: data for name, (data, _) in hostile.items()}).items():
        watch.put(name, data)
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        before = rss(watch.process.pid)
        watch.wait_quiet(300)
        peak = max(rss(pid, "VmHWM") for pid in children(watch.process.pid))
        grown = rss(watch.process.pid) - before
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    if grown > 25:
        raise Broken(f"the supervisor grew by {grown} MB")
    inputs = {os.fsencode(name): data for name, data in fine.items()}
    inputs |= {os.fsencode(name): data for name, (data, _) in hostile.items()}
    judge(watch, golden, inputs, {os.fsencode(name): kind for name, (_, kind) in hostile.items()})
    if watch.events("worker_died"):
        raise Broken("a picture took the worker down")
    return len(inputs), peak, max(event["ms"] for event in watch.events("done")) / 1000
