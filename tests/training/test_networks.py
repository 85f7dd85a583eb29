"""Layers and networks: the assignment's shapes, counts and figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import mobilenet_v2

from training.batchnorm import measure_statistics
from training.checkpoint import Checkpoint, load
from training.datasets.cifar import load_split
from training.datasets.pictures import Pictures
from training.errors import TrainingError
from training.evaluate import evaluate
from training.evaluation.colourfulness import colourfulness
from training.evaluation.photos import PhotoEvaluator, measure, summary
from training.families import family_of
from training.layers import Conv2d, DilatedConv2d
from training.networks import NETWORKS, build
from training.networks.lab import ChromaColorizer, FusionColorizer, pretrain
from training.networks.unet import DownsizedUNet

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


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(0, 3),
    st.integers(16, 24),
    st.integers(16, 24),
)
@settings(deadline=None, max_examples=60)
def test_spread_filters_are_dilated_convolutions(
    inputs: int, outputs: int, kernel: int, dilation: int, height: int, width: int
) -> None:
    """Holes count as the assignment's: one hole between taps is what PyTorch calls dilation 2."""
    layer, x = DilatedConv2d(inputs, outputs, kernel, dilation), torch.rand(2, inputs, height, width)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=layer.padding, dilation=dilation + 1)
    # Usually equal to the last bit; a library may sum the 25 products, 16 of them zero, in another order than the 9.
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)
    if kernel % 2:
        assert layer(x).shape == (2, outputs, height, width)


def test_spread_filter_by_hand_and_its_gradient() -> None:
    layer = DilatedConv2d(1, 1, 2, dilation=1)
    a, b, c, d = layer.weight.detach().flatten().tolist()
    assert layer.zero_inserted_weight()[0, 0].tolist() == [[a, 0, b], [0, 0, 0], [c, 0, d]]
    layer = DilatedConv2d(2, 3, 3, dilation=1)
    native = Conv2d(2, 3, 3, padding=2)
    native.load_state_dict(layer.state_dict())
    x = torch.rand(2, 2, 9, 8)
    layer(x).square().sum().backward()
    F.conv2d(x, native.weight, native.bias, padding=2, dilation=2).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, native.weight.grad)
    torch.testing.assert_close(layer.bias.grad, native.bias.grad)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("cnn", 86_784), ("regression-cnn", 75_549), ("unet", 112_344), ("dilated-unet", 112_344)],
)
def test_networks_have_the_assignments_parameters(network: str, parameters: int) -> None:
    arguments = {"kernel": 3, "num_filters": 32} | ({} if network == "regression-cnn" else {"num_colours": 24})
    assert sum(parameter.numel() for parameter in build(network, arguments).parameters()) == parameters


SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"num_filters": 2, "num_colours": 5},
    "regression-cnn": {"num_filters": 2},
    "unet": {"num_filters": 2, "num_colours": 5},
    "dilated-unet": {"num_filters": 2, "num_colours": 5},
    "downsized-unet": {"num_filters": 2, "num_colours": 5},
    "deep-unet": {"num_filters": 2, "num_colours": 5},
    "chroma-regressor": {"architecture": 2},
    "chroma-colorizer": {"architecture": 2, "output": "tanh"},
    "fusion-colorizer": {"architecture": 2, "classifier": "test_efficientnet", "classifier_size": 32},
    "photo-colorizer": {"num_colours": 5, "encoder": "test_efficientnet", "width": 8},
    "deeplab": {"backbone": "mobilenet_v2", "padding": 1},
    "segmentation-unet": {"encoder": "test_efficientnet", "width": 8},
}


def small_input(network: str, n: int = 2, h: int = 1, w: int = 1) -> torch.Tensor:
    stride = NETWORKS[network].stride
    return torch.rand(n, 3 if NETWORKS[network].sees_colour else 1, h * stride, w * stride)


def test_every_network_is_tested() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("network", SMALL)
def test_output_has_the_shape_of_the_target(network: str) -> None:
    built = build(network, SMALL[network]).eval()
    channels = {"palette": 5, "rgb": 3, "chroma": 2, "mean-chroma": 2, "chroma-palette": 5, "mask": 2}[NETWORKS[network].target]
    for n, h, w in ((1, 1, 1), (3, 2, 1), (2, 1, 3)):
        x = small_input(network, n, h, w)
        cell = 4 if network == "photo-colorizer" else 1
        spatial = () if network == "chroma-regressor" else tuple(side // cell for side in x.shape[2:])
        assert built(x).shape == (n, channels, *spatial)


@pytest.mark.parametrize("network", SMALL)
def test_every_parameter_learns_but_a_frozen_classifiers(network: str) -> None:
    torch.manual_seed(1)  # so few filters may all be dead by chance
    built = build(network, SMALL[network]).train()
    built(small_input(network, 2, 2, 2)).square().sum().backward()
    for name, parameter in built.named_parameters():
        if network == "fusion-colorizer" and name.startswith("classifier."):
            assert parameter.grad is None, name
            continue
        # a bias before BatchNorm is taken out again by it, to within rounding
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_frozen_classifier_stays_as_it_is() -> None:
    network = FusionColorizer(2, classifier="test_efficientnet", classifier_size=32).train()
    before = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(2, 1, 64, 64)).sum().backward()
    optimizer.step()
    assert network.training
    assert not network.classifier.training
    assert all(torch.equal(value, before[name]) for name, value in network.classifier.state_dict().items())


def test_batchnorm_statistics_are_those_of_the_training_pictures() -> None:
    torch.manual_seed(0)
    network = ChromaColorizer(2).train()
    pictures = Pictures(torch.rand(40, 1, 64, 64), torch.zeros(40, 2, 64, 64))
    for _ in range(3):
        network(torch.rand(4, 1, 64, 64) * 0.1)  # statistics of other pictures
    measure_statistics(network, pictures, batch_size=20)
    assert not network.training
    with torch.no_grad():
        seen = network.encoder[0][0](pictures.input)
    norm = network.encoder[0][1]
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, seen.var(dim=(0, 2, 3)), rtol=0.02, atol=1e-5)
    assert norm.momentum == 0.1


def test_measuring_statistics_leaves_a_frozen_classifier_alone() -> None:
    network = FusionColorizer(2, classifier="test_efficientnet", classifier_size=32)
    before = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    measure_statistics(network, Pictures(torch.rand(8, 1, 64, 64), torch.zeros(8, 2, 64, 64)), batch_size=4)
    assert all(torch.equal(value, before[name]) for name, value in network.classifier.state_dict().items())
    assert network.encoder[0][1].num_batches_tracked == 2


def test_a_classifiers_features_reach_every_pixel() -> None:
    torch.manual_seed(0)
    network = FusionColorizer(2, classifier="test_efficientnet", classifier_size=32).eval()
    x = torch.rand(1, 1, 64, 512)  # the left end is far beyond the convolutions' reach of the right
    changed = x.clone()
    changed[..., :64] = 1 - changed[..., :64]
    assert (network(x) - network(changed)).abs()[..., -32:].max() > 0
    plain = ChromaColorizer(2, "tanh").eval()
    assert (plain(x) - plain(changed)).abs()[..., -32:].max() == 0


def test_pretrained_weights_from_a_file_of_another_library(tmp_path: Path) -> None:
    network, other = (FusionColorizer(2, classifier="test_efficientnet", classifier_size=32) for _ in range(2))
    state = {f"renamed.{i}": value + 1 for i, value in enumerate(other.classifier.state_dict().values())}
    torch.save({**state, "classes.weight": torch.zeros(10, 4)}, tmp_path / "w.pth")
    pretrain(network, tmp_path / "w.pth")
    assert all(
        torch.equal(value, wanted)
        for value, wanted in zip(network.classifier.state_dict().values(), state.values(), strict=True)
    )
    torch.save(dict(reversed(state.items())), tmp_path / "wrong.pth")
    with pytest.raises(TrainingError, match="another order"):
        pretrain(network, tmp_path / "wrong.pth")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "wrapped.pth")
    pretrain(network, tmp_path / "wrapped.pth")
    torch.save({"epoch": 3, "model": state}, tmp_path / "odd.pth")
    (tmp_path / "bad.pth").write_bytes(b"garbage")
    for name in ("bad.pth", "odd.pth"):
        with pytest.raises(TrainingError, match="--weights"):
            pretrain(network, tmp_path / name)


def test_weights_of_a_real_classifier(shared_data: Path) -> None:
    weights = shared_data.parent / "weights" / "mobilenet_v2_imagenet.pth"
    if not weights.is_file():
        pytest.skip(f"needs {weights}")
    network = FusionColorizer(2, "tanh", "mobilenetv2_100", 128)
    pretrain(network, weights)
    reference = mobilenet_v2()
    reference.load_state_dict(torch.load(weights, weights_only=True))
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = reference.eval().features(x).mean(dim=(2, 3))
        torch.testing.assert_close(network.classifier(x), expected, rtol=1e-3, atol=1e-3)


def test_a_downsized_network_sees_nothing_but_means_of_four_by_four() -> None:
    network = DownsizedUNet(3, 2, 5).eval()
    x = torch.rand(1, 3, 16, 16)
    same_means = x.unflatten(2, (4, 4)).unflatten(4, (4, 4)).flip(3, 5).flatten(4, 5).flatten(2, 3)
    assert not torch.equal(x, same_means)
    torch.testing.assert_close(F.avg_pool2d(x, 4), F.avg_pool2d(same_means, 4))
    torch.testing.assert_close(network(x), network(same_means))


@pytest.mark.parametrize(
    ("weights", "figures"),
    [
        ("cnn_k3_f32", {"loss": 1.5365, "accuracy": 0.4290}),
        ("unet_k3_f32", {"loss": 1.2784, "accuracy": 0.5154}),
        ("dunet_k3_f32", {"loss": 1.4793, "accuracy": 0.4362}),
        ("regression_cnn_k3_f32", {"mse": 0.00598}),
    ],
)
def test_handout_weights_reproduce_the_published_scores(shared_data: Path, weights: str, figures: dict[str, float]) -> None:
    """The proof that these are the assignment's networks, to the last layer: see the data's README."""
    checkpoint = load(shared_data / HANDOUT / "weights" / f"{weights}.pkl")
    scores = evaluate(checkpoint, load_split(shared_data, "all", ("horse",), 0)[:2500])
    assert {name: round(scores[name], 5 if name == "mse" else 4) for name in figures} == figures


def test_small_handout_weights_load_too(shared_data: Path) -> None:
    for name, network in (("cnn", "cnn"), ("unet", "unet"), ("dunet", "dilated-unet"), ("regression_cnn", "regression-cnn")):
        checkpoint = load(shared_data / HANDOUT / "weights" / f"{name}_k3_f16.pkl")
        assert checkpoint.network == network
        assert checkpoint.arguments["num_filters"] == 16
        checkpoint.build()


COMMITTED = sorted(path.stem for path in (Path(__file__).parents[2] / "artifacts" / "checkpoints").glob("*.pt"))
PHOTOS = 200  # of 1,105, whose evaluation takes minutes
# what each must reach on validation pictures, at the least
GOALS = {"cnn": 0.455, "unet": 0.57, "dilated-unet": 0.57, "unet-large": 0.64}


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_checkpoints_reach_their_figures(shared_data: Path, root: Path, name: str) -> None:
    checkpoint = load(root / "artifacts" / "checkpoints" / f"{name}.pt")
    assert checkpoint.model == name
    images = family_of(checkpoint.kind).load_split(shared_data, "validation", ("horse",), checkpoint.split_seed)
    if name == "photo":
        scores = summary(measure(PhotoEvaluator(checkpoint.colours).predictor(checkpoint.build()), images[:PHOTOS]))
        for metric in ("error_reduction", "colourfulness_ratio"):
            assert scores[metric] == pytest.approx(checkpoint.metrics[f"validation_{metric}"], abs=0.04)
        return
    scores = evaluate(checkpoint, images)
    for metric, value in checkpoint.metrics.items():
        assert scores[metric.removeprefix("validation_")] == pytest.approx(value, rel=5e-3), metric
    if name in GOALS:
        assert scores["accuracy"] >= GOALS[name]
    if "bilinear_psnr" in scores:
        assert scores["expected_psnr"] > scores["bilinear_psnr"]


def test_colourfulness_is_hasler_and_suesstrunks() -> None:
    grey = torch.full((1, 3, 4, 4), 0.3)
    assert colourfulness(grey).item() == pytest.approx(0, abs=1e-5)
    half = torch.zeros(1, 3, 2, 2)
    half[:, 0, 0] = 1.0  # two red pixels, two black: rg 255 or 0, yb 127.5 or 0
    expected = np.hypot(127.5, 63.75) + 0.3 * np.hypot(127.5, 63.75)
    assert colourfulness(half).item() == pytest.approx(expected)


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


@pytest.mark.parametrize("content", [{"format": "something else"}, [1, 2, 3]])
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(TrainingError, match=r"x\.pt"):
        load(tmp_path / "x.pt")


def test_missing_and_garbled_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"garbage")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"format": "colorize-run checkpoint 1", "network": "unet"}, tmp_path / "half.pt")
    torch.save({"format": "colorize-run checkpoint 1"}, tmp_path / "quarter.pt")
    for name in ("x.pt", "empty.pt", "half.pt", "quarter.pt", "nowhere.pt"):
        with pytest.raises(TrainingError, match=name):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arguments", None), ("recipe", "tuned"), ("network", ["unet"]), ("colours", [1, 2]), ("state", {"x": 3}),
        ("state", {"downconv1.0.weight": torch.tensor([float("nan")])}), ("base", {"x": 1}),
        ("colours", torch.full((6, 3), float("nan"))),
    ],
)  # fmt: skip
def test_altered_checkpoints_are_one_sentence(tiny_checkpoint: Path, tmp_path: Path, name: str, value: object) -> None:
    contents = torch.load(tiny_checkpoint, weights_only=True)
    torch.save({**contents, name: value}, tmp_path / "altered.pt")
    with pytest.raises(TrainingError, match=r"altered\.pt (is an|holds)"):
        load(tmp_path / "altered.pt")


def test_weights_that_do_not_fit_their_network() -> None:
    network = build("unet", {"num_filters": 2, "num_colours": 3})
    for arguments in ({"num_filters": 4, "num_colours": 3}, {"filters": 2}):
        with pytest.raises(TrainingError, match="do not fit"):
            Checkpoint("unet", "unet", arguments, network.state_dict(), np.eye(3, dtype=np.float32)).build()
