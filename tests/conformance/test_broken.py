"""Files that are broken: one sentence each, no traceback, no hang, bounded memory; and nothing lost that is whole."""

import io
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from broken_files import cut_files, flipped_files, odd_files, wrong_files
from colorize_run import Colorizer
from colorize_run.errors import ImageFileError
from picture_files import ROOT, file_of, photograph
from PIL import Image

TINY = ROOT / "tests" / "data" / "tiny.onnx"
COLORIZER = Colorizer(TINY, "cpu")
CUT, WRONG, ODD = dict(cut_files()), dict(wrong_files()), dict(odd_files())
# What says something impossible of itself, and has a picture all the same.
PICTURES_ALL_THE_SAME = {"zero-frames.png", "pages-in-a-circle.tif", "zero-size.gif"}
# What has frames or pages that are whole before those that are not.
WITH_WHOLE_FRAMES = {
    "cut-30.moving.png", "cut-60.moving.png", "cut-90.moving.png", "cut-30.moving.gif", "cut-60.moving.gif",
    "cut-90.moving.gif", "cut-90.pages.tif", "frames-that-are-not-there.png",
}  # fmt: skip
PEAK_MEMORY = (
    "import sys; from colorize_run.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "finally: print(int([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1]) // 1024)"
)


@pytest.fixture(autouse=True)
def as_the_command_line_does(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def one_sentence(data: bytes) -> None:
    with pytest.raises(ImageFileError) as caught:
        COLORIZER.colorize_file(io.BytesIO(data))
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert 10 < len(text) < 260


@pytest.mark.parametrize("name", [name for name in CUT if name not in WITH_WHOLE_FRAMES])
def test_what_is_cut_off_is_one_sentence(name: str) -> None:
    one_sentence(CUT[name])


@pytest.mark.parametrize("name", sorted(WITH_WHOLE_FRAMES))
def test_damaged_frames_do_not_cost_the_whole_ones(name: str) -> None:
    data, result = COLORIZER.colorize_file(io.BytesIO({**CUT, **WRONG}[name]))
    assert any("left out" in note for note in result.notes)
    with Image.open(io.BytesIO(data)) as image:
        count = getattr(image, "n_frames", 1)
        assert 1 <= count < 4
        for number in range(count):
            image.seek(number)
            assert name.startswith("frames") or np.ptp(np.asarray(image.convert("L"))) > 100


@pytest.mark.parametrize("name", [name for name in WRONG if name not in PICTURES_ALL_THE_SAME | WITH_WHOLE_FRAMES])
def test_what_says_something_impossible_is_one_sentence(name: str) -> None:
    one_sentence(WRONG[name])


@pytest.mark.parametrize("name", ODD)
def test_damage_beside_the_pixels_costs_no_picture(name: str) -> None:
    data, _ = COLORIZER.colorize_file(io.BytesIO(ODD[name]))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size in ((90, 60), (60, 90))


def test_a_few_wrong_bytes_are_a_picture_or_one_sentence() -> None:
    said = [_said(data) for _, data in flipped_files()]
    assert not any("\n" in text for text in said)
    assert said.count("") > 20  # pictures


def _said(data: bytes) -> str:
    try:
        COLORIZER.colorize_file(io.BytesIO(data))
    except ImageFileError as error:
        return str(error)
    return ""


def test_heic_that_is_cut_off_is_one_sentence() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(file, "HEIF")
    for share in (0.1, 0.5, 0.9):
        one_sentence(file.getvalue()[: int(len(file.getvalue()) * share)])


def test_all_of_them_in_one_run_of_the_command_line(tmp_path: Path) -> None:
    whole = PICTURES_ALL_THE_SAME | WITH_WHOLE_FRAMES
    broken = {name: data for name, data in {**CUT, **WRONG}.items() if name not in whole}
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, *sorted(broken), "-o", "out/", "-m", str(TINY), "--device", "cpu"],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    *lines, summary = done.stderr.splitlines()
    assert summary == f"{len(broken)} of {len(broken)} pictures failed."
    assert [line.split()[1] for line in lines] == sorted(broken)
    assert all(line.startswith("error: ") and "internal" not in line for line in lines)
    assert int(done.stdout) < 250  # MB; what they claim to hold would take terabytes
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_gif_frame_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    frames = [photograph().convert("L").rotate(20 * number) for number in range(2)]
    data = bytearray(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]).getvalue())
    second = data.rindex(b",\0\0\0\0")
    data[second + 5 : second + 9] = b"\xff\x7f\xff\x7f"
    with pytest.raises(ImageFileError, match="32767 x 32767 = 1074 megapixels"):
        COLORIZER.colorize_file(io.BytesIO(bytes(data)))
