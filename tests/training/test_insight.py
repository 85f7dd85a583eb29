"""What the project says of its networks: described, drawn, compared."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from training.__main__ import main
from training.checkpoint import Checkpoint, load
from training.datasets.cifar import palette_dataset
from training.errors import TrainingError
from training.inspection.activations import activations, read_picture, sheet
from training.inspection.describe import assignment_comparison, layers, macs_without_inserted_zeros, receptive_field
from training.layers import Conv2d, DilatedConv2d
from training.networks import build
from training.networks.lab import ARCHITECTURES
from training.recipes import RECIPES, models


def test_the_assignments_comparison_is_computed() -> None:
    assert [(weights, field) for _, weights, field in assignment_comparison()] == [(9, 3), (25, 5), (9, 5)]


@pytest.mark.parametrize(
    ("network", "field"),
    [
        (nn.Sequential(Conv2d(1, 2, 3), Conv2d(2, 1, 3)), 5),
        (nn.Sequential(Conv2d(1, 2, 3), nn.ReLU(), DilatedConv2d(2, 1, 3, 2)), 9),
        (nn.Sequential(Conv2d(1, 2, 3), nn.MaxPool2d(2), Conv2d(2, 1, 3)), 8),
    ],
)
def test_receptive_fields_that_are_known(network: nn.Module, field: int) -> None:
    assert receptive_field(network, 1, 2) == field


def test_a_dilated_middle_sees_more_with_as_many_weights() -> None:
    fields = [receptive_field(build(name, {"num_filters": 2}), 1, 4) for name in ("cnn", "unet", "dilated-unet")]
    assert fields == [34, 34, 42]
    assert receptive_field(build("chroma-regressor", {"architecture": 2}), 1, 64) is None


def test_layers_count_what_a_hand_counts() -> None:
    network = nn.Sequential(Conv2d(3, 8, 3), nn.ReLU(), DilatedConv2d(8, 4, 3, 1))
    first, activation, second = layers(network, torch.zeros(1, 3, 10, 20))
    assert (first.output, first.parameters, first.macs) == ((1, 8, 10, 20), 3 * 8 * 9 + 8, 200 * 3 * 8 * 9)
    assert (activation.parameters, activation.macs) == (0, 0)
    assert second.macs == 200 * 8 * 4 * 25
    assert macs_without_inserted_zeros(network, torch.zeros(1, 3, 10, 20)) == first.macs + 200 * 8 * 4 * 9


def test_describe_sums_every_model_up() -> None:
    done = CliRunner().invoke(main, ["describe"])
    assert done.exit_code == 0
    rows = {cells[1].strip(): cells for line in done.stdout.splitlines() if len(cells := line.split("│")) > 6}
    assert set(models()) <= set(rows)
    assert rows["unet"][3].strip() == "112,344"
    assert rows["unet"][7].strip() == "34 x 34"
    assert rows["dilated-unet"][7].strip() == "42 x 42"
    assert rows["deeplab-resnet101"][7].strip() == "whole picture"  # one branch averages all of it
    assert rows["fusion"][8].split() == ["original-100-cpu,", "original-400-cpu,"]  # and more: the others' classifier is larger
    assert rows["deeplab-resnet101"][8].strip() == "tuned"
    others = " ".join(done.stdout.split())
    assert "original-100, original-400, original-50; photo rebalanced, short, no-rebalancing, no-fusion, no-dilation" in others
    assert "│ 3x3, dilation 1 (one gap between taps) │ 9       │ 5 x 5" in done.stdout


def test_describe_prints_a_models_layers() -> None:
    done = CliRunner().invoke(main, ["describe", "dilated-unet"])
    assert done.exit_code == 0
    assert "DilatedConv2d" in done.stdout
    assert "112,344 parameters" in done.stdout
    assert "receptive field 42 x 42" in done.stdout
    with pytest.raises(TrainingError, match="multiples of 64"):
        CliRunner().invoke(main, ["describe", "chroma-tanh", "--size", "100"], catch_exceptions=False)


def test_a_field_wider_than_any_picture_here_is_no_whole_picture() -> None:
    """Without the features of the whole picture in its bottleneck, `photo` sees far, but not everything."""
    done = CliRunner().invoke(main, ["describe", "photo", "--recipe", "no-fusion"])
    assert done.exit_code == 0
    assert "photo-no-fusion: PhotoColorizer" in done.stdout
    assert "4,449,088 parameters" in done.stdout
    assert "receptive field 1107 x 1107" in done.stdout
    for holes, field in ((1000, 2001), (2000, 4001), (2100, None)):  # the last is wider than the widest probe
        assert receptive_field(nn.Sequential(nn.Conv2d(1, 1, (1, 3), 1, (0, holes), (1, holes))), 1, 1) == field
    with pytest.raises(TrainingError, match="photo has no recipe 'nonsense'"):
        CliRunner().invoke(main, ["describe", "photo", "--recipe", "nonsense"], catch_exceptions=False)
    assert CliRunner().invoke(main, ["describe", "--recipe", "tuned"]).exit_code == 2


def test_recipes_by_name() -> None:
    for name, recipe in RECIPES.items():
        assert name == recipe.name
        assert name.startswith(recipe.model)
        assert recipe.model in models()
    found = {(r.epochs, r.learning_rate, r.weight_decay) for n, r in RECIPES.items() if n.startswith("chroma-tanh-original")}
    assert found == {(100, 0.005, 1e-7), (400, 1e-4, 1e-5), (50, 0.005, 1e-7)}
    assert ARCHITECTURES[1] == (32, 64, 128, 256, 256, 512)
    assert ARCHITECTURES[2] == (8, 16, 32, 64, 128, 256)


def test_activations_are_the_blocks_outputs_in_order() -> None:
    network = build("unet", {"num_filters": 2, "num_colours": 5}).eval()
    x = torch.rand(1, 1, 16, 16)
    found = activations(network, x)
    assert list(found) == ["downconv1", "downconv2", "rfconv", "upconv1", "upconv2", "finalconv"]
    torch.testing.assert_close(found["finalconv"], network(x)[0])
    assert list(activations(build("chroma-colorizer", {"architecture": 2}), torch.rand(1, 1, 64, 64))) == [
        *(f"encoder.{i}" for i in range(6)), *(f"decoder.{i}" for i in range(6)),
    ]  # fmt: skip


def test_a_sheet_shows_every_map_at_full_contrast() -> None:
    maps = torch.stack([torch.arange(12.0).reshape(3, 4) * (i + 1) - 5 for i in range(5)])
    picture = sheet(maps)
    assert picture.shape == (3 * 4 - 1, 2 * 5 - 1)
    np.testing.assert_allclose(picture[:3, :4], np.arange(12).reshape(3, 4) / 11, atol=1e-6)
    np.testing.assert_allclose(picture[8:, :4], picture[:3, :4], atol=1e-6)
    assert (picture[8:, 5:] == 1).all()  # no sixth map


def test_sheets_of_two_pictures_are_not_mixed(
    root: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for sample in ("chelsea", "rocket"):
        (picture,) = (root / "docs" / "samples").glob(f"{sample}.*")
        assert CliRunner().invoke(main, ["activations", str(tiny_checkpoint), str(picture)]).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "activations").iterdir()) == ["tiny-chelsea", "tiny-rocket"]
    assert len(list((tmp_path / "activations" / "tiny-rocket").iterdir())) == 7


def test_activations_command(root: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    sample = root / "docs" / "samples" / "chelsea.jpg"
    done = CliRunner().invoke(main, ["activations", str(tiny_checkpoint), str(sample), "-o", str(tmp_path / "sheets")])
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names[0] == "00-input-truth-output.png"
    assert len(names) == 7
    lines = done.output.splitlines()
    assert [Path(line.split(": ")[0]).name for line in lines] == names
    checkpoint = load(tiny_checkpoint)
    picture = read_picture(sample, checkpoint, None)
    inputs = palette_dataset(picture[None], checkpoint.colours).__getitems__([0])["input"]
    blocks = activations(checkpoint.build(), inputs).values()
    for line, maps in zip(lines[1:], blocks, strict=True):  # how many of what size, and how far their values reach
        found = map(float, re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", line.split(": ")[1]))
        count, height, width = maps.shape
        assert list(found) == pytest.approx([count, width, height, float(maps.min()), float(maps.max())], rel=0.01)
    with pytest.raises(TrainingError, match="is not empty"):
        CliRunner().invoke(
            main, ["activations", str(tiny_checkpoint), str(sample), "-o", str(tmp_path / "sheets")], catch_exceptions=False
        )
    with Image.open(tmp_path / "sheets" / names[0]) as first:
        assert first.width > 300
    Image.new("RGB", (3, 3)).save(tmp_path / "small.png")
    for bad, message in ((tiny_checkpoint, "not a picture"), (tmp_path / "small.png", "needs at least 4 x 4")):
        with pytest.raises(TrainingError, match=message):
            CliRunner().invoke(main, ["activations", str(tiny_checkpoint), str(bad)], catch_exceptions=False)


def test_activations_of_a_segmenter(root: Path, tmp_path: Path) -> None:
    arguments = {"encoder": "test_efficientnet", "width": 8}
    state, palette = build("segmentation-unet", arguments).state_dict(), np.zeros((0, 3), np.float32)
    Checkpoint("flowers", "segmentation-unet", arguments, state, palette).save(tmp_path / "flowers.pt")
    sample = root / "docs" / "samples" / "chelsea.jpg"
    done = CliRunner().invoke(main, ["activations", str(tmp_path / "flowers.pt"), str(sample), "-o", str(tmp_path / "sheets")])
    assert done.exit_code == 0, done.output
    assert {"00-input-truth-output.png"} < {path.name for path in (tmp_path / "sheets").iterdir()}
    assert re.search(r"middle\.png: 32 of \d+ x \d+,", done.output)
