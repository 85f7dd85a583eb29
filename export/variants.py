"""Smaller or faster variants of an exported model, kept only where they are worth it."""

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from colorize_run.diagnostics.timing import in_turn
from colorize_run.model.contract import CONTRACT_KEY, GOLDEN_KEY, HINTS, INPUTS, Contract
from colorize_run.model.describe import COUNTED, QUALITY, lost
from colorize_run.model.session import Model
from colorize_run.model.verify import Difference, compare, spans, verify
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from export.errors import ExportError
from training.conventions import PHOTO_WORKING_SIZE
from training.datasets.flowers import Flowers, FlowerSamples
from training.datasets.hints import in_ab
from training.datasets.photos import Photos, PhotoSamples
from training.evaluation import masks
from training.evaluation.photos import measure, summary

FASTER = 0.95  # of the original's time, in the median of rounds taken in turn
SMALLER = 0.5  # of the original's bytes
# Pictures, and for segmenters their side. What is outside the range of these pictures is cut off: 16 cost a photo colourizer
# 0.011 of its colourfulness, 64 cost 0.005.
CALIBRATION, CALIBRATION_SIDE = 256, 256
ROUNDS = 15
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """The data on which variants of one kind of model are calibrated and evaluated.

    ``inputs`` makes the i-th of up to ``count`` calibration inputs, (1, C, H, W), of training pictures, and maybe hints as
    three further channels (`training.datasets.hints`); ``figures`` gives
    the figures of a model on validation pictures; none of those in ``counted`` may fall by more than QUALITY.
    """

    count: int
    inputs: Callable[[int], FloatArray]
    figures: Callable[[Model], dict[str, float]]
    counted: tuple[str, ...]


def photo_trial(train: Photos, validation: Photos) -> Trial:
    """Photographs, for the photo colourizer."""
    samples = PhotoSamples(train, PHOTO_WORKING_SIZE.short_side, 0, augment=True, hints=True)
    return Trial(
        len(train),
        lambda i: samples.__getitems__([i])["input"].numpy(),
        lambda model: summary(measure(_predictor(model), validation)),
        COUNTED["colorize"],
    )


def flower_trial(train: Flowers, validation: Flowers) -> Trial:
    """Flowers, for a segmenter."""
    samples = FlowerSamples(train, CALIBRATION_SIDE, 0, augment=True)

    def figures(model: Model) -> dict[str, float]:
        def segment(picture: FloatArray) -> npt.NDArray[np.uint8]:
            planes = np.ascontiguousarray(picture.transpose(2, 0, 1))[None]
            return np.asarray(model.run({model.input: planes})["probabilities"][0].argmax(axis=0), np.uint8)

        return masks.measure(segment, validation)

    return Trial(len(train), lambda i: samples.__getitems__([i])["input"].numpy(), figures, COUNTED["segment"])


@dataclass(frozen=True)
class Outcome:
    """One variant: size and time relative to the original's, and figures of both, of which some are ``counted``."""

    name: str
    size: float
    time: float
    figures: dict[str, float]
    original: dict[str, float]
    error: float
    counted: tuple[str, ...]

    @property
    def lost(self) -> float:
        """The largest loss in a counted figure."""
        return lost(self.original, self.figures, self.counted)

    @property
    def kept(self) -> bool:
        """Whether it is faster here, or at most half as large, and loses at most half a point."""
        return (self.time <= FASTER or self.size <= SMALLER) and self.lost <= QUALITY


def to_fp16(model: onnx.ModelProto, trial: Trial) -> onnx.ModelProto:
    """The network in half precision, its input, its output and the decoding of chroma in single precision."""
    del trial  # needs no calibration
    bare = _without_settings(model)
    converted: onnx.ModelProto = convert_float_to_float16(
        bare, keep_io_types=True, node_block_list=[*_decoding(bare), *_preparation(bare)]
    )
    _drop_repeated(converted)
    return converted


def _drop_repeated(model: onnx.ModelProto) -> None:
    """Keep only the first of nodes that define the same value: the converter repeats a cast for each node that needs it."""
    defined: set[str] = set()
    kept = []
    for node in model.graph.node:
        if not defined & set(node.output):
            kept.append(node)
        defined |= set(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, trial: Trial, names: list[str]) -> None:
        source, *optional = names
        self._inputs = iter(
            _feed(trial.inputs(i), source, hinted=HINTS in optional) for i in range(min(CALIBRATION, trial.count))
        )

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._inputs, None)


def _feed(planes: FloatArray, source: str, *, hinted: bool) -> dict[str, FloatArray]:
    """A calibration input, by the names of the graph's inputs."""
    channels = INPUTS[source]
    feed = {source: planes[:, :channels]}
    if hinted:
        feed[HINTS] = in_ab(planes[:, channels:])
    return feed


def to_int8(model: onnx.ModelProto, trial: Trial) -> onnx.ModelProto:
    """Static 8-bit quantization (QDQ, per channel), calibrated on training pictures; decoding stays as it is."""
    bare = _without_settings(model)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(bare, before)
        logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing, which the exporter has done
        quantize_static(
            before,
            after,
            _Inputs(trial, [value.name for value in bare.graph.input]),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*_decoding(bare), *_preparation(bare)],
        )
        return onnx.load(after)


VARIANTS: dict[str, Callable[[onnx.ModelProto, Trial], onnx.ModelProto]] = {"fp16": to_fp16, "int8": to_int8}


def _without_settings(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose temperature is a constant and whose hints must be given: the converters know no optional inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    initializers = [tensor for tensor in copy.graph.initializer if tensor.name != HINTS]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(initializers)
    constants = {tensor.name for tensor in initializers}
    inputs = [value for value in copy.graph.input if value.name not in constants]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    return copy


def _decoding(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that turn logits into the output: those after the temperature, or else after the last convolution."""
    settings = {tensor.name for tensor in model.graph.initializer if tensor.name == "temperature"}
    logits = [node.output[0] for node in model.graph.node if node.op_type == "Conv"][-1]
    reached, names = settings or {logits}, []
    for node in model.graph.node:
        if reached & set(node.input):
            reached.update(node.output)
            names.append(node.name)
    return names


def _preparation(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that bring picture and hints together, and of the first convolution, for a model with hints.

    a*, b* and the mask would share one 8-bit scale with the grey, which would then have 100 steps instead of 256.
    """
    reached, features, names = {HINTS}, set[str](), []
    for node in model.graph.node:
        if features & set(node.input):
            features.update(node.output)
        elif reached & set(node.input):
            names.append(node.name)
            (features if node.op_type == "Conv" else reached).update(node.output)
        elif node.op_type == "Conv":
            features.update(node.output)
    return names


def _with_settings(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """The variant with the original's optional inputs."""
    inputs, constants = ({entry.name for entry in entries} for entries in (model.graph.input, model.graph.initializer))
    defaults = {tensor.name: tensor for tensor in original.graph.initializer}
    for value in original.graph.input:
        if value.name in defaults and value.name not in inputs:
            model.graph.input.append(value)
        if value.name in defaults and value.name not in constants:
            model.graph.initializer.append(defaults[value.name])
    return model


def _predictor(model: Model) -> Callable[[Tensor], Tensor]:
    side = model.contract.working_size.short_side

    def predict(grey: Tensor) -> Tensor:
        small = F.interpolate(grey, (side, side), mode="bilinear", antialias=True)
        ab = torch.from_numpy(model.run({model.input: small.numpy()}, ["ab"])["ab"])
        return F.interpolate(ab, grey.shape[2:], mode="bilinear", align_corners=False)

    return predict


def _times(first: Model, second: Model) -> float:
    """Median ratio of the second's time to the first's, measured in turn at the working size."""
    side = first.contract.working_size.short_side
    planes: FloatArray = np.random.default_rng(0).random((1, INPUTS[first.input], side, side), np.float32)
    times = in_turn([partial(model.run, {model.input: planes}) for model in (first, second)], ROUNDS)
    return times[1].ratio(times[0])


def _golden_difference(original: Model, variant: Model) -> Difference:
    """Largest difference between the variant and the original's golden vectors."""
    cases = original.golden()
    span = spans([case.outputs for case in cases])
    differences = [
        compare(name, variant.run(case.inputs, [name])[name], expected, span[name])
        for case in cases
        for name, expected in case.outputs.items()
    ]
    return Difference(max(difference.error for difference in differences), max(difference.flips for difference in differences))


def _stamped(model: onnx.ModelProto, contract: Contract, original: onnx.ModelProto) -> onnx.ModelProto:
    golden = next(entry.value for entry in original.metadata_props if entry.key == GOLDEN_KEY)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json(), GOLDEN_KEY: golden})
    return model


def make(path: Path, trial: Trial, folder: Path) -> Iterator[Outcome]:
    """Make each of VARIANTS of the model at ``path``, evaluate it by ``trial``, and write it to ``folder`` if it is kept.

    A variant has the original's golden vectors; its tolerance is 1.5 times its difference from them here.
    """
    opened = Model(path, "cpu")
    if opened.contract.task == "colorize" and opened.input != "grey":
        raise ExportError(f"{path} restores colours: variants can be made only of models for grey pictures, and of segmenters.")
    original = onnx.load(path)
    before = trial.figures(opened)
    for kind, convert in VARIANTS.items():
        name = f"{path.stem}-{kind}"
        variant = _with_settings(convert(original, trial), original)
        partial = folder / f".{name}.partial.onnx"
        try:
            contract = dataclasses.replace(opened.contract, name=name)
            onnx.save(_stamped(variant, contract, original), partial)
            candidate = Model(partial, "cpu")
            difference = _golden_difference(opened, candidate)
            size = partial.stat().st_size / path.stat().st_size
            after = trial.figures(candidate)
            outcome = Outcome(name, size, _times(opened, candidate), after, before, difference.error, trial.counted)
            if outcome.kept:
                tolerance = dict.fromkeys(contract.tolerance, 1.5 * difference.error)
                flips = {device: max(allowed, 1.5 * difference.flips) for device, allowed in contract.flips.items()}
                metrics = {f"validation_{figure}": value for figure, value in after.items()}
                parity = {**opened.contract.parity, "original": difference.error}
                contract = dataclasses.replace(contract, tolerance=tolerance, flips=flips, metrics=metrics, parity=parity)
                onnx.save(_stamped(variant, contract, original), partial)
                if not verify(Model(partial, "cpu")).ok:
                    raise ExportError(f"{name} does not stay within its own tolerance from one run to the next.")
                partial.replace(folder / f"{name}.onnx")
            else:
                (folder / f"{name}.onnx").unlink(missing_ok=True)  # made of an earlier original
        finally:
            partial.unlink(missing_ok=True)
        yield outcome
