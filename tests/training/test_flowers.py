"""Flowers: what is read, how it is split and moved, what segmenters learn from it, and how they are judged."""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from training.__main__ import main
from training.checkpoint import load
from training.datasets import flowers
from training.datasets.flowers import UNLABELLED, Flowers, FlowerSamples, load_flowers, load_split
from training.errors import TrainingError
from training.evaluation.masks import at_working_size, boundary_f, measure, picture_iou, thresholded
from training.networks import deeplab
from training.networks.deeplab import LAST_LAYER, DeepLab
from training.networks.segmenter import SegmentationUNet

ROOT = Path(__file__).resolve().parents[2]


def bloom(seed: int, size: tuple[int, int] = (80, 60)) -> tuple[Image.Image, Image.Image]:
    """A bright disc on grass, and its trimap in colours: flower, border, background, and a leaf that is background too."""
    rng = np.random.default_rng(seed)
    grass = rng.integers(0, 90, (size[1], size[0], 3), np.uint8)
    picture, trimap = Image.fromarray(grass), Image.new("RGB", size, (128, 128, 0))
    x, y, r = rng.integers(25, 55), rng.integers(22, 38), rng.integers(10, 18)
    ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=(250, int(rng.integers(120, 250)), 40))
    draw = ImageDraw.Draw(trimap)
    draw.ellipse((x - r - 2, y - r - 2, x + r + 2, y + r + 2), fill=(0, 0, 0))
    draw.ellipse((x - r + 2, y - r + 2, x + r - 2, y + r - 2), fill=(128, 0, 0))
    draw.rectangle((0, 0, 6, 6), fill=(0, 128, 0))
    return picture, trimap


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


@pytest.fixture(scope="module")
def flower_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared archive of 24 flowers, two of them near-duplicates of others, and one picture without a trimap."""
    folder = tmp_path_factory.mktemp("flowers")
    with zipfile.ZipFile(folder / "oxford17_flowers.zip", "w") as archive:
        for i in range(24):
            picture, trimap = bloom(i)
            archive.writestr(f"jpg/image_{i:04}.jpg", encoded(picture, "JPEG"))
            archive.writestr(f"trimaps_256/image_{i:04}.png", encoded(trimap.resize((64, 64), 0).quantize(), "PNG"))
        archive.writestr("jpg/image_0900.jpg", encoded(bloom(90)[0], "JPEG"))
        archive.writestr("near_duplicates.csv", "a,b,dhash_distance_of_256\nimage_0001.jpg,image_0002.jpg,0\n")
    return folder


def test_pictures_without_a_trimap_are_left_out_and_colours_become_classes(flower_dir: Path) -> None:
    found = load_flowers(flower_dir)
    assert len(found) == 24
    assert found.images[0].shape == (60, 80, 3)
    assert found.masks[0].shape == (64, 64)
    assert {int(value) for mask in found.masks for value in np.unique(mask)} == {0, 1, UNLABELLED}
    assert found.masks[0][1, 1] == 0, "leaves and sky are background"


def test_the_split_is_seeded_and_keeps_near_duplicates_together(flower_dir: Path) -> None:
    for seed in range(12):
        train, validation = (set(load_split(flower_dir, name, seed).names) for name in ("train", "validation"))
        assert not train & validation
        assert len(train | validation) == 24
        assert ("image_0001" in train) == ("image_0002" in train)
    assert load_split(flower_dir, "train", 3).fingerprint() == load_split(flower_dir, "train", 3).fingerprint()
    assert load_split(flower_dir, "train", 3).fingerprint() != load_split(flower_dir, "train", 4).fingerprint()
    with pytest.raises(TrainingError, match="no test split"):
        load_split(flower_dir, "test", 0)


def test_the_public_archives_with_their_official_splits(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    for archive, kind, suffix in (("17flowers.tgz", "jpg", "JPEG"), ("trimaps.tgz", "trimaps", "PNG")):
        with tarfile.open(tmp_path / archive, "w:gz") as tar:
            for i in range(1, 9):
                data = encoded(bloom(i)[0 if suffix == "JPEG" else 1], suffix)
                info = tarfile.TarInfo(f"{kind}/image_{i:04}.{'jpg' if suffix == 'JPEG' else 'png'}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    scipy_io.savemat(tmp_path / "datasplits.mat", {"trn1": [[1, 2, 3, 4]], "val1": [[5, 6]], "tst1": [[7, 8]]})
    names = {split: sorted(load_split(tmp_path, split, 0).names) for split in ("train", "validation", "test")}
    assert names == {
        "train": [f"image_{i:04}" for i in (1, 2, 3, 4)],
        "validation": ["image_0005", "image_0006"],
        "test": ["image_0007", "image_0008"],
    }


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "oxford17_flowers.zip").write_bytes(b"PK no archive")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_flowers(tmp_path)


def test_real_flowers(shared_data: Path) -> None:
    train, validation = (load_split(shared_data, name, 0) for name in ("train", "validation"))
    assert len(train) + len(validation) == 760
    share = float(np.mean([(mask == 1).mean() for mask in validation.masks]))
    assert 0.25 < share < 0.35
    names = set(train.names), set(validation.names)
    assert not names[0] & names[1]
    for pair in (("image_0014", "image_0048"), ("image_0033", "image_0046"), ("image_0090", "image_0100")):
        assert set(pair) <= names[0] or set(pair) <= names[1]


def samples(side: int = 48, *, augment: bool = True) -> FlowerSamples:
    pairs = [bloom(i) for i in range(4)]
    masks = [flowers.mask_of(np.array(trimap)) for _, trimap in pairs]
    return FlowerSamples(Flowers(list("abcd"), [np.array(p) for p, _ in pairs], masks), side, 0, augment=augment)


@settings(max_examples=30, deadline=None)
@given(index=st.integers(0, 10_000), side=st.sampled_from([32, 48, 64]))
def test_samples_are_whole_and_masks_are_never_blended(index: int, side: int) -> None:
    batch = samples(side).__getitems__([index])
    assert batch["input"].shape == (1, 3, side, side)
    assert 0 <= float(batch["input"].min()) <= float(batch["input"].max()) <= 1
    assert set(batch["target"].unique().tolist()) <= {0, 1, UNLABELLED}


def test_picture_and_mask_move_together() -> None:
    """What the mask calls a flower is bright, whatever has been turned, mirrored and lit."""
    right = total = 0
    for index in range(0, 200, 7):
        batch = samples().__getitems__([index])
        red = batch["input"][0, 0] - batch["input"][0, 2]
        flower, other = batch["target"][0] == 1, batch["target"][0] == 0
        if flower.sum() > 20 and other.sum() > 20:
            total += 1
            right += int(red[flower].mean() > red[other].mean())
    assert total > 15
    assert right >= 0.9 * total  # a few are grey


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    first, second = samples().__getitems__([5, 6]), samples().__getitems__([6])
    assert (first["input"][1] == second["input"][0]).all()
    assert (samples().__getitems__([1])["input"] != samples().__getitems__([5])["input"]).any(), (
        "another epoch, another variant"
    )


def test_the_last_quarter_is_larger() -> None:
    pairs = samples()
    grown = FlowerSamples(pairs.flowers, 32, 0, augment=True, final_side=64, epochs=4)
    assert [grown.__getitems__([4 * epoch])["input"].shape[2] for epoch in range(4)] == [32, 32, 32, 64]


def test_figures_of_masks_that_are_known() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 10:50] = 1
    mask[0:5] = UNLABELLED
    half = np.zeros_like(mask)
    half[10:30, 10:30] = 1
    half[0:5] = 1  # unlabelled: counts nowhere
    assert picture_iou(mask == 1, mask) == 1
    assert picture_iou(half, mask) == 0.5
    assert thresholded(torch.tensor([0.3, 0.5, 0.51, 0.54, 0.76, 0.96, 1.0])).tolist() == pytest.approx(
        [0, 0, 0.1, 0.1, 0.6, 1.0, 1.0]
    )
    assert boundary_f((mask == 1).astype(np.uint8), mask) == 1
    shifted = np.roll((mask == 1).astype(np.uint8), 6, axis=1)
    assert boundary_f(shifted, mask) < 0.8
    assert boundary_f(np.zeros_like(mask), mask) == 0


def test_measure_sums_over_pixels_and_means_over_pictures() -> None:
    whole = samples(augment=False).flowers
    perfect = iter([at_working_size(image, mask)[1] for image, mask in zip(whole.images, whole.masks, strict=True)])
    found = measure(lambda _: np.where(next(perfect) == 1, 1, 0).astype(np.uint8), whole)
    assert found["iou"] == found["mean_iou"] == found["accuracy"] == found["picture_iou"] == found["thresholded_iou"] == 1
    nothing = measure(lambda picture: np.zeros(picture.shape[:2], np.uint8), whole)
    assert nothing["iou"] == 0
    assert 0.4 < nothing["accuracy"] < 0.95


@pytest.fixture(scope="module")
def voc_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like deeplabv3_mnv2_voc.pth, of random weights: names as in that file, 21 classes."""
    torch.manual_seed(1)
    state = {}
    for name, value in DeepLab("mobilenet_v2", 21, kernel=1).state_dict().items():
        for old, new in (
            ("backbone.", "features."), ("classifier.0.", ""), ("classifier.1.", "project.0."),
            ("classifier.2.", "project.1."), ("classifier.4.", "logits."),
        ):  # fmt: skip
            if name.startswith(old):
                state[new + name.removeprefix(old)] = value
                break
    path = tmp_path_factory.mktemp("weights") / "voc.pth"
    torch.save(state, path)
    return path


def command(data_dir: Path, run: Path, *more: str, model: str = "deeplab-mobilenet-v2", recipe: str = "original") -> list[str]:
    return ["fit", model, "--recipe", recipe, "--data-dir", str(data_dir), "--run-dir", str(run), "--batch-size", "8",
            "--device", "cpu", "--precision", "32-true", *more]  # fmt: skip


@pytest.fixture(scope="module")
def last_layer(flower_dir: Path, voc_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "last"
    done = CliRunner().invoke(main, command(flower_dir, run, "--weights", str(voc_weights), "--epochs", "2"))
    assert done.exit_code == 0, done.output
    return run


def test_a_run_leaves_best_and_last_curves_and_grids(last_layer: Path) -> None:
    left = {path.name for path in last_layer.iterdir()}
    assert {"deeplab-mobilenet-v2.pt", "deeplab-mobilenet-v2-last.pt", "curves.png", "grid.png", "metrics.json"} <= left
    assert len(list((last_layer / "grids").iterdir())) == 2
    report = json.loads((last_layer / "metrics.json").read_text())
    assert {"train_iou", "validation_iou", "train_loss", "validation_loss"} <= report["history"][0].keys()
    assert {"validation_iou", "validation_boundary_f", "validation_thresholded_iou"} <= report["metrics"].keys()


def test_a_last_layer_is_kilobytes_and_needs_the_very_weights_it_stands_on(
    last_layer: Path, voc_weights: Path, tmp_path: Path, flower_dir: Path
) -> None:
    path = last_layer / "deeplab-mobilenet-v2.pt"
    assert path.stat().st_size < 60_000
    whole = load(path, weights=voc_weights)
    state = torch.load(voc_weights, weights_only=True)
    trained = torch.load(last_layer / "resume-epoch=1.ckpt", weights_only=False)["state_dict"]  # what the run itself had
    for theirs, ours in (
        ("features.0.0.weight", "backbone.0.0.weight"),
        ("features.0.1.running_mean", "backbone.0.1.running_mean"),
        ("aspp0.1.running_var", "classifier.0.aspp0.1.running_var"),
    ):
        assert (trained[f"network.{ours}"] == state[theirs]).all(), "frozen"
    assert whole.build()(torch.rand(1, 3, 40, 50)).shape == (1, 2, 40, 50)
    other = dict(state)
    other["features.0.0.weight"] = other["features.0.0.weight"] + 1
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match=r"is another file: give .* with --weights"):
        load(path, weights=tmp_path / "other.pth")
    arguments = ["evaluate", str(path), "--data-dir", str(flower_dir), "--weights", str(voc_weights), "--device", "cpu"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["iou"] == pytest.approx(whole.metrics["validation_iou"])


def test_a_run_is_not_resumed_upon_other_weights(last_layer: Path, voc_weights: Path, flower_dir: Path, tmp_path: Path) -> None:
    other, run = tmp_path / "other.pth", shutil.copytree(last_layer, tmp_path / "run")
    other.write_bytes(voc_weights.read_bytes() + b"more")
    resumed = command(flower_dir, run, "--resume", "--epochs", "2")
    path = run / "deeplab-mobilenet-v2.pt"
    whole = torch.load(path, weights_only=True)
    path.unlink()  # as if killed after the last epoch
    with pytest.raises(TrainingError, match="started with different weights"):
        CliRunner().invoke(main, [*resumed, "--weights", str(other)], catch_exceptions=False)
    for weights in ([], ["--weights", str(voc_weights)]):  # the state holds what it needs of them
        done = CliRunner().invoke(main, [*resumed, *weights], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found = torch.load(path, weights_only=True)
        assert found["base"] == whole["base"]
        assert all((found["state"][name] == whole["state"][name]).all() for name in whole["state"])
        path.unlink()
    best = run / "best.pt"
    foreign = io.BytesIO()
    torch.save([1, 2], foreign)
    for content, message in (
        (b"damaged", "is damaged"),
        (foreign.getvalue(), "belongs to another network"),
        (None, "is missing"),
    ):
        best.unlink()
        if content:
            best.write_bytes(content)
        with pytest.raises(TrainingError, match=rf"best\.pt {message}.*: it held the best epoch; train again"):
            CliRunner().invoke(main, resumed, catch_exceptions=False)
        best.touch()


def test_only_the_last_layer_learns(voc_weights: Path) -> None:
    network = DeepLab("mobilenet_v2", last_layer_only=True)
    deeplab.pretrain(network, voc_weights)
    network.train()
    assert [name for name, p in network.named_parameters() if p.requires_grad] == [f"{LAST_LAYER}.weight", f"{LAST_LAYER}.bias"]
    assert not any(module.training for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert tuple(network.get_submodule(LAST_LAYER).weight.shape) == (2, 256, 3, 3)


@pytest.mark.parametrize("backbone", ["resnet101", "resnet50", "mobilenet_v3_large"])
def test_torchvisions_networks_take_torchvisions_weights(backbone: deeplab.Backbone, tmp_path: Path) -> None:
    from torchvision.models import segmentation

    theirs = getattr(segmentation, f"deeplabv3_{backbone}")(weights=None, weights_backbone=None, aux_loss=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "coco.pth")
    ours = DeepLab(backbone, num_classes=21, kernel=1).eval()
    deeplab.pretrain(ours, tmp_path / "coco.pth")
    ours.get_submodule(LAST_LAYER).load_state_dict(theirs.classifier[4].state_dict())
    image = torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        wanted = theirs((image - ours.mean) / ours.std)["out"]
        assert torch.allclose(ours(image), wanted, atol=1e-4 * float(wanted.abs().max()))


def test_weights_that_are_missing_or_others_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing can be downloaded
    with pytest.raises(TrainingError, match=r"fetch https://download.pytorch.org/.*resnet101.* put it into .*--weights none"):
        deeplab.pretrain(DeepLab("resnet101"))
    with pytest.raises(TrainingError, match=r"deeplabv3_mnv2_voc\.pth with --weights"):
        deeplab.pretrain(DeepLab("mobilenet_v2"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match="does not contain weights of DeepLabV3 on mobilenet_v2"):
        deeplab.pretrain(DeepLab("mobilenet_v2"), tmp_path / "other.pth")


def test_from_scratch_measures_its_own_statistics(flower_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "scratch"
    done = CliRunner().invoke(main, command(flower_dir, run, "--weights", "none", "--epochs", "1", recipe="tuned"))
    assert done.exit_code == 0, done.output
    state = load(run / "deeplab-mobilenet-v2.pt").state
    assert state["backbone.0.1.running_mean"].abs().max() > 0
    refused = command(flower_dir, tmp_path / "nothing", "--weights", "none")
    with pytest.raises(TrainingError, match="cannot start with random ones"):
        CliRunner().invoke(main, refused, catch_exceptions=False)


def test_a_frozen_classifier_cannot_begin_at_random(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot start with random ones"):
        CliRunner().invoke(
            main, ["fit", "fusion", "--weights", "none", "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run")],
            catch_exceptions=False,
        )  # fmt: skip


def test_a_resumed_run_ends_as_an_uninterrupted_one(
    last_layer: Path, flower_dir: Path, voc_weights: Path, tmp_path: Path, interrupted: Callable[[list[str]], str]
) -> None:
    import sys

    more = ["--weights", str(voc_weights), "--epochs", "3"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert CliRunner().invoke(main, command(flower_dir, whole, *more)).exit_code == 0
    assert "--resume" in interrupted([sys.executable, "-m", "training", *command(flower_dir, parts, *more)])
    assert CliRunner().invoke(main, command(flower_dir, parts, *more, "--resume")).exit_code == 0
    first, second = (torch.load(run / "deeplab-mobilenet-v2.pt", weights_only=True) for run in (whole, parts))
    assert first["base"] == second["base"]
    assert all((first["state"][name] == second["state"][name]).all() for name in first["state"])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (33, 64), (65, 40)])
def test_any_size_gives_logits_of_that_size(height: int, width: int) -> None:
    for network in (DeepLab("mobilenet_v2"), DeepLab("mobilenet_v3_large", padding=1), SegmentationUNet()):
        with torch.no_grad():
            assert network.eval()(torch.rand(1, 3, height, width)).shape == (1, 2, height, width)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--classes", "cat"], "learns from flowers"),
        (["--augment", "flip-up-down"], "omit --augment"),
        (["--rebalance"], "--rebalance"),
    ],
)
def test_what_means_nothing_to_a_segmenter_is_refused(more: list[str], words: str, flower_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=words):
        CliRunner().invoke(main, command(flower_dir, tmp_path / "run", *more), catch_exceptions=False)
