"""Picture files that are broken in every way that decoders have a name for, made from whole ones."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from picture_files import camera_exif, chunk, deep_photograph, file_of, photograph, png16, profile_of, tiff16, with_xmp

PNG_START = b"\x89PNG\r\n\x1a\n"
CUTS = (0.02, 0.3, 0.6, 0.9)


def several(kind: str, **options: Any) -> bytes:
    frames = [photograph().rotate(15 * number) for number in range(4)]
    return file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=90, **options).getvalue()


WHOLE: dict[str, Callable[[], bytes]] = {
    "jpg": lambda: file_of(photograph(), "JPEG").getvalue(),
    "progressive.jpg": lambda: file_of(photograph(), "JPEG", progressive=True).getvalue(),
    "png": lambda: file_of(photograph(), "PNG").getvalue(),
    "palette.png": lambda: file_of(photograph().convert("P"), "PNG").getvalue(),
    "16-bit.png": lambda: png16(deep_photograph()).getvalue(),
    "moving.png": lambda: several("PNG"),
    "lossy.webp": lambda: file_of(photograph(), "WEBP").getvalue(),
    "lossless.webp": lambda: file_of(photograph(), "WEBP", lossless=True).getvalue(),
    "moving.webp": lambda: several("WEBP"),
    "raw.tif": lambda: file_of(photograph(), "TIFF").getvalue(),
    "lzw.tif": lambda: file_of(photograph(), "TIFF", compression="tiff_lzw").getvalue(),
    "jpeg.tif": lambda: file_of(photograph(), "TIFF", compression="jpeg").getvalue(),
    "16-bit.tif": lambda: tiff16(deep_photograph(), compression="zlib").getvalue(),
    "pages.tif": lambda: several("TIFF"),
    "bmp": lambda: file_of(photograph(), "BMP").getvalue(),
    "palette.bmp": lambda: file_of(photograph().convert("P"), "BMP").getvalue(),
    "gif": lambda: file_of(photograph(), "GIF").getvalue(),
    "moving.gif": lambda: several("GIF"),
    "avif": lambda: file_of(photograph(), "AVIF").getvalue(),
    "moving.avif": lambda: several("AVIF"),
}


def cut_files() -> Iterator[tuple[str, bytes]]:
    """Every kind of file, cut off at several places."""
    for name, whole in WHOLE.items():
        data = whole()
        for share in CUTS:
            yield f"cut-{round(100 * share)}.{name}", data[: int(len(data) * share)]


def flipped_files(each: int = 6) -> Iterator[tuple[str, bytes]]:
    """Every kind of file with a few bytes changed; many still are pictures."""
    random = np.random.default_rng(7)
    for name, whole in WHOLE.items():
        for number in range(each):
            data = bytearray(whole())
            for place in random.integers(0, min(len(data), 400 if number % 2 else len(data)), 3):
                data[place] ^= int(random.integers(1, 256))
            yield f"flipped-{number}.{name}", bytes(data)


def wrong_files() -> Iterator[tuple[str, bytes]]:
    """Files that are whole, and say something impossible."""
    yield from _wrong_pngs()
    yield from _wrong_tiffs()
    yield from _wrong_others()


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Pictures that are whole and stay so, however damaged what they say besides is."""
    exif = camera_exif()
    loop = bytearray(exif)  # a second directory that follows itself
    first = 6 + struct.unpack_from(">I", exif, 10)[0]
    struct.pack_into(">I", loop, first + 2 + 12 * 3, 8)
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("AVIF", "avif")):
        if kind != "AVIF":  # whose writer reads EXIF first
            for name, block in (
                ("garbage", b"Exif\0\0" + bytes(range(200))),
                ("cut", exif[:40]),
                ("looped", bytes(loop)),
                ("counts", exif[:14] + b"\xff\xff" + exif[16:]),
            ):
                yield f"exif-{name}.{suffix}", file_of(photograph(), kind, exif=block).getvalue()
        for name, profile in (("garbage", b"no profile"), ("cut", profile_of("Adobe RGB")[:200]), ("bomb", bytes(1 << 20))):
            yield f"icc-{name}.{suffix}", file_of(photograph(), kind, icc_profile=profile).getvalue()
        for name, xmp in (("garbage", b"\xff\xfe<<<"), ("entities", _billion_laughs()), ("cut", b"<x:xmpmeta><rdf:RDF")):
            if kind != "PNG" or name != "garbage":
                yield f"xmp-{name}.{suffix}", with_xmp(kind, xmp).getvalue()
    yield "icc-grey-in-rgb.png", file_of(photograph(), "PNG", icc_profile=_grey_profile()).getvalue()


def _billion_laughs() -> bytes:
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10 if n else 'ha' * 10}'>" for n in range(9))
    return f"<!DOCTYPE x [{entities}]><x>&a8;</x>".encode()


def _grey_profile() -> bytes:
    return profile_of("Adobe RGB").replace(b"mntrRGB ", b"mntrGRAY")


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return PNG_START + b"".join(chunk(name, data) for name, data in chunks)


def _header(width: int, height: int, depth: int = 8, kind: int = 2, interlace: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)


def _wrong_pngs() -> Iterator[tuple[str, bytes]]:
    rows = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(4)))
    pixels, end = (b"IDAT", rows), (b"IEND", b"")
    whole = bytearray(file_of(photograph(), "PNG").getvalue())
    for name, place in (("header", 30), ("pixels", len(whole) // 2)):
        data = bytearray(whole)
        data[place] ^= 1
        yield f"crc-{name}.png", bytes(data)
    yield "zero-width.png", _png(_header(0, 4), pixels, end)
    yield "huge.png", _png(_header(2**31 - 1, 2**31 - 1), pixels, end)
    yield "wide-as-a-lie.png", _png(_header(9000, 9000), pixels, end)
    yield "unknown-kind.png", _png(_header(4, 4, 8, 7), pixels, end)
    yield "unknown-depth.png", _png(_header(4, 4, 5, 2), pixels, end)
    yield "no-palette.png", _png(_header(4, 4, 8, 3), (b"IDAT", zlib.compress(b"\0" * 21)), end)[:-20]
    yield "no-pixels.png", _png(_header(4, 4), end)
    yield "no-header.png", _png(pixels, end)
    yield "garbage-pixels.png", _png(_header(4, 4), (b"IDAT", bytes(range(99))), end)
    yield "bad-filter.png", _png(_header(4, 4), (b"IDAT", zlib.compress(b"\x09" * 52)), end)
    yield "zero-frames.png", _png(_header(4, 4), (b"acTL", struct.pack(">II", 0, 0)), pixels, end)
    yield "frames-that-are-not-there.png", _png(_header(4, 4), (b"acTL", struct.pack(">II", 9, 0)), pixels, end)
    control = struct.pack(">IIIIIHHBB", 0, 4, 4, 9, 9, 1, 1, 0, 0)
    yield "frame-outside.png", _png(_header(4, 4), (b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", control), pixels, end)
    bomb = b"x\0\0" + zlib.compress(bytes(200 << 20), 9)
    yield "text-bomb.png", _png(_header(4, 4), (b"zTXt", bomb), pixels, end)
    yield "profile-bomb.png", _png(_header(4, 4), (b"iCCP", bomb), pixels, end)
    yield "chunk-longer-than-the-file.png", PNG_START + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(99)


def _wrong_tiffs() -> Iterator[tuple[str, bytes]]:
    def tiff(tags: dict[int, tuple[int, int, int]], following: int = 0) -> bytes:
        body = struct.pack("<H", len(tags))
        for tag, (kind, count, value) in sorted(tags.items()):
            body += struct.pack("<HHII", tag, kind, count, value)
        return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", following) + bytes(200)

    layout = {
        256: (4, 1, 4), 257: (4, 1, 4), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 150), 277: (3, 1, 1),
        278: (4, 1, 4), 279: (4, 1, 16),
    }  # fmt: skip
    yield "zero-size.tif", tiff(layout | {256: (4, 1, 0)})
    yield "huge.tif", tiff(layout | {256: (4, 1, 2**31 - 1), 257: (4, 1, 2**31 - 1)})
    yield "large-as-a-lie.tif", tiff(layout | {256: (4, 1, 10_000), 257: (4, 1, 10_000), 278: (4, 1, 10_000)})
    yield "pixels-beyond-the-end.tif", tiff(layout | {273: (4, 1, 10**6)})
    yield "unknown-compression.tif", tiff(layout | {259: (3, 1, 4711)})
    yield "unknown-layout.tif", tiff(layout | {258: (3, 1, 7)})
    yield "no-pixels.tif", tiff({tag: value for tag, value in layout.items() if tag != 273})
    yield "counts-beyond-the-end.tif", tiff(layout | {273: (4, 2**31 - 1, 150)})
    yield "pages-in-a-circle.tif", tiff(layout, following=8)
    yield "page-nowhere.tif", tiff(layout, following=10**6)
    yield "deflate-garbage.tif", tiff(layout | {259: (3, 1, 8)})
    yield "directory-nowhere.tif", b"II*\0" + struct.pack("<I", 10**9) + bytes(99)
    yield "no-tags.tif", b"II*\0" + struct.pack("<I", 8) + bytes(99)


def _wrong_others() -> Iterator[tuple[str, bytes]]:
    jpeg = bytearray(WHOLE["jpg"]())
    frame = jpeg.index(b"\xff\xc0")
    for name, width, height in (("huge", 65535, 65535), ("large-as-a-lie", 9000, 9000), ("zero", 0, 0)):
        data = bytearray(jpeg)
        struct.pack_into(">HH", data, frame + 5, height, width)
        yield f"{name}.jpg", bytes(data)
    data = bytearray(jpeg)
    data[frame + 9] = 2
    yield "two-channels.jpg", bytes(data)
    yield "no-tables.jpg", bytes(jpeg).replace(b"\xff\xc4", b"\xff\xfe").replace(b"\xff\xdb", b"\xff\xfe")
    yield "wrong-magic.png", bytes(jpeg[::-1])
    bmp = bytearray(WHOLE["bmp"]())
    for name, place, value in (
        ("huge", 18, 2**31 - 1), ("large-as-a-lie", 18, 10_000_000), ("no-height", 22, 0), ("compression", 30, 77),
        ("pixels-nowhere", 10, 10**9), ("depth", 28, 13),
    ):  # fmt: skip
        data = bytearray(bmp)
        struct.pack_into("<I" if place != 28 else "<H", data, place, value)
        yield f"{name}.bmp", bytes(data)
    gif = bytearray(WHOLE["gif"]())
    yield "no-frames.gif", bytes(gif[: 13 + 3 * 256]) + b";"
    yield "garbage-pixels.gif", bytes(gif[:-2000]) + bytes(range(256)) * 7 + b"\0;"
    data = bytearray(gif)
    struct.pack_into("<HH", data, 6, 0, 0)
    yield "zero-size.gif", bytes(data)
    data = bytearray(WHOLE["moving.gif"]())
    struct.pack_into("<HH", data, 6, 65535, 65535)
    yield "huge.gif", bytes(data)
    webp = bytearray(WHOLE["lossy.webp"]())
    struct.pack_into("<I", webp, 4, 2**31)
    yield "longer-than-it-is.webp", bytes(webp)
    yield "no-chunks.webp", b"RIFF\4\0\0\0WEBP"
    yield "no-boxes.avif", b"\0\0\0\x1cftypavif" + bytes(16)
    yield "no-boxes.heic", b"\0\0\0\x1cftypheic" + bytes(16)
    yield "nothing", b""
    yield "zeros.jpg", bytes(5000)
