"""Half-precision and 8-bit siblings of a model: when they are kept, and that they still are the model."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.errors import ModelFileError
from colorize_run.model.session import Model
from colorize_run.model.verify import verify
from PIL import Image

from export import variants
from export.__main__ import main
from export.errors import ExportError
from export.specifications import SPECIFICATIONS
from export.to_onnx import export
from export.variants import Outcome, photo_trial
from training.checkpoint import Checkpoint
from training.datasets.photos import Photos
from training.networks import build

ARGUMENTS = {"num_colours": 6, "encoder": "test_efficientnet", "width": 8}
ROOT = Path(__file__).resolve().parents[2]


def photos(count: int) -> Photos:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        rough = Image.fromarray((rng.random((4, 4, 3)) * 255).astype(np.uint8))
        images.append(np.asarray(rough.resize((64, 64), Image.Resampling.BICUBIC)))
    return Photos(images, [""] * count)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build("photo-colorizer", ARGUMENTS)
    palette = np.float32([[0, 0], [40, 30], [-30, 30], [10, -40], [60, 60], [-10, 10]])
    checkpoint = Checkpoint("photo", "photo-colorizer", ARGUMENTS, network.state_dict(), palette, {}, {"a": 0.5}, "none")
    return export(checkpoint, SPECIFICATIONS["photo"], tmp_path_factory.mktemp("variants"))[0]


def test_variants_run_and_say_what_they_are(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "QUALITY", 9.0)  # whatever they lose
    monkeypatch.setattr(variants, "SMALLER", 9.0)
    outcomes = list(variants.make(model, photo_trial(photos(8), photos(4)), tmp_path))
    assert [outcome.name for outcome in outcomes] == ["photo-fp16", "photo-int8"]
    assert outcomes[0].size < 0.75
    assert outcomes[0].error < 1e-2
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["photo-fp16", "photo-int8"]
    for outcome in outcomes:
        kept = Model(tmp_path / f"{outcome.name}.onnx", "cpu")
        assert kept.contract.name == outcome.name
        assert kept.has_temperature
        assert verify(kept).ok
        assert Colorizer(str(kept.path), "cpu").colorize(Image.new("L", (50, 40), 99)).size == (50, 40)
    monkeypatch.setattr(variants, "QUALITY", -9.0)  # none is good enough: what was there goes
    assert not any(outcome.kept for outcome in variants.make(model, photo_trial(photos(8), photos(4)), tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_is_converted_is_the_network_and_not_the_decoding(model: Path) -> None:
    half = variants.to_fp16(onnx.load(model), photo_trial(photos(1), photos(1)))
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["temperature"] == onnx.TensorProto.FLOAT
    assert list(kinds.values()).count(onnx.TensorProto.FLOAT16) > 20
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    ("size", "time", "reduction", "colourfulness", "kept"),
    [
        (0.5, 1.5, 0.22, 0.70, True),  # half the file
        (0.9, 0.9, 0.22, 0.70, True),  # faster
        (0.6, 1.0, 0.22, 0.70, False),  # neither
        (0.3, 0.5, 0.21, 0.70, False),  # a whole point worse
        (0.3, 0.5, 0.22, 0.60, False),  # pale
        (0.3, 0.5, 0.30, 0.75, True),  # better is no loss
    ],
)
def test_a_variant_is_kept_for_a_reason(size: float, time: float, reduction: float, colourfulness: float, kept: bool) -> None:
    before = {"error_reduction": 0.22, "colourfulness_ratio": 0.70}
    after = {"error_reduction": reduction, "colourfulness_ratio": colourfulness}
    assert Outcome("x", size, time, after, before, 0.0, tuple(before)).kept == kept


def test_models_that_restore_colours_have_no_variants(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="restores colours"):
        list(variants.make(ROOT / "artifacts" / "unet-downsized.onnx", photo_trial(photos(1), photos(1)), tmp_path))


def test_variants_command(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(photos(24).images):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    done = CliRunner().invoke(main, ["variants", str(model), "--data-dir", str(folder), "-o", str(tmp_path), "--first", "2"])
    assert done.exit_code == 0, done.output
    assert [name in done.stderr for name in ("photo-fp16: size", "photo-int8: size")] == [True, True]
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="is not a model that onnxruntime can run"):
        CliRunner().invoke(main, ["variants", str(tmp_path / "bad.onnx"), "--data-dir", str(folder)], catch_exceptions=False)
