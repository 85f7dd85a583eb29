"""Layers and networks: the assignment's shapes, counts and figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.checkpoint import Checkpoint, load
from training.datasets.cifar import load_split
from training.errors import TrainingError
from training.evaluate import evaluate
from training.layers import Conv2d
from training.networks import build
from training.networks.unet import UNet

HANDOUT = "csc321_a2_palettes_weights.zip"


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3, 5]), st.integers(6, 12), st.integers(6, 12))
@settings(deadline=None, max_examples=30)
def test_conv2d_is_a_convolution(inputs: int, outputs: int, kernel: int, height: int, width: int) -> None:
    layer = Conv2d(inputs, outputs, kernel)
    x = torch.rand(2, inputs, height, width)
    y = layer(x)
    assert y.shape == (2, outputs, height, width)
    # one output pixel by hand: the dot product of the filter with the zero-padded neighbourhood
    p = kernel // 2
    window = F.pad(x, (p, p, p, p))[1, :, 2 : 2 + kernel, 3 : 3 + kernel]
    by_hand = (window * layer.weight[0]).sum() + layer.bias[0]
    torch.testing.assert_close(y[1, 0, 2, 3], by_hand, rtol=1e-5, atol=1e-5)


def test_conv2d_starts_uniform_within_its_bound() -> None:
    layer = Conv2d(8, 64, 3)
    bound = 1 / np.sqrt(8 * 9)
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound
        assert parameter.mean().abs() < 0.2 * bound


def test_conv2d_padding_can_be_chosen() -> None:
    assert Conv2d(1, 1, 3, padding=0)(torch.rand(1, 1, 8, 8)).shape == (1, 1, 6, 6)


def test_unet_has_the_assignments_parameters() -> None:
    network = UNet(kernel=3, num_filters=32, num_colours=24, in_channels=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 112_344


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.integers(2, 30))
@settings(deadline=None, max_examples=20)
def test_unet_gives_one_logit_a_colour_and_pixel(n: int, h: int, w: int, channels: int, colours: int) -> None:
    network = UNet(3, 2, colours, channels).eval()
    assert network(torch.rand(n, channels, 4 * h, 4 * w)).shape == (n, colours, 4 * h, 4 * w)


def test_every_parameter_of_the_unet_learns() -> None:
    network = UNet(3, 4, 5, 1)
    F.cross_entropy(network(torch.rand(2, 1, 16, 16)), torch.randint(0, 5, (2, 16, 16))).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_handout_weights_reproduce_the_published_scores(shared_data: Path) -> None:
    """The proof that this is the assignment's network, to the last layer: see the data's README."""
    checkpoint = load(shared_data / HANDOUT / "weights" / "unet_k3_f32.pkl")
    images = load_split(shared_data, "all", ("horse",), 0)[:2500]
    scores = evaluate(checkpoint, images)
    assert round(scores["loss"], 4) == 1.2784
    assert round(100 * scores["accuracy"], 2) == 51.54


def test_committed_checkpoint_reaches_its_figures(shared_data: Path, root: Path) -> None:
    checkpoint = load(root / "artifacts" / "checkpoints" / "unet.pt")
    network = checkpoint.build()
    assert sum(parameter.numel() for parameter in network.parameters()) == 112_344
    scores = evaluate(checkpoint, load_split(shared_data, "validation", ("horse",), checkpoint.recipe["split_seed"]))
    assert scores["accuracy"] >= 0.57
    assert scores["loss"] < 1.12
    assert scores["accuracy"] == pytest.approx(checkpoint.metrics["validation_accuracy"], abs=2e-3)
    assert scores["loss"] == pytest.approx(checkpoint.metrics["validation_loss"], abs=5e-3)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    network = build("unet", {"num_filters": 2, "num_colours": 3})
    saved = Checkpoint(
        "small",
        "unet",
        {"num_filters": 2, "num_colours": 3},
        network.state_dict(),
        np.eye(3, dtype=np.float32),
        {"a": 1},
        {"b": 0.5},
        "c",
    )
    saved.save(tmp_path / "x.pt")
    found = load(tmp_path / "x.pt")
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(found.build()(x), network.eval()(x), rtol=0, atol=0)
    np.testing.assert_array_equal(found.colours, saved.colours)
    assert (found.recipe, found.metrics, found.training_data) == ({"a": 1}, {"b": 0.5}, "c")


class Malicious:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("/tmp/colorize-run-was-here"),)


@pytest.mark.parametrize("content", [Malicious(), {"format": "something else"}, [1, 2, 3]])
def test_files_that_are_no_checkpoint_are_refused_unopened(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(TrainingError, match=r"x\.pt"):
        load(tmp_path / "x.pt")
    assert not Path("/tmp/colorize-run-was-here").exists()


def test_missing_and_garbled_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"garbage")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"format": "colorize-run checkpoint 1", "network": "unet"}, tmp_path / "half.pt")
    for name in ("x.pt", "empty.pt", "half.pt", "nowhere.pt"):
        with pytest.raises(TrainingError, match=name):
            load(tmp_path / name)


def test_weights_that_do_not_fit_their_network() -> None:
    network = build("unet", {"num_filters": 2, "num_colours": 3})
    for arguments in ({"num_filters": 4, "num_colours": 3}, {"filters": 2}):
        with pytest.raises(TrainingError, match="do not fit"):
            Checkpoint("unet", "unet", arguments, network.state_dict(), np.eye(3, dtype=np.float32)).build()
