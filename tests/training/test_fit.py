"""Training runs through the command line, on synthetic pictures small enough to train in seconds."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from training.__main__ import main
from training.checkpoint import load
from training.errors import TrainingError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """120 'horses' whose colour follows from their grey: brown below, sky blue above."""
    rng = np.random.default_rng(0)
    brightness = rng.random((120, 32, 32, 1))
    images = np.where(brightness > 0.5, brightness * (140, 190, 255), brightness * (255, 170, 90)).astype(np.uint8)
    np.savez(tmp_path / "cifar10_horses_train.npz", images=images, index=np.arange(120, dtype=np.int32))
    return tmp_path


def fit(data_dir: Path, run: Path, *options: str, epochs: int = 2) -> Result:
    """``python -m training fit`` in this process, which has PyTorch loaded already."""
    return CliRunner().invoke(main, command(data_dir, run, *options, epochs=epochs)[5:])


def command(data_dir: Path, run: Path, *options: str, epochs: int) -> list[str]:
    return [
        sys.executable, "-W", "error", "-m", "training", "fit", "unet", "--data-dir", str(data_dir),
        "--run-dir", str(run), "--epochs", str(epochs), "--batch-size", "20", "--device", "cpu", *options,
    ]  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load(run / "unet.pt").state


def test_a_run_leaves_everything_behind(data_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = fit(data_dir, run, epochs=3)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert [line.split("  ")[0] for line in done.stderr.splitlines() if line.startswith("epoch")] == [
        "epoch 1/3", "epoch 2/3", "epoch 3/3",
    ]  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["recipe"]["epochs"] == 3
    assert len(metrics["history"]) == 3
    assert {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"} <= set(metrics["history"][0])
    assert metrics["history"][-1]["train_loss"] < metrics["history"][0]["train_loss"]
    for name in ("curves.png", "grid.png", "grids/epoch-000.png", "grids/epoch-002.png"):
        assert (run / name).stat().st_size > 1000
    checkpoint = load(run / "unet.pt")
    assert checkpoint.colours.shape == (24, 3)
    assert checkpoint.metrics == metrics["metrics"]
    assert "108 pictures" in checkpoint.training_data
    scores = CliRunner().invoke(
        main,
        [
            "evaluate",
            str(run / "unet.pt"),
            "--data-dir",
            str(data_dir),
            "--device",
            "cpu",
            "--grid",
            str(tmp_path / "grid.png"),
        ],
    )
    assert (tmp_path / "grid.png").read_bytes() != b""
    assert json.loads(scores.stdout)["loss"] == pytest.approx(metrics["metrics"]["validation_loss"], rel=0.02)


def test_resumed_after_an_interrupt_gives_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    with subprocess.Popen(command(data_dir, broken, epochs=6), stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130, rest
    assert "--resume" in rest
    assert "Traceback" not in rest
    assert not (broken / "unet.pt").exists()

    with pytest.raises(TrainingError, match="--resume"):
        CliRunner().invoke(main, command(data_dir, broken, epochs=6)[5:], catch_exceptions=False)
    assert fit(data_dir, broken, "--resume", epochs=6).exit_code == 0
    assert fit(data_dir, straight, epochs=6).exit_code == 0
    expected = weights(straight)
    for name, value in weights(broken).items():
        assert torch.equal(value, expected[name]), name
    histories = [json.loads((run / "metrics.json").read_text())["history"] for run in (straight, broken)]
    assert histories[0] == histories[1]


def test_killed_training_can_be_resumed(data_dir: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(data_dir, tmp_path / "run", epochs=4), stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        process.kill()
    assert fit(data_dir, tmp_path / "run", "--resume", epochs=4).exit_code == 0
    assert (tmp_path / "run" / "unet.pt").exists()


def test_two_processes_train_one_network(data_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(data_dir, tmp_path / "run", "--devices", "2", epochs=2), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]) == 2


def test_only_the_same_unfinished_run_is_resumed(data_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def resume(*options: str, epochs: int = 2) -> Result:
        return CliRunner().invoke(main, command(data_dir, run, "--resume", *options, epochs=epochs)[5:], catch_exceptions=False)

    with pytest.raises(TrainingError, match="no run to resume"):
        resume()
    assert fit(data_dir, run).exit_code == 0
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(TrainingError, match="finished"):
        resume()
    for options, word in ((["--seed", "7"], "seed"), (["--learning-rate", "0.5"], "learning_rate")):
        with pytest.raises(TrainingError, match=word):
            resume(*options)
    with pytest.raises(TrainingError, match="epochs"):
        resume(epochs=3)
    expected = weights(run)
    (run / "unet.pt").unlink()  # as if killed after the last epoch
    assert resume().exit_code == 0
    assert all(torch.equal(value, expected[name]) for name, value in weights(run).items())
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    np.save(tmp_path / "other.npy", np.random.default_rng(1).random((24, 3), dtype=np.float32))
    with pytest.raises(TrainingError, match="palette"):
        resume("--palette", str(tmp_path / "other.npy"))
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    (state,) = run.glob("*.ckpt")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        resume()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "unet", "--recipe", "nonsense"], "nonsense.*original, tuned"),
        (["fit", "unet", "--data-dir", "{folder}", "--run-dir", "{folder}/run", "--classes", "unicorn"], "unicorn.*horse"),
        (["fit", "gpt"], "gpt.*unet"),
        (["fit", "unet", "--palette", "nowhere.npy"], "nowhere.npy"),
        (["fit", "unet", "--data-dir", "{data}", "--run-dir", "{folder}/run", "--batch-size", "500"], "too few"),
        (["evaluate", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_what_a_person_can_mend_is_a_training_error(data_dir: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    arguments = [argument.format(folder=tmp_path, data=data_dir) for argument in arguments]
    with pytest.raises(TrainingError, match=message):
        CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_errors_reach_the_shell_as_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "evaluate", "nowhere.pt"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == "Error: nowhere.pt does not exist.\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA works here")
def test_cuda_that_is_not_there_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="finds no CUDA device"):
        CliRunner().invoke(
            main, ["fit", "unet", "--data-dir", str(data_dir), "--run-dir", str(tmp_path / "run"), "--device", "cuda"],
            catch_exceptions=False,
        )  # fmt: skip
