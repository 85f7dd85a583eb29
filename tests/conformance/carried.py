"""What a file may carry besides its picture: for every format, kept, or left out with a note that names it.

`rows` are written to docs/conformance.md by conformance.py, and replayed by test_carried.py.
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pillow_heif
import tifffile
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.image.identify import undecoded
from colorize_run.options import Lightness
from picture_files import (
    IPTC,
    ROOT,
    XMP,
    camera_exif,
    chunk,
    deep_photograph,
    file_of,
    photograph,
    profile_of,
    with_chunks,
    with_iptc,
)  # fmt: skip
from PIL import Image
from PIL.PngImagePlugin import PngInfo

C2PA = b"jumb" + struct.pack(">I", 52) + b"jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0" + bytes(16)
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(300)
PLAIN_XMP = XMP.replace(b' tiff:Orientation="6"', b"")
PROMISES = PLAIN_XMP.replace(
    b"xmlns:dc=",
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"'
    b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" xmlns:dc=',
)
Kept = Callable[[bytes], bool]


@dataclass(frozen=True)
class Row:
    """A file that carries something. ``kept``: whether the coloured file still has it; ``note``: a part of what is said of it.

    With both, it is kept in a changed way that a note tells. ``lightness``: the road that a JPEG takes.
    """

    kind: str
    what: str
    make: Callable[[], bytes]
    kept: Kept | None = None
    note: str = ""
    lightness: Lightness = "luma"

    @property
    def name(self) -> str:
        road = "" if self.kind != "JPEG" else " (own planes)" if self.lightness == "luma" else " (joined)"
        return f"{self.kind}{road}: {self.what}"


def faults(row: Row, colorizer: Colorizer) -> list[str]:
    """Why the row does not hold."""
    data, result = colorizer.colorize_file(io.BytesIO(row.make()), control=Control(lightness=row.lightness))
    found = []
    if row.kept is not None and not row.kept(data):
        found.append("lost")
    if row.note and not any(row.note in note for note in result.notes):
        found.append(f"no note says {row.note!r}, but {result.notes}")
    unexpected = [note for note in result.notes if not row.note and "cannot hold metadata" not in note]
    return found + [f"a note too many: {note}" for note in unexpected]


def table() -> list[str]:
    """The rows as a table in Markdown."""
    lines = ["| format | carries | in the coloured file |", "|---|---|---|"]
    for row in rows():
        kind, what = row.name.split(": ", 1)
        note = f'note: "… {row.note} …"' if row.note else ""
        lines.append(f"| {kind} | {what} | {', '.join(filter(None, ['kept' if row.kept else '', note]))} |")
    return lines


def rows() -> list[Row]:
    """All rows; each format's begin with what is kept."""
    return [*_jpegs(), *_pngs(), *_webps(), *_tiffs(), *_others(), *_jpeg_2000s(), *_heifs()]


# -- reading ---------------------------------------------------------------------------------------------------


def opened(data: bytes) -> Image.Image:
    return undecoded(io.BytesIO(data))


def holds(*parts: bytes) -> Kept:
    return lambda data: all(part in data for part in parts)


def lacks(*parts: bytes) -> Kept:
    return lambda data: not any(part in data for part in parts)


def said(name: str, value: object) -> Kept:
    """Whether Pillow's ``info`` has the value; numbers nearly."""

    def check(data: bytes) -> bool:
        found = opened(data).info.get(name)
        return bool(np.allclose(np.array(found, float), value, atol=0.1)) if isinstance(value, tuple) else found == value

    return check


def frames(count: int) -> Kept:
    return lambda data: getattr(opened(data), "n_frames", 1) == count


def exif_make(data: bytes) -> bool:
    return opened(data).getexif().get(271) in ("Müller", "M?ller")  # Pillow's AVIF plugin writes no umlauts


def tag(number: int, value: object) -> Kept:
    def check(data: bytes) -> bool:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return number in file.pages[0].tags and file.pages[0].tags[number].value == value

    return check


# -- JPEG ------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments: bytes, trailer: bytes = b"", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = file_of(photograph().convert("L"), "JPEG", **options).getvalue()
        return data[:20] + b"".join(segments) + data[20:] + trailer  # behind JFIF

    return make


def multi_picture() -> bytes:
    """A picture with a second one, as cameras keep gain maps."""
    small = photograph(45, 30).convert("L")
    return file_of(photograph().convert("L"), "MPO", save_all=True, append_images=[small]).getvalue()


def _jpegs() -> Iterator[Row]:
    extended = segment(
        0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 30, 0) + b"<x>extended</x>"
    )
    credentials = segment(0xEB, b"JP\0\1\0\0\0\1" + struct.pack(">I", 60) + C2PA)
    own = (
        ("EXIF with a maker's note", jpeg(exif=camera_exif()), exif_make),
        ("XMP", jpeg(xmp=PLAIN_XMP), holds("José".encode())),
        ("IPTC", lambda: with_iptc("JPEG", photograph().convert("L")).getvalue(), holds(IPTC)),
        ("comment", jpeg(comment=b"attic"), said("comment", b"attic")),
        ("resolution", jpeg(dpi=(300, 200)), said("dpi", (300, 200))),
        ("colour profile", jpeg(icc_profile=profile_of("Adobe RGB")), holds(b"Adobe RGB")),
    )
    besides = (
        ("other programs' segments", jpeg(segment(0xE5, b"MAKER\0things")), holds(b"MAKER\0things"), "segment APP5 (MAKER)"),
        ("thermal data (FLIR)", jpeg(segment(0xE1, b"FLIR\0\1\0\1heat")), holds(b"heat"), "segment APP1 (FLIR)"),
        ("extended XMP", jpeg(extended), holds(b"extended</x>"), "extended XMP"),
        ("further pictures (MPO, gain map)", multi_picture, frames(2), "other images in the file"),
        ("motion photo's video", jpeg(trailer=VIDEO), holds(b"mp42isom"), "the video behind the picture"),
        ("bytes behind the picture", jpeg(trailer=b"SEFT" * 20), holds(b"SEFT" * 20), "80 bytes behind the picture"),
    )
    for what, make, kept in own:
        if what != "colour profile":  # RGB's in a grey file: it is joined
            yield Row("JPEG", what, make, kept)
        yield Row("JPEG", what, make, kept, lightness="cielab")
    for what, make, kept, note in besides:
        yield Row("JPEG", what, make, kept)
        yield Row("JPEG", what, make, None, note, "cielab")
    yield Row("JPEG", "content credentials", jpeg(credentials), holds(b"c2pa"), "hold for the picture of before")
    yield Row("JPEG", "content credentials", jpeg(credentials), lacks(b"c2pa"), "(C2PA) were left out", "cielab")
    promises = jpeg(xmp=PROMISES, trailer=VIDEO)
    yield Row("JPEG", "XMP of a motion photo", promises, holds(b"MotionPhoto", b"hdrgm:Version"))
    yield Row("JPEG", "XMP of a motion photo", promises, lacks(b"MotionPhoto=", b"hdrgm:Version"), "video behind", "cielab")


# -- PNG and WebP ----------------------------------------------------------------------------------------------


def png(*chunks: tuple[bytes, bytes], mode: str = "RGB", trailer: bytes = b"", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = file_of(photograph().convert("L").convert(mode), "PNG", **options).getvalue()
        return with_chunks(data, b"".join(chunk(name, body) for name, body in chunks)) + trailer

    return make


def with_text(name: str, text: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt(name, text)
    return info


def moving(kind: str, **options: object) -> Callable[[], bytes]:
    first, second = (photograph().convert("L").convert("RGB").rotate(turn) for turn in (0, 40))
    return lambda: file_of(first, kind, save_all=True, append_images=[second], duration=[80, 160], **options).getvalue()


def _pngs() -> Iterator[Row]:
    yield Row("PNG", "EXIF", png(exif=camera_exif()), exif_make)
    yield Row("PNG", "XMP", png(pnginfo=with_text("XML:com.adobe.xmp", XMP.decode())), holds("José".encode()))
    yield Row("PNG", "texts", png(pnginfo=with_text("Author", "Žižek")), said("Author", "Žižek"))
    yield Row("PNG", "resolution", png((b"pHYs", struct.pack(">IIB", 5000, 2500, 1))), said("dpi", (127, 63.5)))
    yield Row("PNG", "colour profile", png(icc_profile=profile_of("Adobe RGB")), said("icc_profile", profile_of("Adobe RGB")))
    yield Row("PNG", "alpha", png(mode="RGBA"), lambda data: opened(data).mode == "RGBA")
    yield Row("PNG", "frames", moving("PNG", loop=3), frames(2))
    yield Row("PNG", "shape of pixels", png((b"pHYs", struct.pack(">IIB", 1, 2, 0))), None, "shape of its pixels, 2 : 1")
    yield Row("PNG", "background", png((b"bKGD", bytes(6)), mode="RGBA"), None, "PNG chunk bKGD")
    yield Row("PNG", "HDR mastering data", png((b"mDCV", bytes(24)), (b"cLLI", bytes(8))), None, "PNG chunks mDCV, cLLI")
    yield Row("PNG", "offset, stereo", png((b"oFFs", bytes(9)), (b"sTER", b"\0")), None, "PNG chunks oFFs, sTER")
    yield Row("PNG", "other programs' chunks", png((b"prVt", b"abc")), None, "PNG chunk prVt")
    yield Row("PNG", "content credentials", png((b"caBX", C2PA)), None, "(C2PA) were left out")
    yield Row("PNG", "bytes behind the picture", png(trailer=b"trail" * 9), None, "45 bytes behind the picture")


def webp(extra: bytes = b"", trailer: bytes = b"", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        options.setdefault("exif", camera_exif())  # so that the file is of the extended kind
        data = file_of(photograph().convert("L").convert("RGB"), "WEBP", **options).getvalue() + extra
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:] + trailer

    return make


def _webps() -> Iterator[Row]:
    yield Row("WEBP", "EXIF", webp(), exif_make)
    yield Row("WEBP", "XMP", webp(xmp=XMP), holds("José".encode()))
    yield Row("WEBP", "colour profile", webp(icc_profile=profile_of("Adobe RGB")), holds(profile_of("Adobe RGB")))
    yield Row("WEBP", "frames", moving("WEBP", loop=3), frames(2))
    yield Row("WEBP", "content credentials", webp(b"C2PA" + struct.pack("<I", 4) + b"abcd"), None, "(C2PA) were left out")
    yield Row("WEBP", "other programs' chunks", webp(b"ABCD" + struct.pack("<I", 4) + b"abcd"), None, "WebP chunk ABCD")
    yield Row("WEBP", "bytes behind the picture", webp(trailer=b"trail" * 9), None, "45 bytes behind the picture")


# -- TIFF ------------------------------------------------------------------------------------------------------


def tiff(channels: int = 3, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        values = np.asarray(photograph().convert("L").convert("RGB"))
        further = [values[..., :1]] * (channels - 3)
        tifffile.imwrite(file, np.dstack([values, *further]), photometric="rgb", metadata=None, **options)
        return file.getvalue()

    return make


def with_sub_directory() -> bytes:
    file = io.BytesIO()
    grey = np.asarray(photograph().convert("L"))
    with tifffile.TiffWriter(file) as writer:
        writer.write(grey, photometric="minisblack", subifds=1, metadata=None)
        writer.write(grey[::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
    return file.getvalue()


def pages(count: int = 3) -> bytes:
    grey = [photograph().convert("L").rotate(30 * number) for number in range(count)]
    return file_of(grey[0], "TIFF", save_all=True, append_images=grey[1:]).getvalue()


def with_tag_of_second_page() -> bytes:
    file = io.BytesIO()
    grey = np.asarray(photograph().convert("L"))
    with tifffile.TiffWriter(file) as writer:
        writer.write(grey, photometric="minisblack", metadata=None)
        writer.write(grey, photometric="minisblack", metadata=None, extratags=[(65000, 2, 0, "private", True)])
    return file.getvalue()


def geographic(*further: tuple[int, int, int, int, bool]) -> Callable[[], bytes]:
    return tiff(extratags=[(33550, 12, 3, (0.5, 0.5, 0.0), True), *further])


def _tiffs() -> Iterator[Row]:
    text = lambda number, value: tiff(extratags=[(number, 2, 0, value, True)])  # noqa: E731
    yield Row("TIFF", "artist, copyright", text(315, "Adams"), tag(315, "Adams"))
    yield Row("TIFF", "document name", text(269, "album"), tag(269, "album"))
    yield Row("TIFF", "page name", text(285, "page 3"), tag(285, "page 3"))
    yield Row("TIFF", "XMP", tiff(extratags=[(700, 1, len(PLAIN_XMP), PLAIN_XMP, True)]), holds("José".encode()))
    yield Row(
        "TIFF", "IPTC", lambda: file_of(photograph().convert("L"), "TIFF", tiffinfo={33723: IPTC}).getvalue(), holds(IPTC)
    )
    yield Row("TIFF", "colour profile", tiff(iccprofile=profile_of("Adobe RGB")), holds(profile_of("Adobe RGB")))
    yield Row("TIFF", "resolution in cm", tiff(resolution=(118.11, 59.055), resolutionunit=3), said("dpi", (300, 150)))
    yield Row("TIFF", "alpha", tiff(4, extrasamples=["unassalpha"]), lambda data: opened(data).mode == "RGBA")
    yield Row("TIFF", "pages", pages, frames(3))
    yield Row("TIFF", "place on the map (GeoTIFF)", geographic(), tag(33550, (0.5, 0.5, 0.0)))
    turned = geographic((274, 3, 1, 6, True))
    yield Row("TIFF", "place on the map, turned", turned, None, "its place on the map (GeoTIFF) was left out")
    yield Row("TIFF", "sub-directories", with_sub_directory, None, "a reduced copy")
    yield Row("TIFF", "Photoshop layers", tiff(extratags=[(37724, 7, 6, b"layers", True)]), None, "Photoshop layers")
    yield Row("TIFF", "further channels", tiff(5, extrasamples=["unassalpha", "unspecified"]), None, "1 further channel was")
    yield Row("TIFF", "shape of pixels", tiff(resolution=(2, 1), resolutionunit=1), None, "shape of its pixels, 1 : 2")
    yield Row("TIFF", "other programs' tags", text(65000, "private"), None, "TIFF tag 65000")
    yield Row("TIFF", "other programs' tags of a later page", with_tag_of_second_page, None, "TIFF tag 65000")


# -- BMP, GIF --------------------------------------------------------------------------------------------------


def bmp_with_profile() -> bytes:
    """The fifth version of the header, which has room for a profile."""
    pixels, profile = file_of(photograph().convert("L").convert("RGB"), "BMP").getvalue()[54:], profile_of("Adobe RGB")
    head = bytearray(struct.pack("<IiiHHIIiiII", 124, 90, 60, 1, 24, 0, len(pixels), 2835, 2835, 0, 0).ljust(124, b"\0"))
    head[56:60] = b"DEBM"
    struct.pack_into("<II", head, 112, 124 + len(pixels), len(profile))
    size = 14 + len(head) + len(pixels) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + len(head)) + bytes(head) + pixels + profile


def gif(extension: bytes = b"", trailer: bytes = b"", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = file_of(photograph().convert("L"), "GIF", **options).getvalue()
        start = 13 + 3 * 2 ** (data[10] % 8 + 1)
        return data[:start] + extension + data[start:] + trailer

    return make


def _others() -> Iterator[Row]:
    dpi = lambda: file_of(photograph().convert("L"), "BMP", dpi=(300, 300)).getvalue()  # noqa: E731
    yield Row("BMP", "resolution", dpi, said("dpi", (300, 300)))
    yield Row("BMP", "colour profile", bmp_with_profile, None, "its colour profile was left out")
    packet = b"!\xff\x0bXMP DataXMP" + XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    yield Row("GIF", "comment", gif(comment=b"attic"), said("comment", b"attic"))
    yield Row("GIF", "frames", moving("GIF", loop=2), frames(2))
    yield Row("GIF", "XMP", gif(packet), None, "GIF extension XMP DataXMP")
    yield Row("GIF", "colour profile", gif(b"!\xff\x0bICCRGBG1012\3abc\0"), None, "GIF extension colour profile")
    yield Row("GIF", "text", gif(b"!\1\x0c" + bytes(12) + b"\2hi\0"), None, "GIF extension text")
    yield Row("GIF", "other programs' extensions", gif(b"!\xff\x0bMAKERS 1.00\3abc\0"), None, "GIF extension MAKERS 1.00")
    yield Row("GIF", "bytes behind the picture", gif(trailer=b"trail" * 9), None, "45 bytes behind the picture")


# -- JPEG 2000, PNM --------------------------------------------------------------------------------------------


def jp2(*more: tuple[bytes, bytes], trailer: bytes = b"", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = file_of(photograph().convert("L").convert("RGB"), "JPEG2000", **options).getvalue()
        boxes = b"".join(struct.pack(">I4s", len(body) + 8, name) + body for name, body in more)
        at = data.index(b"jp2c") - 4
        length = struct.pack(">I", len(data) - at)  # it may be "to the end"
        return data[:at] + boxes + length + data[at + 4 :] + trailer

    return make


def _jpeg_2000s() -> Iterator[Row]:
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + PLAIN_XMP
    yield Row("JPEG2000", "XMP", jp2((b"uuid", xmp)), holds("José".encode()))
    yield Row("JPEG2000", "other programs' boxes", jp2((b"xml ", b"<gml/>")), None, "JPEG 2000 box xml")
    geo = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03") + bytes(40)
    yield Row("JPEG2000", "place on the map (GeoJP2)", jp2((b"uuid", geo)), None, "JPEG 2000 box uuid")
    yield Row("JPEG2000", "bytes behind the picture", jp2(trailer=b"trail" * 9), None, "45 bytes behind the picture")
    several = lambda: file_of(photograph().convert("L"), "PPM").getvalue() * 3  # noqa: E731
    yield Row("PPM", "further pictures", several, None, "2 further pictures")


# -- HEIF, AVIF ------------------------------------------------------------------------------------------------


def heif(count: int = 1, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        pillow_heif.register_heif_opener()
        grey = [photograph().convert("L").convert("RGB").rotate(20 * number) for number in range(count)]
        more = {"save_all": True, "append_images": grey[1:]} if count > 1 else {}
        return file_of(grey[0], "HEIF", **more, **options).getvalue()

    return make


def ten_bits() -> bytes:
    grey = np.dstack([deep_photograph()[..., 1]] * 3)
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (90, 60), grey.tobytes()).save(file, bit_depth=10)
    return file.getvalue()


def avif(**options: object) -> Callable[[], bytes]:
    return lambda: file_of(photograph().convert("L").convert("RGB"), "AVIF", **options).getvalue()


def _heifs() -> Iterator[Row]:
    for kind, make in (("HEIF", heif), ("AVIF", avif)):
        yield Row(kind, "EXIF", make(exif=camera_exif()), exif_make)
        yield Row(kind, "XMP", make(xmp=XMP), holds("José".encode()))
        profile = profile_of("Adobe RGB")
        yield Row(kind, "colour profile", make(icc_profile=profile), said("icc_profile", profile))
    credentials = struct.pack(">I", 60) + b"uuid" + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(36)
    yield Row("AVIF", "frames", moving("AVIF", quality=95), frames(2))
    yield Row("AVIF", "content credentials", lambda: avif()() + credentials, None, "(C2PA) were left out")
    yield Row("HEIF", "further pictures", heif(3), None, "2 further pictures were left out")
    yield Row("HEIF", "10 bits", ten_bits, None, "its 10 bits per channel were rounded to 8")


COLORIZER = ROOT / "tests" / "data" / "tiny.onnx"
