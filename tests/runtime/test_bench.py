"""``colorize-run bench``: that it measures what it says; never how fast."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.diagnostics.timing import Times, in_turn
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
SEGMENT = ROOT / "tests" / "data" / "tiny-segment.onnx"
QUICK = ("--size", "64x48", "--rounds", "2", "--device", "cpu", "--threads", "1")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_json_has_every_combination() -> None:
    result = run("-m", TINY, "-m", SEGMENT, *QUICK, "--threads", "2", "--batch", "1", "--batch", "3", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == {"machine", "picture", "rounds", "cold_start", "pictures", "network"}
    assert (found["picture"]["width"], found["picture"]["height"], found["picture"]["format"]) == (64, 48, "JPEG")
    models = ("tiny", "tiny-segment")
    assert [row["model"] for row in found["cold_start"]] == list(models)
    assert {(row["model"], row["threads"]) for row in found["pictures"]} == {(m, t) for m in models for t in (1, 2)}
    assert {(row["model"], row["threads"], row["batch"]) for row in found["network"]} == {
        (m, t, b) for m in models for t in (1, 2) for b in (1, 3)
    }
    for row in (*found["cold_start"], *found["pictures"], *found["network"]):
        assert row["device"] == "cpu"
        assert 0 < row["median_s"] <= row["p95_s"]
        assert row["rounds"] == 2
    for row in found["network"]:
        assert row["pictures_per_s"] == pytest.approx(row["batch"] / row["median_s"])
        assert row["side"] == {"tiny": 32, "tiny-segment": 64}[row["model"]]
    assert all(row["times_floor"] > 0 and row["floor_s"] > 0 for row in found["pictures"])


def test_variants_beside_are_measured(tmp_path: Path) -> None:
    for name in ("a.onnx", "a-int8.onnx"):
        (tmp_path / name).write_bytes(TINY.read_bytes())
    found = json.loads(run("-m", tmp_path / "a.onnx", *QUICK, "--json").stdout)
    assert {row["model"] for row in found["pictures"]} == {"a", "a-int8"}
    found = json.loads(run("-m", tmp_path / "a.onnx", *QUICK, "--no-variants", "--json").stdout)
    assert {row["model"] for row in found["pictures"]} == {"a"}


def test_a_table_on_stderr(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "mine.png")
    result = run("-m", TINY, *QUICK, "--picture", tmp_path / "mine.png")
    assert result.exit_code == 0
    assert result.stdout == ""
    for words in ("cold start", "40 x 30 PNG", "network alone", "32 x 32  batch 1", "reading and writing alone"):
        assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--size", "wide"], 2, "is not a size such as"),
        (["--size", "8x99999"], 2, "16 pixels a side"),
        (["--size", "9999x9999"], 2, "50 megapixels"),
        (["--picture", "nowhere.jpg"], 66, "nowhere.jpg does not exist"),
        (["--picture", __file__], 1, "not a picture"),
        (["-m", "nonsense"], 65, "nonsense"),
        (["-m", __file__ + ".onnx"], 65, "no model file"),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], code: int, words: str) -> None:
    result = run("-m", TINY, *QUICK, *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_cuda_is_never_the_cpu_in_disguise() -> None:
    result = run("-m", TINY, "--rounds", "1", "--device", "cuda", "--json")
    if result.exit_code == 0:
        assert {row["device"] for row in json.loads(result.stdout)["network"]} == {"cuda"}
        return
    assert result.exit_code == 69
    assert "CUDA" in result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_shows_what_is_measured_so_far(as_json: bool) -> None:
    command = [sys.executable, "-m", "colorize_run", "bench", "-m", TINY, *QUICK[:2], "--rounds", "10000", "--threads", "1"]
    with subprocess.Popen([*command, *(["--json"] if as_json else [])], stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if line.startswith("pictures: "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=30) == 130
        assert process.stdout.read() == ""  # no half JSON
    assert ("cold start" in rest) != as_json
    assert "Interrupted" in rest
    assert "Traceback" not in rest


def test_a_bar_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "colorize_run", "bench", "-m", TINY, *QUICK, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert json.loads(done.stdout)["pictures"]
    assert b"100%" in shown


def test_figures_of_times() -> None:
    times = Times(tuple(float(i) for i in range(1, 21)))
    assert times.median == 10.5
    assert times.p95 == 19
    assert Times((1.0, 4.0, 9.0)).ratio(Times((1.0, 2.0, 3.0))) == 2
    assert Times((3.0,)).p95 == 3


def test_rounds_are_taken_in_turn_after_warming_up() -> None:
    order: list[str] = []
    found = in_turn([lambda: order.append("a"), lambda: order.append("b")], 3, lambda: order.append("-"))
    assert "".join(order) == "ab-" * 5
    assert [len(times.seconds) for times in found] == [3, 3]
