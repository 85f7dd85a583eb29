"""Colour hints: how they are drawn, that none change nothing, that they reach the network, and what is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from colorize_run.colour import srgb_to_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.__main__ import main
from training.checkpoint import Checkpoint, load
from training.datasets import hints
from training.datasets.photos import Photos, PhotoSamples
from training.errors import TrainingError
from training.evaluation.hints import measure_hints
from training.evaluation.photos import PhotoEvaluator
from training.networks.encoder_decoder import pretrain, quarter
from training.networks.photo import PhotoChroma, PhotoColorizer, apply_hints
from training.recipes import RECIPES


def colourful(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8).repeat(24, 0).repeat(24, 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_hints_are_true_colours_and_nothing_elsewhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ab = rng.uniform(-80, 80, (8, 12, 2)).astype(np.float32)
    planes = hints.draw(ab, 4, rng)
    assert planes.shape == (3, 32, 48)
    known = planes[2] == 1
    assert np.all(planes[:, ~known] == 0)
    low, high = ab.min(axis=(0, 1)), ab.max(axis=(0, 1))
    colours = planes[:2, known].T * hints.SCALE
    assert np.all((colours >= low - 1e-3) & (colours <= high + 1e-3))


def test_half_of_the_samples_have_no_hints_and_the_others_few_or_many() -> None:
    ab = np.full((24, 24, 2), 30, np.float32)
    areas = [float(hints.draw(ab, 4, np.random.default_rng(seed))[2].sum()) for seed in range(600)]
    assert 0.42 < np.mean(np.array(areas) == 0) < 0.58
    assert min(area for area in areas if area) < 10
    assert max(areas) > 600
    one = hints.draw(ab, 4, np.random.default_rng(int(np.argmax(areas))))
    assert np.allclose(one[:2, one[2] == 1], 30 / 110)


def test_quarter_keeps_the_colour_of_a_single_pixel() -> None:
    planes = torch.zeros(1, 3, 8, 8)
    planes[0, :, 5, 2] = torch.tensor([0.5, -0.25, 1.0])
    small = quarter(planes)
    assert small[0, :, 1, 0].tolist() == [0.5, -0.25, 1.0]
    assert small.abs().sum() == 1.75


def test_a_network_widened_for_hints_gives_what_it_gave_before_and_learns_from_them() -> None:
    torch.manual_seed(0)
    plain = PhotoColorizer(8).eval()
    with torch.no_grad():  # otherwise BatchNorm and zeros leave little to compare
        for parameter in plain.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    wide = PhotoColorizer(8, hints=True).eval()
    wide.load_without_hints(plain.state_dict())
    grey = torch.rand(2, 1, 64, 96)
    planes = torch.zeros(2, 3, 64, 96)
    planes[:, :, 10:20, 30:50] = torch.tensor([0.4, 0.3, 1.0])[:, None, None]
    expected = plain(grey)
    for picture in (grey, torch.cat([grey, planes], dim=1)):  # the hints have no weight yet
        assert (wide(picture) - expected).abs().max() <= 1e-4 * expected.abs().max()
    wide(torch.cat([grey, planes], dim=1)).square().mean().backward()
    first, last = next(wide.encoder.parameters()), wide.up4[0][0].weight
    assert all(weight.grad[:, -3:].abs().max() > 0 for weight in (first, last))
    with torch.no_grad():
        last[:, -3:] += 0.1
        assert (wide(torch.cat([grey, planes], dim=1)) - expected).abs().max() > 1e-2 * expected.abs().max()
        torch.testing.assert_close(wide(grey), wide(torch.cat([grey, 0 * planes], dim=1)), rtol=0, atol=0)


def test_pretrained_weights_leave_hints_without_weight() -> None:
    wide, plain = PhotoColorizer(8, hints=True), PhotoColorizer(8)
    pretrain(wide)
    pretrain(plain)
    weight = next(wide.encoder.parameters())
    assert weight.shape[1] == 4
    assert torch.equal(weight[:, :1], next(plain.encoder.parameters()))
    assert not weight[:, 1:].any()


def test_samples_have_hints_of_their_own_target() -> None:
    photos = Photos([colourful(seed) for seed in range(12)], [""] * 12)
    samples = PhotoSamples(photos, 32, 0, augment=True, hints=True)
    batch = samples.__getitems__(list(range(12)))
    without = PhotoSamples(photos, 32, 0, augment=True).__getitems__(list(range(12)))
    assert batch["input"].shape == (12, 4, 32, 32)
    assert torch.equal(batch["input"][:, :1], without["input"])
    assert torch.equal(batch["target"], without["target"])
    known = batch["input"][:, 3] == 1
    assert 0 < known.any(dim=(1, 2)).sum() < 12


@pytest.mark.parametrize("follows", [True, False])
def test_measured_gain_of_hints(follows: bool) -> None:
    image = np.full((192, 192, 3), (200, 60, 40), np.uint8)
    true = srgb_to_lab(image[:1, :1].astype(np.float32) / np.float32(255))[0, 0, 1:]

    def predict(grey: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        found = planes[:, :2].flatten(2).sum(dim=2) / planes[:, 2:].flatten(2).sum(dim=2).clamp_min(1)
        return (found * follows)[:, :, None, None].expand(len(grey), 2, *grey.shape[2:])

    figures = measure_hints(predict, Photos([image], [""]), 64)
    assert figures["hints_1_error_reduction"] == pytest.approx(float(follows), abs=1e-3)
    expected = 0 if follows else float(np.linalg.norm(true))
    assert figures["hints_10_patch_error"] == pytest.approx(expected, abs=0.05)


def test_report_of_a_network_with_hints_says_what_they_gain() -> None:
    torch.manual_seed(0)
    network = PhotoColorizer(4, hints=True).eval()
    palette = np.array([[40, 20], [-20, 30], [10, -40], [0, 0]], np.float32)
    photos = Photos([colourful(seed) for seed in range(2)], ["a", "b"])
    evaluator = PhotoEvaluator(palette)
    report = evaluator.report(network, photos)
    assert 0 < report["hints_1_error_reduction"] < 0.02  # untrained: only the hint itself is followed
    assert report["hints_1_patch_error"] < 1
    assert "hints_1_error_reduction" not in evaluator.report(PhotoColorizer(4).eval(), photos)
    chroma = PhotoChroma(network, torch.from_numpy(palette))
    grey = torch.rand(1, 1, 64, 64)
    same = chroma(grey, torch.tensor(0.5), torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(chroma(grey, torch.tensor(0.5)), same, rtol=0, atol=0)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_hinted_pixels_get_their_colour_and_far_ones_keep_theirs(seed: int, count: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    ab = torch.rand(1, 2, 48, 40, generator=rng) * 100 - 50
    given = torch.zeros(1, 3, 48, 40)
    for y, x in torch.randint(0, 40, (count, 2), generator=rng).tolist():
        given[0, :, y, x] = torch.tensor([60.0, -30.0, 1.0])
    result = apply_hints(ab, given)
    known = given[0, 2] == 1
    torch.testing.assert_close(result[0, :, known], given[0, :2, known])
    far = torch.nn.functional.max_pool2d(given[:, 2:], 9, 1, 4)[0, 0] == 0
    assert torch.equal(result[0, :, far], ab[0, :, far])
    assert count or torch.equal(result, ab)


def test_a_training_that_does_not_rebalance_forgets_the_weights_of_one_that_did(tmp_path: Path) -> None:
    plain = PhotoColorizer(4)
    with torch.no_grad():
        plain.class_weights.copy_(torch.tensor([0.2, 1, 2, 5]))
    palette = np.array([[40, 20], [-20, 30], [10, -40], [0, 0]], np.float32)
    arguments = {**RECIPES["photo-rebalanced"].arguments, "num_colours": 4}
    start = tmp_path / "start.pt"
    Checkpoint("photo", "photo-colorizer", arguments, plain.state_dict(), palette).save(start)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(12):
        Image.fromarray(colourful(seed)).save(photos / f"{seed}.png")
    options = ["--start-from", str(start), "--run-dir", str(tmp_path / "run"), "--epochs", "1", "--batch-size", "4"]
    done = CliRunner().invoke(main, ["fit", "photo", "--data-dir", str(photos), "--device", "cpu", *options])
    assert done.exit_code == 0, done.output
    trained = load(tmp_path / "run" / "photo.pt")
    assert trained.state["class_weights"].tolist() == [1, 1, 1, 1]
    assert trained.arguments["hints"]
    assert trained.arguments["num_colours"] == 4
    assert np.allclose(trained.colours, palette, atol=1e-4)


def test_other_encoders_and_missing_folders_are_one_sentence(tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    Checkpoint("photo", "photo-colorizer", RECIPES["photo-tuned"].arguments, {}, np.zeros((128, 2), np.float32)).save(start)
    wrong = ["fit", "photo", "--data-dir", str(tmp_path), "--start-from", str(start), "--encoder", "resnet18"]
    with pytest.raises(TrainingError, match="does not fit"):
        CliRunner().invoke(main, [*wrong, "--run-dir", str(tmp_path / "run")], catch_exceptions=False)
    with pytest.raises(TrainingError, match="does not exist: create it"):
        CliRunner().invoke(main, ["half", str(start), "-o", str(tmp_path / "no" / "x.pt")], catch_exceptions=False)
