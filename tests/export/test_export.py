"""Export: what is written computes what PyTorch computes, and what does not is not written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.colour import lightness, srgb_to_lab, to_grey
from colorize_run.model.contract import Contract, WorkingSize
from colorize_run.model.session import Model
from colorize_run.model.verify import verify
from colorize_run.segment import Segmenter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export import real_pictures
from export.__main__ import main
from export.errors import ExportError, ParityError
from export.parity import CEILING, FLIPS, TOLERANCE, Finding, cases, on_flowers
from export.rewrite import has_zero_inserted_filters, to_native_dilation
from export.signatures import PaletteSignature, rgb_to_ab, wrap
from export.signatures import lightness as in_graph_lightness
from export.specifications import SPECIFICATIONS, Specification
from export.to_onnx import check, export, to_model_proto
from training.checkpoint import Checkpoint, load
from training.conventions import LUMA
from training.datasets.flowers import load_split
from training.errors import TrainingError
from training.networks import build
from training.networks.deeplab import DeepLab
from training.networks.lab import ChromaRegressor
from training.palette import palette_to_ab
from training.recipes import models

ROOT = Path(__file__).resolve().parents[2]
TINY = load(ROOT / "tests" / "data" / "tiny.pt")
SPECIFICATION = Specification("tiny", "unet", WorkingSize(32, 4, 8, 256), temperature=0.5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, _ = export(TINY, SPECIFICATION, tmp_path_factory.mktemp("artifacts"))
    return path


@pytest.fixture(scope="module")
def wrapped() -> PaletteSignature:
    return wrap(TINY, SPECIFICATION)


def test_one_file_that_old_runtimes_read(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]
    model = onnx.load(exported, load_external_data=False)
    assert model.ir_version <= 10
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [node.name for node in model.graph.input] == ["grey", "temperature"]
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
    contract = Model(exported, "cpu").contract
    assert contract.task == "colorize"
    assert contract.network == "UNet(kernel=3, num_filters=2, num_colours=6, in_channels=1)"
    assert contract.grey_weights == (1 / 3, 1 / 3, 1 / 3)
    assert len(contract.palette) == 6
    for backend in ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference"):
        assert 0 < contract.parity[backend] <= TOLERANCE
    assert contract.parity["flips"] <= FLIPS


def test_the_contracts_default_grey_is_what_training_makes() -> None:
    assert Contract("colorize", "", "", WorkingSize(32, 4, 8, 256), "pillow-bilinear").grey_weights == LUMA


def test_golden_vectors_replay(exported: Path) -> None:
    outcome = verify(Model(exported, "cpu"))
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


def test_the_graphs_padding_is_the_runtimes_padding(wrapped: PaletteSignature) -> None:
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
            spread.append(
                wrap(TINY, Specification("tiny", "unet", SPECIFICATION.working_size, temperature))(grey)[0].abs().mean()
            )
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


CHECKPOINTS = sorted(path.stem for path in (ROOT / "artifacts" / "checkpoints").glob("*.pt"))
MODELS = sorted(path.stem for path in (ROOT / "artifacts").glob("*.onnx"))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_committed_models_have_not_drifted_from_their_checkpoints(name: str) -> None:
    """The gate that CI stands on: artifacts/NAME.onnx computes what artifacts/checkpoints/NAME.pt computes."""
    checkpoint = load(ROOT / "artifacts" / "checkpoints" / f"{name}.pt")
    report = check(ROOT / "artifacts" / f"{name}.onnx", checkpoint)
    assert all(finding.error <= finding.allowed for finding in report.findings)
    contract = Model(ROOT / "artifacts" / f"{name}.onnx", "cpu").contract
    assert contract.metrics == checkpoint.metrics
    assert contract.working_size == SPECIFICATIONS[name].working_size


@pytest.mark.parametrize("name", MODELS)
def test_committed_models_prove_themselves(name: str) -> None:
    model = Model(ROOT / "artifacts" / f"{name}.onnx", "cpu")
    assert verify(model).ok
    assert model.contract.name == name
    parity = model.contract.parity
    allowed = Finding("", "", "ab", 0, 0, parity["float64"]).allowed
    assert all(parity[backend] <= allowed for backend in ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference"))
    if not name.endswith("-int8"):  # whose filters are computed from bytes
        assert not has_zero_inserted_filters(onnx.load(ROOT / "artifacts" / f"{name}.onnx"))


def test_rounding_of_float32_itself_is_no_drift_but_nothing_else_is_excused() -> None:
    allowed = [Finding("", "", "ab", 0, 0, rounding).allowed for rounding in (0, 2e-6, 4e-6, 1e-3, float("inf"))]
    assert allowed == [TOLERANCE, TOLERANCE, 8e-6, CEILING, CEILING]


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
    parity = Model(tmp_path / "unet.onnx", "cpu").contract.parity
    assert parity["onnxruntime"] <= TOLERANCE
    assert parity["cases"] == len(cases()) + 1, "the horses"


@pytest.mark.parametrize("name", MODELS)
def test_model_card_tells_the_files_figures(name: str) -> None:
    cards = (ROOT / "artifacts" / "README.md").read_text().split("\n## ")
    (card,) = [card for card in cards if card.startswith(f"`{name}.onnx`")]
    contract = Model(ROOT / "artifacts" / f"{name}.onnx", "cpu").contract
    formats = {"validation_loss": "{:.4f}", "validation_accuracy": "{:.2%}", "validation_mse": "{:.2e}",
               "validation_error_reduction": "{:.1%}", "validation_iou": "{:.2%}"}  # fmt: skip
    told = {metric: form.format(contract.metrics[metric]) for metric, form in formats.items() if metric in contract.metrics}
    assert told
    for figure in told.values():
        assert figure.replace("%", " %") in card, figure
    for backend in ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference"):
        assert f"{contract.parity[backend]:.1e}" in card


SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"num_filters": 2, "num_colours": 6},
    "regression-cnn": {"num_filters": 2},
    "unet": {"num_filters": 2, "num_colours": 6},
    "dilated-unet": {"num_filters": 2, "num_colours": 6},
    "unet-large": {"num_filters": 2, "num_colours": 6},
    "unet-downsized": {"num_filters": 2, "num_colours": 6},
    "chroma-regressor": {"architecture": 2},
    "chroma-sigmoid": {"architecture": 2, "output": "sigmoid"},
    "chroma-tanh": {"architecture": 2, "output": "tanh"},
    "chroma-large": {"architecture": 2, "output": "tanh"},
    "chroma-large-sigmoid": {"architecture": 2, "output": "sigmoid"},
    "fusion": {"architecture": 2, "classifier": "test_efficientnet", "classifier_size": 32},
    "photo": {"num_colours": 6, "encoder": "test_efficientnet", "width": 8},
}
SMALL_SEGMENTERS: dict[str, dict[str, Any]] = {
    "flowers": {"encoder": "test_efficientnet", "width": 8},
    "deeplab-mobilenet-v2": {"backbone": "mobilenet_v2"},
}
SLOW = {"deeplab-mobilenet-v3", "deeplab-resnet50", "deeplab-resnet101"}  # torchvision's whole networks, for minutes


def untrained(name: str) -> Checkpoint:
    """A small checkpoint for a model of the list, with random weights."""
    torch.manual_seed(1)
    arguments = {**SMALL, **SMALL_SEGMENTERS}[name]
    network = build(SPECIFICATIONS[name].network, arguments)
    if isinstance(network, ChromaRegressor):
        network.linear.weight.data.mul_(100)  # or it would say the same of every picture, and its range be nothing
    if name in SMALL_SEGMENTERS:  # BatchNorm statistics and decided answers: without, all pixels are alike
        with torch.no_grad():
            for _ in range(10):
                network.train()(torch.rand(4, 3, 64, 64))
        last = network.classifier[4] if isinstance(network, DeepLab) else network.head
        last.weight.data.mul_(2)
    colours = palette_to_ab(TINY.colours) if name == "photo" else TINY.colours
    return Checkpoint(name, SPECIFICATIONS[name].network, arguments, network.state_dict(), colours, {}, {"a": 0.5}, "none")


@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_network_exports_and_runs_without_new_code_in_the_runtime(name: str, tmp_path: Path) -> None:
    path, report = export(untrained(name), SPECIFICATIONS[name], tmp_path)
    assert all(finding.error <= finding.allowed for finding in report.findings)
    assert not has_zero_inserted_filters(onnx.load(path))
    image = Image.open(ROOT / "docs" / "samples" / "chelsea.jpg").resize((151, 97))
    for picture in (image, image.convert("L")):
        coloured = Colorizer(str(path), "cpu").colorize(picture)
        assert coloured.size == (151, 97)
        difference = lightness(np.asarray(coloured)) - lightness(np.asarray(picture))
        assert np.abs(difference).max() < 0.3


@pytest.mark.parametrize(
    ("name", "folder", "sides", "seen"),
    [("chroma-tanh", "face_images", (200, 150), (128, 128)), ("photo", "holiday", (200, 150), (224, 160))],
)
def test_proof_on_pictures_that_the_network_was_validated_on(
    name: str, folder: str, sides: tuple[int, int], seen: tuple[int, int], tmp_path: Path
) -> None:
    data, checkpoint = tmp_path / "data", tmp_path / "checkpoint.pt"
    untrained(name).save(checkpoint)
    (data / folder).mkdir(parents=True)
    arguments = [name, str(checkpoint), "-o", str(tmp_path / "out"), "--data-dir", str(data)]
    refused = CliRunner().invoke(main, arguments)
    assert isinstance(refused.exception, TrainingError)
    assert "CIFAR" not in str(refused.exception)
    assert str(data) in str(refused.exception)
    rng = np.random.default_rng(0)
    for i in range(20):
        rough = Image.fromarray((rng.random((5, 7, 3)) * 255).astype(np.uint8))
        rough.resize(sides, Image.Resampling.BICUBIC).save(data / folder / f"{i:02}.png")
    found = real_pictures.cases(load(checkpoint), SPECIFICATIONS[name].working_size, data)
    assert len(found) == 2, "a tenth"
    assert {case.planes.shape for case in found} == {(1, 1, seen[1], seen[0])}
    if name == "photo":  # no larger than the working size: the picture itself
        whole = [to_grey(np.asarray(Image.open(path)), LUMA) for path in (data / folder).iterdir()]
        assert any(np.array_equal(found[0].planes[0, 0, :150, :200], grey) for grey in whole)
    for path in sorted((data / folder).iterdir())[3:]:
        path.unlink()
    few = CliRunner().invoke(main, arguments)
    assert isinstance(few.exception, ExportError)
    assert "too few" in str(few.exception)


def test_every_model_of_the_list_is_exported_here() -> None:
    assert set(SMALL) | set(SMALL_SEGMENTERS) | SLOW == set(SPECIFICATIONS) == set(models())


@pytest.mark.parametrize("name", SMALL_SEGMENTERS)
def test_every_kind_of_segmenter_exports_and_runs(name: str, tmp_path: Path) -> None:
    path, report = export(untrained(name), SPECIFICATIONS[name], tmp_path)
    assert all(finding.error <= finding.allowed for finding in report.findings)
    contract = Model(path, "cpu").contract
    assert (contract.task, contract.classes) == ("segment", ("background", "flower"))
    image = Image.open(ROOT / "docs" / "samples" / "chelsea.jpg").resize((151, 97))
    assert Segmenter(path, "cpu").segment(image).shape == (97, 151)


def test_masks_that_drift_on_real_flowers_are_refused(shared_data: Path, tmp_path: Path) -> None:
    checkpoint = untrained("flowers")
    flowers = load_split(shared_data, "validation", 0)[:2]
    module = wrap(checkpoint, SPECIFICATIONS["flowers"])
    model = to_model_proto(module, "flowers", "image")
    assert on_flowers(module, model, flowers)["flowers_flips"] <= 1e-4
    for tensor in model.graph.initializer:  # flowers become background, and background flowers
        if tensor.name.startswith("network.head."):
            swapped = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)[::-1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(swapped, tensor.name))
    with pytest.raises(ParityError, match="On 2 flowers"):
        on_flowers(module, model, flowers)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is a unet, but the checkpoint holds a cnn"):
        export(untrained("cnn"), SPECIFICATIONS["unet"], tmp_path)
    with pytest.raises(ExportError, match="was trained as chroma-tanh"):
        export(untrained("chroma-tanh"), SPECIFICATIONS["chroma-large"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_lab_networks_colours_do_not_depend_on_a_pixel_of_size() -> None:
    colorizer = Colorizer(str(ROOT / "artifacts" / "chroma-regressor.onnx"), "cpu")
    image = Image.open(ROOT / "docs" / "samples" / "chelsea.jpg")
    square, wider = (colorizer.predict(image.resize(size)).ab[:, 0, 0] for size in ((128, 128), (130, 128)))
    assert np.abs(square - wider).max() < 1


@pytest.mark.parametrize("name", ["chroma-regressor", "chroma-sigmoid", "chroma-tanh", "fusion"])
def test_what_is_no_face_turns_brown_not_blue(name: str) -> None:
    colorizer = Colorizer(str(ROOT / "artifacts" / f"{name}.onnx"), "cpu")
    for sample in ("chelsea", "coffee", "rocket"):
        a, b = colorizer.predict(Image.open(ROOT / "docs" / "samples" / f"{sample}.jpg")).ab.mean(axis=(1, 2))
        assert b > 0
        assert a + b > 3


def test_figures_that_were_to_beat() -> None:
    assert Model(ROOT / "artifacts" / "chroma-regressor.onnx", "cpu").contract.metrics["validation_mse"] < 1.1e-4
    for name, accuracy in (("cnn", 0.455), ("unet", 0.57), ("dilated-unet", 0.57), ("unet-large", 0.64)):
        assert Model(ROOT / "artifacts" / f"{name}.onnx", "cpu").contract.metrics["validation_accuracy"] >= accuracy
    for name in ("flowers", "flowers-int8"):
        assert Model(ROOT / "artifacts" / f"{name}.onnx", "cpu").contract.metrics["validation_iou"] >= 0.93


def test_convolutions_that_share_a_filter_or_have_another_rank() -> None:
    spread = np.zeros((2, 2, 3, 3), np.float32)
    spread[:, :, ::2, ::2] = 1.5
    model = convolution(spread, bias=False, strides=1)
    model.graph.node[0].attribute[1].ints[:] = [1, 1, 1, 1]
    second = onnx.helper.make_node("Conv", ["y", "w"], ["z"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    model.graph.node.append(second)
    model.graph.output[0].name = "z"
    rewritten = to_native_dilation(model)
    assert not has_zero_inserted_filters(rewritten)
    x = np.random.default_rng(0).random((1, 2, 9, 9), dtype=np.float32)
    before, after = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for m in (model, rewritten)
    )
    np.testing.assert_allclose(after, before, rtol=1e-5)
    tensor = onnx.numpy_helper.from_array(np.array([[[1, 0, 1]]], np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, None]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "line", infos[:1], infos[1:], [tensor])
    line = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    assert not has_zero_inserted_filters(line)
    assert to_native_dilation(line).graph.node[0].op_type == "Conv"


def test_the_dilated_filter_becomes_one_native_convolution(tmp_path: Path) -> None:
    checkpoint = untrained("dilated-unet")
    rewritten, _ = export(checkpoint, SPECIFICATIONS["dilated-unet"], tmp_path / "a")
    spread, _ = export(checkpoint, SPECIFICATIONS["dilated-unet"], tmp_path / "b", rewrite=False)
    graphs = [onnx.load(path).graph for path in (rewritten, spread)]
    dilations = [
        [list(a.ints) for node in graph.node if node.op_type == "Conv" for a in node.attribute if a.name == "dilations"]
        for graph in graphs
    ]
    assert dilations[0].count([2, 2]) == 1
    assert dilations[1].count([2, 2]) == 0
    assert {"Pad", "Reshape", "Slice"} & {node.op_type for node in graphs[1].node}
    assert Model(rewritten, "cpu").contract.parity["rewrite"] <= 1e-6
    assert "rewrite" not in Model(spread, "cpu").contract.parity
    grey = np.random.default_rng(0).random((1, 1, 40, 36), dtype=np.float32)
    found = [Model(path, "cpu").run({"grey": grey}, ["ab"])["ab"] for path in (rewritten, spread)]
    np.testing.assert_allclose(*found, atol=1e-4)


def convolution(filters: npt.NDArray[np.float32], *, bias: bool, strides: int) -> onnx.ModelProto:
    """A graph of one convolution."""
    shape = ["n", filters.shape[1], "h", "w"]
    inputs = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    outputs = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    tensors = [onnx.numpy_helper.from_array(filters, "w"), onnx.numpy_helper.from_array(filters[:, 0, 0, 0] + 1, "b")]
    node = onnx.helper.make_node(
        "Conv", ["x", "w", "b"][: 2 + bias], ["y"], kernel_shape=filters.shape[2:], pads=[2, 2, 2, 2], strides=[strides] * 2
    )
    graph = onnx.helper.make_graph([node], "g", [inputs], [outputs], tensors[: 1 + bias])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(0, 3),
    st.booleans(),
    st.integers(1, 2),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_rewriting_any_spread_filter_changes_nothing(
    outputs: int, inputs: int, kernel: int, holes: int, bias: bool, strides: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    span = kernel + (kernel - 1) * holes
    filters = np.zeros((outputs, inputs, span, span), np.float32)
    filters[:, :, :: holes + 1, :: holes + 1] = rng.uniform(0.1, 1, (outputs, inputs, kernel, kernel))
    model = convolution(filters, bias=bias, strides=strides)
    assert has_zero_inserted_filters(model) == (holes > 0)
    rewritten = to_native_dilation(model)
    assert not has_zero_inserted_filters(rewritten)
    x = rng.random((2, inputs, 17, 20), dtype=np.float32)
    before, after = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for m in (model, rewritten)
    )
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_colour_in_the_graph_is_the_runtimes_colour(seed: int) -> None:
    rgb = np.random.default_rng(seed).random((9, 7, 3), dtype=np.float32) ** 2  # dark ones too
    ab = rgb_to_ab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ab, srgb_to_lab(rgb)[..., 1:], atol=1e-3)
    grey = rgb[..., 0]
    np.testing.assert_allclose(in_graph_lightness(torch.from_numpy(grey)).numpy(), lightness(grey), atol=1e-3)
