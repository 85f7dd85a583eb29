"""Folders, as a person or a script meets them: mirrored, resumed by content, killed, crowded and broken."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run.batch.naming import COLORIZE_NAMES, is_output, segment_names
from colorize_run.batch.plan import plan
from colorize_run.cli import main
from colorize_run.errors import OptionError
from colorize_run.system.hardware import available_threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
INDEX = ".colorize-run.jsonl"

Run = Callable[..., Result]
OnTerminal = Callable[[list[str], dict[str, str]], tuple[int, str, str]]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (48, 32)) -> Path:
    """A small grey picture, not like any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), np.uint8)
    Image.fromarray(pixels).resize((2 * size[0], 2 * size[1])).save(path)
    return path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the index."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != INDEX:
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run`` with the tiny model in an empty folder; its workers find the package where this process does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "runtime"))

    def invoke(*arguments: str | Path) -> Result:
        segments = arguments[0] == "segment"
        model = ROOT / "tests" / "data" / "tiny-segment.onnx" if segments else TINY
        result = CliRunner().invoke(main, [*map(str, arguments), "-m", str(model), "--device", "cpu"])
        assert "Traceback" not in result.output
        assert "internal error" not in result.output
        return result

    return invoke


def command(*arguments: str | Path) -> list[str]:
    """The same as a process of its own."""
    return [sys.executable, "-m", "colorize_run", *map(str, arguments), "-m", str(TINY), "--device", "cpu"]


# -- where pictures go ----------------------------------------------------------------------------------------


def test_a_folder_is_mirrored_and_what_is_left_out_is_counted(run: Run, tmp_path: Path) -> None:
    for number, name in enumerate(
        ("b.jpg", "a.png", "sub/a.png", "sub/deeper/c.tif", ".hidden.jpg", ".dir/d.png", "x.jpg.part")
    ):
        picture(tmp_path / "in" / name.replace(".part", ".png"), number)
    (tmp_path / "in/x.jpg.png").rename(tmp_path / "in/x.jpg.part")
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "in/sub/loop").symlink_to("..")
    (tmp_path / "in/endless").symlink_to("endless")
    result = run("in/", "-o", "out/", "--recursive")
    assert result.exit_code == 0, result.stderr
    assert set(digests(tmp_path / "out")) == {"b.jpg", "a.png", "sub/a.png", "sub/deeper/c.tif"}
    first_line = result.stderr.splitlines()[0]
    counts = (".txt: 1", "without a suffix: 1", "hidden or temporary: 2", "hidden folders: 1", "linked folders: 1")
    for words in ("4 pictures", *counts):
        assert words in first_line
    assert "4 done" in result.stderr


def test_without_recursive_only_the_top_level(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/sub/b.png")
    result = run("in", "-o", "out")
    assert result.exit_code == 0
    assert set(digests(tmp_path / "out")) == {"a.png"}
    assert "--recursive" in result.stderr.splitlines()[0]


def test_outputs_beside_inputs_are_not_coloured_again(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    assert run("in/").exit_code == 0
    before = digests(tmp_path / "in")
    assert set(before) == {"a.png", "a.colorized.png"}
    again = run("in/")
    assert again.exit_code == 0
    assert "1 already done" in again.stderr
    assert "earlier outputs: 1" in again.stderr
    assert digests(tmp_path / "in") == before


def test_the_same_pattern_again_does_not_colour_its_own_outputs(run: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    assert run("a.png", "b.png").exit_code == 0
    before = digests(tmp_path)
    for _ in range(2):
        again = run(*sorted(path.name for path in tmp_path.glob("*.png")))
        assert "ignored: earlier outputs: 2" in again.stderr
        assert "a.colorized.png exists; --overwrite replaces it." in again.stderr
        assert digests(tmp_path) == before
    replaced = run(*sorted(path.name for path in tmp_path.glob("*.png")), "--overwrite")
    assert (replaced.exit_code, "ignored: earlier outputs: 2" in replaced.stderr) == (0, True)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.colorized.png", "a.png", "b.colorized.png", "b.png"]
    alone = run("a.colorized.png", "-o", "again.png")
    assert (alone.exit_code, "again.png" in alone.stderr) == (0, True)


def test_segments_of_a_folder_keep_the_whole_name(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/a.jpg", 1)
    assert run("segment", "in", "-o", "out").exit_code == 0
    assert set(digests(tmp_path / "out")) == {"a.png.mask.png", "a.jpg.mask.png"}
    assert run("segment", "in", "--as", "overlay").exit_code == 0
    assert {"a.png.overlay.png", "a.jpg.overlay.jpg"} < set(digests(tmp_path / "in"))
    assert "2 already done" in run("segment", "in", "--as", "overlay").stderr


def test_several_folders_and_files(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "one/a.png")
    picture(tmp_path / "two/a.png", 1)
    picture(tmp_path / "three.png", 2)
    assert run("one", "two", "three.png", "-o", "out").exit_code == 0
    assert set(digests(tmp_path / "out")) == {"one/a.png", "two/a.png", "three.png"}
    picture(tmp_path / "a.png", 3)
    refused = run("one", "a.png", "-o", "other")
    assert refused.exit_code == 2
    assert "would both be written to" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_folders_that_would_feed_on_themselves(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    assert run("in", "-o", "in/out", "--recursive").exit_code == 0
    again = run("in", "-o", "in/out", "--recursive")
    assert again.exit_code == 0
    assert "1 picture," in again.stderr
    assert "the output folder: 1" in again.stderr
    for arguments in (
        ("in", "-o", "in"),
        ("in", "-o", "in/."),
        ("in", "-o", ".", "-r"),
        ("in", "-o", "x.png"),
        ("in", "-o", "-"),
    ):
        before = digests(tmp_path)
        assert run(*arguments).exit_code == 2, arguments
        assert digests(tmp_path) == before


def test_usage_that_makes_no_sense(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    for arguments in (
        ("in", "-", "-o", "out"), ("in", "--mask", "m.png", "--raw"), ("in/a.png", "-r"), ("in", "--jobs", "none"),
        ("in", "--jobs", "0"), ("-", "--jobs", "2"), ("in/a.png", "-o", "-", "--jobs", "2"),
    ):  # fmt: skip
        assert run(*arguments).exit_code == 2, arguments


def test_a_missing_folder_is_the_first_complaint(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    for words in (("nope/", "-o", "coloured"), ("nope/", "-r", "-o", "coloured/"), ("in.png", "nope", "-r", "-o", "x")):
        result = run(*words)
        assert result.exit_code == 66
        assert f"{'nope/' if 'nope/' in words else 'nope'} does not exist." in result.stderr


def test_an_empty_output_is_refused(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    before = digests(tmp_path)
    for name in ("in", "in/a.png"):
        result = run(name, "-o", "")
        assert (result.exit_code, "-o is empty" in result.stderr) == (2, True)
    assert digests(tmp_path) == before


def test_a_folder_by_two_names_is_refused(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "link").symlink_to("in")
    for words in ((), ("-o", "out")):
        result = run("in", "link", *words)
        assert (result.exit_code, "in and link are the same folder" in result.stderr) == (2, True), result.stderr
    assert set(digests(tmp_path / "in")) == {"a.png"}


def test_nothing_in_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").touch()
    picture(tmp_path / "in/sub/a.png")
    result = run("in", "-o", "out")
    assert result.exit_code == 66
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "in contains no pictures" in line
    assert "--recursive" in line
    assert ".txt: 1" in line
    picture(tmp_path / "full/a.png")
    assert run("in", "full", "-o", "both").exit_code == 1
    assert set(digests(tmp_path / "both")) == {"full/a.png"}


NAMES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "a.jpg", "A"]), max_size=2),
        st.text(st.sampled_from("abA.~ é"), max_size=6),
        st.sampled_from([".jpg", ".JPG", ".jpeg", ".png", ".tif", ".colorized.jpg", ".mask.png"]),
    ),
    max_size=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(names=NAMES, form=st.sampled_from(["colorize", "mask", "soft", "overlay", "cutout"]), beside=st.booleans())
def test_no_two_inputs_share_an_output(
    tmp_path: Path, names: list[tuple[list[str], str, str]], form: str, beside: bool
) -> None:
    """Whatever a folder holds: outputs differ, are no input, and are not searched for again."""
    folder = tmp_path / "in"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for parents, stem, suffix in names:
        path = folder.joinpath(*parents, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:  # a file is where a folder would be
            continue
    naming = COLORIZE_NAMES if form == "colorize" else segment_names(form)
    planned = plan([str(folder)], None if beside else str(tmp_path / "out"), naming, recursive=True)
    sources, targets = [task.source for task in planned.tasks], [task.target for task in planned.tasks]
    assert len(set(sources)) == len(sources)
    assert len({os.path.normpath(target) for target in targets}) == len(targets)
    assert not set(map(os.path.normpath, targets)) & set(map(os.path.normpath, sources))
    if beside:
        assert all(is_output(os.fsencode(target.name)) for target in targets)


def test_twins_by_letter_case_are_two_pictures(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/A.png", 1)
    assert run("in", "-o", "out", "--overwrite").exit_code == 0
    assert len(set(digests(tmp_path / "out").values())) == 2


def test_one_output_by_two_names_stays_that_of_the_first(run: Run, tmp_path: Path) -> None:
    """Linked folders stand for a file system that takes two names for one: neither is seen before something is written."""
    picture(tmp_path / "in/p/a.png", 1)
    picture(tmp_path / "in/q/a.png", 2)
    (tmp_path / "out/p").mkdir(parents=True)
    (tmp_path / "out/p/a.png").touch()
    (tmp_path / "out/q").symlink_to("p")
    result = run("in", "-r", "-o", "out", "--overwrite", "--jobs", "1")
    assert (result.exit_code, "1 done, 1 failed" in result.stderr) == (1, True), result.stderr
    assert "out/q/a.png is the output of another picture" in result.stderr
    picture(tmp_path / "in/p/b.png", 1)
    assert run("in/p/b.png", "-o", "alone.png").exit_code == 0
    assert (tmp_path / "out/p/a.png").read_bytes() == (tmp_path / "alone.png").read_bytes()
    picture(tmp_path / "x/a.jpg", 1)
    picture(tmp_path / "x/a.png", 2)
    (tmp_path / "y").symlink_to("x")
    result = run("segment", "x/a.jpg", "y/a.png", "--as", "soft", "--overwrite")
    assert (result.exit_code, "y/a.soft.png is the output of another picture" in result.stderr) == (1, True), result.stderr
    assert run("segment", "x/a.jpg", "--as", "soft", "-o", "soft.png").exit_code == 0
    assert (tmp_path / "x/a.soft.png").read_bytes() == (tmp_path / "soft.png").read_bytes()


# -- again ----------------------------------------------------------------------------------------------------


@pytest.fixture
def done(run: Run, tmp_path: Path) -> Path:
    """A folder of three pictures, done."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        picture(tmp_path / "in" / name, number)
    assert run("in", "-o", "out", "-r").exit_code == 0
    return tmp_path / "out"


def test_what_is_done_is_not_touched(run: Run, done: Path) -> None:
    def state() -> list[tuple[Path, int, int]]:
        found = [(path, path.stat()) for path in sorted(done.rglob("*"))]
        return [(path, status.st_ino, status.st_mtime_ns) for path, status in found]

    before = state()
    result = run("in", "-o", "out", "-r")
    assert result.exit_code == 0
    assert "3 already done" in result.stderr
    assert state() == before
    assert "3 already done" in run("in", "-o", "out", "-r", "--overwrite").stderr


def test_what_changed_is_done_again(run: Run, done: Path, tmp_path: Path) -> None:
    whole = digests(done)
    (done / "a.png").write_bytes((done / "a.png").read_bytes()[:100])  # torn
    (done / "b.jpg").write_bytes(b"")
    (done / "sub/c.png").unlink()
    result = run("in", "-o", "out", "-r")
    assert (result.exit_code, digests(done)) == (0, whole), result.stderr
    assert "3 done" in result.stderr
    picture(tmp_path / "in/a.png", 99)
    result = run("in", "-o", "out", "-r")
    assert "1 done, 2 already done" in result.stderr
    assert digests(done)["a.png"] != whole["a.png"]
    other = run("in", "-o", "out", "-r", "--saturation", "0.5")
    assert "3 done;" in other.stderr
    assert "3 already done" in run("in", "-o", "out", "-r", "--saturation", "0.5").stderr


def test_another_model_or_mask_means_another_output(run: Run, done: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(TINY, other)
    arguments = ["in", "-o", "out", "-r", "--device", "cpu", "-m", str(other)]
    assert "3 already done" in CliRunner().invoke(main, arguments).stderr  # the same bytes under another name
    for level in (0, 255):
        Image.new("L", (96, 64), level).save("mask.png")
        assert "3 done;" in run("in", "-o", "out", "-r", "--mask", "mask.png").stderr
        assert "3 already done" in run("in", "-o", "out", "-r", "--mask", "mask.png").stderr


def test_an_output_that_is_a_link_of_its_input(run: Run, done: Path, tmp_path: Path) -> None:
    """Copied, then joined with its input by a tool that saves space: whole is whole, but nothing is ever written into it."""
    Image.merge("RGB", [Image.effect_noise((48, 32), 90) for _ in "rgb"]).save(tmp_path / "in/colour.jpg")
    assert "1 copied" in run("in", "-o", "out", "-r").stderr
    (done / "colour.jpg").unlink()
    os.link(tmp_path / "in/colour.jpg", done / "colour.jpg")
    result = run("in", "-o", "out", "-r")
    assert (result.exit_code, "4 already done" in result.stderr) == (0, True), result.stderr
    before = digests(tmp_path / "in")
    result = run("in", "-o", "out", "-r", "--force", "--overwrite")
    assert (result.exit_code, "colour.jpg is an input of this run" in result.stderr) == (1, True), result.stderr
    assert digests(tmp_path / "in") == before


@pytest.mark.parametrize("foreign", [b"precious", b""])
def test_files_of_others_are_kept(run: Run, tmp_path: Path, foreign: bytes) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/b.png", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(foreign)
    result = run("in", "-o", "out")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "out/a.png exists; --overwrite replaces it." in line
    assert (tmp_path / "out/a.png").read_bytes() == foreign
    assert (tmp_path / "out/b.png").is_file()
    assert run("in", "-o", "out", "--overwrite").exit_code == 0
    assert (tmp_path / "out/a.png").read_bytes() != foreign


def test_an_output_that_somebody_changed_is_kept(run: Run, done: Path) -> None:
    edited = (done / "a.png").read_bytes() + b"retouched"
    for content in (edited, b"X" + edited[1:100]):  # longer; shorter, but not the beginning of the output
        (done / "a.png").write_bytes(content)
        result = run("in", "-o", "out", "-r")
        assert result.exit_code == 1
        assert "out/a.png exists" in result.stderr
        assert (done / "a.png").read_bytes() == content


def test_an_index_that_is_torn_foreign_or_gone(run: Run, done: Path) -> None:
    index = done / INDEX
    lines = index.read_bytes().splitlines(keepends=True)[1:]
    index.write_bytes(b"\xff\xfe{}\n[1]\n" + b"".join(lines[:2]) + lines[2][:40])
    result = run("in", "-o", "out", "-r")
    assert result.exit_code == 1
    assert "2 already done, 1 failed" in result.stderr
    assert "exists; --overwrite" in result.stderr
    result = run("in", "-o", "out", "-r", "--overwrite")
    assert (result.exit_code, "1 done, 2 already done" in result.stderr) == (0, True)
    assert "3 already done" in run("in", "-o", "out", "-r").stderr
    index.unlink()
    assert "3 failed" in run("in", "-o", "out", "-r").stderr


def test_a_damaged_index_is_no_accident(run: Run, done: Path) -> None:
    name = json.dumps({"name": "a.png", "input": "", "key": "", "output": "", "size": 0})
    damage = (name.replace(": 0", ": 1e999"), name.replace(": 0", ": 1.5"), 200_000 * "[", '{"owner": ""}', '{"owner": 7}')
    with (done / INDEX).open("a") as file:
        file.writelines(f"{line}\n" for line in damage)
    result = run("in", "-o", "out", "-r")
    assert (result.exit_code, "3 already done" in result.stderr) == (0, True), result.stderr


def test_an_index_that_is_no_file_is_refused(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / INDEX)
    done = subprocess.run(command("in", "-o", "out"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 73
    assert f"out/{INDEX} is not a regular file" in done.stderr


def test_runs_into_folders_of_each_other_leave_each_other_alone(run: Run, tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / f"big/{number}.png", number, (200, 150))
    picture(tmp_path / "src/sub/zz.png", 9)
    process = subprocess.Popen(command("big", "-o", "out/sub", "--jobs", "1"), stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "out/sub", 1, process)
    process.send_signal(signal.SIGSTOP)
    staged: set[Path] = set()
    deadline = time.monotonic() + 30
    while not staged:  # its worker goes on
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
        staged = set((tmp_path / "out/sub").glob(".*staged"))
    assert run("src", "-r", "-o", "out").exit_code == 0
    assert staged <= set((tmp_path / "out/sub").iterdir())
    process.send_signal(signal.SIGCONT)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, "8 done" in stderr) == (0, True), stderr
    assert set(digests(tmp_path / "out")) == {"sub/zz.png", *(f"sub/{number}.png" for number in range(8))}


def test_two_runs_at_a_time_are_refused(run: Run, done: Path) -> None:
    import fcntl

    with (done / INDEX).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = run("in", "-o", "out", "-r")
    assert result.exit_code == 75
    assert "Another run" in result.stderr


# -- ended in the middle --------------------------------------------------------------------------------------


@pytest.fixture
def crowd(tmp_path: Path, run: Run) -> tuple[Path, dict[str, str]]:
    """A folder of 24 pictures, and the digests of their outputs."""
    for number in range(24):
        picture(tmp_path / f"in/{number % 4}/{number}.png", number, (300, 200))
    assert run("in", "-o", "whole", "-r").exit_code == 0
    return tmp_path / "in", digests(tmp_path / "whole")


def wait_for(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and sum(1 for _ in folder.rglob("*.png")) < count:
        time.sleep(0.005)


def test_interrupt_leaves_whole_files_and_is_resumed(run: Run, crowd: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, whole = crowd
    process = subprocess.Popen(command("in", "-o", "out", "-r", "--jobs", "2"), stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "out", 5, process)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 130, stderr
    assert "Interrupted" in stderr
    assert "run the same command again to continue" in stderr
    there = digests(tmp_path / "out")
    assert 0 < len(there) < 24
    assert there.items() <= whole.items()
    result = run("in", "-o", "out", "-r")
    assert f"{len(there)} already done" in result.stderr
    assert digests(tmp_path / "out") == whole


def test_kill_in_the_middle_is_resumed(run: Run, crowd: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, whole = crowd
    chance = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(command("in", "-o", "out", "-r", "--jobs", "2"), stderr=subprocess.DEVNULL, text=True)
        wait_for(tmp_path / "out", len(digests(tmp_path / "out")) + chance.randint(1, 5), process)
        time.sleep(chance.random() / 50)
        process.kill()
        process.wait()
        visible = {name: digest for name, digest in digests(tmp_path / "out").items() if not Path(name).name.startswith(".")}
        assert visible.items() <= whole.items()
    assert run("in", "-o", "out", "-r").exit_code == 0
    assert digests(tmp_path / "out") == whole  # nothing half-written is left either


@pytest.mark.parametrize("after", ["add", "_rename", "publish"])
def test_kill_between_any_two_steps(run: Run, crowd: tuple[Path, dict[str, str]], tmp_path: Path, after: str) -> None:
    """The run is killed as soon as a line is in the index, or an output has its name, or its temporary name is gone."""
    _, whole = crowd
    code = (
        "import os, signal, sys\n"
        "from colorize_run.cli import main\n"
        "def hook(frame, event, argument):\n"
        f"    if event == 'return' and frame.f_code.co_name == {after!r} and 'colorize_run' in frame.f_code.co_filename:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.setprofile(hook)\n"
        "main(sys.argv[1:])\n"
    )
    words = ["in", "-o", "out", "-r", "-m", str(TINY), "--device", "cpu"]
    killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run("in", "-o", "out", "-r").exit_code == 0
    assert digests(tmp_path / "out") == whole


# -- what goes wrong ------------------------------------------------------------------------------------------


def test_bad_files_are_named_and_the_others_done(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/good.png")
    (tmp_path / "in/empty.jpg").touch()
    (tmp_path / "in/text.png").write_text("no picture")
    (tmp_path / "in/dangling.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in/pipe.png")
    (tmp_path / os.fsdecode(b"in/\xff\n.jpg")).write_bytes(b"x")
    result = run("in", "-o", "out")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 5
    for name, reason in (
        ("empty.jpg", "is empty"), ("text.png", "is not a picture"), ("dangling.png", "does not exist"),
        ("pipe.png", "not a regular"), ("\\udcff\\n.jpg", "is not a picture"),
    ):  # fmt: skip
        assert any(name in line and reason in line for line in errors), errors
    assert "1 done, 5 failed" in result.stderr
    assert set(digests(tmp_path / "out")) == {"good.png"}


POISON = """
import sys
if any("batch.worker" in word for word in sys.orig_argv):
    import ctypes, os, signal
    import PIL.Image
    opened = PIL.Image.open
    def poisoned(file, *arguments, **options):
        file.seek(-20, 2)
        how = file.read().partition(b"POISON:")[2]
        file.seek(0)
        if how == b"segv": ctypes.string_at(0)
        if how == b"kill": os.kill(os.getpid(), signal.SIGKILL)
        if how == b"exit": os._exit(3)
        if how == b"memory": raise MemoryError
        return opened(file, *arguments, **options)
    PIL.Image.open = poisoned
"""


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_worker_that_dies_costs_its_picture_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    for number in range(12):
        picture(tmp_path / f"in/{number:02}.png", number)
    poisons = {"02": b"segv", "03": b"kill", "07": b"exit", "09": b"memory"}
    for name, how in poisons.items():
        with (tmp_path / f"in/{name}.png").open("ab") as file:
            file.write(b"POISON:" + how)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT / 'runtime'}")
    result = run("in", "-o", "out", "--jobs", str(jobs))
    assert result.exit_code == 1
    assert "8 done, 4 failed" in result.stderr
    assert len(digests(tmp_path / "out")) == 8
    errors = "\n".join(line for line in result.stderr.splitlines() if line.startswith("error"))
    for name, words in (("02", "SIGSEGV"), ("03", "SIGKILL, as the system does when memory runs out"), ("07", "exit code 3")):
        assert f"in/{name}.png was given up: the worker" in errors
        assert words in errors
    assert "in/09.png needs more memory than is available" in errors


def test_a_model_that_fails_ends_the_run_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    result = CliRunner().invoke(main, ["in", "-o", "out", "-m", "bad.onnx", "--device", "cpu"])
    assert result.exit_code == 65
    assert "bad.onnx" in result.stderr
    assert not (tmp_path / "out").exists()
    result = run("in", "-o", "out", "--mask", "nowhere.png")
    assert result.exit_code == 66
    assert "nowhere.png" in result.stderr


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, run: Run) -> None:
    """As a user who may not look into it: root gives up that right."""
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/shut/b.png", 1)
    picture(tmp_path / "in/zz/c.png", 2)
    (tmp_path / "in/shut").chmod(0)
    without = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv, as root may read everything")
        without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    try:
        done = subprocess.run(
            [*without, *command("in", "-o", "out", "-r")], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    finally:
        (tmp_path / "in/shut").chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "error: The folder in/shut cannot be read: Permission denied." in done.stderr
    assert set(digests(tmp_path / "out")) == {"a.png", "zz/c.png"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_stops_the_run_and_it_goes_on_later(run: Run, tmp_path: Path, small_disk: Path, jobs: int) -> None:
    for number in range(6):
        picture(tmp_path / f"in/{number}.bmp", number, (100, 60))  # 72 kB each when coloured
    result = run("in", "-o", small_disk / "out", "--jobs", str(jobs))
    assert result.exit_code == 73
    assert os.strerror(errno.ENOSPC) in result.stderr
    assert "make room, and run the same command again" in result.stderr
    there = digests(small_disk / "out")
    assert 0 < len(there) < 6
    assert all(not Path(name).name.startswith(".") for name in there)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    result = run("in", "-o", small_disk / "out", "--jobs", str(jobs))
    assert result.exit_code == 0
    assert f"{len(there)} already done" in result.stderr
    assert len(digests(small_disk / "out")) == 6


def test_jobs_for_files(run: Run, tmp_path: Path) -> None:
    names = [str(picture(tmp_path / f"{number}.png", number).name) for number in range(5)]
    assert run(*names, "--jobs", "2").exit_code == 0
    several = digests(tmp_path)
    assert len(several) == 10
    assert run(*names, "-o", "alone/").exit_code == 0
    assert {
        f"{Path(name).stem}.colorized.png": digest for name, digest in digests(tmp_path / "alone").items()
    }.items() <= several.items()
    assert run(*names, "--jobs", "2").exit_code == 73  # files that are not part of a folder are not resumed


def test_index_says_what_made_an_output(done: Path) -> None:
    owner, *lines = map(json.loads, (done / INDEX).read_text().splitlines())
    assert list(owner) == ["owner"]
    for record in lines:
        output = (done / record["name"]).read_bytes()
        assert hashlib.sha256(output).hexdigest() == record["output"]
        assert len(output) == record["size"]
        assert hashlib.sha256((done.parent / "in" / record["name"]).read_bytes()).hexdigest() == record["input"]


def test_two_names_for_one_output_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="would both be written"):
        plan([str(picture(tmp_path / "a.png")), str(tmp_path / "b/../a.png")], str(tmp_path / "out") + "/", COLORIZE_NAMES)


def test_a_terminal_gets_a_bar(run: Run, tmp_path: Path, on_terminal: OnTerminal) -> None:
    """On a pseudo-terminal: count, speed, failures above the bar, and names that look like rich's markup as they are."""
    for number in range(4):
        picture(tmp_path / f"in/{number}.png", number)
    (tmp_path / "in/[bold]x.png").write_text("no picture")
    code, _, text = on_terminal(command("in", "-o", "out"), {"PYTHONPATH": str(ROOT / "runtime")})
    assert code == 1
    assert "/5" in text
    assert "images/s" in text
    assert "error: in/[bold]x.png is not a picture" in text
    assert "->" not in text
    assert "4 done, 1 failed" in text


def test_a_library_that_does_not_load_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/onnxruntime.py").write_text("raise ImportError('libgone.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT / 'runtime'}")
    result = run("in", "-o", "out")
    assert result.exit_code == 69
    assert "libgone.so" in result.stderr
    assert "doctor" in result.stderr
    assert not (tmp_path / "out").exists()


# -- the run and its workers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        ("in -o out", "<&- >&- 2>&-"),
        ("in -o out", "<&-"),
        ("in -o out", ">&- 2>&-"),
        ("watch in out --once", "<&- >&- 2>&-"),
    ],
)
def test_closed_streams_stop_no_folder(run: Run, tmp_path: Path, arguments: str, closed: str) -> None:
    picture(tmp_path / "in/a.png")
    line = " ".join(command(*arguments.split()))
    done = subprocess.run(["sh", "-c", f"exec {line} {closed}"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("door", ["batch", "watch"])
def test_workers_are_of_the_installation_that_runs(run: Run, tmp_path: Path, door: str) -> None:
    """Of a checkout that one stands in, while the interpreter would find another installation first."""
    picture(tmp_path / "in/a.png")
    shutil.copytree(ROOT / "runtime/colorize_run", tmp_path / "colorize_run")
    mark = f"if 'colorize_run.{door}.worker' in sys.orig_argv:\n    open({str(tmp_path / 'mark')!r}, 'w').close()\n"
    with (tmp_path / "colorize_run" / door / "worker.py").open("a") as file:
        file.write(f"\nimport sys\n{mark}")
    words = ["in", "-o", "out"] if door == "batch" else ["watch", "in", "out", "--once"]
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/a.png").is_file()
    assert (tmp_path / "mark").is_file()


def noise(path: Path, seed: int) -> None:
    """A JPEG whose thumbnails are heavy: an answer with them does not fit into a pipe."""
    pixels = np.random.default_rng(seed).integers(0, 256, (500, 700), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=90)


def test_long_requests_and_long_answers_do_not_wait_for_each_other(run: Run, tmp_path: Path) -> None:
    """Neither do requests fit into a pipe here: names in no encoding take six bytes for one."""
    folder = Path("in", *[os.fsdecode(b"\xff" * length) for length in [255] * 15 + [180]])
    folder.mkdir(parents=True)
    for number in range(3):
        noise(folder / f"{number}.jpg", number)
    words = command("in", "-o", "out", "-r", "--jobs", "1", "--report", "page.html")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stderr


def test_an_index_with_many_lines_for_a_name(run: Run, tmp_path: Path) -> None:
    """The line that counts is neither lost among older ones nor behind many equal ones."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        noise(tmp_path / "in" / f"{number}.jpg", number)
    assert run("in", "-o", "out").exit_code == 0
    index = tmp_path / "out" / INDEX
    before, after = [], []
    lines = index.read_text().splitlines()
    for line in lines:
        record = json.loads(line)
        before += [json.dumps({**record, "output": f"{number:064x}"}) for number in range(330)]
        after += [json.dumps({**record, "output": "f" * 64})] * 330
    index.write_text("\n".join([*before, *lines, *after]) + "\n")
    words = command("in", "-o", "out", "--jobs", "1", "--report", "page.html")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "3 already done" in done.stderr


def test_there_are_no_more_processes_than_pictures(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/b.png", 1)
    assert run("in/a.png", "in/b.png", "-o", "alone/").exit_code == 0
    result = run("in", "-o", "out", "--jobs", "256")
    assert result.exit_code == 0
    assert result.stderr.startswith("2 pictures, 2 processes with ")
    assert digests(tmp_path / "out") == digests(tmp_path / "alone")


def test_threads_of_the_profile_hold_for_folders(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of threads that could be chosen is what one process works with."""
    picture(tmp_path / "in/a.png")
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", str(tmp_path / "profile.json"))
    assert run("tune", "--rounds", "3", "--size", "64x48").exit_code == 0
    profile = json.loads((tmp_path / "profile.json").read_text())
    for threads in range(1, available_threads() + 1):
        (entry,) = profile["models"].values()
        entry["threads"] = threads
        (tmp_path / "profile.json").write_text(json.dumps(profile))
        words = "1 thread" if threads == 1 else f"{threads} threads"
        lines = run("in", "-o", f"out{threads}", "--jobs", "1").stderr.splitlines()
        assert f"profile: tiny on cpu, {words} (" in lines[0]
        assert lines[1] == f"1 picture, 1 process with {words}"
