"""What goes in comes out, only coloured: every kind of file through the Python API and the files it makes."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from colorize_run import Colorizer, colour
from colorize_run.control import Control
from colorize_run.errors import ImageFileError
from colorize_run.image import cmyk
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import icc_file
from PIL import ExifTags, Image, ImageCms, ImageOps

ROOT = Path(__file__).resolve().parents[2]
COLORIZER = Colorizer(str(ROOT / "tests" / "data" / "tiny.onnx"), "cpu")


def photograph(mode: str = "RGB", size: tuple[int, int] = (90, 60)) -> Image.Image:
    return Image.open(ROOT / "docs" / "samples" / "chelsea.jpg").convert("RGB").resize(size).convert(mode)


def file_of(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def coloured(file: io.BytesIO, kind: str | None = None, control: Control | None = None) -> Image.Image:
    data, _ = COLORIZER.colorize_file(file, kind, control=control)
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def lightness_of(image: Image.Image) -> np.ndarray:
    return colour.lightness(np.asarray(image.convert("RGB")))


def colourfulness(image: Image.Image) -> float:
    return float(np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=2).mean())


MODES = {
    "PNG": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "TIFF": ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "LAB"],
    "BMP": ["RGB", "L", "1", "P"],
    "WEBP": ["RGB", "RGBA"],
    "JPEG": ["RGB", "L", "CMYK"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_every_format_and_mode(kind: str, mode: str) -> None:
    if mode == "LAB":
        lab = ImageCms.profileToProfile(
            photograph(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        source = file_of(lab, kind)
    else:
        source = file_of(photograph(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    before = photograph() if mode == "LAB" else Image.open(source)
    before = cmyk.to_srgb(before, None)[0] if mode == "CMYK" else before.convert("RGB")
    result = coloured(source)
    assert result.format == kind
    assert result.size == before.size
    if kind != "WEBP":  # libwebp leaves out an alpha channel that is opaque throughout
        assert result.mode == ("RGBA" if mode in ("RGBA", "LA") else "RGB")
    assert colourfulness(result) > 4 or mode == "1"  # black and white have no room for chroma
    difference = np.abs(lightness_of(result) - lightness_of(before))
    assert difference.mean() < (0.5 if kind != "JPEG" else 1.0)
    if kind != "JPEG" and mode != "LAB":
        assert difference.max() < 0.35


@pytest.mark.parametrize("sample", ["chelsea", "coffee", "rocket"])
def test_jpeg_keeps_lightness_within_rounding(sample: str) -> None:
    path = ROOT / "docs" / "samples" / f"{sample}.jpg"
    data, result = COLORIZER.colorize_file(path, control=Control(lightness="cielab"))
    difference = np.abs(lightness_of(Image.open(io.BytesIO(data))) - lightness_of(Image.open(path)))
    assert difference.mean() < 0.5
    assert 0 <= result.out_of_gamut < 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.sampled_from(["RGB", "L"]), st.integers(0, 2**32 - 1))
def test_any_size_keeps_its_size_and_lightness(width: int, height: int, mode: str, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    result = COLORIZER.colorize(image)
    assert result.size == (width, height)
    assert np.abs(lightness_of(result) - lightness_of(image)).max() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2000), (1500, 1100)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    image = photograph(size=size)
    result = COLORIZER.colorize(image)
    assert result.size == size
    assert np.abs(lightness_of(result) - lightness_of(image)).max() < 0.3


def test_colorize_leaves_the_callers_picture_alone() -> None:
    image = photograph()
    before = image.tobytes()
    COLORIZER.colorize(image)
    assert image.tobytes() == before


def test_threads_make_no_difference() -> None:
    image = photograph(size=(1500, 1100))
    alone = Colorizer(str(ROOT / "tests" / "data" / "tiny.onnx"), "cpu", threads=1)
    both = Colorizer(str(ROOT / "tests" / "data" / "tiny.onnx"), "cpu", threads=2)
    assert alone.colorize(image).tobytes() == both.colorize(image).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_and_reset(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = file_of(photograph(), kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    result = coloured(source, control=Control(upright=True))
    assert result.size == upright.size
    assert result.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert np.abs(lightness_of(result) - lightness_of(upright)).mean() < 1


def test_the_python_api_turns_pictures_upright_too() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    with Image.open(file_of(photograph(), "JPEG", exif=exif.tobytes())) as image:
        assert COLORIZER.colorize(image).size == (60, 90)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_the_exif_alone(kind: str) -> None:
    data, result = COLORIZER.colorize_file(file_of(photograph(), kind, exif=b"Exif\0\0not a TIFF header at all"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (90, 60)
    assert not any("damaged or incomplete" in note for note in result.notes)


def test_exif_too_large_for_jpeg_is_left_out_with_a_note() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    _, result = COLORIZER.colorize_file(file_of(photograph(), "PNG", exif=exif.tobytes()), "JPEG")
    assert any("EXIF" in note for note in result.notes)


@pytest.mark.parametrize("photometric", [0, 1])
def test_sixteen_bit_tiff_with_either_white(photometric: int) -> None:
    ramp = np.linspace(0, 65535, 90 * 60).astype(np.uint16).reshape(60, 90)
    stored = 65535 - ramp if photometric == 0 else ramp
    data, _ = COLORIZER.colorize_file(file_of(Image.fromarray(stored), "TIFF", tiffinfo={262: photometric}))
    after = tifffile.imread(io.BytesIO(data)).astype(np.float32) / 65535
    assert np.abs(colour.lightness(after) - colour.lightness(ramp.astype(np.float32) / 65535)).max() < 0.02


def test_typed_errors_of_the_python_api() -> None:
    for bad in (Image.new("RGB", (0, 5)), Image.new("F", (5, 5)), Image.new("I", (5, 5))):
        with pytest.raises(ImageFileError):
            COLORIZER.colorize(bad)
    with pytest.raises(ImageFileError, match="PCX"):
        COLORIZER.colorize_file(file_of(photograph(), "PNG"), "PCX")
    assert Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu").contract.name == "tiny"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_survives_without_its_thumbnail(kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera works"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:21 04:22:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    found = coloured(file_of(photograph(), kind, exif=exif.tobytes())).getexif()
    assert found[ExifTags.Base.Make] == "Camera works"
    assert found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:11:21 04:22:00"
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert not found.get_ifd(ExifTags.IFD.IFD1)


# Columns of linear RGB -> XYZ (D50), as ICC profiles hold them
SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
P3_PRIMARIES = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))


def icc_profile(name: str, gamma: float, primaries: tuple | None) -> bytes:
    """A version 2 display profile: RGB by matrix and gamma, or grey by gamma alone. Layout: ICC.1:2001-04."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    }
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for letter, primary in zip(b"rgb", primaries, strict=True):
            tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*primary)
            tags[bytes([letter]) + b"TRC"] = curve
    return icc_file(tags, space=b"GRAY" if primaries is None else b"RGB ")


def lightness_by(pixels: np.ndarray, gamma: float, primaries: tuple | None) -> np.ndarray:
    """CIELAB L* of encoded pixels by the profile's own formula."""
    linear = (pixels.astype(np.float64) / (65535 if pixels.dtype == np.uint16 else 255)) ** gamma
    y = linear if primaries is None else linear @ np.array([primary[1] for primary in primaries])
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_srgb_profile_is_kept_as_it_is(kind: str) -> None:
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = coloured(file_of(photograph(), kind, icc_profile=data))
    assert result.info["icc_profile"] == data


@pytest.mark.parametrize(
    ("name", "gamma", "primaries"),
    [
        ("Display P3", 2.2, P3_PRIMARIES),
        ("gamma 1.8", 1.8, SRGB_PRIMARIES),
        ("sRGB in name only", 1.0, SRGB_PRIMARIES),
    ],
)
def test_other_profiles_are_kept_and_lightness_is_theirs(name: str, gamma: float, primaries: tuple) -> None:
    profile = icc_profile(name, gamma, primaries)
    image = photograph()
    result = coloured(file_of(image, "PNG", icc_profile=profile))
    assert result.info["icc_profile"] == profile
    assert colourfulness(result) > 4
    difference = lightness_by(np.asarray(result), gamma, primaries) - lightness_by(np.asarray(image), gamma, primaries)
    # gamma 1.0 has few bytes for the dark half: a byte there is up to 9 of L*
    assert np.abs(difference).mean() < (0.5 if gamma > 1 else 1.0)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_grey_profiles_are_followed(gamma: float, depth: type) -> None:
    grey = np.asarray(photograph("L"))
    pixels = grey if depth is np.uint8 else grey.astype(np.uint16) * 257
    result = coloured(file_of(Image.fromarray(pixels), "PNG", icc_profile=icc_profile("grey", gamma, None)))
    assert np.abs(lightness_of(result) - lightness_by(pixels, gamma, None)).mean() < 0.5
    written = ImageCms.ImageCmsProfile(io.BytesIO(result.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(written)


def test_raw_is_tagged_with_no_foreign_profile() -> None:
    profile = icc_profile("Display P3", 2.2, P3_PRIMARIES)
    data, _ = COLORIZER.colorize_file(file_of(photograph(), "PNG", icc_profile=profile), raw=True)
    assert "icc_profile" not in Image.open(io.BytesIO(data)).info


def test_damaged_icc_profile_is_noted_not_fatal() -> None:
    _, result = COLORIZER.colorize_file(file_of(photograph(), "PNG", icc_profile=b"no profile at all"))
    assert any("profile" in note for note in result.notes)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("WEBP", "RGBA")])
def test_alpha_is_kept_to_the_byte(kind: str, mode: str) -> None:
    image = photograph(mode)
    alpha = Image.fromarray(np.arange(90 * 60, dtype=np.uint32).astype(np.uint8).reshape(60, 90))
    image.putalpha(alpha)
    result = coloured(file_of(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert result.getchannel("A").tobytes() == alpha.tobytes()


def test_palette_transparency_becomes_alpha() -> None:
    image = photograph("P")
    image.info["transparency"] = 0
    source = file_of(image, "PNG", transparency=0)
    assert coloured(source).getchannel("A").tobytes() == Image.open(source).convert("RGBA").getchannel("A").tobytes()


def test_resolution_survives() -> None:
    for kind in ("JPEG", "PNG", "TIFF", "BMP"):
        x, y = coloured(file_of(photograph(), kind, dpi=(300, 300))).info["dpi"]
        assert (round(x), round(y)) == (300, 300)


def test_raw_is_the_networks_own_palette() -> None:
    data, _ = COLORIZER.colorize_file(file_of(photograph(), "PNG"), raw=True)
    picture = Image.open(io.BytesIO(data))
    assert min(picture.size) == COLORIZER.contract.working_size.short_side
    found = {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()}
    palette = {tuple(min(255, round(v * 256 / 255 / 256 * 255)) for v in colour) for colour in COLORIZER.contract.palette}
    assert len(found) <= len(palette)
    assert all(min(max(abs(a - b) for a, b in zip(pixel, entry, strict=True)) for entry in palette) <= 1 for pixel in found)
