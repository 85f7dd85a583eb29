"""A new network needs four entries: a class, a kind in NETWORKS, a recipe, and a specification. Nothing else knows it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.model.contract import WorkingSize
from PIL import Image
from torch import Tensor, nn

from export.__main__ import main as export_main
from export.specifications import SPECIFICATIONS, Specification
from training.__main__ import main
from training.networks import NETWORKS, Network
from training.recipe import Recipe
from training.recipes import RECIPES


class OneLayer(nn.Module):
    """Logits over a palette for each pixel, by one convolution of pairs of pixels: (N, 1, H, W) -> (N, num_colours, H, W)."""

    def __init__(self, num_colours: int = 6) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            nn.Conv2d(1, num_colours, 2, 2), nn.BatchNorm2d(num_colours), nn.Upsample(scale_factor=2)
        )

    def forward(self, grey: Tensor) -> Tensor:
        logits: Tensor = self.convolution(grey)
        return logits


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("one-layer-tuned", "one-layer", "one-layer-network", {"num_colours": 6}, 0.01, batch_size=20, epochs=1)
    monkeypatch.setitem(NETWORKS, "one-layer-network", Network(OneLayer, "palette", stride=2))
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    monkeypatch.setitem(
        SPECIFICATIONS, "one-layer", Specification("one-layer", "one-layer-network", WorkingSize(32, 2, 8, 256))
    )


@pytest.mark.usefixtures("registered")
def test_a_network_with_four_entries_is_trained_evaluated_drawn_described_and_exported(root: Path, tmp_path: Path) -> None:
    brightness = np.random.default_rng(0).random((60, 32, 32, 1))
    np.savez(tmp_path / "cifar10_horses_train.npz", images=(brightness * (250, 170, 90)).astype(np.uint8))
    run, data, sample = tmp_path / "run", ["--data-dir", str(tmp_path)], root / "docs" / "samples" / "chelsea.jpg"
    checkpoint = str(run / "one-layer.pt")
    for command, arguments in (
        (main, ["fit", "one-layer", *data, "--run-dir", str(run), "--device", "cpu"]),
        (main, ["evaluate", checkpoint, *data, "--device", "cpu"]),
        (main, ["describe", "one-layer"]),
        (main, ["activations", checkpoint, str(sample), "-o", str(tmp_path / "sheets")]),
        (export_main, ["one-layer", checkpoint, "-o", str(tmp_path), *data]),
        (export_main, ["check", str(tmp_path / "one-layer.onnx"), checkpoint]),
    ):
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert "validation_accuracy" in json.loads((run / "metrics.json").read_text())["metrics"]
    assert len(list((tmp_path / "sheets").iterdir())) == 2
    colorizer = Colorizer(str(tmp_path / "one-layer.onnx"), "cpu")
    assert colorizer.colorize(Image.open(sample).convert("L").resize((51, 33))).size == (51, 33)
    assert "one-layer" in CliRunner().invoke(main, ["fit", "--help"]).output
    assert "one-layer" in CliRunner().invoke(export_main, ["--help"]).output
