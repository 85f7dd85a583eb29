"""Training runs through the command line, on synthetic pictures small enough to train in seconds."""

import io
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from training.__main__ import main
from training.checkpoint import load
from training.errors import TrainingError
from training.networks import build
from training.recipes import find

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """120 'horses' whose colour follows from their grey: brown below, sky blue above."""
    rng = np.random.default_rng(0)
    brightness = rng.random((120, 32, 32, 1))
    images = np.where(brightness > 0.5, brightness * (140, 190, 255), brightness * (255, 170, 90)).astype(np.uint8)
    np.savez(tmp_path / "cifar10_horses_train.npz", images=images, index=np.arange(120, dtype=np.int32))
    return tmp_path


@pytest.fixture
def faces_dir(tmp_path: Path) -> Path:
    """20 'faces' of smooth noise whose colour follows from their brightness."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "face_images"
    folder.mkdir()
    for i in range(20):
        rough = Image.fromarray((rng.random((6, 6)) * 255).astype(np.uint8))
        brightness = np.asarray(rough.resize((128, 128), Image.Resampling.BICUBIC))[..., None] / 255
        Image.fromarray((brightness * (240, 170, 120)).astype(np.uint8)).save(folder / f"{i:02}.png")
    return tmp_path


def fit(data_dir: Path, run: Path, *options: str, epochs: int = 2, model: str = "unet") -> Result:
    """``python -m training fit`` in this process, which has PyTorch loaded already."""
    return CliRunner().invoke(main, command(data_dir, run, *options, epochs=epochs, model=model)[5:])


def command(data_dir: Path, run: Path, *options: str, epochs: int, model: str = "unet") -> list[str]:
    return [
        sys.executable, "-W", "error", "-m", "training", "fit", model, "--data-dir", str(data_dir),
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


@pytest.mark.parametrize("model", ["cnn", "regression-cnn", "dilated-unet", "unet-large", "unet-downsized"])
def test_every_palette_model_trains_and_is_evaluated(data_dir: Path, tmp_path: Path, model: str) -> None:
    run = tmp_path / "run"
    options = () if model == "regression-cnn" else ("--rebalance", "--colours", "5")
    done = fit(data_dir, run, *options, epochs=1, model=model)
    assert done.exit_code == 0, done.stderr
    report = json.loads((run / "metrics.json").read_text())
    assert {"psnr", "colourfulness", "true_colourfulness", "accuracy"} <= {
        name.removeprefix("validation_") for name in report["metrics"]
    }
    assert load(run / f"{model}.pt").model == model
    for name in ("curves.png", "grid.png", "grids/epoch-000.png"):
        assert (run / name).stat().st_size > 1000
    scores = CliRunner().invoke(main, ["evaluate", str(run / f"{model}.pt"), "--data-dir", str(data_dir)])
    for name, value in json.loads(scores.stdout).items():
        if f"validation_{name}" in report["metrics"]:
            assert value == pytest.approx(report["metrics"][f"validation_{name}"], rel=0.02)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights for the classifier of ``fusion``."""
    import timm

    path = tmp_path_factory.mktemp("weights") / "classifier.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("mobilenetv2_100", num_classes=0).state_dict(), path)
    return path


@pytest.mark.parametrize("model", ["chroma-regressor", "chroma-tanh", "fusion"])
def test_lab_models_learn_resume_to_the_same_weights_and_are_judged(
    faces_dir: Path, tmp_path: Path, classifier: Path, model: str, interrupted: Callable[[list[str]], str]
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    # few batches for the one that takes long
    options = ("--weights", str(classifier), "--recipe", "original-100-cpu", "--batch-size", "6") if model == "fusion" else ()
    assert fit(faces_dir, straight, *options, epochs=4, model=model).exit_code == 0
    report = json.loads((straight / "metrics.json").read_text())
    assert report["history"][-1]["train_loss"] < report["history"][0]["train_loss"]
    interrupted(command(faces_dir, broken, *options, epochs=4, model=model))
    assert fit(faces_dir, broken, "--resume", *options, epochs=4, model=model).exit_code == 0
    expected = load(straight / f"{model}.pt").state
    for name, value in load(broken / f"{model}.pt").state.items():
        assert torch.equal(value, expected[name]), name
    if model == "fusion":
        frozen = torch.load(classifier, weights_only=True)
        assert all(torch.equal(value, expected[f"classifier.{name}"]) for name, value in frozen.items())
    judged = CliRunner().invoke(main, ["evaluate", str(straight / f"{model}.pt"), "--data-dir", str(faces_dir)])
    assert json.loads(judged.stdout)["mse"] == pytest.approx(report["metrics"]["validation_mse"], rel=1e-3)


def test_classifier_that_cannot_be_downloaded_is_one_sentence(faces_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(TrainingError, match="--weights"):
        CliRunner().invoke(
            main, command(faces_dir, tmp_path / "run", "--weights", str(tmp_path / "bad.pth"), epochs=1,
                          model="fusion")[5:], catch_exceptions=False,
        )  # fmt: skip


def test_extra_classes_join_training_but_not_validation(data_dir: Path, tmp_path: Path) -> None:
    with np.load(data_dir / "cifar10_horses_train.npz") as archive:
        horses = archive["images"]
    labels = np.array([7] * 60 + [3] * 60)
    np.savez(data_dir / "cifar10_train.npz", images=horses, labels=labels)
    run = tmp_path / "run"
    assert fit(data_dir, run, "--extra-classes", "cat", epochs=1).exit_code == 0
    assert load(run / "unet.pt").training_data == "CIFAR-10 (horse and cat), 114 pictures of 32x32"
    assert fit(data_dir, tmp_path / "other", "--extra-classes", "horse", epochs=1).exit_code == 0
    # its own class is no extra: a tenth of it is for validation
    assert load(tmp_path / "other" / "unet.pt").training_data == "CIFAR-10 (horse), 54 pictures of 32x32"
    (run / "unet.pt").unlink()  # as if killed after the last epoch
    # the same number of others, under the same name
    np.savez(data_dir / "cifar10_train.npz", images=horses[::-1], labels=labels)
    with pytest.raises(TrainingError, match=r"started with .*different pictures"):
        CliRunner().invoke(
            main, command(data_dir, run, "--resume", "--extra-classes", "cat", epochs=1)[5:], catch_exceptions=False
        )


def test_results_compares_runs(data_dir: Path, faces_dir: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "a-run", tmp_path / "b-run"]
    assert fit(data_dir, runs[0], epochs=1).exit_code == 0
    assert fit(faces_dir, runs[1], epochs=1, model="chroma-tanh").exit_code == 0
    done = CliRunner().invoke(main, ["results", *map(str, runs)])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert [len(row) for row in rows] == [len(rows[0])] * 4
    for row, run in zip(rows[2:], runs, strict=True):
        report = json.loads((run / "metrics.json").read_text())
        found = dict(zip(rows[0], row, strict=True))
        assert found["run"] == run.name
        assert found["parameters"] == f"{report['parameters']:,}"
        assert found["PSNR dB"] == f"{report['metrics']['validation_psnr']:.2f}"
    assert rows[3][rows[0].index("accuracy %")] == ""
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(TrainingError, match="not the folder of a finished run"):
        CliRunner().invoke(main, ["results", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(TrainingError, match=r"not the folder of a finished run; give .*a-run\.$"):
        CliRunner().invoke(main, ["results", str(runs[0] / "metrics.json")], catch_exceptions=False)


def test_palette_command_writes_what_fit_reads(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    done = CliRunner().invoke(main, ["palette", "--colours", "5", "--data-dir", str(data_dir), "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert np.load(path).shape == (5, 3)
    with Image.open(path.with_suffix(".png")) as swatch:
        assert swatch.size == (5 * 24, 48)
    assert fit(data_dir, tmp_path / "run", "--palette", str(path), epochs=1).exit_code == 0
    assert load(tmp_path / "run" / "unet.pt").arguments["num_colours"] == 5


def test_resumed_after_an_interrupt_gives_the_same_weights(
    data_dir: Path, tmp_path: Path, interrupted: Callable[[list[str]], str]
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    rest = interrupted(command(data_dir, broken, epochs=6))
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


def test_killed_training_is_resumed_to_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    straight, run = tmp_path / "straight", tmp_path / "run"
    with subprocess.Popen(command(data_dir, run, epochs=4), stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        process.kill()
    assert not (run / "unet.pt").exists()
    assert fit(data_dir, run, "--resume", epochs=4).exit_code == 0
    assert fit(data_dir, straight, epochs=4).exit_code == 0
    expected = weights(straight)
    for name, value in weights(run).items():
        assert torch.equal(value, expected[name]), name


def test_a_run_goes_on_with_its_own_number_of_threads(
    data_dir: Path, tmp_path: Path, interrupted: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    interrupted(command(data_dir, broken, epochs=4))
    subprocess.run(command(data_dir, straight, epochs=4), check=True, cwd=ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    resumed = subprocess.run(
        command(data_dir, broken, "--resume", epochs=4), capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "continues with its original number of threads: 1, not 2.\n" in resumed.stderr
    assert "rounding" not in resumed.stderr
    expected = weights(straight)
    for name, value in weights(broken).items():
        assert torch.equal(value, expected[name]), name
    for run in (straight, broken):
        assert json.loads((run / "metrics.json").read_text())["threads"] == 1


def test_a_folder_takes_one_training_at_a_time(data_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(command(data_dir, run, epochs=400), stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        for options in ((), ("--resume",)):
            with pytest.raises(TrainingError, match=r"Another training is writing to .*run: wait .* another --run-dir"):
                CliRunner().invoke(main, command(data_dir, run, *options, epochs=400)[5:], catch_exceptions=False)
        process.kill()
    with pytest.raises(TrainingError, match="continue it with --resume"):  # the kernel let go of it
        CliRunner().invoke(main, command(data_dir, run, epochs=400)[5:], catch_exceptions=False)


@pytest.mark.parametrize("folder", ["/proc/run", "file/run"])
def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(data_dir: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("no folder")
    done = CliRunner().invoke(main, command(data_dir, tmp_path / folder, epochs=1)[5:])
    assert isinstance(done.exception, TrainingError)
    assert re.fullmatch(r"Cannot write to /.*/run \(.*\): choose another --run-dir\.", str(done.exception))
    assert "Clustering" not in done.stderr


def test_nothing_to_resume_is_told_before_any_work_and_leaves_nothing(data_dir: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, command(data_dir, tmp_path / "runs" / "run", "--resume", epochs=1)[5:])
    assert isinstance(done.exception, TrainingError)
    assert "no run to resume" in str(done.exception)
    assert "Clustering" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_weights_are_loaded_before_the_data(faces_dir: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    done = CliRunner().invoke(
        main, command(faces_dir, tmp_path / "run", "--weights", str(tmp_path / "other.pth"), epochs=1, model="fusion")[5:]
    )
    assert isinstance(done.exception, TrainingError)
    assert "does not contain the weights" in str(done.exception)
    assert "faces" not in done.stderr.lower()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["unet", "flowers"])
def test_a_misspelt_data_folder_does_not_come_into_being(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing can be downloaded
    missing, empty = tmp_path / "some" / "dtaa", tmp_path / "empty"
    empty.mkdir()
    for data in (missing, empty):
        with pytest.raises(TrainingError, match=r"could not be downloaded"):
            CliRunner().invoke(main, command(data, tmp_path / "run", epochs=1, model=model)[5:], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_best_weights_of_another_run_are_not_taken(data_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    network = build("unet", find("unet", "tuned").arguments)
    torch.save({name: torch.zeros_like(value) for name, value in network.state_dict().items()}, run / "best.pt")
    assert fit(data_dir, run, epochs=1).exit_code == 0
    assert any(value.is_floating_point() and value.any() for value in weights(run).values())
    assert not (run / "unet-last.pt").exists()


def test_two_processes_train_one_network(data_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(data_dir, tmp_path / "run", "--devices", "2", epochs=2), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]) == 2


def test_only_the_same_unfinished_run_is_resumed(data_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def resume(*options: str) -> Result:
        return CliRunner().invoke(main, command(data_dir, run, "--resume", *options, epochs=2)[5:], catch_exceptions=False)

    with pytest.raises(TrainingError, match="no run to resume"):
        resume()
    assert fit(data_dir, run).exit_code == 0
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for again in ([], ["--resume"]):
        with pytest.raises(TrainingError, match="is finished: choose another --run-dir"):
            CliRunner().invoke(main, command(data_dir, run, *again, epochs=2)[5:], catch_exceptions=False)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    expected = weights(run)
    (run / "unet.pt").unlink()  # as if killed after the last epoch
    del before[run / "unet.pt"]
    np.save(tmp_path / "other.npy", np.random.default_rng(1).random((24, 3), dtype=np.float32))
    for options, word in (
        (["--seed", "7"], "seed 0, not 7"), (["--learning-rate", "0.5"], "learning_rate"),
        (["--epochs", "3"], "epochs 2, not 3"),
        (["--recipe", "original"], "recipe unet-tuned, not unet-original: "),
        (["--palette", str(tmp_path / "other.npy")], "palette"), (["--colours", "5"], "num_colours 24, not 5"),
    ):  # fmt: skip
        with pytest.raises(TrainingError, match=f"started with .*{word}"):
            resume(*options)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    (path,) = run.glob("resume-*.ckpt")
    state = torch.load(path, weights_only=False)
    del state["callbacks"]["RunFolder"]["identity"]["share"]  # of a time when all pictures were in every epoch
    del state["callbacks"]["RunFolder"]["threads"]  # which was not kept, either
    state["callbacks"]["RunFolder"]["torch"] = "2.0.1"
    torch.save(state, path)
    resumed = resume()
    assert resumed.exit_code == 0
    assert "threads" not in resumed.stderr
    assert f"started with PyTorch 2.0.1, this is {torch.__version__}: its weights may differ in rounding" in resumed.stderr
    assert all(torch.equal(value, expected[name]) for name, value in weights(run).items())
    (run / "unet.pt").unlink()
    whole = path.read_bytes()
    for damaged in (whole[:1000], flip_a_bit(whole)):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match="damaged: delete it; start the run again"):
            resume()
    (run / "resume-epoch=0.ckpt").write_bytes(whole)
    with pytest.raises(TrainingError, match=r"delete it; --resume then continues from resume-epoch=0\.ckpt"):
        resume()


def flip_a_bit(data: bytes) -> bytes:
    """``data`` of `torch.save` with one bit flipped within the largest tensor, which leaves it readable."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        member = max((info for info in archive.infolist() if "/data/" in info.filename), key=lambda info: info.file_size)
        middle = data.index(archive.read(member)) + member.file_size // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_one_flipped_bit_is_no_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    path.write_bytes(flip_a_bit(tiny_checkpoint.read_bytes()))
    torch.load(path, weights_only=True)  # PyTorch sees nothing
    with pytest.raises(TrainingError, match=r"tiny\.pt is damaged"):
        load(path)


def test_a_run_keeps_one_state_and_so_many_grids(
    data_dir: Path, tmp_path: Path, interrupted: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    options = ["--weight-decay", "0.25"]
    interrupted(command(data_dir, run, *options, epochs=8, model="cnn"))
    (begun,) = run.glob("resume-*.ckpt")
    monkeypatch.setattr("training.run_folder._GRIDS", 3)  # of which a hundred would take minutes
    assert fit(data_dir, run, "--resume", *options, epochs=8, model="cnn").exit_code == 0
    (state,) = run.glob("resume-*.ckpt")
    assert begun.name != state.name == "resume-epoch=7.ckpt"
    since = range(int(begun.stem.split("=")[1]) + 2, 8)  # the epoch that was interrupted may have left its own
    grids = {path.name for path in (run / "grids").iterdir()}
    assert {i for i in since if f"epoch-{i:03}.png" in grids} == {3, 6} & set(since)
    assert json.loads((run / "metrics.json").read_text())["recipe"]["weight_decay"] == 0.25
    contents = torch.load(state, weights_only=False)
    assert [group["weight_decay"] for group in contents["optimizer_states"][0]["param_groups"]] == [0.25]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "unet", "--recipe", "nonsense"], "nonsense.*original, tuned"),
        (["fit", "unet", "--data-dir", "{folder}", "--run-dir", "{folder}/run", "--classes", "unicorn"], "unicorn.*horse"),
        (["fit", "regression-cnn", "--rebalance"], "does not classify"),
        (["fit", "gpt"], "gpt.*unet"),
        (["fit", "chroma-tanh", "--classes", "cat"], "learns from faces: omit --classes"),
        (["fit", "cnn", "--data-dir", "{data}", "--classes", ","], "names no class"),
        (["fit", "unet", "--palette", "nowhere.npy"], "nowhere.npy"),
        (["fit", "unet", "--palette", "{folder}"], "is a folder: give a file in it"),
        (["palette", "--data-dir", "{data}", "--classes", "cat"], "which is there, contains only the training horses"),
        (["fit", "cnn", "--data-dir", "{data}", "--device", "cpu", "--precision", "16-mixed"], "needs CUDA.*bf16-mixed"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "unet", "--seed", "-1"],
        ["fit", "unet", "--learning-rate", "nan"],
        ["fit", "unet", "--weight-decay", "nan"],
        ["fit", "unet", "--ema-decay", "nan"],
        ["fit", "unet", "--augment", "sideways"],
        ["fit", "cnn", "--weights", "pyproject.toml"],
        ["fit", "unet", "--weights", "none"],
        ["fit", "fusion", "--weights", "nowhere.pth"],
        ["fit", "unet", "--colours", "5", "--palette", "x.npy"],
        ["palette", "-o", "palette.png"],
        ["describe", "unet", "--size", "100000"],
        ["evaluate", "x.pt", "--grid", "grid.foo"],
    ],
)
def test_wrong_usage_is_refused_before_any_work(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA works here")
def test_cuda_that_is_not_there_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="finds no CUDA device"):
        CliRunner().invoke(
            main, ["fit", "unet", "--data-dir", str(data_dir), "--run-dir", str(tmp_path / "run"), "--device", "cuda"],
            catch_exceptions=False,
        )  # fmt: skip


def test_a_training_may_begin_with_the_weights_and_palette_of_another(data_dir: Path, tmp_path: Path) -> None:
    assert fit(data_dir, tmp_path / "first", epochs=1).exit_code == 0
    first = load(tmp_path / "first" / "unet.pt")
    (tmp_path / "half.pt").parent.mkdir(exist_ok=True)
    halved = CliRunner().invoke(main, ["half", str(tmp_path / "first" / "unet.pt"), "-o", str(tmp_path / "half.pt")])
    assert halved.exit_code == 0, halved.stderr
    assert (tmp_path / "half.pt").stat().st_size < 0.65 * (tmp_path / "first" / "unet.pt").stat().st_size
    start = ("--start-from", str(tmp_path / "half.pt"))
    done = fit(data_dir, tmp_path / "second", "--learning-rate", "1e-12", *start, epochs=1)
    assert done.exit_code == 0, done.stderr
    second = load(tmp_path / "second" / "unet.pt")
    assert np.array_equal(second.colours, first.colours)
    for name in ("finalconv.weight", "downconv1.0.weight"):
        torch.testing.assert_close(second.state[name], first.state[name], rtol=1e-3, atol=1e-6)
        assert second.state[name].dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--colours", "8"], "omit --weights, --palette and --colours"),
        ([], "does not fit"),
    ],
)
def test_checkpoints_that_a_training_cannot_begin_with_are_one_sentence(
    data_dir: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    tiny = str(ROOT / "tests" / "data" / "tiny.pt")  # a UNet of fewer filters
    done = fit(data_dir, tmp_path / "second", "--start-from", tiny, *options, epochs=1)
    assert done.exit_code != 0
    assert words in f"{done.stderr} {done.exception}"
    other = fit(data_dir, tmp_path / "third", "--start-from", tiny, epochs=1, model="cnn")
    assert "holds a unet, but cnn-tuned trains a cnn" in str(other.exception)


def test_a_run_that_began_with_a_checkpoint_is_resumed_with_it(data_dir: Path, tmp_path: Path) -> None:
    assert fit(data_dir, tmp_path / "first", epochs=1).exit_code == 0
    start = ("--start-from", str(tmp_path / "first" / "unet.pt"))
    assert fit(data_dir, tmp_path / "second", *start, epochs=1).exit_code == 0
    for name in ("unet.pt", "metrics.json"):  # as if it had been killed before it wrote them
        (tmp_path / "second" / name).unlink()
    with pytest.raises(TrainingError, match="started with a --start-from"):
        CliRunner().invoke(main, command(data_dir, tmp_path / "second", "--resume", epochs=1)[5:], catch_exceptions=False)
    assert fit(data_dir, tmp_path / "second", "--resume", *start, epochs=1).exit_code == 0
