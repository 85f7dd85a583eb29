"""Files that are broken: one sentence each, no traceback, no hang, bounded memory; and nothing lost that is whole."""

import io
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_files import cut_files, flipped_files, odd_files, wrong_files
from colorize_run import Colorizer
from colorize_run.errors import ImageFileError
from picture_files import ROOT
from PIL import Image

TINY = ROOT / "tests" / "data" / "tiny.onnx"
COLORIZER = Colorizer(TINY, "cpu")
CUT, WRONG, ODD = dict(cut_files()), dict(wrong_files()), dict(odd_files())
# What says something impossible of itself, and has a picture all the same.
PICTURES_ALL_THE_SAME = {"zero-frames.png", "pages-in-a-circle.tif", "zero-size.gif"}
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


@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_off_is_one_sentence(name: str) -> None:
    one_sentence(CUT[name])


@pytest.mark.parametrize("name", [name for name in WRONG if name not in PICTURES_ALL_THE_SAME])
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
    broken = {**CUT, **{name: data for name, data in WRONG.items() if name not in PICTURES_ALL_THE_SAME}}
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
