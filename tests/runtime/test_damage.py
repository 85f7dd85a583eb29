"""Pictures some of whose pixels are missing: refused with the share that is missing, or done when that was asked for."""

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colorize_run import Colorizer, Segmenter, colour
from colorize_run.cli import main
from colorize_run.control import Control
from colorize_run.errors import ImageFileError
from colorize_run.image import damage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from picture_files import file_of, lightness, pixels_of, png16
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "docs" / "samples" / "chelsea.jpg"
COLORIZER = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu", 1)
END = b"\xff\xd9"


def detailed(mode: str = "L", size: tuple[int, int] = (320, 240)) -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert(mode).resize(size)


def encoded(kind: str = "JPEG", mode: str = "L", **options: object) -> bytes:
    return file_of(detailed(mode), kind, **options).getvalue()


def scan_cut(data: bytes, share: float) -> bytes:
    """A file of one scan with that share of it, closed as if it were whole."""
    start = data.index(b"\xff\xda") + 10
    return data[: start + int(share * (len(data) - start))] + END


def refusal(data: bytes) -> str:
    with pytest.raises(ImageFileError) as caught:
        COLORIZER.colorize_file(io.BytesIO(data), accept_damaged=False)
    return str(caught.value)


def missing(text: str) -> int:
    found = re.search(r"about (\d+) % of its pixels are missing", text)
    assert found, text
    return int(found[1])


@settings(deadline=None, max_examples=40)
@example(0.1430804, "L", False, False)
@given(st.floats(0.1, 0.9), st.sampled_from(["L", "RGB", "CMYK"]), st.booleans(), st.booleans())
def test_a_jpeg_cut_short_is_refused_with_the_missing_share(share: float, mode: str, closed: bool, restarts: bool) -> None:
    data = encoded(mode=mode, quality=90, restart_marker_rows=4 * restarts)
    cut = scan_cut(data, share)
    text = refusal(cut if closed else cut[:-2])
    assert text.startswith("is damaged or incomplete: ")
    assert "--accept-damaged" in text
    # lines of blocks need different numbers of bytes
    assert abs(missing(text) - 100 * (1 - share)) < 15
    coloured, result = COLORIZER.colorize_file(io.BytesIO(cut), "PNG", accept_damaged=True)
    assert any("damaged" in note for note in result.notes)
    rows = int(0.8 * share * 240)
    kept = colour.lightness(np.asarray(Image.open(io.BytesIO(coloured)).convert("RGB"))[:rows])
    whole, _ = COLORIZER.colorize_file(io.BytesIO(data), "PNG")
    true = colour.lightness(np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))[:rows])
    assert np.abs(kept - true).mean() < 3


def wrong_bytes(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(0).integers(0, 255, 1024, np.uint8).tobytes() + data[middle + 1024 :]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("harm", [wrong_bytes, lambda data: data.replace(b"\xff\xd3", b"\xff\xd4", 1)])
def test_wrong_blocks_are_refused(mode: str, harm: Callable[[bytes], bytes]) -> None:
    data = encoded(mode=mode, quality=90, restart_marker_rows=2)
    COLORIZER.colorize_file(io.BytesIO(data))
    assert "damaged" in refusal(harm(data))
    _, result = COLORIZER.colorize_file(io.BytesIO(harm(data)), accept_damaged=True)
    assert any("damaged" in note for note in result.notes)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_is_odd_but_harmless_is_no_damage(mode: str, progressive: bool) -> None:
    data = encoded(mode=mode, progressive=progressive)
    newer = bytearray(data)
    newer[11] = 2  # JFIF 2.x
    other = data.replace(b"Adobe", b"Adobf")
    padded = [data[:-2] + filler * count + END for filler in (b"\0", b"\xff") for count in (1, 2, 50, 3000)]
    between = data[:20] + b"lost bytes" + data[20:]
    for odd in (bytes(newer), other, between, data + b"trailer" * 99, *padded, damage_free_noise()):
        _, result = COLORIZER.colorize_file(io.BytesIO(odd))
        assert not any("damaged" in note for note in result.notes)
    assert "damaged" in refusal(data[:-2] + b"no padding" * 20 + END)


def damage_free_noise() -> bytes:
    """A whole picture whose lower half is of one colour, as if it were missing."""
    image = detailed()
    ImageDraw.Draw(image).rectangle((0, 120, 320, 240), fill=128)
    return file_of(image, "JPEG").getvalue()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("GIF", {})])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_other_formats_are_refused_or_taken_too(kind: str, options: dict[str, object], mode: str) -> None:
    data = encoded(kind, mode, **options)
    cut = data[: 7 * len(data) // 10]
    text = refusal(cut)
    assert "--accept-damaged" in text
    if kind != "GIF":  # whose decoder writes into rows that were filled before
        assert 20 < missing(text) < 45
    coloured, result = COLORIZER.colorize_file(io.BytesIO(cut), accept_damaged=True)
    assert any("damaged" in note for note in result.notes)
    Image.open(io.BytesIO(coloured)).load()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF"])
def test_a_file_without_any_pixel_is_refused_all_the_same(kind: str) -> None:
    data = encoded(kind)
    head = data.index(b"\xff\xda") + 10 if kind == "JPEG" else 60
    with pytest.raises(ImageFileError, match="damaged"):
        COLORIZER.colorize_file(io.BytesIO(data[:head]), accept_damaged=True)


def test_a_damaged_page_costs_no_other() -> None:
    pages = [detailed(size=(64, 48)).rotate(90 * number) for number in range(4)]
    file = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    image = Image.open(file)
    image.seek(2)
    place, size = (getattr(image, "tag_v2")[tag][0] for tag in (273, 279))  # noqa: B009 (unknown to Pillow's stubs)
    data = bytearray(file.getvalue())
    data[place + 1 : place + size] = b"\xff" * (size - 1)
    coloured, result = COLORIZER.colorize_file(io.BytesIO(bytes(data)))
    assert getattr(Image.open(io.BytesIO(coloured)), "n_frames", 1) == 3
    assert next(note for note in result.notes if "left out" in note).startswith("frame 3 of 4 was left out: it is damaged")


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.jpg").write_bytes(scan_cut(encoded(), 0.5))
    tiny = ["-m", str(ROOT / "tests/data/tiny.onnx"), "--device", "cpu"]
    refused = CliRunner().invoke(main, ["cut.jpg", *tiny])
    assert refused.exit_code == 1
    assert refused.stderr.count("--accept-damaged") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cut.jpg"]
    done = CliRunner().invoke(main, ["cut.jpg", *tiny, "--accept-damaged"])
    assert (done.exit_code, "note: cut.jpg: it is damaged" in done.stderr) == (0, True)
    Path("in").mkdir()
    shutil.copy("cut.jpg", "in")
    Path("in/whole.jpg").write_bytes(encoded())
    runs = [CliRunner().invoke(main, ["in/", "-o", "out/", *tiny, *option]) for option in ([], ["--accept-damaged"], [])]
    assert [run.exit_code for run in runs] == [1, 0, 0]
    assert "1 done, 1 already done" in runs[1].stderr  # what was whole is not done again
    flowers = CliRunner().invoke(main, ["segment", "cut.jpg", "--device", "cpu", "--accept-damaged"])
    assert (flowers.exit_code, "it is damaged" in flowers.stderr) == (0, True)


def test_segmentation_refuses_too() -> None:
    with pytest.raises(ImageFileError, match="--accept-damaged"):
        Segmenter("flowers", "cpu", 1).segment_file(io.BytesIO(scan_cut(encoded(), 0.5)))


def test_sixteen_bits_keep_their_depth_and_their_rows() -> None:
    grey = np.asarray(detailed()).astype(np.uint16) * 257
    data = png16(grey).getvalue()
    cut = data[: len(data) * 6 // 10]
    assert 30 < missing(refusal(cut)) < 50
    coloured, result = COLORIZER.colorize_file(io.BytesIO(cut), accept_damaged=True)
    after = pixels_of(coloured)
    assert after.dtype == np.uint16
    assert np.abs(lightness(after) - lightness(np.dstack([grey] * 3)))[:120].max() < 0.05
    assert [note for note in result.notes if "rounded" in note] == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_white_margin_is_not_missing(kind: str) -> None:
    scan = Image.new("L", (300, 400), 255)
    scan.paste(detailed(size=(300, 120)), (0, 280))
    data = file_of(scan, kind).getvalue()
    text = refusal(data[: len(data) * 98 // 100])
    assert "some of its pixels" in text or missing(text) < 6


@pytest.mark.parametrize("picture", [detailed(), Image.new("L", (320, 240), 255)])
def test_a_jpeg_without_its_end_marker_has_all_its_pixels(picture: Image.Image) -> None:
    coloured, result = COLORIZER.colorize_file(io.BytesIO(file_of(picture, "JPEG").getvalue()[:-2]))
    assert "its last bytes are missing, but none of its pixels" in result.notes
    Image.open(io.BytesIO(coloured)).load()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_old_encoders_write_is_no_damage(mode: str) -> None:
    data = encoded(mode=mode, restart_marker_rows=2)
    scan = data.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    header = data[: end - 2] + b"\0" + data[end - 1 :]  # the last coefficient is said to be the first
    filled = re.sub(rb"(\xff[\xd0-\xd7])", lambda found: b"\xff" * 9 + found[1], data[end:])
    followed = data[:-2] + bytes(300) + END + encoded(mode=mode)
    for odd in (header, data[:end] + filled, followed):
        _, result = COLORIZER.colorize_file(io.BytesIO(odd))
        assert not any("damaged" in note for note in result.notes)


def test_damage_of_a_picture_that_stays_as_it_is_is_told() -> None:
    photograph = Image.open(SAMPLE).convert("RGB").resize((320, 240))
    cut = scan_cut(file_of(photograph, "JPEG").getvalue(), 0.7)
    data, result = COLORIZER.colorize_file(io.BytesIO(cut), control=Control(keep_colour=True), accept_damaged=True)
    assert data == cut
    assert any("it is damaged: about" in note for note in result.notes)


def test_losing_the_still_picture_of_an_animation_costs_no_frame() -> None:
    frames = [detailed(size=(64, 48)).convert("RGB").rotate(20 * number) for number in range(3)]
    data = bytearray(file_of(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True).getvalue())
    start = data.index(b"IDAT") + 20
    data[start : start + 200] = bytes(200)
    coloured, result = COLORIZER.colorize_file(io.BytesIO(bytes(data)))
    assert any("frame 1 of 3 was left out" in note for note in result.notes)
    with Image.open(io.BytesIO(coloured)) as image:
        assert (getattr(image, "n_frames", 1), bool(image.info.get("default_image"))) == (2, False)


@pytest.mark.parametrize("size", [(320, 240), (160, 120), (80, 60), (40, 30)])
def test_simplejpeg_and_pillow_decode_the_same(size: tuple[int, int]) -> None:
    data = encoded(quality=85)
    image = Image.open(io.BytesIO(data))
    image.draft("L", size)
    luma, warning = damage.decode_jpeg(data, size)
    assert warning == ""
    np.testing.assert_array_equal(luma, np.asarray(image))
