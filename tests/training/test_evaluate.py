"""``python -m training evaluate`` and its like: what they refuse, and what they say before, while and after they compute."""

import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from export.__main__ import main as export_main
from training.__main__ import main
from training.checkpoint import Checkpoint, load
from training.datasets.cifar import palette_dataset
from training.errors import TrainingError
from training.networks import build, deeplab, encoder_decoder, lab

HORSES, CATS = 60, 40
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """60 'horses' and 40 'cats' of noise, as CIFAR-10's training and test pictures."""
    images = np.random.default_rng(0).integers(0, 256, (HORSES + CATS, 32, 32, 3), np.uint8)
    for part in ("train", "test"):
        np.savez(tmp_path / f"cifar10_{part}.npz", images=images, labels=np.array([7] * HORSES + [3] * CATS))
    return tmp_path


@pytest.fixture
def chroma(tmp_path: Path) -> Path:
    """A checkpoint of the Lab family."""
    arguments = {"architecture": 2, "output": "tanh"}
    state, no_palette = build("chroma-colorizer", arguments).state_dict(), np.zeros((0, 3), np.float32)
    Checkpoint("chroma-tanh", "chroma-colorizer", arguments, state, no_palette).save(tmp_path / "chroma.pt")
    return tmp_path / "chroma.pt"


def evaluate(checkpoint: Path, data: Path, *options: str) -> Result:
    arguments = ["evaluate", str(checkpoint), "--data-dir", str(data), "--device", "cpu", *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def judged(checkpoint: Path, data: Path, *options: str) -> float:
    return float(json.loads(evaluate(checkpoint, data, *options).stdout)["pictures"])


@pytest.mark.parametrize("extra", ["", " and cat"])
def test_only_classes_that_were_divided_have_a_validation_split(
    tiny_checkpoint: Path, data_dir: Path, tmp_path: Path, extra: str
) -> None:
    """Of extra classes all pictures are learnt from, of others nobody knows: none of them is unseen."""
    path = tmp_path / "run.pt"
    description = f"CIFAR-10 (horse{extra}), 90 pictures of 32x32"
    replace(load(tiny_checkpoint), recipe={"classes": ["horse"]}, training_data=description).save(path)
    for split in ("validation", "train"):
        for classes in ("cat", "horse,cat", "all"):
            with pytest.raises(TrainingError, match=r"learnt from horse.*--split test or all"):
                evaluate(path, data_dir, "--split", split, "--classes", classes)
    for split in ("test", "all"):
        assert judged(path, data_dir, "--split", split, "--classes", "cat") == CATS
    assert judged(path, data_dir) == judged(path, data_dir, "--classes", "horse") == HORSES // 10


def test_classes_of_a_checkpoint_are_those_it_records_or_horses(tiny_checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.pt"
    replace(load(tiny_checkpoint), recipe={"classes": ["horse", "cat"]}).save(both)
    assert judged(both, data_dir) == judged(both, data_dir, "--classes", "cat,horse") == (HORSES + CATS) // 10
    with pytest.raises(TrainingError, match="learnt from horse, cat"):
        evaluate(both, data_dir, "--classes", "horse")
    assert judged(tiny_checkpoint, data_dir) == HORSES // 10  # it records none
    with pytest.raises(TrainingError, match="learnt from horse,"):
        evaluate(tiny_checkpoint, data_dir, "--classes", "cat")
    with pytest.raises(TrainingError, match="no class unicorn"):
        evaluate(tiny_checkpoint, data_dir, "--classes", "unicorn")
    with pytest.raises(TrainingError, match="names no class"):
        evaluate(tiny_checkpoint, data_dir, "--classes", ",")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("tiny", ["--palette", "nowhere.npy"], "omit --palette"),
        ("tiny", ["--weights", "pyproject.toml"], "omit --weights"),
        ("tiny", ["--photos", "--classes", "horse"], "omit --classes"),
        ("tiny", ["--photos", "--grid", "grid.png"], "omit --grid"),
        ("chroma", ["--palette", "nowhere.npy"], "omit --palette"),
        ("chroma", ["--classes", "cat"], "omit --classes"),
        ("chroma", ["--photos"], "chroma-tanh cannot be evaluated with --photos.*: omit --photos"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    tiny_checkpoint: Path, chroma: Path, model: str, options: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):  # before it looks for pictures: there are none
        evaluate({"tiny": tiny_checkpoint, "chroma": chroma}[model], tmp_path / "nowhere", *options)


@pytest.mark.parametrize("option", ["palette", "weights"])
def test_activations_and_export_refuse_what_means_nothing_too(tiny_checkpoint: Path, tmp_path: Path, option: str) -> None:
    sample, given = ROOT / "docs" / "samples" / "chelsea.jpg", [f"--{option}", str(ROOT / "pyproject.toml")]
    out = ["-o", str(tmp_path / "out")]
    for command, arguments in (
        (main, ["activations", str(tiny_checkpoint), str(sample), *out]),
        (export_main, ["unet", str(tiny_checkpoint), *out]),
        (export_main, ["check", str(ROOT / "tests" / "data" / "tiny.onnx"), str(tiny_checkpoint)]),
    ):
        with pytest.raises(TrainingError, match=f"omit --{option}"):
            CliRunner().invoke(command, [*arguments, *given], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_grid_that_cannot_be_written_costs_no_figures(tiny_checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no folder .*nowhere; make it"):  # at once: there are no pictures
        evaluate(tiny_checkpoint, tmp_path / "no-data", "--grid", str(tmp_path / "nowhere" / "x.png"))
    (tmp_path / "late.png.partial").mkdir()  # in the way, but only when it is written
    arguments = ["evaluate", str(tiny_checkpoint), "--data-dir", str(data_dir), "--grid", str(tmp_path / "late.png")]
    done = CliRunner().invoke(main, arguments)
    assert isinstance(done.exception, OSError)
    assert json.loads(done.stdout)["pictures"] == HORSES // 10
    assert not (tmp_path / "late.png").exists()


def test_handout_weights_outside_their_archive_want_their_palette(data_dir: Path, tmp_path: Path) -> None:
    path, palette = tmp_path / "cnn.pkl", tmp_path / "p.npy"
    torch.save(OrderedDict(build("cnn", {"num_filters": 2, "num_colours": 5}).state_dict()), path)
    with pytest.raises(TrainingError, match=r"cnn\.pkl has no palette beside it.*kmeans5.*give it with --palette"):
        evaluate(path, data_dir)
    np.save(palette, np.random.default_rng(0).random((5, 3), np.float32))
    assert judged(path, data_dir, "--palette", str(palette)) == HORSES // 10
    with pytest.raises(TrainingError, match="omit --weights"):
        evaluate(path, data_dir, "--palette", str(palette), "--weights", str(palette))


def _classifier() -> nn.Module:
    return build("fusion-colorizer", {"architecture": 2, "classifier": "test_efficientnet", "classifier_size": 32})


@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "foreign"])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: CliRunner().invoke(main, ["evaluate", str(path)], catch_exceptions=False),
        lambda path: lab.pretrain(_classifier(), path),
        lambda path: encoder_decoder.pretrain(build("photo-colorizer", {"encoder": "test_efficientnet"}), path),
        lambda path: deeplab.pretrain(build("deeplab", {"backbone": "mobilenet_v2"}), path),
    ],
    ids=["checkpoint", "classifier", "encoder", "backbone"],
)
def test_nobody_is_told_how_to_run_a_strangers_code(
    tmp_path: Path,
    read: Callable[[Path], object],
    content: bytes | None,
    foreign: object,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "x.pt"
    if content is None:
        torch.save(foreign, path)
    else:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"x\.pt is damaged, or is not a PyTorch file.*: (give|delete)") as caught:
        read(path)
    assert "weights_only" not in str(caught.value)
    assert "was run" not in capfd.readouterr().out


def test_balanced_accuracy_is_over_the_colours_that_occur(tiny_checkpoint: Path, tmp_path: Path) -> None:
    dark = np.random.default_rng(0).integers(0, 90, (20, 32, 32, 1), np.uint8).repeat(3, axis=3)
    np.savez(tmp_path / "cifar10_horses_train.npz", images=dark)
    scores = json.loads(evaluate(tiny_checkpoint, tmp_path, "--split", "all").stdout)
    checkpoint = load(tiny_checkpoint)
    batch = palette_dataset(dark, checkpoint.colours).__getitems__(list(range(len(dark))))
    with torch.no_grad():
        predicted = checkpoint.build()(batch["input"]).argmax(dim=1)
    occurring = batch["target"].unique()
    assert set(predicted.unique().tolist()) > set(occurring.tolist())  # some colours are given, and never right
    shares = [(predicted[batch["target"] == colour] == colour).double().mean() for colour in occurring]
    assert scores["balanced_accuracy"] == pytest.approx(float(torch.stack(shares).mean()), rel=1e-5)


def test_judging_shows_progress(
    tiny_checkpoint: Path, data_dir: Path, on_terminal: Callable[[list[str], dict[str, str]], tuple[int, str, str]]
) -> None:
    """A bar on a pseudo-terminal, a plain line elsewhere; figures alone on stdout."""
    command = [
        sys.executable,
        "-m",
        "training",
        "evaluate",
        str(tiny_checkpoint),
        "--data-dir",
        str(data_dir),
        "--device",
        "cpu",
    ]
    code, answer, said = on_terminal(command, {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"})
    assert code == 0
    assert "Evaluating 6 pictures" in said
    assert "━" in said
    plain = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert plain.stderr == "Evaluating 6 pictures (1)\n"
    assert json.loads(plain.stdout) == json.loads(answer)


def test_a_palette_that_cannot_be_written_is_refused_before_clustering(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    for output, message in (("nowhere/p.npy", "no folder .*nowhere; make it"), ("taken.npy", "taken.png .* is a folder")):
        arguments = ["palette", "--data-dir", str(tmp_path / "no-data"), "-o", str(tmp_path / output)]
        with pytest.raises(TrainingError, match=message):
            CliRunner().invoke(main, arguments, catch_exceptions=False)
    (tmp_path / "late.npy.partial").mkdir()
    (tmp_path / "late.npy").write_bytes(b"an older one")
    arguments = ["palette", "--colours", "3", "--data-dir", str(data_dir), "-o", str(tmp_path / "late.npy")]
    assert isinstance(CliRunner().invoke(main, arguments).exception, OSError)
    assert (tmp_path / "late.npy").read_bytes() == b"an older one"
    (tmp_path / "late.npy.partial").rmdir()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert np.load(tmp_path / "late.npy").shape == (3, 3)
    assert not list(tmp_path.glob("*.partial"))


def test_results_leave_unfinished_runs_out(tmp_path: Path) -> None:
    report = {"recipe": {"epochs": 3}, "parameters": 1234, "metrics": {"validation_psnr": 20.5}, "seconds": 90, "device": "cpu"}
    for name in ("done", "begun", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "done" / "metrics.json").write_text(json.dumps(report))
    (tmp_path / "damaged" / "metrics.json").write_text("{")
    (tmp_path / "notes.txt").write_text("beside the runs")
    done = CliRunner().invoke(main, ["results", *map(str, sorted(tmp_path.iterdir()))])
    assert done.exit_code == 0, done.output
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()] == ["run", "---", "done"]
    left_out = done.stderr.splitlines()
    assert len(left_out) == 3
    assert all(line.startswith("Left out: ") and "not the folder of a finished run" in line for line in left_out)
    with pytest.raises(TrainingError, match="not the folder of a finished run"):
        CliRunner().invoke(main, ["results", str(tmp_path / "begun")], catch_exceptions=False)
