"""What goes in comes out, only coloured: a case for each kind of file, judged by programs that are not ours.

``python tests/conformance/conformance.py`` replays all of them with ExifTool, ImageMagick, tifffile and OpenCV, and
writes what it saw to docs/conformance.md; exit code 1 when something is not kept.
"""

import functools
import io
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import carried
import cv2
import numpy as np
import tifffile
from colorize_run import Colorizer, __version__
from colorize_run.control import Control
from colorize_run.image import cmyk, undo
from colorize_run.image.formats import FORMATS
from colorize_run.options import Lightness
from picture_files import (
    ADOBE_RGB_CHUNKS,
    PRIMARIES,
    ROOT,
    XMP,
    Array,
    as_display_p3,
    camera_exif,
    chunk,
    deep_photograph,
    file_of,
    jpeg2000,
    lab_under_d50,
    lightness,
    lightness_in,
    photograph,
    png16,
    pnm,
    profile_in_jpeg2000,
    profile_of,
    tiff16,
    with_chunks,
    with_iptc,
    with_xmp,
)  # fmt: skip
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

SIZE = (90, 60)
TURNED = ("XMP", "EXIF with thumbnail")  # whose orientation is 6
CODED = ("cICP", "gAMA, cHRM", "nclx")  # spaces by numbers, which become a profile
PROFILES = ["none", "sRGB", "Display P3", "Adobe RGB", "ProPhoto"]
TABLE = ROOT / "docs" / "conformance.md"


@dataclass(frozen=True)
class Case:
    """One file: ``make`` gives its bytes, and its 16-bit values where Pillow could not say them."""

    kind: str
    mode: str
    make: Callable[[], tuple[bytes, Array | None]]
    depth: int = 8
    profile: str = "none"
    orientation: int = 1
    says: str = ""
    frames: int = 1
    lossy: bool = False
    keeps: Lightness = "cielab"

    @property
    def name(self) -> str:
        parts = [self.kind, self.mode, str(self.depth), self.profile, f"orientation {self.orientation}", self.says, self.keeps]
        return " ".join(part for part in parts if part and part not in ("none", "orientation 1", "cielab"))

    @property
    def file_name(self) -> str:
        return self.name.lower().replace(" ", "-").replace(":", "") + FORMATS[self.kind].suffixes[0]


@dataclass
class Outcome:
    """What became of a case: figures for the table, and every reason why it is not what it should be."""

    case: Case
    mean: float = 0.0
    most: float = 0.0
    kept: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self, name: str, holds: bool) -> None:
        (self.kept if holds else self.failures).append(name)


# -- cases -----------------------------------------------------------------------------------------------------


@functools.cache  # Little CMS writes the time into a profile
def icc(name: str) -> bytes | None:
    if name == "sRGB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return None if name == "none" else profile_of(name)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Camera works"
    return exif.tobytes()


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        return ImageCms.profileToProfile(
            photograph(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    image = photograph().convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.arange(90 * 60, dtype=np.uint32).astype(np.uint8).reshape(60, 90)))
    return image


def saved(kind: str, mode: str, *, profile: str = "none", orientation: int = 1, says: str = "", **options: Any) -> Case:
    def make() -> tuple[bytes, None]:
        more = {} if icc(profile) is None else {"icc_profile": icc(profile)}
        if orientation != 1:
            more["exif"] = oriented(orientation)
        return file_of(in_mode(mode), "JPEG2000" if kind == "J2K" else kind, **more, **options).getvalue(), None

    lossy = kind in ("JPEG", "AVIF", "HEIF") or (kind == "WEBP" and not options.get("lossless"))
    return Case(kind, mode, make, 8, profile, orientation, says, lossy=lossy)


def metadata_case(kind: str, source: Callable[[], io.BytesIO], says: str) -> Case:
    lossy = kind in ("JPEG", "AVIF") or kind == "WEBP"
    return Case(kind, "RGB", lambda: (source().getvalue(), None), says=says, lossy=lossy)


def deep(kind: str, channels: int, *, profile: str = "none", orientation: int = 1, says: str = "", **options: Any) -> Case:
    def make() -> tuple[bytes, Array]:
        values = deep_photograph()[..., :1] if channels < 3 else deep_photograph()
        if channels in (2, 4):
            values = np.dstack([values, np.arange(90 * 60, dtype=np.uint16).reshape(60, 90) * 12])
        values = values[..., 0] if channels == 1 else values
        data = icc(profile)
        if kind == "PNG":
            import zlib

            chunks = chunk(b"iCCP", b"x\0\0" + zlib.compress(data)) if data else b""
            if orientation != 1:
                chunks += chunk(b"eXIf", oriented(orientation).removeprefix(b"Exif\0\0"))
            return png16(values, chunks).getvalue(), values
        if kind in ("JPEG2000", "J2K"):
            return jpeg2000(values, data, bare=kind == "J2K").getvalue(), values
        if kind == "PPM":
            return pnm(values, 65535).getvalue(), values
        tags = [(274, 3, 1, orientation, True)] if orientation != 1 else []
        return tiff16(values, iccprofile=data, extratags=tags, **options).getvalue(), values

    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Case(kind, mode, make, 16, profile, orientation, says)


def coded(kind: str, mode: str, name: str, *, depth: int = 8) -> Case:
    """A file that says its space in numbers: cICP of Display P3, gAMA and cHRM of Adobe RGB, or nclx of Display P3."""

    def make() -> tuple[bytes, Array | None]:
        if kind == "AVIF":
            return as_display_p3(file_of(in_mode(mode), kind, quality=95).getvalue()), None
        chunks = chunk(b"cICP", bytes((12, 13, 0, 1))) if name == "Display P3" else ADOBE_RGB_CHUNKS
        if depth == 16:
            return png16(deep_photograph(), chunks).getvalue(), deep_photograph()
        return with_chunks(file_of(in_mode(mode), kind).getvalue(), chunks), None

    says = {"AVIF": "nclx"}.get(kind, "cICP" if name == "Display P3" else "gAMA, cHRM")
    return Case(kind, mode, make, depth, name, says=says, lossy=kind == "AVIF")


def moving(kind: str, mode: str, **options: Any) -> Case:
    def make() -> tuple[bytes, None]:
        frames = [photograph().convert("L").convert("RGBA" if mode == "RGBA" else "RGB") for _ in range(4)]
        for number, frame in enumerate(frames):
            frame.paste((250, 250, 250), (9 * number, 10, 12 + 9 * number, 22))
            if mode == "RGBA":
                frame.paste((0, 0, 0, 0), (0, 50, 90, 60))
        more = {"save_all": True, "append_images": frames[1:], "duration": [80, 160, 240, 320]}
        return file_of(frames[0], kind, **more, **options).getvalue(), None

    says = " ".join(f"{name} {value}" for name, value in options.items() if name == "loop")
    return Case(kind, mode, make, says=("frames " + says).strip(), frames=4, lossy=kind == "AVIF")


def with_text() -> io.BytesIO:
    info = PngInfo()
    info.add_text("Title", "attic")
    info.add_itxt("Author", "Žižek")
    return file_of(photograph(), "PNG", pnginfo=info)


def cases() -> list[Case]:
    """All cases, 200 at least."""
    every = list(_jpegs()) + list(_grey_jpegs()) + list(_pngs()) + list(_tiffs()) + list(_others()) + list(_archives())
    assert len({case.name for case in every}) == len(every), "two cases have one name"
    return every


def _jpegs() -> Iterator[Case]:
    for mode, profile in itertools.product(("RGB", "L"), PROFILES):
        yield saved("JPEG", mode, profile=profile, quality=92)
    yield saved("JPEG", "CMYK", says="Adobe-inverted", quality=92)
    for orientation in range(2, 9):
        yield saved("JPEG", "RGB", orientation=orientation, quality=92)
    yield saved("JPEG", "L", orientation=6, quality=92)
    for quality, sampling in itertools.product((75, 95), ("4:4:4", "4:2:2", "4:2:0")):
        yield saved("JPEG", "RGB", says=f"quality {quality} {sampling}", quality=quality, subsampling=sampling)
    yield saved("JPEG", "RGB", says="progressive", quality=92, progressive=True)
    yield saved("JPEG", "RGB", says="restart markers", quality=92, restart_marker_rows=1)
    yield saved("JPEG", "RGB", says="optimised", quality=92, optimize=True)
    yield saved("JPEG", "RGB", says="dpi", quality=92, dpi=(300, 300))
    yield metadata_case("JPEG", lambda: file_of(photograph(), "JPEG", quality=92, exif=camera_exif()), "EXIF with thumbnail")
    yield metadata_case("JPEG", lambda: with_xmp("JPEG"), "XMP")
    yield metadata_case("JPEG", lambda: with_iptc("JPEG"), "IPTC")
    yield metadata_case("JPEG", lambda: file_of(photograph(), "JPEG", comment=b"attic"), "comment")


def _grey_jpegs() -> Iterator[Case]:
    """Files that are coloured in their own planes."""
    for orientation in range(1, 9):
        yield replace(saved("JPEG", "L", orientation=orientation, quality=92), keeps="luma")
    yield replace(saved("JPEG", "L", profile="sRGB", quality=92), keeps="luma")
    for quality in (30, 75, 98):
        yield replace(saved("JPEG", "L", says=f"quality {quality}", quality=quality), keeps="luma")
    yield replace(saved("JPEG", "L", says="progressive", quality=92, progressive=True), keeps="luma")
    yield replace(saved("JPEG", "L", says="restart markers", quality=92, restart_marker_rows=1), keeps="luma")
    yield replace(saved("JPEG", "L", says="dpi", quality=92, dpi=(300, 300)), keeps="luma")
    grey = photograph().convert("L")
    for case in (
        metadata_case("JPEG", lambda: file_of(grey, "JPEG", quality=92, exif=camera_exif()), "EXIF with thumbnail"),
        metadata_case("JPEG", lambda: with_xmp("JPEG", XMP.replace(b' tiff:Orientation="6"', b""), grey), "XMP"),
        metadata_case("JPEG", lambda: with_iptc("JPEG", grey), "IPTC"),
        metadata_case("JPEG", lambda: file_of(grey, "JPEG", quality=92, comment=b"attic"), "comment"),
    ):
        yield replace(case, mode="L", keeps="luma")


def _pngs() -> Iterator[Case]:
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        yield saved("PNG", mode)
    yield saved("PNG", "P", says="transparent colour", transparency=0)
    yield saved("PNG", "L", says="transparent colour", transparency=90)
    for mode, profile in itertools.product(("RGB", "RGBA"), PROFILES[1:]):
        yield saved("PNG", mode, profile=profile)
    for orientation in (3, 6, 8):
        yield saved("PNG", "RGBA", orientation=orientation)
    yield saved("PNG", "L", orientation=6)
    yield saved("PNG", "RGBA", says="dpi", dpi=(150, 150))
    for channels in (1, 2, 3, 4):
        yield deep("PNG", channels)
    for profile in PROFILES[1:]:
        yield deep("PNG", 3, profile=profile)
    yield deep("PNG", 4, profile="Display P3")
    for orientation in (5, 6):
        yield deep("PNG", 3, orientation=orientation)
    for mode in ("RGB", "RGBA", "L"):
        yield coded("PNG", mode, "Display P3")
        yield coded("PNG", mode, "Adobe RGB")
    for profile in ("Display P3", "Adobe RGB"):
        yield coded("PNG", "RGB", profile, depth=16)
    yield saved("PNG", "RGB", says="dpi", dpi=(300, 300))
    yield metadata_case("PNG", lambda: file_of(photograph(), "PNG", exif=camera_exif()), "EXIF with thumbnail")
    yield metadata_case("PNG", lambda: with_xmp("PNG"), "XMP")
    yield metadata_case("PNG", with_text, "texts")
    for mode, loop in itertools.product(("RGB", "RGBA"), (0, 2)):
        yield moving("PNG", mode, loop=loop)


def _tiffs() -> Iterator[Case]:
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        yield saved("TIFF", mode)
    for packing in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"):
        yield saved("TIFF", "RGB", says=packing, compression=packing)
    yield saved("TIFF", "1", says="group4", compression="group4")
    yield saved("TIFF", "L", says="white is zero", tiffinfo={262: 0})
    yield saved("TIFF", "L", orientation=6)
    for profile in PROFILES[1:]:
        yield saved("TIFF", "RGB", profile=profile)
    for orientation in range(2, 9):
        yield saved("TIFF", "RGB", orientation=orientation)
    for channels in (1, 3, 4):
        yield deep("TIFF", channels)
    for says, options in (
        ("deflate", {"compression": "zlib"}),
        ("predictor", {"compression": "zlib", "predictor": True}),
        ("big-endian", {"byteorder": ">"}),
        ("tiles", {"tile": (16, 16)}),
        ("strips of a row", {"rowsperstrip": 1}),
        ("BigTIFF", {"bigtiff": True}),
    ):
        yield deep("TIFF", 3, says=says, **options)
    for profile in PROFILES[1:]:
        yield deep("TIFF", 3, profile=profile)
    for orientation in (2, 6):
        yield deep("TIFF", 3, orientation=orientation)
    yield saved("TIFF", "RGB", says="dpi", dpi=(300, 300))
    yield metadata_case("TIFF", lambda: file_of(photograph(), "TIFF", exif=oriented(1)), "EXIF")
    yield metadata_case("TIFF", lambda: with_xmp("TIFF", XMP.replace(b' tiff:Orientation="6"', b"")), "XMP")
    yield metadata_case("TIFF", lambda: with_iptc("TIFF"), "IPTC")
    pages = lambda: file_of(photograph(), "TIFF", save_all=True, append_images=[photograph()] * 3)  # noqa: E731
    yield Case("TIFF", "RGB", lambda: (pages().getvalue(), None), says="pages", frames=4)


def _others() -> Iterator[Case]:
    for mode, lossless in itertools.product(("RGB", "RGBA"), (False, True)):
        yield saved("WEBP", mode, says="lossless" if lossless else "", lossless=lossless, quality=90, exact=True)
    for profile in PROFILES[2:4]:
        yield saved("WEBP", "RGB", profile=profile, lossless=True)
    yield saved("WEBP", "RGB", orientation=6, lossless=True)
    yield metadata_case("WEBP", lambda: file_of(photograph(), "WEBP", quality=90, exif=camera_exif()), "EXIF with thumbnail")
    yield metadata_case("WEBP", lambda: with_xmp("WEBP"), "XMP")
    yield moving("WEBP", "RGB", lossless=True, loop=0)
    yield moving("WEBP", "RGBA", lossless=True, loop=2)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield saved("BMP", mode)
    yield saved("BMP", "RGB", says="dpi", dpi=(300, 300))
    for mode in ("L", "P", "RGB"):
        yield saved("GIF", mode)
    yield saved("GIF", "P", says="transparent colour", transparency=0)
    yield moving("GIF", "RGB")
    yield moving("GIF", "RGB", loop=0)
    yield moving("GIF", "RGBA", loop=2)
    for mode in ("L", "RGB", "RGBA"):
        yield saved("AVIF", mode, quality=95)
    for profile in PROFILES[2:4]:
        yield saved("AVIF", "RGB", profile=profile, quality=95)
    yield coded("AVIF", "RGB", "Display P3")
    for mode in ("RGB", "RGBA"):
        yield saved("AVIF", mode, orientation=6, quality=95)
    yield moving("AVIF", "RGB", quality=95)


def _archives() -> Iterator[Case]:
    """Formats of archives and laboratories."""
    for mode in ("L", "LA", "RGB", "RGBA"):
        yield saved("JPEG2000", mode)
    yield replace(saved("JPEG2000", "RGB", says="lossy", irreversible=True, quality_mode="dB", quality_layers=[40]), lossy=True)
    yield saved("JPEG2000", "RGB", says="tiles", tile_size=(32, 32))
    for channels in (1, 3, 4):
        yield deep("JPEG2000", channels)
    yield deep("JPEG2000", 3, profile="Display P3")
    yield deep("JPEG2000", 4, profile="Adobe RGB")
    p3 = lambda: (jpeg2000(np.asarray(photograph()), icc("Display P3")).getvalue(), None)  # noqa: E731
    yield Case("JPEG2000", "RGB", p3, profile="Display P3")
    for mode in ("L", "RGB"):
        yield saved("J2K", mode, no_jp2=True)
    yield deep("J2K", 3)
    for mode in ("1", "L", "RGB"):
        yield saved("PPM", mode)
    for channels in (1, 3):
        yield deep("PPM", channels)

    def ten_bits() -> tuple[bytes, Array]:
        values = deep_photograph() >> 6
        return pnm(values, 1023).getvalue(), np.rint(values * (65535 / 1023)).astype(np.uint16)

    yield Case("PPM", "RGB", ten_bits, 16, says="10 bits")
    yield deep("TIFF", 2)
    yield deep("TIFF", 2, says="predictor", compression="zlib", predictor=True, byteorder=">", tile=(16, 16))

    def lab() -> tuple[bytes, Array]:
        file = io.BytesIO()
        tifffile.imwrite(file, lab_under_d50(deep_photograph()), photometric="cielab", metadata=None)
        return file.getvalue(), deep_photograph()

    yield Case("TIFF", "Lab", lab, 16)


# -- replay ----------------------------------------------------------------------------------------------------


@functools.cache
def colorizer() -> Colorizer:
    return Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu")


def replay(case: Case, folder: Path) -> Outcome:
    """Make the case's file, colour it, and judge what came out by readers that come with the tests."""
    outcome = Outcome(case)
    data, values = case.make()
    (folder / f"before-{case.file_name}").write_bytes(data)
    coloured, result = colorizer().colorize_file(io.BytesIO(data), control=Control(lightness=case.keeps))
    (folder / f"after-{case.file_name}").write_bytes(coloured)
    before, after = truth(case, data, values), own_reading(case, coloured)
    outcome.readers.append("tifffile" if case.kind == "TIFF" else "OpenCV" if case.depth == 16 else "Pillow")
    judge_pixels(outcome, before, after)
    judge_frames(outcome, data, coloured)
    if case.keeps == "luma":
        outcome.check("Y'", luma_of(data).tobytes() == luma_of(coloured).tobytes())
        outcome.check("restored", undo.restored(coloured) == data)
    expected = ("cannot hold metadata", "PGM and PBM hold none", "CMYK without a colour profile")
    surprises = [note for note in result.notes if not any(words in note for words in expected)]
    outcome.check("nothing left out" if not surprises else "; ".join(surprises), not surprises)
    if case.kind != "TIFF" or case.depth == 8 or case.mode not in ("LA", "Lab"):  # which Pillow does not open
        judge_headers(outcome, data, coloured)
    return outcome


def judge_headers(outcome: Outcome, data: bytes, coloured: bytes) -> None:
    """Format, profile, resolution and compression, before and after, by Pillow."""
    case = outcome.case
    with Image.open(io.BytesIO(data)) as old, Image.open(io.BytesIO(coloured)) as new:
        outcome.check("format", new.format == old.format)
        if case.says in CODED:
            outcome.check("profile", same_space(new.info.get("icc_profile"), icc(case.profile)))
        elif case.profile != "none" and case.mode != "L":
            found = profile_in_jpeg2000(coloured) if case.kind == "JPEG2000" else new.info.get("icc_profile")
            outcome.check("profile", found == icc(case.profile))
        if "dpi" in old.info and case.kind != "GIF":
            sides = zip(new.info.get("dpi", (0, 0)), old.info["dpi"], strict=True)
            outcome.check("dpi", all(abs(float(a) - float(b)) < 0.1 for a, b in sides))
        if case.kind == "JPEG" and case.orientation == 1 and case.mode == "RGB" and case.says not in TURNED:
            outcome.check("tables", new.quantization == old.quantization)  # type: ignore[attr-defined]
            outcome.check("progressive", new.info.get("progressive") == old.info.get("progressive"))


def truth(case: Case, data: bytes, values: Array | None) -> Array:
    """The upright pixels that went in: R, G, B and alpha, if any, of the first frame, by Pillow or as they were made."""
    if values is None:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "LAB":
                return np.asarray(photograph())
            if image.mode == "CMYK":
                return np.asarray(cmyk.to_srgb(image, None)[0])  # its meaning is judged in tests/runtime/test_cmyk.py
            alpha = "transparency" in image.info or image.mode in ("LA", "RGBA", "PA")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGBA" if alpha else "RGB"))
    values = np.dstack([values] * 3) if values.ndim == 2 else values
    values = np.dstack([*[values[..., 0]] * 3, values[..., 1]]) if values.shape[2] == 2 else values
    turns = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1)}
    return turns.get(case.orientation, lambda a: a)(values)


def own_reading(case: Case, data: bytes) -> Array:
    """What came out, by a reader of another make where there is one for its depth."""
    if case.kind == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if file.pages[0].compression in (1, 8):  # the others need a package more
                return file.pages[0].asarray()
    if case.depth == 16:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return values[..., [2, 1, 0, 3][: values.shape[2]]]
    with Image.open(io.BytesIO(data)) as image:
        alpha = image.mode == "RGBA" or "transparency" in image.info
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA" if alpha else "RGB"))


def luma_of(data: bytes) -> Image.Image:
    """Y' as it is coded."""
    image = Image.open(io.BytesIO(data))
    image.draft("YCbCr", None)
    return image.getchannel(0)


def judge_pixels(outcome: Outcome, before: Array, after: Array, reader: str = "") -> None:
    case = outcome.case
    size = before.shape[:2] == after.shape[:2]
    outcome.check(f"size{reader}", size)
    outcome.check(f"{case.depth} bits{reader}", after.dtype.itemsize * 8 == case.depth)
    if not size:
        return
    if before.shape[2] == 4 and not reader:
        opaque = after[..., 3] if after.shape[2] == 4 else np.full(before.shape[:2], 255, np.uint8)
        far = np.abs(before[..., 3].astype(int) - opaque)
        outcome.check("alpha", bool((far <= (3 if case.kind == "AVIF" else 0)).all()) or case.kind == "GIF")
    difference = np.abs(lightness_of(case, before) - lightness_of(case, after))
    if before.shape[2] == 4:
        difference = difference[before[..., 3] > 0]
    mean, most = float(difference.mean()), float(difference.max())
    outcome.mean, outcome.most = max(outcome.mean, mean), max(outcome.most, most)
    if case.lossy or case.kind == "GIF":
        outcome.check(f"lightness{reader}", mean < (2.5 if case.kind == "GIF" else 1.5))
    elif case.mode == "LAB":
        outcome.check(f"lightness{reader}", mean < 0.5)  # the file holds L* in bytes
    else:
        outcome.check(f"lightness{reader}", most < (0.05 if case.depth == 16 else 0.4))


def lightness_of(case: Case, values: Array) -> Array:
    return lightness_in(values, case.profile) if case.profile in PRIMARIES else lightness(values)


def same_space(profile: bytes | None, other: bytes) -> bool:
    """Whether Little CMS turns the same values into the same colours, to a level, by both profiles."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))
    seen = [
        np.asarray(
            ImageCms.profileToProfile(
                colours, ImageCms.ImageCmsProfile(io.BytesIO(data)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        )
        for data in (profile or b"", other)
        if data
    ]
    return len(seen) == 2 and int(np.abs(seen[0].astype(int) - seen[1]).max()) <= 1


def judge_frames(outcome: Outcome, before: bytes, after: bytes) -> None:
    if outcome.case.frames == 1:
        return
    seen = []
    for data in (before, after):
        with Image.open(io.BytesIO(data)) as image:
            times = []
            for number in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(number)
                image.load()
                times.append(round(image.info.get("duration", 0)))
            seen.append((image.n_frames, times, image.info.get("loop")))  # type: ignore[attr-defined]
    outcome.check(f"{outcome.case.frames} frames, durations, loop", seen[0] == seen[1])


# -- independent readers -----------------------------------------------------------------------------------------


def image_magick() -> str | None:
    """The command that converts, by whatever name; a program of that name that is something else does not count."""
    for name in ("magick", "convert-im6.q16", "convert"):
        if shutil.which(name):
            done = subprocess.run([name, "-version"], capture_output=True, text=True, check=False)
            if "ImageMagick" in done.stdout:
                return name
    return None


def judge_by_image_magick(outcome: Outcome, folder: Path, convert: str) -> None:
    """The same pixels, read by ImageMagick with 16 bits."""
    case = outcome.case
    command = [convert, f"{folder / f'after-{case.file_name}'}[0]", "-auto-orient", "-depth", "16", "-endian", "LSB", "rgba:-"]
    done = subprocess.run(command, capture_output=True, check=False)
    # Version 6 calls any XMP in a WebP file corrupt, the simplest too.
    if done.returncode or (done.stderr and b"ValidateXMPProfile" not in done.stderr):
        outcome.failures.append(f"ImageMagick: {done.stderr.decode()[:80]}")
        return
    data, values = case.make()
    before = truth(case, data, values)
    pixels = np.frombuffer(done.stdout, "<u2")
    if pixels.size != before.shape[0] * before.shape[1] * 4:
        outcome.failures.append("size by ImageMagick")
        return
    pixels = pixels.reshape(*before.shape[:2], 4)
    exact = case.lossy or case.depth == 16 or bool((pixels[..., :3] % 257 == 0).all())
    judge_pixels(outcome, before, pixels if case.depth == 16 else (pixels // 257).astype(np.uint8), " by ImageMagick")
    outcome.check("bytes by ImageMagick", exact)
    outcome.readers.append("ImageMagick")


def judge_by_exiftool(outcomes: list[Outcome], folder: Path) -> None:
    """Tags, depth and profile as ExifTool sees them, before and after."""
    found = {}
    names = [f"{when}-{outcome.case.file_name}" for outcome in outcomes for when in ("before", "after")]
    done = subprocess.run(["exiftool", "-j", "-G1", "-n", *names], capture_output=True, cwd=folder, check=False)
    for entry in json.loads(done.stdout):
        found[entry["SourceFile"]] = entry
    for outcome in outcomes:
        case = outcome.case
        before, after = (found[f"{when}-{case.file_name}"] for when in ("before", "after"))
        outcome.readers.append("ExifTool")
        signs = [f"ExifTool:{kind}" for kind in ("Warning", "Error")]
        trouble = [after[sign] for sign in signs if sign in after and after[sign] != before.get(sign)]
        outcome.check("well-formed" if not trouble else f"ExifTool: {trouble}", not trouble)
        turns = [{name: value for name, value in tags.items() if name.endswith(":Orientation")} for tags in (before, after)]
        if case.keeps == "luma":
            outcome.check("orientation kept", turns[0] == turns[1])
        else:
            outcome.check("orientation reset", all(value == 1 for value in turns[1].values()))
        outcome.check("no thumbnail", not any("Thumbnail" in name for name in after))
        if FORMATS[case.kind].metadata:
            outcome.check("provenance", "trainedalgorithmic" in str(after.get("XMP-iptcExt:DigitalSourceType")).lower())
        for name in COMPARED_TAGS:
            if name in before and not _changes(name, case, before):
                outcome.check(name, after.get(name) == before[name])


# What is compared between before and after, where before has it.
COMPARED_TAGS = [
    "IFD0:Make", "IFD0:Artist", "IFD0:XResolution", "XMP-dc:Creator", "IPTC:Caption-Abstract", "File:Comment", "PNG:Title",
    "PNG:Author", "GIF:AnimationIterations", "PNG:AnimationFrames", "PNG:AnimationPlays", "RIFF:AnimationLoopCount",
    "GIF:FrameCount", "JFIF:XResolution", "ICC_Profile:ProfileDescription", "IFD0:BitsPerSample",
]  # fmt: skip


def _changes(name: str, case: Case, before: dict) -> bool:
    """Whether a tag may change: grey becomes RGB, LAB becomes sRGB, a resolution without a unit means nothing."""
    if "BitsPerSample" in name or "ProfileDescription" in name:
        return case.mode not in ("RGB", "RGBA")
    return "XResolution" in name and before.get("IFD0:ResolutionUnit", before.get("JFIF:ResolutionUnit", 1)) == 1


def observe(folder: Path) -> list[Outcome]:
    """Replay every case before every reader there is."""
    outcomes = [replay(case, folder) for case in cases()]
    if convert := image_magick():
        for outcome in outcomes:
            judge_by_image_magick(outcome, folder, convert)
    if shutil.which("exiftool"):
        judge_by_exiftool(outcomes, folder)
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    lines = [
        "# What is kept, file by file",
        "",
        "Written by `python tests/conformance/conformance.py`; `tests/conformance` replays it. Each file is made, coloured",
        "with the tests' own model, and read again by programs that are not ours. ΔL* is the difference in CIELAB lightness",
        "between what went in and what came out, each by its own profile: mean and largest over all pixels, the worst of the",
        "readers. Lossy formats and GIF's 256 colours round once more; the rest is the rounding of 8 or 16 bits. Kept is L\\*,",
        "or luma, Y', which a JPEG is coded in: then every byte of it is the same, and `restore` gives the file back.",
        "",
        f"{len(outcomes)} cases, {sum(not outcome.failures for outcome in outcomes)} kept, with version {__version__}.",
        "",
        "| format | mode | bits | profile | turned | besides | frames | keeps | mean ΔL* | most | read by | kept |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    letters = {"cielab": "L\\*", "luma": "Y'"}
    for outcome in outcomes:
        case = outcome.case
        verdict = "yes" if not outcome.failures else "**no**: " + ", ".join(outcome.failures)
        cells = [
            case.kind, case.mode, case.depth, case.profile, case.orientation, case.says or "-", case.frames,
            letters[case.keeps], f"{outcome.mean:.3f}", f"{outcome.most:.2f}", ", ".join(outcome.readers), verdict,
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    lines += [
        "",
        "# What else a file carries",
        "",
        "Kept, or left out with a note that names it: `tests/conformance/carried.py` makes a file for each row. A JPEG is",
        "coloured in its own planes, where everything stays, or joined (docs/decisions.md says which). Thumbnails show the",
        "picture of before: they are coloured, made again or left out, without a note. So are what holds for the palette and",
        "the values of before alone (PNG's hIST, sPLT, sBIT) and the time of the last change (tIME).",
        "",
        *carried.table(),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = observe(Path(folder))
    TABLE.write_text(table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed:
        print(f"{outcome.case.name}: {', '.join(outcome.failures)}")  # noqa: T201 - a command for people
    print(f"{len(outcomes)} cases, {len(failed)} not kept -> {TABLE}")  # noqa: T201
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
