"""``--keep-times``: outputs have the times of their inputs, from the moment that they have their names."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
TIMES = (1_000_000_000_123_456_789, 981_173_106_987_654_321)  # ns, of access and of modification
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run`` with a tiny model in an empty folder; its workers find the package where this process does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "runtime"))

    def invoke(*arguments: str | Path) -> Result:
        model = [] if arguments[0] == "restore" else ["-m", str(model_for(arguments[0])), "--device", "cpu"]
        result = CliRunner().invoke(main, [*map(str, arguments), *model])
        assert "Traceback" not in result.output
        assert "internal error" not in result.output
        return result

    return invoke


def model_for(command: str | Path) -> Path:
    return DATA / ("tiny-segment.onnx" if command == "segment" else "tiny.onnx")


def picture(path: Path, times: tuple[int, int] = TIMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(list(path.name.encode())).integers(0, 256, (32, 48), np.uint8)).save(path)
    os.utime(path, ns=times)
    return path


def times(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_atime_ns, status.st_mtime_ns


def test_a_single_file(run: Run, tmp_path: Path) -> None:
    for words, output in (
        ((), "a.colorized.png"), (("-o", "named.jpg"), "named.jpg"), (("-o", "out/"), "out/a.png"),
        (("--raw", "-o", "raw.png"), "raw.png"), (("-j", "1", "-o", "worker.png"), "worker.png"),
    ):  # fmt: skip
        source = picture(tmp_path / "a.png")
        result = run(source.name, "--keep-times", *words)
        assert result.exit_code == 0, result.stderr
        assert times(tmp_path / output) == TIMES
    for form in ("mask", "overlay"):
        source = picture(tmp_path / "a.png")
        assert run("segment", source.name, "--as", form, "--keep-times").exit_code == 0
        assert times(tmp_path / f"a.{form}.png") == TIMES


@pytest.mark.parametrize("when", [-2_000_000_000, -1, 0, 1, 1 << 31, 1 << 32])  # seconds since 1970
def test_any_time_that_the_file_system_holds(run: Run, tmp_path: Path, when: int) -> None:
    source = picture(tmp_path / "a.png", (when * 10**9 + 5, when * 10**9 + 7))
    expected = times(source)
    result = run("a.png", "--keep-times")
    assert (result.exit_code, "note" in result.stderr) == (0, False)
    assert times(tmp_path / "a.colorized.png") == expected


def test_without_it_outputs_are_new(run: Run, tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    source.chmod(0o600)
    mask = os.umask(0o022)
    try:
        assert run("a.png").exit_code == 0
        assert run("a.png", "--keep-times", "-o", "kept.png").exit_code == 0
    finally:
        os.umask(mask)
    assert times(tmp_path / "a.colorized.png")[1] > TIMES[1] + 10**17
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("a.colorized.png", "kept.png")} == {0o644}


def test_a_folder_and_its_index(run: Run, tmp_path: Path) -> None:
    """A finished output gets the times later, without being made again; a further run finds nothing to do."""
    sources = [picture(tmp_path / "in" / name) for name in ("a.png", "sub/b.png", "sub/c.jpg")]
    outputs = [tmp_path / "out" / source.relative_to(tmp_path / "in") for source in sources]
    command = ("in", "-o", "out", "-r", "--jobs", "2")
    assert run(*command).exit_code == 0
    index = tmp_path / "out" / ".colorize-run.jsonl"
    before = index.read_bytes(), [(output.stat().st_ino, output.read_bytes()) for output in outputs]
    for source in sources:
        os.utime(source, ns=TIMES)
    for _ in range(2):
        result = run(*command, "--keep-times")
        assert (result.exit_code, "3 already done" in result.stderr) == (0, True)
        assert (index.read_bytes(), [(output.stat().st_ino, output.read_bytes()) for output in outputs]) == before
        assert [times(output)[1] for output in outputs] == [TIMES[1]] * 3
    again = run(*command)
    assert "3 already done" in again.stderr
    assert [times(output)[1] for output in outputs] == [TIMES[1]] * 3
    picture(tmp_path / "in/d.png")
    assert "1 done, 3 already done" in run(*command, "--keep-times").stderr
    assert times(tmp_path / "out/d.png") == TIMES


def test_other_files_stay_without_overwrite(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    foreign = picture(tmp_path / "out/a.png", (5, 6))
    before = foreign.read_bytes()
    assert run("in", "-o", "out", "--keep-times").exit_code == 73
    assert (foreign.read_bytes(), times(foreign)[1]) == (before, 6)
    assert run("in", "-o", "out", "--keep-times", "--overwrite").exit_code == 0
    assert times(foreign)[1] == TIMES[1]
    assert foreign.read_bytes() != before


def test_the_name_appears_with_the_times(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    output = tmp_path / "out/a.png"
    command = [sys.executable, "-m", "colorize_run", "in", "-o", "out", "--keep-times", "-m", str(DATA / "tiny.onnx")]
    with subprocess.Popen([*command, "--device", "cpu"], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        while not output.exists() and process.poll() is None:
            pass
        first = times(output)
        assert process.wait() == 0
    assert first == TIMES


def test_streams_have_no_times(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for words in (("a.png", "-o", "-"), ("-", "-o", "b.png"), ("segment", "-", "-o", "-"), ("restore", "a.jpg", "-o", "-")):
        result = run(*words, "--keep-times")
        assert result.exit_code == 2
        assert "--keep-times cannot be combined with stdin or stdout" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_time_that_the_file_system_does_not_hold(run: Run, tmp_path: Path) -> None:
    """tmpfs holds any time, ext4 none after 2446: a note, and the picture is there."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs /dev/shm")
    far = 20_000_000_000 * 10**9
    probe = tmp_path / "probe"
    probe.touch()
    os.utime(probe, ns=(far, far))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        source = picture(Path(folder) / "in" / "a.png", (far, far))
        if source.stat().st_mtime_ns != far or probe.stat().st_mtime_ns == far:
            pytest.skip("needs two file systems that hold different times")
        single = run(source, "-o", "single.png", "--keep-times")
        assert single.exit_code == 0
        for _ in range(2):
            several = run(source.parent, "-o", "out", "--keep-times", "--report", "run.jsonl")
            assert several.exit_code == 0, several.stderr
            for result in (single, several):
                assert "cannot hold the time of the input" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["status"], len(line["notes"])) for line in lines] == [("done", 1), ("skipped", 1)]
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "single.png").read_bytes()


def test_a_restored_file_has_the_times_of_its_first_original(run: Run, tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    assert run("a.jpg", "--keep-times").exit_code == 0
    (tmp_path / "back").mkdir()
    shutil.move(source, tmp_path / "back" / "original.jpg")
    assert run("restore", "a.colorized.jpg", "--keep-times").exit_code == 0
    assert times(source)[1] == TIMES[1]
    assert source.read_bytes() == (tmp_path / "back" / "original.jpg").read_bytes()
    os.utime(source, ns=(1, 2))
    again = run("restore", "a.colorized.jpg", "--keep-times")
    assert (again.exit_code, "the same" in again.stderr) == (0, True)
    assert times(source)[1] == 2  # what is there already stays as it is
