"""Smaller or faster siblings of an exported model, kept only where they are worth it."""

import dataclasses
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from colorize_run.contract import CONTRACT_KEY, GOLDEN_KEY, Contract
from colorize_run.session import Model
from colorize_run.verify import compare, spans, verify
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from export.errors import ExportError
from training.datasets.photos import Photos, PhotoSamples
from training.networks.photo import WORKING_SIDE
from training.photo_judge import figures, measure

QUALITY = 0.005  # a variant may lose half a point of the error reduction, and as much of the colourfulness
FASTER = 0.95  # of the original's time, in the median of rounds taken in turn
SMALLER = 0.5  # of the original's bytes
CALIBRATION = 64  # photographs
ROUNDS = 15
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """One variant: bytes and time as shares of the original's, figures on photographs of both, and whether it is kept."""

    name: str
    size: float
    time: float
    figures: dict[str, float]
    original: dict[str, float]
    error: float

    @property
    def lost(self) -> float:
        """What the error reduction or the colourfulness ratio falls by, whichever is more."""
        return max(self.original[name] - self.figures[name] for name in ("error_reduction", "colourfulness_ratio"))

    @property
    def kept(self) -> bool:
        """Whether it is faster here, or at most half as large, and no worse than by half a point."""
        return (self.time <= FASTER or self.size <= SMALLER) and self.lost <= QUALITY


def to_fp16(model: onnx.ModelProto, photos: Photos) -> onnx.ModelProto:
    """The network in half precision, its input, its output and the decoding of chroma in single precision."""
    del photos  # needs none
    bare = _without_settings(model)
    converted: onnx.ModelProto = convert_float_to_float16(bare, keep_io_types=True, node_block_list=_decoding(bare))
    _drop_repeated(converted)
    return converted


def _drop_repeated(model: onnx.ModelProto) -> None:
    """Leave only the first of nodes that define the same value: the converter casts one anew for each that wants it."""
    defined: set[str] = set()
    kept = []
    for node in model.graph.node:
        if not defined & set(node.output):
            kept.append(node)
        defined |= set(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Greys(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, photos: Photos, source: str) -> None:
        samples = PhotoSamples(photos, WORKING_SIDE, 0, augment=True)
        self._inputs = iter({source: samples.__getitems__([i])["input"].numpy()} for i in range(min(CALIBRATION, len(photos))))

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._inputs, None)


def to_int8(model: onnx.ModelProto, photos: Photos) -> onnx.ModelProto:
    """Static 8-bit quantization (QDQ, per channel), calibrated on training ``photos``; decoding stays as it is."""
    bare = _without_settings(model)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(bare, before)
        logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing, which the exporter has done
        quantize_static(
            before, after, _Greys(photos, bare.graph.input[0].name), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=_decoding(bare),
        )  # fmt: skip
        return onnx.load(after)


VARIANTS: dict[str, Callable[[onnx.ModelProto, Photos], onnx.ModelProto]] = {"fp16": to_fp16, "int8": to_int8}


def _without_settings(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose temperature is a constant, as converters expect."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {tensor.name for tensor in copy.graph.initializer}
    kept = [value for value in copy.graph.input if value.name not in constants]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def _decoding(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes from the first that the temperature reaches to the output: logits -> chroma."""
    reached, names = {"temperature"}, []
    for node in model.graph.node:
        if reached & set(node.input):
            reached.update(node.output)
            names.append(node.name)
    if not names:
        raise ExportError("The model has no temperature: variants are made of palette models on photographs.")
    return names


def _with_settings(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """The variant with the original's input that may be left away."""
    constants = {tensor.name for tensor in original.graph.initializer}
    model.graph.input.extend(value for value in original.graph.input if value.name in constants)
    return model


def _predictor(model: Model) -> Callable[[Tensor], Tensor]:
    side = model.contract.working_size.short_side

    def predict(grey: Tensor) -> Tensor:
        small = F.interpolate(grey, (side, side), mode="bilinear", antialias=True)
        ab = torch.from_numpy(model.run({model.input: small.numpy()}, ["ab"])["ab"])
        return F.interpolate(ab, grey.shape[2:], mode="bilinear", align_corners=False)

    return predict


def _times(first: Model, second: Model) -> float:
    """Median of second's time over first's, taken in turn at the working size."""
    side = first.contract.working_size.short_side
    grey: FloatArray = np.random.default_rng(0).random((1, 1, side, side), np.float32)
    ratios = []
    for _ in range(ROUNDS + 2):
        taken = []
        for model in (first, second):
            start = time.perf_counter()
            model.run({model.input: grey})
            taken.append(time.perf_counter() - start)
        ratios.append(taken[1] / taken[0])
    return statistics.median(ratios[2:])  # the first two warm up


def _golden_error(original: Model, variant: Model) -> float:
    """Largest error of the variant on the original's golden vectors, as a share of their range."""
    cases = original.golden()
    span = spans([case.outputs for case in cases])
    return max(
        compare(name, variant.run(case.inputs, [name])[name], wanted, span[name]).error
        for case in cases
        for name, wanted in case.outputs.items()
    )


def _stamped(model: onnx.ModelProto, contract: Contract, original: onnx.ModelProto) -> onnx.ModelProto:
    golden = next(entry.value for entry in original.metadata_props if entry.key == GOLDEN_KEY)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json(), GOLDEN_KEY: golden})
    return model


def make(path: Path, train: Photos, validation: Photos, folder: Path) -> Iterator[Outcome]:
    """Make each of VARIANTS of the model at ``path``, judge it on ``validation``, and write it to ``folder`` if it is kept.

    A variant's golden vectors are the original's, its tolerance is half again what it is off here.
    """
    opened = Model(str(path), "cpu")
    original = onnx.load(path)
    before = figures(measure(_predictor(opened), validation))
    for kind, convert in VARIANTS.items():
        name = f"{path.stem}-{kind}"
        variant = _with_settings(convert(original, train), original)
        partial = folder / f".{name}.partial.onnx"
        try:
            contract = dataclasses.replace(opened.contract, name=name)
            onnx.save(_stamped(variant, contract, original), partial)
            candidate = Model(str(partial), "cpu")
            error = _golden_error(opened, candidate)
            size = partial.stat().st_size / path.stat().st_size
            after = figures(measure(_predictor(candidate), validation))
            outcome = Outcome(name, size, _times(opened, candidate), after, before, error)
            if outcome.kept:
                tolerance = dict.fromkeys(contract.tolerance, 1.5 * error)
                metrics = {f"validation_{figure}": value for figure, value in after.items()}
                parity = {**opened.contract.parity, "original": error}
                contract = dataclasses.replace(contract, tolerance=tolerance, metrics=metrics, parity=parity)
                onnx.save(_stamped(variant, contract, original), partial)
                if not verify(Model(str(partial), "cpu")).ok:
                    raise ExportError(f"{name} does not keep its own tolerance from one run to the next.")
                partial.replace(folder / f"{name}.onnx")
            else:
                (folder / f"{name}.onnx").unlink(missing_ok=True)  # of an earlier original
        finally:
            partial.unlink(missing_ok=True)
        yield outcome
