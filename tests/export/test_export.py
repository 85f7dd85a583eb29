"""Export: what is written computes what PyTorch computes, and what does not is not written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.contract import WorkingSize
from colorize_run.session import Model
from colorize_run.verify import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.__main__ import main
from export.errors import ParityError
from export.parity import FLIPS, TOLERANCE
from export.signatures import PaletteColorizer
from export.specifications import SPECIFICATIONS, Specification
from export.to_onnx import check, export, wrap
from training.checkpoint import load

ROOT = Path(__file__).resolve().parents[2]
TINY = load(ROOT / "tests" / "data" / "tiny.pt")
SPECIFICATION = Specification("tiny", "unet", WorkingSize(32, 4, 8, 256), temperature=0.5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, _ = export(TINY, SPECIFICATION, tmp_path_factory.mktemp("artifacts"))
    return path


@pytest.fixture(scope="module")
def wrapped() -> PaletteColorizer:
    return wrap(TINY, SPECIFICATION)


def test_one_file_that_old_runtimes_read(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]
    model = onnx.load(exported, load_external_data=False)
    assert model.ir_version <= 10
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [node.name for node in model.graph.input] == ["grey"]
    assert [node.name for node in model.graph.output] == ["ab", "rgb"]
    shape = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape[0]
    assert shape[2]
    assert shape[3]


def test_nothing_of_the_training_machine_stays_inside(exported: Path) -> None:
    data = exported.read_bytes()
    for word in (str(ROOT), sys.prefix, "site-packages", ".py", "Traceback"):
        assert word.encode() not in data


def test_contract_tells_what_the_checkpoint_knows(exported: Path) -> None:
    contract = Model(str(exported), "cpu").contract
    assert contract.task == "colorize"
    assert contract.network == "UNet(kernel=3, num_filters=2, num_colours=6, in_channels=1)"
    assert contract.grey_weights == (1 / 3, 1 / 3, 1 / 3)
    assert len(contract.palette) == 6
    for backend in ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference"):
        assert 0 < contract.parity[backend] <= TOLERANCE
    assert contract.parity["flips"] <= FLIPS


def test_golden_vectors_replay(exported: Path) -> None:
    outcome = verify(Model(str(exported), "cpu"))
    assert outcome.ok
    assert outcome.cases == 3


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_any_batch_and_size_agrees_with_pytorch(n: int, h: int, w: int, seed: int) -> None:
    session = ort.InferenceSession(ROOT / "tests" / "data" / "tiny.onnx", providers=["CPUExecutionProvider"])
    grey = np.random.default_rng(seed).random((n, 1, h, w), dtype=np.float32)
    with torch.no_grad():
        expected = [out.numpy() for out in wrap(TINY, SPECIFICATION)(torch.from_numpy(grey))]
    ab, rgb = session.run(["ab", "rgb"], {"grey": grey})
    assert ab.shape == (n, 2, h, w)
    assert rgb.shape == (n, 3, h, w)
    assert np.abs(ab - expected[0]).max() <= TOLERANCE * 200
    assert (np.abs(rgb - expected[1]) > 1e-4).any(axis=1).mean() <= 0.01


def test_the_graphs_padding_is_the_runtimes_padding(wrapped: PaletteColorizer) -> None:
    """A picture of an odd size gives the same pixels whether the runtime pads it or the graph does."""
    colorizer = Colorizer(str(ROOT / "tests" / "data" / "tiny.onnx"), "cpu")
    image = Image.open(ROOT / "docs" / "samples" / "rocket.jpg").convert("L").resize((31, 27))
    by_runtime = colorizer.predict(image).ab
    grey = torch.from_numpy(np.asarray(image, np.float32) / 255)[None, None]
    with torch.no_grad():
        by_graph = wrapped(grey)[0][0].numpy()
    np.testing.assert_allclose(by_runtime, by_graph, atol=1e-3)


def test_temperature_decides_how_sure_the_colours_are() -> None:
    grey = torch.rand(1, 1, 32, 32)
    spread = []
    for temperature in (0.1, 1.0):
        with torch.no_grad():
            spread.append(wrap(TINY, Specification("t", "unet", SPECIFICATION.working_size, temperature))(grey)[0].abs().mean())
    assert spread[0] > spread[1]


def test_one_damaged_weight_is_refused_by_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "export", "unet", "artifacts/checkpoints/unet.pt", "-o", str(tmp_path / "out"),
         "--damage-weight"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "differs from PyTorch" in done.stderr
    assert "in case" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_refused_export_keeps_the_file_of_before(exported: Path) -> None:
    before = exported.read_bytes()
    with pytest.raises(ParityError, match="case"):
        export(TINY, SPECIFICATION, exported.parent, damage=True)
    assert exported.read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]


def test_committed_model_has_not_drifted_from_its_checkpoint() -> None:
    """The gate that CI stands on: artifacts/unet.onnx computes what artifacts/checkpoints/unet.pt computes."""
    report = check(ROOT / "artifacts" / "unet.onnx", load(ROOT / "artifacts" / "checkpoints" / "unet.pt"))
    assert max(finding.error for finding in report.findings) <= TOLERANCE
    contract = Model(str(ROOT / "artifacts" / "unet.onnx"), "cpu").contract
    assert contract.metrics == load(ROOT / "artifacts" / "checkpoints" / "unet.pt").metrics
    assert contract.working_size == SPECIFICATIONS["unet"].working_size


def test_drift_is_noticed(tmp_path: Path) -> None:
    model = onnx.load(ROOT / "artifacts" / "unet.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "network.finalconv.bias")
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.001) * np.arange(24, dtype=np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, tmp_path / "unet.onnx")
    done = CliRunner().invoke(main, ["check", str(tmp_path / "unet.onnx"), str(ROOT / "artifacts/checkpoints/unet.pt")])
    assert done.exit_code == 1


def test_handout_weights_can_be_exported(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "csc321_a2_palettes_weights.zip" / "weights" / "unet_k3_f32.pkl"
    done = CliRunner().invoke(main, ["unet", str(weights), "-o", str(tmp_path), "--data-dir", str(shared_data)])
    assert done.exit_code == 0, done.output
    assert "onnx.reference" in done.stderr
    assert Model(str(tmp_path / "unet.onnx"), "cpu").contract.parity["onnxruntime"] <= TOLERANCE


def test_model_card_tells_the_files_figures() -> None:
    card = (ROOT / "artifacts" / "README.md").read_text()
    contract = Model(str(ROOT / "artifacts" / "unet.onnx"), "cpu").contract
    assert f"{contract.metrics['validation_loss']:.4f}" in card
    assert f"{100 * contract.metrics['validation_accuracy']:.2f} %" in card
    for backend in ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference"):
        assert f"{contract.parity[backend]:.1e}" in card
