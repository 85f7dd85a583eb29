"""PyTorch -> one ONNX file that carries its own contract."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from colorize_run.colorize import Colorizer
from colorize_run.contract import CONTRACT_KEY, GOLDEN_KEY, Contract, GoldenCase, WorkingSize, pack_golden
from colorize_run.session import Model
from colorize_run.verify import verify
from torch import Tensor, nn

from export import parity
from export.errors import ExportError
from export.signatures import PaletteColorizer
from training.checkpoint import Checkpoint

OPSET = 18  # the oldest with an antialiased Resize, and the one that most engines run whole
IR_VERSION = 10  # newer ones are refused by onnxruntime releases that are still in the field
OUTPUTS = ["ab", "rgb"]
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Specification:
    """What the contract says of a model beyond its checkpoint.

    ``temperature``: of the annealed mean; lower is more colourful and blotchier.
    """

    name: str
    working_size: WorkingSize
    temperature: float
    licence: str = "MIT"


SPECIFICATIONS = {
    "unet": Specification("unet", WorkingSize(short_side=32, multiple=4, minimum=16, maximum=1024), temperature=1.0),
}


def wrap(checkpoint: Checkpoint, specification: Specification) -> PaletteColorizer:
    """The checkpoint's network behind the signature ``colorize``, in evaluation mode."""
    wrapped = PaletteColorizer(
        checkpoint.build(), checkpoint.colours, specification.temperature, specification.working_size.multiple
    ).eval()
    training = [name for name, module in wrapped.named_modules() if module.training]
    if training:
        raise ExportError(f"The network is not in evaluation mode: {', '.join(training)}.")
    return wrapped


def to_model_proto(module: nn.Module, name: str) -> onnx.ModelProto:
    """Export ``module`` with dynamic batch, height and width; no path or source line of this machine stays inside."""
    example = torch.rand(2, 1, 32, 36)
    batch, height, width = (torch.export.Dim.DYNAMIC,) * 3
    program = torch.onnx.export(
        module, (example,), dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
        input_names=["grey"], output_names=OUTPUTS, dynamic_shapes=({0: batch, 2: height, 3: width},),
    )  # fmt: skip
    if program is None:
        raise ExportError("torch.onnx.export gave no program.")
    model = program.model_proto
    _strip(model)
    model.graph.name = name
    model.producer_name = "colorize-run"
    model.ir_version = min(model.ir_version, IR_VERSION)
    opset = {entry.domain: entry.version for entry in model.opset_import}[""]
    if opset != OPSET:
        raise ExportError(f"Opset {OPSET} was asked for, the exporter wrote {opset}.")
    _refuse_local_names(model.SerializeToString())
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces with paths and source lines of the training machine among them."""
    for owner in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output,
                  *model.graph.initializer, *model.functions):  # fmt: skip
        owner.doc_string = ""
        del owner.metadata_props[:]


def _refuse_local_names(data: bytes) -> None:
    for name in {str(ROOT), sys.prefix, os.path.expanduser("~"), socket.gethostname()}:
        if len(name) > 5 and name.encode() in data:
            raise ExportError(f"The ONNX file would contain {name!r} of this machine.")


def damage_weight(model: onnx.ModelProto) -> str:
    """Change the largest weight of the first convolution by 1 %, in place; returns its name. For proving the proof."""
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == conv.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[abs(values).argmax()] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return str(weight.name)


def contract_of(checkpoint: Checkpoint, specification: Specification, report: parity.ParityReport) -> Contract:
    """The contract of an exported model."""
    arguments = ", ".join(f"{name}={value}" for name, value in checkpoint.arguments.items())
    palette = tuple(tuple(int(v) for v in colour) for colour in (checkpoint.colours * 256).round().clip(0, 255))
    return Contract(
        task="colorize",
        name=specification.name,
        network=f"{type(checkpoint.build()).__name__}({arguments})",
        working_size=specification.working_size,
        resize="pillow-bilinear",
        grey_weights=(1 / 3, 1 / 3, 1 / 3),
        palette=palette,
        licence=specification.licence,
        training_data=checkpoint.training_data,
        metrics=checkpoint.metrics,
        parity=report.figures(),
    )


def golden_cases(module: nn.Module) -> list[GoldenCase]:
    """Small inputs with PyTorch's own outputs: noise, and a real photograph at two odd sizes."""
    cases = []
    for case in parity.golden_inputs():
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = module(torch.from_numpy(case))
        cases.append(GoldenCase({"grey": case}, {name: out.numpy() for name, out in zip(OUTPUTS, outputs, strict=True)}))
    return cases


def export(
    checkpoint: Checkpoint, specification: Specification, folder: Path, data_dir: Path | None = None, *, damage: bool = False
) -> tuple[Path, parity.ParityReport]:
    """Write ``folder/NAME.onnx`` once it is proven to compute what the checkpoint computes.

    ``damage`` changes one weight of the graph before the proof, which must then fail. Errors: ParityError naming the
    worst case, ExportError; nothing is written then.
    """
    folder.mkdir(parents=True, exist_ok=True)  # rather fail now than after the proof
    module = wrap(checkpoint, specification)
    model = to_model_proto(module, specification.name)
    if damage:
        damage_weight(model)
    report = parity.prove(module, model, OUTPUTS, parity.cases(data_dir))
    contract = contract_of(checkpoint, specification, report)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json(), GOLDEN_KEY: pack_golden(golden_cases(module))})
    onnx.checker.check_model(model, full_check=True)
    partial = folder / f".{specification.name}.partial.onnx"
    try:
        partial.write_bytes(model.SerializeToString())
        _prove_file(partial)
        path = folder / f"{specification.name}.onnx"
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path, report


def _prove_file(path: Path) -> None:
    """The written file, opened by the runtime as a deployment machine would open it, keeps its own golden vectors."""
    outcome = verify(Model(str(path), "cpu"))
    if not outcome.ok:
        raise ExportError(
            f"The runtime does not reproduce the golden vectors: error {outcome.error:.1e}, flips {outcome.flips:.1e}."
        )


def check(path: Path, checkpoint: Checkpoint, data_dir: Path | None = None) -> parity.ParityReport:
    """Prove that an existing file still computes what ``checkpoint`` computes. Errors: ParityError, ExportError."""
    contract = Colorizer(str(path), "cpu").contract
    specification = SPECIFICATIONS.get(contract.name)
    if specification is None:
        raise ExportError(f"{path} is of the unknown model {contract.name!r}; known: {', '.join(SPECIFICATIONS)}.")
    _prove_file(path)
    return parity.prove(wrap(checkpoint, specification), onnx.load(path), OUTPUTS, parity.cases(data_dir))
