"""Depth, colour space, metadata and frames: what a file is, besides its colours, comes out as it went in."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.errors import ImageFileError, OptionError
from colorize_run.image import icc
from colorize_run.image.reader import opened
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import (
    IPTC,
    PRIMARIES,
    camera_exif,
    chunk,
    colourfulness,
    deep_photograph,
    file_of,
    lightness,
    lightness_in,
    photograph,
    pixels_of,
    png16,
    profile_of,
    tiff16,
    with_chunks,
    with_iptc,
    with_xmp,
)  # fmt: skip
from PIL import ExifTags, Image, ImageCms

ROOT = Path(__file__).resolve().parents[2]
COLORIZER = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu")
UPRIGHT = Control(upright=True)  # a JPEG is joined, too
Array = np.ndarray
SPACES = list(PRIMARIES)


# -- sixteen bits ----------------------------------------------------------------------------------------------

DEEP_FILES = {
    "png": png16,
    "tiff raw": tiff16,
    "tiff deflate": lambda values: tiff16(values, compression="zlib"),
    "tiff predictor": lambda values: tiff16(values, compression="zlib", predictor=True),
    "tiff big-endian": lambda values: tiff16(values, byteorder=">"),
    "tiff tiles": lambda values: tiff16(values, tile=(16, 16)),
}


@pytest.mark.parametrize("kind", DEEP_FILES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen(kind: str, channels: int) -> None:
    before = deep_photograph()
    before = before[..., 1] if channels == 1 else before
    alpha = np.arange(90 * 60, dtype=np.uint16).reshape(60, 90) * 12
    source = np.dstack([before, alpha]) if channels == 4 else before
    data, result = COLORIZER.colorize_file(DEEP_FILES[kind](source))
    after = pixels_of(data)
    assert after.dtype == np.uint16
    assert not result.notes
    assert colourfulness(after) > 0.01
    assert np.abs(lightness(after) - lightness(before)).max() < 0.02
    if channels == 4:
        assert (after[..., 3] == alpha).all()


def test_sixteen_bit_grey_with_alpha() -> None:
    grey, alpha = deep_photograph()[..., 0], deep_photograph()[..., 2]
    after = pixels_of(COLORIZER.colorize_file(png16(np.dstack([grey, alpha])))[0])
    assert (after[..., 3] == alpha).all()
    assert np.abs(lightness(after) - lightness(grey)).max() < 0.02


def test_sixteen_bit_colour_key_becomes_alpha() -> None:
    values = deep_photograph()
    values[:9] = (1, 2, 300)
    values[9] = (1, 2, 301)  # its upper bytes are the same
    after = pixels_of(COLORIZER.colorize_file(png16(values, chunk(b"tRNS", struct.pack(">3H", 1, 2, 300))))[0])
    assert (after[:9, :, 3] == 0).all()
    assert (after[9:, :, 3] == 65535).all()


def test_multiplied_alpha_is_divided_out() -> None:
    colours, alpha = deep_photograph(), np.full((60, 90), 40_000, np.uint16)
    stored = np.rint(colours * (alpha[..., None] / 65535)).astype(np.uint16)
    after = pixels_of(COLORIZER.colorize_file(tiff16(np.dstack([stored, alpha]), alpha="assocalpha"))[0])
    assert np.abs(lightness(after) - lightness(colours)).max() < 0.05
    assert (after[..., 3] == alpha).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_any_sixteen_bit_picture_keeps_its_lightness(width: int, height: int, channels: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 65536, (height, width, channels), dtype=np.uint16)
    data, _ = COLORIZER.colorize_file(png16(values))
    after = pixels_of(data)
    assert after.dtype == np.uint16
    assert np.abs(lightness(after) - lightness(values[..., 0] if channels == 1 else values)).max() < 0.05


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**32 - 1))
def test_files_of_sixteen_bits_are_what_other_readers_understand(width: int, height: int, alpha: bool, seed: int) -> None:
    """PNG and TIFF of the same picture hold the same values, whoever reads them."""
    values = np.random.default_rng(seed).integers(0, 65536, (height, width, 3 + alpha), dtype=np.uint16)
    as_png, as_tiff = (COLORIZER.colorize_file(png16(values), kind)[0] for kind in ("PNG", "TIFF"))
    assert (pixels_of(as_png).ravel() == pixels_of(as_tiff).ravel()).all()
    with Image.open(io.BytesIO(as_png)) as image:
        image.load()
        assert image.size == (width, height)


def test_what_cannot_hold_sixteen_bits_says_so() -> None:
    data, result = COLORIZER.colorize_file(png16(deep_photograph()), "WEBP")
    assert any("16 bits" in note for note in result.notes)
    assert Image.open(io.BytesIO(data)).format == "WEBP"


# -- colour spaces ---------------------------------------------------------------------------------------------


def saturated() -> Array:
    """Colours of which many lie outside sRGB in any larger space."""
    values = np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    values[:20] = (255, 0, 0)
    values[20:40] = (0, 255, 0)
    return values


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_lightness_by_the_files_own_profile_is_kept(name: str, kind: str) -> None:
    source = file_of(
        Image.fromarray(saturated()), kind, icc_profile=profile_of(name), **({"quality": 98} if kind == "JPEG" else {})
    )
    before = np.asarray(Image.open(source))
    data, result = COLORIZER.colorize_file(source)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == profile_of(name)
        difference = np.abs(lightness_in(np.asarray(image), name) - lightness_in(before, name))
    if kind == "JPEG":
        assert difference.mean() < 2  # of noise, by JPEG's own rounding
    else:  # rounding to bytes: of a larger space it is more, and linear light has few bytes for the dark half
        assert difference.max() < {"ProPhoto": 0.4, "linear sRGB": 2}.get(name, 0.3)
    assert not result.notes


@pytest.mark.parametrize("name", SPACES)
def test_lightness_by_little_cms_is_kept(name: str) -> None:
    """An independent reader of profiles gives the same L* before and after, to within its 8 bits."""
    data, _ = COLORIZER.colorize_file(file_of(photograph(), "PNG", icc_profile=profile_of(name)))
    planes = []
    for image in (photograph(), Image.open(io.BytesIO(data))):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_of(name)))
        lab = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("LAB"), outputMode="LAB")
        planes.append(np.asarray(lab)[..., 0].astype(float) * 100 / 255)
    assert np.abs(planes[0] - planes[1]).max() <= (0.8 if name != "linear sRGB" else 2.5)


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB", "ProPhoto"])
def test_colours_are_the_same_in_every_space(name: str) -> None:
    """A picture in a larger space, coloured and then converted to sRGB, looks like the same picture coloured in sRGB."""
    srgb, own = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile_of(name)))
    grey = photograph().convert("L").convert("RGB")
    moved = ImageCms.profileToProfile(grey, srgb, own, outputMode="RGB", renderingIntent=1)
    data, _ = COLORIZER.colorize_file(file_of(moved, "PNG", icc_profile=profile_of(name)))
    back = ImageCms.profileToProfile(Image.open(io.BytesIO(data)), own, srgb, outputMode="RGB", renderingIntent=1)
    wanted = np.asarray(COLORIZER.colorize(grey), int)
    shown = np.abs(np.asarray(back, int) - wanted)[(wanted.max(axis=2) < 255) & (wanted.min(axis=2) > 0)]
    assert shown.mean() < 3


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("maker", [png16, tiff16])
def test_sixteen_bits_in_a_wide_space(name: str, maker) -> None:
    before = np.random.default_rng(2).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    profile = profile_of(name)
    if maker is png16:
        source = png16(before, chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)))
    else:
        source = tiff16(before, iccprofile=profile)
    data, result = COLORIZER.colorize_file(source)
    after = pixels_of(data)
    assert after.dtype == np.uint16
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
    assert np.abs(lightness_in(after, name) - lightness_in(before, name)).max() < 0.05
    assert not result.notes


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from(SPACES), st.floats(0, 1), st.floats(0, 4), st.integers(0, 2**32 - 1)
)
def test_lightness_is_kept_in_any_space_at_any_strength(
    width: int, height: int, name: str, blend: float, saturation: float, seed: int
) -> None:
    before = np.random.default_rng(seed).integers(0, 65536, (height, width, 3), dtype=np.uint16)
    source = png16(before, chunk(b"iCCP", b"x\0\0" + zlib.compress(profile_of(name))))
    data, _ = COLORIZER.colorize_file(source, control=Control(saturation=saturation, blend=blend))
    assert np.abs(lightness_in(pixels_of(data), name) - lightness_in(before, name)).max() < 0.05


def test_wide_colours_written_without_a_profile_become_srgb() -> None:
    source = file_of(photograph(), "PNG", icc_profile=profile_of("Display P3"))
    data, _ = COLORIZER.colorize_file(source, "BMP")
    in_srgb = COLORIZER.colorize_file(file_of(photograph(), "PNG"), "BMP")[0]
    assert data != in_srgb  # converted, not relabelled


def test_the_python_api_keeps_the_profile() -> None:
    image = photograph()
    image.info["icc_profile"] = profile_of("Adobe RGB")
    after = COLORIZER.colorize(image)
    assert after.info["icc_profile"] == profile_of("Adobe RGB")
    difference = lightness_in(np.asarray(after), "Adobe RGB") - lightness_in(np.asarray(image), "Adobe RGB")
    assert np.abs(difference).max() < 0.3


def test_grey_with_an_rgb_profile_is_read_by_it() -> None:
    grey = np.asarray(photograph().convert("L"))
    data, result = COLORIZER.colorize_file(file_of(Image.fromarray(grey), "TIFF", icc_profile=profile_of("Adobe RGB")))
    after = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(lightness_in(after, "Adobe RGB") - lightness_in(np.dstack([grey] * 3), "Adobe RGB")).max() < 0.3
    assert not result.notes


@pytest.mark.parametrize("wrong", [{"saturation": -1}, {"saturation": float("nan")}, {"blend": 1.1}, {"blend": float("nan")}])
def test_control_out_of_range(wrong: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Control(**wrong)


# -- metadata --------------------------------------------------------------------------------------------------

XMP_KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]


def xmp_of(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        found = image.info.get("xmp", b"")
    return found.decode() if isinstance(found, bytes) else found


@pytest.mark.parametrize("kind", XMP_KINDS)
def test_xmp_is_kept_upright_and_says_who_made_the_colours(kind: str) -> None:
    found = xmp_of(COLORIZER.colorize_file(with_xmp(kind), control=UPRIGHT)[0])
    assert "José Müller" in found
    assert 'tiff:Orientation="6"' not in found
    assert "Thumbnails" not in found
    for said in ("AI-colourised", "compositeWithTrainedAlgorithmicMedia", "tiny", COLORIZER.model.sha256):
        assert said in found


@pytest.mark.parametrize("kind", [*XMP_KINDS, "GIF"])
def test_every_format_that_can_says_who_made_the_colours(kind: str) -> None:
    data, result = COLORIZER.colorize_file(file_of(photograph(), kind))
    assert b"AI-colourised" in data
    assert not any("metadata" in note for note in result.notes)
    again = COLORIZER.colorize_file(io.BytesIO(data))[0]
    assert again.count(b"AI-colourised") == 1


def test_bmp_says_that_it_cannot() -> None:
    _, result = COLORIZER.colorize_file(file_of(photograph(), "BMP"))
    assert any("cannot hold metadata" in note for note in result.notes)


@pytest.mark.parametrize("xmp", [b"<not xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a/>"])
def test_damaged_xmp_costs_the_xmp_alone(xmp: bytes) -> None:
    data, result = COLORIZER.colorize_file(with_xmp("PNG", xmp))
    assert any("XMP" in note for note in result.notes)
    assert b"AI-colourised" in data


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("target", ["JPEG", "TIFF", "PNG"])
def test_iptc_is_kept_without_the_thumbnail_beside_it(kind: str, target: str) -> None:
    data, _ = COLORIZER.colorize_file(with_iptc(kind), target)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if target == "JPEG":
            assert image.info["photoshop"][0x0404] == IPTC
        elif target == "TIFF":
            assert image.tag_v2[33723] == IPTC  # type: ignore[attr-defined]
        else:
            assert IPTC.hex() in image.info["Raw profile type iptc"].replace("\n", "")
    assert b"the picture of before" not in data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_is_corrected_in_place(kind: str) -> None:
    before = camera_exif()
    data, result = COLORIZER.colorize_file(file_of(photograph(), kind, exif=before), control=UPRIGHT)
    with Image.open(io.BytesIO(data)) as image:
        after = image.info["exif"].removeprefix(b"Exif\0\0")
        found = image.getexif()
        assert image.size == (60, 90)
    before = before.removeprefix(b"Exif\0\0")
    assert not result.notes
    if kind != "AVIF":  # where Pillow writes EXIF anew
        assert after.index(b"MAKER") == before.index(b"MAKER")  # makers' notes stay where their own offsets point
        assert "Müller".encode("latin-1") in after
    assert b"\xff\xd8" not in after
    assert found.get(ExifTags.Base.Orientation, 1) == 1
    inner = found.get_ifd(ExifTags.IFD.Exif)
    assert (inner[40962], inner[40963]) == (60, 90)


def test_tiff_keeps_letters_beyond_ascii() -> None:
    data, _ = COLORIZER.colorize_file(file_of(photograph(), "JPEG", exif=camera_exif()), "TIFF")
    assert Image.open(io.BytesIO(data)).getexif()[ExifTags.Base.Make] == "Müller"


def test_comments_and_texts_are_kept() -> None:
    from PIL.PngImagePlugin import PngInfo

    data, _ = COLORIZER.colorize_file(file_of(photograph(), "JPEG", comment=b"found in the attic"))
    assert Image.open(io.BytesIO(data)).info["comment"] == b"found in the attic"
    info = PngInfo()
    info.add_text("Title", "attic")
    info.add_text("Author", "Žižek")
    data, _ = COLORIZER.colorize_file(file_of(photograph(), "PNG", pnginfo=info))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.text["Title"], image.text["Author"]) == ("attic", "Žižek")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [*XMP_KINDS, "GIF"])
def test_metadata_is_stripped_when_asked(kind: str) -> None:
    exif = {} if kind == "GIF" else {"exif": camera_exif()}
    profile = {} if kind == "GIF" else {"icc_profile": profile_of("Display P3")}
    comment = {"comment": b"secret place"} if kind in ("GIF", "JPEG") else {}
    source = file_of(photograph(), kind, **exif, **profile, **comment)
    data, _ = COLORIZER.colorize_file(source, keep_metadata=False)
    assert not any(word in data for word in (b"MAKER", b"AI-colourised", b"secret", b"xmpmeta"))
    with Image.open(io.BytesIO(data)) as image:
        assert bool(image.info.get("icc_profile")) == bool(profile)  # without it, colours would change


# -- frames ----------------------------------------------------------------------------------------------------


def film(frames: int = 5, size: tuple[int, int] = (96, 64), alpha: bool = False) -> list[Image.Image]:
    """A still photograph with a bright square that wanders over it."""
    result = []
    for number in range(frames):
        image = photograph(*size).convert("L").convert("RGBA" if alpha else "RGB")
        image.paste((250, 250, 250), (4 + 9 * number, 10, 16 + 9 * number, 22))
        if alpha:
            image.paste((0, 0, 0, 0), (0, 50, 96, 64))
        result.append(image)
    return result


def film_of(kind: str, alpha: bool = False, **options: Any) -> io.BytesIO:
    frames = film(alpha=alpha)
    durations = [100, 200, 300, 400, 500]
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    return file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=durations, **lossless, **options)


def frames_of(data: bytes) -> tuple[list[Array], list[int]]:
    with Image.open(io.BytesIO(data)) as image:
        frames, durations = [], []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.load()
            durations.append(round(image.info.get("duration", 0)))
            frames.append(np.asarray(image.convert("RGBA")))
    return frames, durations


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("alpha", [False, True])
def test_every_frame_is_coloured_and_its_time_kept(kind: str, alpha: bool) -> None:
    source = film_of(kind, alpha)
    data, result = COLORIZER.colorize_file(source)
    before, durations = frames_of(source.getvalue())
    after, found = frames_of(data)
    assert found == durations
    assert len(after) == 5
    assert not result.notes
    for old, new in zip(before, after, strict=True):
        assert ((old[..., 3] > 127) == (new[..., 3] > 127)).all()
        seen = old[..., 3] > 0
        difference = np.abs(lightness(old) - lightness(new))[seen]
        assert difference.mean() < {"GIF": 2.5, "AVIF": 1}.get(kind, 0.3)  # a GIF has 256 colours
        assert colourfulness(new) > 0.03


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_what_stands_still_keeps_its_colour(kind: str) -> None:
    """A square wanders over the upper half of a photograph; a network that sees all of it changes its mind below, too."""
    colorizer = Colorizer(ROOT / "artifacts" / "photo.onnx", "cpu")
    still = Image.open(ROOT / "docs" / "samples" / "coffee.jpg").convert("L").convert("RGB").resize((216, 144))
    frames = [still.copy() for _ in range(4)]
    for number, frame in enumerate(frames):
        frame.paste((230, 230, 230), (8 + 20 * number, 8, 70 + 20 * number, 60))
    options = {"lossless": True} if kind == "WEBP" else {}
    source = file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    after = np.stack(frames_of(colorizer.colorize_file(source)[0])[0]).astype(int)[:, 80:, :, :3]
    alone = np.stack([np.asarray(colorizer.colorize(frame)) for frame in frames]).astype(int)[:, 80:]
    assert np.ptp(alone, axis=0).max() > 5  # frames coloured one by one flicker
    assert np.ptp(after, axis=0).max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("loop", [0, 1, 3, None])
def test_loops_are_kept(kind: str, loop: int | None) -> None:
    source = film_of(kind, **({} if loop is None else {"loop": loop}))
    data, _ = COLORIZER.colorize_file(source)
    assert Image.open(io.BytesIO(data)).info.get("loop") == Image.open(source).info.get("loop")


def test_a_film_may_become_one_of_another_format() -> None:
    for target in ("PNG", "WEBP", "AVIF"):
        data, _ = COLORIZER.colorize_file(film_of("GIF"), target)
        assert len(frames_of(data)[0]) == 5
    data, _ = COLORIZER.colorize_file(film_of("GIF", loop=2), "WEBP")
    assert Image.open(io.BytesIO(data)).info["loop"] == 3  # GIF counts repetitions, WebP plays
    data, result = COLORIZER.colorize_file(film_of("GIF"), "JPEG")
    assert any("first of 5" in note for note in result.notes)


def test_the_still_of_an_apng_stays_apart() -> None:
    frames = film()
    source = file_of(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True, duration=70)
    data, _ = COLORIZER.colorize_file(source)
    with Image.open(io.BytesIO(data)) as image:
        assert image.default_image  # type: ignore[attr-defined]
        assert image.n_frames == 5  # type: ignore[attr-defined]


def test_films_are_limited_as_a_whole() -> None:
    with pytest.raises(ImageFileError, match="5 frames"):
        COLORIZER.colorize_file(film_of("GIF"), max_pixels=20_000)


def pages() -> io.BytesIO:
    """Pages of different size, depth and metadata in one TIFF file."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        said = {"resolution": (300, 300), "resolutionunit": 2, "description": "one", "metadata": None}
        writer.write(np.asarray(photograph()), photometric="rgb", **said)
        writer.write(deep_photograph()[:40], photometric="rgb", compression="zlib", iccprofile=profile_of("Adobe RGB"))
        writer.write(np.asarray(photograph(50, 70).convert("L")), photometric="minisblack", description="three")
    file.seek(0)
    return file


def test_every_page_of_a_tiff_is_coloured() -> None:
    data, result = COLORIZER.colorize_file(pages())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = [(page.shape, page.dtype) for page in file.pages]
        assert found == [((60, 90, 3), np.uint8), ((40, 90, 3), np.uint16), ((70, 50, 3), np.uint8)]
        assert "one" in file.pages[0].description
        assert file.pages[1].iccprofile == profile_of("Adobe RGB")
        assert file.pages[0].tags[282].value[0] / file.pages[0].tags[282].value[1] == 300
        second = file.pages[1].asarray()
    assert np.abs(lightness_in(second, "Adobe RGB") - lightness_in(deep_photograph()[:40], "Adobe RGB")).max() < 0.05
    assert not result.notes


def test_pages_become_one_picture_elsewhere() -> None:
    _, result = COLORIZER.colorize_file(pages(), "PNG")
    assert any("first of 3" in note for note in result.notes)


# -- formats ---------------------------------------------------------------------------------------------------


def test_bmp_with_transparency() -> None:
    image = photograph().convert("RGBA")
    alpha = Image.fromarray(np.arange(90 * 60, dtype=np.uint32).astype(np.uint8).reshape(60, 90))
    image.putalpha(alpha)
    data, _ = COLORIZER.colorize_file(file_of(image, "PNG"), "BMP")
    with Image.open(io.BytesIO(data)) as found:
        assert (found.format, found.mode) == ("BMP", "RGBA")
        assert found.getchannel("A").tobytes() == alpha.tobytes()
        assert np.abs(lightness(np.asarray(found)) - lightness(np.asarray(image))).max() < 0.35
    again, _ = COLORIZER.colorize_file(io.BytesIO(data))
    assert Image.open(io.BytesIO(again)).getchannel("A").tobytes() == alpha.tobytes()
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (values[..., 3] == np.asarray(alpha)).all()


def test_heic_comes_with_an_extra() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    source = file_of(
        photograph(), "HEIF", quality=95, exif=camera_exif().replace(struct.pack(">HH", 6, 0), struct.pack(">HH", 1, 0))
    )
    data, _ = COLORIZER.colorize_file(source)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "HEIF"
        assert image.size == (90, 60)
        assert np.abs(lightness(np.asarray(image)) - lightness(np.asarray(Image.open(source)))).mean() < 1.5
        assert image.getexif()[ExifTags.Base.Make]
    assert b"AI-colourised" in data


def test_what_lies_beside_a_phones_photograph_is_told() -> None:
    file = io.BytesIO()
    photograph().save(file, "MPO", save_all=True, append_images=[photograph(45, 30)])
    file.seek(0)
    data, result = COLORIZER.colorize_file(file, control=Control(lightness="cielab"))
    assert any("other images in the file" in note for note in result.notes)
    assert Image.open(io.BytesIO(data)).format == "JPEG"


def test_lossless_webp_is_found_behind_a_profile() -> None:
    source = file_of(photograph(), "WEBP", lossless=True, icc_profile=profile_of("Adobe RGB") + bytes(5000))
    with opened(source) as file:
        assert next(file.pictures()).save_options["lossless"]


# -- spaces by numbers -------------------------------------------------------------------------------------------


def png_with(chunks: bytes, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return with_chunks(file_of(Image.fromarray(pixels), "PNG", **options).getvalue(), chunks)


def profile_after(data: bytes) -> tuple[bytes | None, list[str]]:
    coloured, result = COLORIZER.colorize_file(io.BytesIO(data))
    with Image.open(io.BytesIO(coloured)) as image:
        return image.info.get("icc_profile"), result.notes


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"gAMA", struct.pack(">I", 45455))
        + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"cICP", bytes((1, 13, 0, 1))),
        chunk(b"cICP", bytes((2, 2, 0, 1))),
    ],
    ids=["gAMA", "gAMA and cHRM", "sRGB and another gAMA", "cICP", "cICP of nothing"],
)
def test_numbers_that_mean_srgb_make_no_profile(chunks: bytes) -> None:
    assert profile_after(png_with(chunks)) == (None, [])


def test_cicp_comes_before_a_profile_and_gamma_after_it() -> None:
    linear = chunk(b"gAMA", struct.pack(">I", 100000))
    own = profile_of("Adobe RGB")
    assert profile_after(png_with(linear, icc_profile=own))[0] == own
    coded, _ = profile_after(png_with(chunk(b"cICP", bytes((9, 8, 0, 1))), icc_profile=own))
    assert coded not in (None, own)
    space = icc.space_of(coded or b"")
    assert space is not None
    np.testing.assert_allclose(space.curves[1], np.linspace(0, 1, 65536), atol=1e-4)  # H.273: 8 is linear
    np.testing.assert_allclose(space.to_xyz[1], (0.2790, 0.6753, 0.0456), atol=1e-3)  # BT.2020 under D50, by Lindbloom's method


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        (chunk(b"cICP", bytes((3, 13, 0, 1))), "H.273 numbers 3 and 13"),
        (chunk(b"gAMA", struct.pack(">I", 1)), "invalid and were ignored"),
        (chunk(b"gAMA", struct.pack(">I", 60000)) + chunk(b"cHRM", struct.pack(">8I", *[0] * 8)), "invalid and were ignored"),
    ],
    ids=["cICP", "gAMA", "cHRM"],
)
def test_numbers_that_mean_nothing_are_said(chunks: bytes, says: str) -> None:
    profile, notes = profile_after(png_with(chunks))
    assert profile is None
    assert any(says in note for note in notes)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused_with_a_way_out(transfer: int, name: str) -> None:
    with pytest.raises(ImageFileError, match=rf"high dynamic range \({name}\).*convert it"):
        profile_after(png_with(chunk(b"cICP", bytes((9, transfer, 0, 1)))))
