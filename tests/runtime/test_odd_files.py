"""Files that are sound, but odd: what they say is understood, or costs only itself."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from colorize_run import Colorizer, Segmenter, colour
from colorize_run.errors import ImageFileError
from colorize_run.image import icc
from colorize_run.image.formats import FORMATS
from picture_files import XMP, camera_exif, file_of, icc_file, photograph, profile_of, with_iptc, with_xmp
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
COLORIZER = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu", 1)


def one_way_profile() -> bytes:
    """A scanner's ICC profile: a table from RGB to CIELAB, and none back."""
    levels = np.linspace(0, 1, 9, dtype=np.float32)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    lab = colour.srgb_to_lab(grid) * [2.55, 1, 1] + [0, 128, 128]
    straight = bytes(range(256)) * 3
    table = b"mft1\0\0\0\0\3\3\x09\0" + struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    table += straight + lab.round().clip(0, 255).astype(np.uint8).tobytes() + straight
    text = b"One way\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78), b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), b"A2B0": table,
    }  # fmt: skip
    return icc_file(tags, device=b"scnr", pcs=b"Lab ")


def coloured(source: io.BytesIO, kind: str | None = None) -> tuple[Image.Image, list[str]]:
    data, result = COLORIZER.colorize_file(source, kind)
    return Image.open(io.BytesIO(data)), result.notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_profile_that_leads_one_way_becomes_srgb(kind: str) -> None:
    image, notes = coloured(file_of(photograph(), kind, icc_profile=one_way_profile()))
    assert any("sRGB now" in note for note in notes)
    assert icc.is_srgb(image.info["icc_profile"])
    difference = colour.lightness(np.asarray(image.convert("RGB"))) - colour.lightness(np.asarray(photograph()))
    assert np.abs(difference).mean() < 3  # the table has nine steps


@pytest.mark.parametrize("form", ["BBBB", "<H", "<I", "<h", "<i"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])  # Pillow rewrites the EXIF of the other formats
def test_orientation_of_any_kind_of_integer_is_applied_once(form: str, kind: str) -> None:
    value = struct.pack(form, *(6, 0, 0, 0)[: len(form)]) if form == "BBBB" else struct.pack(form, 6)
    number = {"BBBB": 1, "<H": 3, "<I": 4, "<h": 8, "<i": 9}[form]
    exif = b"II*\0" + struct.pack("<IHHHI", 8, 1, 274, number, 1) + value.ljust(4, b"\0") + bytes(4)
    source = file_of(photograph(), kind, exif=b"Exif\0\0" + exif)
    shown = ImageOps.exif_transpose(Image.open(source)).size
    image, _ = coloured(source)
    assert ImageOps.exif_transpose(image).size == image.size == shown


@pytest.mark.parametrize("resolution", [(0, 0), (1, 0), (4294967295, 1)])
@pytest.mark.parametrize("target", ["TIFF", "PNG", "JPEG", "BMP"])
def test_a_resolution_that_means_nothing_costs_itself_alone(resolution: tuple[int, int], target: str) -> None:
    data = bytearray(file_of(photograph(), "TIFF", dpi=(300, 300)).getvalue())
    entries = {tag: at for at in range(len(data) - 12) for tag in (282, 283) if data[at : at + 4] == struct.pack("<HH", tag, 5)}
    for at in entries.values():
        struct.pack_into("<II", data, struct.unpack_from("<I", data, at + 8)[0], *resolution)
    image, _ = coloured(io.BytesIO(data), target)
    assert image.size == photograph().size
    assert "dpi" not in image.info or 0 <= float(image.info["dpi"][0]) < 100


@pytest.mark.parametrize("target", ["JPEG", "BMP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_that_hides_nothing_is_no_transparency(mode: str, target: str) -> None:
    image, notes = coloured(file_of(photograph().convert(mode), "PNG"), target)
    assert image.size == photograph().size
    assert not any("transparen" in note for note in notes)


def test_one_transparent_pixel_is_transparency() -> None:
    picture = photograph().convert("RGBA")
    picture.putpixel((3, 3), (0, 0, 0, 254))
    with pytest.raises(ImageFileError, match="has transparency"):
        coloured(file_of(picture, "PNG"), "JPEG")


@pytest.mark.parametrize("target", ["JPEG", "WEBP", "GIF", "AVIF"])
def test_a_panorama_that_a_format_cannot_hold_is_refused_with_the_limit(target: str) -> None:
    panorama = file_of(Image.new("L", (70_000, 2), 90), "PNG")
    with pytest.raises(ImageFileError, match=rf"has 70000 x 2 pixels, more than the {FORMATS[target].side} a side"):
        coloured(panorama, target)
    assert coloured(panorama, "TIFF")[0].size == (70_000, 2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_xmp_in_utf_16_is_kept_in_utf_8(encoding: str, kind: str) -> None:
    packet = XMP.decode().replace(' tiff:Orientation="6"', "").encode(encoding)
    image, notes = coloured(with_xmp(kind, packet))
    found = image.info["xmp"]
    assert "José Müller" in (found if isinstance(found, str) else found.decode())
    assert not notes


def test_python_takes_paths_as_text_and_streams_that_cannot_seek(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file_of(photograph(), "PNG").getvalue())
    expected = COLORIZER.colorize_file(path)[0]
    assert COLORIZER.colorize_file(str(path))[0] == expected
    with path.open("rb") as file:
        file.seekable = lambda: False  # type: ignore[method-assign]
        assert COLORIZER.colorize_file(file)[0] == expected
    with pytest.raises(TypeError, match="a path or a binary stream, not int"):
        COLORIZER.colorize_file(7)


def described(text: str) -> bytes:
    words = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(words), 28) + words


HDR_PROFILES = {
    "PQ": profile_of("Display P3", {b"cicp": b"cicp\0\0\0\0\x09\x10\0\1"}),
    "HLG": profile_of("Display P3", {b"desc": described("Rec. ITU-R BT.2100 HLG")}),
    "(PQ)": profile_of("Display P3", {b"desc": described("Rec2020 Gamut with PQ Transfer")}),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("name", HDR_PROFILES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_high_dynamic_range_is_refused_by_whatever_it_is_told(kind: str, name: str, mode: str) -> None:
    file = file_of(photograph().convert(mode), kind, icc_profile=HDR_PROFILES[name])
    for convert in (COLORIZER.colorize_file, Segmenter("flowers", "cpu", 1).segment_file):
        file.seek(0)
        with pytest.raises(ImageFileError, match=f"high dynamic range .*{name.strip('()')}"):
            convert(file)


def test_a_profile_for_camera_curves_is_no_high_dynamic_range() -> None:
    for more in ({b"cicp": b"cicp\0\0\0\0\x01\x0d\0\1"}, {b"desc": described("Epson PQ100 scanner")}):
        coloured(file_of(photograph(), "PNG", icc_profile=profile_of("Display P3", more)))


CARRIED = {
    "comment": lambda: file_of(photograph(), "JPEG", comment=b"attic"),
    "IPTC": lambda: with_iptc("JPEG"),
    "EXIF": lambda: file_of(photograph(), "JPEG", exif=camera_exif()),
}
HELD = {
    "JPEG": {"comment", "IPTC", "EXIF"}, "PNG": {"comment", "IPTC", "EXIF"}, "TIFF": {"IPTC", "EXIF"}, "GIF": {"comment"},
    "WEBP": {"EXIF"}, "AVIF": {"EXIF"}, "JPEG2000": {"EXIF"},
}  # fmt: skip


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("what", CARRIED)
def test_what_another_format_cannot_hold_is_named(kind: str, what: str) -> None:
    data, result = COLORIZER.colorize_file(CARRIED[what](), kind)
    named = any(f"{kind} cannot hold its {what}" in note for note in result.notes)
    parts = {"comment": b"attic", "IPTC": b"a man, a dog", "EXIF": b"MAKER"}
    if kind != "PNG":  # which compresses texts
        assert (parts[what] in data) is (what in HELD[kind])
    assert named is (what not in HELD[kind])
