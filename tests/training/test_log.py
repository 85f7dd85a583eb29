"""What a training writes into a log: plain lines, at least one a minute; and help that does not wait for PyTorch."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.recipes import models
from training.step_log import duration

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(r"step (\d+)/(\d+) of epoch (\d+)/(\d+)  \d+ samples/s  loss \d+(?:\.\d+)?(?:e-\d+)?  (\S.*) left")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "cifar10_horses_train.npz", images=images)
    return tmp_path


def fit(data_dir: Path, run: str) -> list[str]:
    """Lines that two epochs write to stderr: of 108 pictures in batches of 20, and 12 for validation."""
    arguments = ["fit", "cnn", "--data-dir", str(data_dir), "--run-dir", str(data_dir / run), "--epochs", "2",
                 "--batch-size", "20", "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_log_gets_a_line_whenever_the_interval_is_over(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.step_log.INTERVAL", 0.0)  # instead of a minute
    lines = fit(data_dir, "run")
    steps = [match.groups() for match in map(STEP.fullmatch, lines) if match]
    places = [tuple(map(int, step[:4])) for step in steps]
    assert places == [(step, 5, epoch, 2) for epoch in (1, 2) for step in range(1, 6)]
    assert re.fullmatch(r"\d+ s|\d+ min", steps[0][4])
    assert steps[-1][4] == "0 s"
    assert sum(line.startswith("validation 1/1 of epoch ") for line in lines) == 2
    first, second = (next(i for i, line in enumerate(lines) if line.startswith(f"epoch {epoch}/2")) for epoch in (1, 2))
    assert first < lines.index(next(line for line in lines if line.startswith("step 1/5 of epoch 2/2"))) < second


def test_no_line_comes_before_the_interval_is_over(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.step_log.INTERVAL", 1e9)
    assert not [line for line in fit(data_dir, "run") if line.startswith(("step", "validation"))]


def test_long_preparations_are_logged_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.progress.INTERVAL", 0.0)
    lines = fit(data_dir, "run")
    at = lines.index("Evaluating 12 pictures (1)")
    assert lines[at + 1] == "Evaluating 12 pictures: 0/1"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (130, "2 min"), (6000, "1 h 40 min"), (7500, "2 h 05 min")]
)
def test_the_time_that_is_left_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("package", ["training", "export"])
def test_help_does_not_wait_for_pytorch(package: str) -> None:
    code = f"import sys, {package}.__main__ as m\nm.main(['--help'], standalone_mode=False)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_of_fit_lists_every_model() -> None:
    words = CliRunner().invoke(main, ["fit", "--help"]).output.replace(",", " ").split()
    assert set(models()) <= set(words)
