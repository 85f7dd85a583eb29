"""What a run leaves out: files that are no pictures, counted by suffix, and its own earlier outputs."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

DATA = Path(__file__).resolve().parents[1] / "data"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run`` with a tiny model in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str | Path) -> Result:
        model = DATA / ("tiny-segment.onnx" if arguments[0] == "segment" else "tiny.onnx")
        result = CliRunner().invoke(main, [*map(str, arguments), "-m", str(model), "--device", "cpu"])
        assert "Traceback" not in result.output
        assert "internal error" not in result.output
        return result

    return invoke


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 48), np.uint8)).save(path)


def left_out(result: Result) -> str:
    """What the run says that it left out."""
    (line,) = [line for line in result.stderr.splitlines() if "ignored: " in line]
    return line.partition("ignored: ")[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_other_files_are_counted_by_suffix(run: Run, tmp_path: Path) -> None:
    for name in ("a.CR3", "b.cr3", "c.CR3", "a.txt", "b.TXT", "Makefile", "more/d.cr3", "dot.", "x.jpg.part"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in/loop").symlink_to(".")
    picture(tmp_path / "in/a.png")
    result = run("in", "-o", "out", "-r", "--jobs", "1", "--report", "run.html")
    assert result.exit_code == 0, result.stderr
    expected = ".CR3: 4, .txt: 2, without a suffix: 2, linked folders: 1, hidden or temporary: 1"
    assert left_out(result) == expected
    assert expected in (tmp_path / "run.html").read_text()


def test_many_kinds_are_summed_up(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        for count in range(2 if number < 5 else 1):
            (tmp_path / "in" / f"{count}.s{number:02}").touch()
    result = run("in", "-o", "out")
    assert result.exit_code == 66
    expected = ".s00: 2, .s01: 2, .s02: 2, .s03: 2, .s04: 2, .s05: 1, others: 14"
    assert f"in contains no pictures; ignored: {expected}." in result.stderr


def test_suffixes_are_safe_to_print_and_short(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.\x1b[31m", "b.\n", "c.caf\udce9", "d." + "e" * 200, "e.\u202egnp"):
        (tmp_path / "in" / name).touch()
    said = left_out(run("in", "-o", "out"))
    assert len(said) < 120
    assert all(text in said for text in ("\\x1b[31m: 1", ".\\n: 1", ".caf\\udce9: 1", ".eeeeeeeeeeeeee…: 1", "\\u202egnp: 1"))


SUFFIXES = st.lists(st.sampled_from(["", ".a", ".A", ".b", ".c", ".D", ".d", ".e", ".f", ".g", ".h", ".i", "."]), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(suffixes=SUFFIXES)
def test_every_file_is_counted_once(run: Run, tmp_path: Path, suffixes: list[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for number, suffix in enumerate(suffixes):
        (folder / f"{number}{suffix}").touch()
    said = run("in", "-o", "out").stderr
    counts = [int(count) for count in re.findall(r": (\d+)", said)]
    assert sum(counts) == len(suffixes)
    assert len(counts) <= 7


@pytest.mark.parametrize("form", ["colorize", "mask", "soft", "overlay", "cutout"])
def test_the_same_pattern_again_leaves_its_own_outputs_out(run: Run, tmp_path: Path, form: str) -> None:
    words = ("colorize",) if form == "colorize" else ("segment", "--as", form)
    for number, name in enumerate(("a.png", "b.png")):
        picture(tmp_path / name, number)
    for place in ((), ("-o", "out/")):
        inputs = lambda: [*names(tmp_path), *(f"out/{name}" for name in names(tmp_path / "out") if form != "colorize")]  # noqa: E731
        assert run(*words, *inputs(), *place).exit_code == 0
        outputs = names(tmp_path), names(tmp_path / "out")
        for options in ((), ("--overwrite",)):
            again = run(*words, *inputs(), *place, *options)
            assert "earlier outputs: " in left_out(again)
            assert (names(tmp_path), names(tmp_path / "out")) == outputs


def test_outputs_of_another_command_are_left_out(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert run("segment", "a.png", "b.png", "--as", "cutout").exit_code == 0
    assert left_out(run(*names(tmp_path))) == "earlier outputs: 2"
    assert left_out(run("segment", *names(tmp_path), "--as", "soft")) == "earlier outputs: 4"
    expected = {f"{stem}{mark}.png" for stem in "ab" for mark in ("", ".cutout", ".colorized", ".soft")}
    assert set(names(tmp_path)) == expected


def test_a_named_file_that_nothing_signs_is_not_replaced(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.mask.png", 1)
    before = (tmp_path / "a.mask.png").read_bytes()
    result = run("segment", *names(tmp_path), "--overwrite")
    assert (result.exit_code, names(tmp_path)) == (73, ["a.mask.png", "a.png"])
    assert "a.mask.png was named as an input, too: leave it out" in result.stderr
    assert (tmp_path / "a.mask.png").read_bytes() == before
    assert run("segment", "a.png", "--overwrite").exit_code == 0
    assert (tmp_path / "a.mask.png").read_bytes() != before
    alone = run("segment", "a.mask.png", "-o", os.fspath(tmp_path / "new.png"))
    assert alone.exit_code == 0, alone.stderr


def test_a_pipe_with_the_name_of_an_output_is_not_waited_for(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("a.mask.png", "a.colorized.png"):
        os.mkfifo(tmp_path / name)
    for options in ((), ("--overwrite",)):
        for words in ((), ("segment",)):
            assert run(*words, *names(tmp_path), *options).exit_code != 0
    assert names(tmp_path) == ["a.colorized.png", "a.mask.png", "a.png"]
