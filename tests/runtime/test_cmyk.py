"""CMYK without a profile is offset print on coated paper, or what the user's profile says."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from colorize_run import Colorizer, Segmenter, colour
from colorize_run.batch.preview import thumbnail
from colorize_run.errors import ImageFileError, InputMissingError
from colorize_run.image import cmyk, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import Array, file_of, profile_of
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
PERCENT = st.integers(0, 100)


def patches(*inks: tuple[float, ...], kind: str = "TIFF", **options: object) -> io.BytesIO:
    """A picture of patches of 16 x 16, each of C, M, Y, K in percent."""
    row = np.repeat(np.array([inks]), 16, axis=1) * 2.55
    return file_of(Image.fromarray(np.rint(np.repeat(row, 16, axis=0)).astype(np.uint8), "CMYK"), kind, **options)


def colours_of(*inks: tuple[float, ...], **options: object) -> Array:
    """The colours, 0..255, that such patches are read as, (n, 3)."""
    picture = reader.read(patches(*inks, **options))
    return np.asarray(picture.pixels)[8, 8::16].astype(int)


def test_black_ink_becomes_the_greys_of_print() -> None:
    """Tone values of black on coated paper, with the gain of its dots: half of it is lighter than half of sRGB."""
    inks = [(0, 0, 0, k) for k in range(0, 101, 10)]
    greys = colours_of(*inks)
    assert np.ptp(greys, axis=1).max() <= 2
    assert np.abs(greys[:, 1] - [255, 237, 218, 198, 178, 157, 135, 112, 87, 60, 29]).max() <= 4


def test_inks_have_the_colours_of_print() -> None:
    solids = {
        (100, 0, 0, 0): (0, 159, 227), (0, 100, 0, 0): (230, 0, 126), (0, 0, 100, 0): (255, 237, 0),
        (0, 100, 100, 0): (227, 6, 19), (100, 0, 100, 0): (0, 150, 64), (100, 100, 0, 0): (49, 39, 131),
        (100, 100, 100, 100): (0, 0, 0),
    }  # fmt: skip
    assert np.abs(colours_of(*solids) - list(solids.values())).max() <= 6


@given(PERCENT, PERCENT, PERCENT, PERCENT, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_more_ink_is_never_lighter(c: int, m: int, y: int, k: int, more: int) -> None:
    inks = [c, m, y, k]
    inks[more] = min(100, inks[more] + 10)
    before, after = colour.lightness(colours_of((c, m, y, k), tuple(inks)).astype(np.float32)[None] / 255)[0]
    assert after <= before + 0.6


@pytest.mark.parametrize("inks", [(0, 0, 0, 1), (1, 0.8, 0.8, 0), (0.7, 0.55, 0.55, 0.35), (0.75, 0.68, 0.67, 0.9)])
def test_grey_photographs_in_cmyk_are_coloured(inks: tuple[float, ...]) -> None:
    tone = np.tile(np.linspace(0, 1, 96), (64, 1))[..., None] * np.array(inks) * 255
    source = file_of(Image.fromarray(tone.astype(np.uint8), "CMYK"), "TIFF")
    light = colour.lightness(np.asarray(reader.read(source).pixels, np.float32) / 255)
    data, result = Colorizer(DATA / "tiny.onnx", "cpu", 1).colorize_file(source, "PNG")
    assert not result.unchanged
    assert [note for note in result.notes if "CMYK" in note] == [
        "it is CMYK without a colour profile, and was read as offset print on coated paper (ISO 12647-2)"
    ]
    new = colour.lightness(np.asarray(Image.open(io.BytesIO(data)), np.float32) / 255)
    assert np.abs(new - light).max() < 0.4


def test_inverted_jpeg_files_mean_the_same() -> None:
    inks = [(0, 0, 0, 50), (60, 20, 40, 10)]
    far = colours_of(*inks) - colours_of(*inks, kind="JPEG", quality=98, subsampling=0)
    assert np.abs(far).max() <= 6


def other_profile(folder: Path) -> Path:
    """A CMYK profile with another meaning of black: that of this program, its curves of gain made straight."""
    data = cmyk.offset_print()
    at = data.index(b"mft2") + 52
    straight = np.linspace(0, 65535, 256).astype(">u2").tobytes() * 4
    path = folder / "press.icc"
    path.write_bytes(data[:at] + straight + data[at + len(straight) :])
    return path


def test_a_given_profile_says_what_cmyk_means(tmp_path: Path) -> None:
    path = other_profile(tmp_path)
    source = patches((0, 0, 0, 50))
    with reader.opened(source, cmyk_profile=cmyk.read_profile(path)) as file:
        picture = next(file.pictures())
    assert picture.notes == ["it is CMYK without a colour profile, and was read by the profile that was given"]
    assert np.asarray(picture.pixels)[0, 0, 1] > colours_of((0, 0, 0, 50))[0, 1] + 10
    overlay, result = Segmenter(DATA / "tiny-segment.onnx", "cpu", 1).segment_file(
        source, "cutout", cmyk_profile=cmyk.read_profile(path)
    )
    assert Image.open(io.BytesIO(overlay)).size == (16, 16)
    assert any("profile that was given" in note for note in result.notes)


def test_a_profile_of_its_own_comes_first(tmp_path: Path) -> None:
    own = other_profile(tmp_path).read_bytes()
    with reader.opened(patches((0, 0, 0, 50), icc_profile=own), cmyk_profile=cmyk.offset_print()) as file:
        picture = next(file.pictures())
    assert not any("CMYK" in note for note in picture.notes)
    assert np.asarray(picture.pixels)[0, 0, 1] > colours_of((0, 0, 0, 50))[0, 1] + 10


@pytest.mark.parametrize("content", [b"", b"no profile", cmyk.offset_print()[:300], Image.new("L", (9, 9)).tobytes()])
def test_what_is_no_profile_of_cmyk_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.icc").write_bytes(content)
    with pytest.raises(ImageFileError, match=r"a\.icc"):
        cmyk.read_profile(tmp_path / "a.icc")
    with pytest.raises(InputMissingError, match=r"b\.icc does not exist"):
        cmyk.read_profile(tmp_path / "b.icc")


@pytest.mark.parametrize("damaged", [profile_of("Display P3"), b"no profile at all" * 20])
def test_a_profile_that_is_not_of_cmyk_costs_itself_alone(damaged: bytes) -> None:
    picture = reader.read(patches((0, 0, 0, 50), icc_profile=damaged))
    assert len(picture.notes) == 1
    assert picture.notes[0].startswith("its colour profile could not be used (")
    assert picture.notes[0].endswith("so its CMYK was read as offset print on coated paper (ISO 12647-2)")
    assert np.array_equal(np.asarray(picture.pixels)[8, 8::16], colours_of((0, 0, 0, 50)))


def test_the_option_of_both_commands(tmp_path: Path) -> None:
    other_profile(tmp_path)
    (tmp_path / "a.tif").write_bytes(patches((0, 0, 0, 50), (0, 0, 0, 20)).getvalue())

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "colorize_run", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for command, model in (("colorize", "tiny.onnx"), ("segment", "tiny-segment.onnx")):
        common = [command, "a.tif", "-m", str(DATA / model), "-o", f"{command}.png"]
        assert run(*common, "--cmyk-profile", "nowhere.icc").returncode == 66
        assert run(*common, "--cmyk-profile", "a.tif").returncode == 1
        assert run(*common, "--cmyk-profile", "").returncode == 2
        done = run(*common, "--cmyk-profile", "press.icc")
        assert done.returncode == 0, done.stderr
        assert "profile that was given" in done.stderr


def test_the_thumbnail_of_a_report_is_the_same_picture(tmp_path: Path) -> None:
    data, _ = thumbnail(patches((0, 0, 0, 50), kind="JPEG", quality=98), 16)
    small = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(small[8, 8] - colours_of((0, 0, 0, 50))[0]).max() <= 4
