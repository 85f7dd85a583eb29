"""PyTorch -> one ONNX file that carries its own contract."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from colorize_run.model.contract import HINTS, INPUTS
from colorize_run.model.session import Model
from colorize_run.model.verify import verify

from export import parity, real_pictures
from export.errors import ExportError
from export.rewrite import has_zero_inserted_filters, to_native_dilation
from export.signatures import Signature, input_name, wrap
from export.specifications import SPECIFICATIONS, Specification
from export.stamp import contract_of, golden_cases, stamp
from training.checkpoint import Checkpoint
from training.families import FLOWERS, family_of

OPSET = 18  # the oldest with an antialiased Resize, and the one that most engines support completely
IR_VERSION = 10  # newer ones are refused by onnxruntime releases that are still in use
# While a graph is made, a temperature at which no optimiser leaves out the division by it
_EXPORT_TEMPERATURE = 0.737
_WHOLE_HINTS = f"whole_{HINTS}"  # the hints at the size of the picture, in the graph
ROOT = Path(__file__).resolve().parents[1]


def to_model_proto(module: Signature, name: str, source: str = "grey") -> onnx.ModelProto:
    """Export ``module`` with dynamic batch, height and width, its input called ``source``, one of `contract.INPUTS`."""
    example = (torch.rand(2, INPUTS[source], 64, 68), *([torch.rand(2, INPUTS[HINTS], 64, 68)] if module.hinted else []))
    batch, height, width = (torch.export.Dim.DYNAMIC,) * 3
    with _with_export_temperature(module):
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            input_names=[source, HINTS][: len(example)],
            output_names=list(module.outputs),
            dynamic_shapes=({0: batch, 2: height, 3: width},) * len(example),
        )
        if program is None:
            raise ExportError("torch.onnx.export returned no program.")
        model = program.model_proto  # reads the weights, so not later
    model.graph.name = name
    if module.hinted:
        _make_hints_optional(model, source)
    return _finished(model)


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove paths and source lines of this machine, and set versions that old runtimes read; in place."""
    _strip(model)
    model.producer_name = "colorize-run"
    model.ir_version = min(model.ir_version, IR_VERSION)
    opset = {entry.domain: entry.version for entry in model.opset_import}[""]
    if opset != OPSET:
        raise ExportError(f"The exporter wrote opset {opset} instead of {OPSET}.")
    _refuse_local_names(model.SerializeToString())
    return model


@contextmanager
def _with_export_temperature(module: Signature) -> Iterator[None]:
    """Set a temperature that no optimiser can leave out while a graph is made: a division by 1 would disappear."""
    temperature = getattr(module, "temperature", None)
    if temperature is None:
        yield
        return
    value = temperature.clone()
    temperature.fill_(_EXPORT_TEMPERATURE)
    try:
        yield
    finally:
        temperature.copy_(value)


def make_temperature_an_input(model: onnx.ModelProto, module: Signature) -> None:
    """Set ``temperature``, where the module has one, to its value: an input with a default that a caller may override."""
    temperature = getattr(module, "temperature", None)
    if temperature is None:
        return
    constant = next(tensor for tensor in model.graph.initializer if tensor.name == "temperature")
    constant.CopyFrom(onnx.numpy_helper.from_array(temperature.numpy(), "temperature"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("temperature", constant.data_type, constant.dims))


def _make_hints_optional(model: onnx.ModelProto, source: str) -> None:
    """Give the input of colour hints a default, none, that is as large as the picture of ``source``; in place."""
    for node in model.graph.node:
        node.input[:] = [_WHOLE_HINTS if name == HINTS else name for name in node.input]
    inputs = [value for value in model.graph.input if value.name != HINTS]
    del model.graph.input[:]
    free: list[str | int | None] = [f"{HINTS}_batch", INPUTS[HINTS], f"{HINTS}_height", f"{HINTS}_width"]
    model.graph.input.extend([*inputs, onnx.helper.make_tensor_value_info(HINTS, onnx.TensorProto.FLOAT, free)])
    none = onnx.numpy_helper.from_array(np.zeros((1, INPUTS[HINTS], 1, 1), np.float32), HINTS)
    channels = onnx.numpy_helper.from_array(np.array([INPUTS[HINTS]], np.int64), f"{HINTS}_channels")
    model.graph.initializer.extend([none, channels])
    nodes = [
        onnx.helper.make_node("Shape", [source], [f"{HINTS}_size"], start=2),
        onnx.helper.make_node("Shape", [source], [f"{HINTS}_count"], end=1),
        onnx.helper.make_node("Concat", [f"{HINTS}_count", channels.name, f"{HINTS}_size"], [f"{HINTS}_shape"], axis=0),
        onnx.helper.make_node("Expand", [HINTS, f"{HINTS}_shape"], [_WHOLE_HINTS]),
    ]
    for node in reversed(nodes):
        node.name = f"{HINTS}_{node.op_type}_{node.output[0]}"
        model.graph.node.insert(0, node)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes, which hold stack traces with paths and source lines of this machine."""
    for owner in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
        *model.functions,
    ):
        owner.doc_string = ""
        del owner.metadata_props[:]


def _refuse_local_names(data: bytes) -> None:
    for name in {str(ROOT), sys.prefix, os.path.expanduser("~"), socket.gethostname()}:
        if len(name) > 5 and name.encode() in data:
            raise ExportError(f"The ONNX file would contain {name!r}, a name of this machine.")


def damage_weight(model: onnx.ModelProto) -> str:
    """Change the largest weight of the first convolution by 1 %, in place; returns its name. For testing the proof."""
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == conv.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[abs(values).argmax()] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return str(weight.name)


def export(
    checkpoint: Checkpoint,
    specification: Specification,
    folder: Path,
    data_dir: Path | None = None,
    *,
    damage: bool = False,
    rewrite: bool = True,
) -> tuple[Path, parity.ParityReport]:
    """Prove that the graph computes what the checkpoint computes, and write it to ``folder/NAME.onnx``.

    ``damage`` changes one weight of the graph before the proof, which must then fail; ``rewrite=False`` keeps
    zero-inserted filters. Errors: ParityError naming the worst case, ExportError; nothing is written then.
    """
    folder.mkdir(parents=True, exist_ok=True)  # fails now instead of after the proof
    module, source = wrap(checkpoint, specification), input_name(checkpoint)
    cases = _cases(checkpoint, module, specification, data_dir)
    model = to_model_proto(module, specification.name, source)
    rewritten = _finished(to_native_dilation(model)) if rewrite and has_zero_inserted_filters(model) else None
    if rewritten and has_zero_inserted_filters(rewritten):
        raise ExportError("A zero-inserted filter of the graph could not be given native dilation; --no-rewrite keeps it.")
    rewrite_error = parity.between(model, rewritten, cases) if rewritten else {}
    model = rewritten or model
    make_temperature_an_input(model, module)
    if damage:
        damage_weight(model)
    report = parity.prove(module, model, cases)
    figures = {**report.figures(), **rewrite_error, **_on_flowers(checkpoint, module, model, data_dir)}
    stamp(model, contract_of(checkpoint, module, specification, figures), golden_cases(module, source))
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
    """Replay the golden vectors of the written file in the runtime. Errors: ExportError."""
    outcome = verify(Model(path, "cpu"))
    if not outcome.ok:
        raise ExportError(
            f"The runtime does not reproduce the golden vectors: error {outcome.error:.1e}, flips {outcome.flips:.1e}."
        )


def check(path: Path, checkpoint: Checkpoint, data_dir: Path | None = None) -> parity.ParityReport:
    """Prove that an existing file still computes what ``checkpoint`` computes. Errors: ParityError, ExportError."""
    contract = Model(path.resolve(), "cpu").contract
    specification = SPECIFICATIONS.get(contract.name)
    if specification is None:
        raise ExportError(f"{path} holds the unknown model {contract.name!r}; known models are {', '.join(SPECIFICATIONS)}.")
    _prove_file(path)
    module, model = wrap(checkpoint, specification), onnx.load(path)
    report = parity.prove(module, model, _cases(checkpoint, module, specification, data_dir))
    _on_flowers(checkpoint, module, model, data_dir)
    return report


def _cases(checkpoint: Checkpoint, module: Signature, specification: Specification, data_dir: Path | None) -> list[parity.Case]:
    real = [] if data_dir is None else real_pictures.cases(checkpoint, specification.working_size, data_dir)
    return parity.cases(INPUTS[input_name(checkpoint)], specification.working_size.short_side, hinted=module.hinted) + real


def _on_flowers(checkpoint: Checkpoint, module: Signature, model: onnx.ModelProto, data_dir: Path | None) -> dict[str, float]:
    """The proof on real flowers, for a segmenter and if there is a ``data_dir``."""
    family = family_of(checkpoint.kind)
    if data_dir is None or family is not FLOWERS:
        return {}
    return parity.on_flowers(module, model, family.load_split(data_dir, "validation", (), checkpoint.split_seed))
