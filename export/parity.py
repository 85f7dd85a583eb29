"""Proof that an ONNX graph computes what the PyTorch network computes."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from colorize_run import colour
from colorize_run.model.contract import HINTS
from colorize_run.model.verify import CHOSEN_OUTPUTS, DISCRETE_OUTPUTS, compare, spans
from onnx.reference import ReferenceEvaluator
from PIL import Image
from torchmetrics.classification import BinaryJaccardIndex

from export.errors import ParityError
from export.signatures import Signature
from training.conventions import MEAN_OF_CHANNELS
from training.datasets import hints
from training.datasets.flowers import UNLABELLED, Flowers
from training.evaluation.masks import at_working_size

FloatArray = npt.NDArray[np.float32]

TOLERANCE = 5e-6  # largest difference, as a fraction of the output's range
# Where PyTorch in float32 is itself further than that from float64, no engine can do better: then twice PyTorch's own error
# is allowed, and never more than CEILING.
ROUNDING, CEILING = 2.0, 2e-5
FLIPS = 1e-4  # fraction of pixels whose most probable colour or class may differ
IOU_DIFFERENCE = 5e-4  # of masks on real pictures
# onnx.reference is plain NumPy: larger cases would take minutes. Pixels of a case, for a network of this many weights:
_REFERENCE_PIXELS, _REFERENCE_WEIGHTS = 5000, 3e6
# It also fills the gaps of dilated filters with zeros: DeepLabV3's of 73 x 73 took more than 20 GB. It is not used above:
_REFERENCE_FILTER = 25

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"


@dataclass(frozen=True)
class Case:
    """One input of the proof: ``planes`` (N, C, H, W) float32, 0..1, grey or R, G, B, and maybe colour ``hints`` for it."""

    name: str
    planes: FloatArray
    hints: FloatArray | None = None

    @property
    def pixels(self) -> int:
        """Pixels of all pictures."""
        return self.planes[:, 0].size

    @property
    def inputs(self) -> tuple[FloatArray, ...]:
        """What the module is called with."""
        return (self.planes,) if self.hints is None else (self.planes, self.hints)

    def feed(self, source: str) -> dict[str, FloatArray]:
        """The inputs by name, for a graph whose picture is called ``source``."""
        return dict(zip((source, HINTS), self.inputs, strict=False))


@dataclass(frozen=True)
class Finding:
    """The difference between one backend and PyTorch in one output of one case.

    ``rounding``: the difference between PyTorch itself and float64 in that output, in the worst case.
    """

    backend: str
    case: str
    output: str
    error: float
    flips: float
    rounding: float

    @property
    def allowed(self) -> float:
        """Largest ``error`` that passes."""
        return max(TOLERANCE, min(ROUNDING * self.rounding, CEILING))


@dataclass(frozen=True)
class ParityReport:
    """All findings of a proof that succeeded."""

    findings: list[Finding]

    def figures(self) -> dict[str, float]:
        """Largest error of each backend as a fraction of the output's range, PyTorch's own against ``float64``, and flips."""
        backends = dict.fromkeys(finding.backend for finding in self.findings)
        errors = {name: max(f.error for f in self.findings if f.backend == name) for name in backends}
        flips = max(f.flips for f in self.findings)
        rounding = max(f.rounding for f in self.findings)
        return {**errors, "float64": rounding, "flips": flips, "cases": float(len({f.case for f in self.findings}))}


def _noise(rng: np.random.Generator, n: int, channels: int, h: int, w: int) -> FloatArray:
    return rng.random((n, channels, h, w), dtype=np.float32)


def _photographs() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.jpg"))]


def _planes(photograph: Image.Image, channels: int, width: int, height: int) -> FloatArray:
    small = np.asarray(colour.resize(photograph, (width, height)))
    if channels == 1:
        return colour.to_grey(small, MEAN_OF_CHANNELS)[None, None]
    return small.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def _hints(rng: np.random.Generator, n: int, h: int, w: int) -> FloatArray:
    """Up to eight hints, squares of 1 to 7 pixels, in each of ``n`` pictures."""
    drawn = np.stack([hints.planes((h, w))] * n)
    for planes in drawn:
        for _ in range(int(rng.integers(1, 9))):
            y, x, radius = int(rng.integers(h)), int(rng.integers(w)), int(rng.integers(4))
            hints.add(planes, y, x, radius, rng.uniform(-80, 80, 2))
    return hints.in_ab(drawn)


def golden_inputs(channels: int = 1, *, hinted: bool = False) -> list[Case]:
    """Inputs of the golden vectors, small enough to travel in the file; those of a ``hinted`` module again with hints."""
    photograph = _photographs()[0]
    sizes = (22, 17), (32, 32)
    noise = Case("noise", _noise(np.random.default_rng(1), 1, channels, 16, 16))
    cases = [noise, *(Case(f"photograph {w}x{h}", _planes(photograph, channels, w, h)) for w, h in sizes)]
    return cases + [_with_hints(case, i) for i, case in enumerate(cases[1:])] if hinted else cases


def _with_hints(case: Case, seed: int) -> Case:
    n, _, h, w = case.planes.shape
    return Case(f"{case.name} with hints", case.planes, _hints(np.random.default_rng(seed), n, h, w))


def cases(channels: int = 1, working_side: int = 32, *, hinted: bool = False) -> list[Case]:
    """Noise, flat pictures and photographs, even and odd sizes, batches of 1 to 3; for a ``hinted`` module, also with hints.

    The photographs also at ``working_side``, the short side to which the runtime reduces a picture for the model.
    """
    rng = np.random.default_rng(0)
    sizes = ((1, 32, 32), (3, 32, 32), (1, 33, 35), (2, 61, 50), (3, 7, 9), (1, 1, 1), (1, 96, 128))
    cases = [Case(f"noise {n}x{channels}x{h}x{w}", _noise(rng, n, channels, h, w)) for n, h, w in sizes]
    cases += [Case(f"flat {value}", np.full((1, channels, 20, 24), value, np.float32)) for value in (0.0, 0.5, 1.0)]
    for i, photograph in enumerate(_photographs()):
        sides = (86, 64), (43, 31), (191, 127), (working_side * 3 // 2, working_side)
        cases += [Case(f"photograph {i} {w}x{h}", _planes(photograph, channels, w, h)) for w, h in sides]
    return cases + [_with_hints(case, i) for i, case in enumerate(cases)] if hinted else cases


def _backends(model: onnx.ModelProto) -> dict[str, object]:
    data = model.SerializeToString()
    sessions: dict[str, object] = {}
    for name, level in (
        ("onnxruntime", ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
        ("onnxruntime-unoptimised", ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
    ):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3  # it warns that a temperature which can be set is not a constant
        sessions[name] = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    if _widest_filter(model) <= _REFERENCE_FILTER:
        sessions["onnx.reference"] = ReferenceEvaluator(model)
    return sessions


def _widest_filter(model: onnx.ModelProto) -> int:
    """Pixels along one side of the widest filter, its gaps included."""
    sides = {tensor.name: tensor.dims[-1] for tensor in model.graph.initializer if len(tensor.dims) == 4}
    widest = 1
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in sides:
            dilation = next((a.ints[-1] for a in node.attribute if a.name == "dilations"), 1)
            widest = max(widest, dilation * (sides[node.input[1]] - 1) + 1)
    return widest


def _reference(module: Signature, inputs: list[Case], dtype: torch.dtype = torch.float32) -> list[dict[str, FloatArray]]:
    with torch.no_grad():
        outputs = [module(*(torch.from_numpy(values).to(dtype) for values in case.inputs)) for case in inputs]
    return [{name: out.numpy() for name, out in zip(module.outputs, outs, strict=True)} for outs in outputs]


def prove(module: Signature, model: onnx.ModelProto, inputs: list[Case]) -> ParityReport:
    """Compare ``module`` (float32, CPU) with onnxruntime, optimised and not, and with onnx.reference.

    Errors: ParityError naming the worst finding when any is out of tolerance.
    """
    backends = _backends(model)
    source, outputs = model.graph.input[0].name, list(module.outputs)
    references = _reference(module, inputs)
    exact = _reference(copy.deepcopy(module).double(), inputs, torch.float64)
    span = spans(references)
    pairs = list(zip(references, exact, strict=True))
    rounding = {name: max(compare(name, a[name], b[name], span[name]).error for a, b in pairs) for name in outputs}
    findings = []
    for case, reference in zip(inputs, references, strict=True):
        for backend, session in backends.items():
            if backend == "onnx.reference" and case.pixels > _reference_pixels(model, inputs):
                continue
            values = session.run(outputs, case.feed(source))  # type: ignore[attr-defined]
            for name, value in zip(outputs, values, strict=True):
                difference = compare(name, value, reference[name], span[name])
                findings.append(Finding(backend, case.name, name, difference.error, difference.flips, rounding[name]))
    _refuse_differences(findings, {case.name: case.pixels for case in inputs})
    return ParityReport(findings)


def _reference_pixels(model: onnx.ModelProto, inputs: list[Case]) -> float:
    """Pixels of the largest case for onnx.reference; the smallest case is always included."""
    weights: int = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    return max(_REFERENCE_PIXELS * min(1.0, _REFERENCE_WEIGHTS / weights), min(case.pixels for case in inputs))


def between(model: onnx.ModelProto, rewritten: onnx.ModelProto, inputs: list[Case]) -> dict[str, float]:
    """The difference between a rewritten graph and the original in onnxruntime: ``{"rewrite": fraction of the range}``.

    Errors: ParityError when it is above the tolerance.
    """
    source, outputs = model.graph.input[0].name, [output.name for output in model.graph.output]
    before, after = (_backends(graph)["onnxruntime"] for graph in (model, rewritten))
    worst = 0.0
    for case in inputs:
        pair = [session.run(outputs, case.feed(source)) for session in (before, after)]  # type: ignore[attr-defined]
        for name, old, new in zip(outputs, *pair, strict=True):
            if name not in DISCRETE_OUTPUTS:
                worst = max(worst, compare(name, new, old, max(float(np.ptp(old)), 1.0)).error)
    if not worst <= TOLERANCE:
        raise ParityError(f"The rewritten graph differs from the original by {worst:.1e} (allowed {TOLERANCE:.0e}).")
    return {"rewrite": worst}


def on_flowers(module: Signature, model: onnx.ModelProto, flowers: Flowers) -> dict[str, float]:
    """The difference between the masks of a graph in onnxruntime and PyTorch's, on real flowers.

    ``flowers_flips``: fraction of pixels whose class differs; ``flowers_iou``: difference of the intersection over union.
    Errors: ParityError when either is more than allowed.
    """
    session, source = _backends(model)["onnxruntime"], model.graph.input[0].name
    ious = [BinaryJaccardIndex(ignore_index=UNLABELLED) for _ in range(2)]
    flipped = pixels = 0
    for image, mask in zip(flowers.images, flowers.masks, strict=True):
        picture, labels = at_working_size(image, mask)
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1))[None]
        with torch.no_grad():
            expected = module(torch.from_numpy(planes))[0].argmax(dim=1)
        masks = torch.from_numpy(session.run(["probabilities"], {source: planes})[0]).argmax(dim=1)  # type: ignore[attr-defined]
        for iou, classes in zip(ious, (expected, masks), strict=True):
            iou.update(classes, torch.from_numpy(labels)[None].long())
        flipped, pixels = flipped + int((expected != masks).sum()), pixels + expected.numel()
    flips, difference = flipped / pixels, abs(float(ious[0].compute() - ious[1].compute()))
    if flips > FLIPS or difference > IOU_DIFFERENCE:
        raise ParityError(
            f"On {len(flowers)} flowers onnxruntime chooses another class than PyTorch in {flips:.1e} of the pixels (allowed"
            f" {FLIPS:.0e}), and its IoU differs by {difference:.1e} (allowed {IOU_DIFFERENCE:.0e})."
        )
    return {"flowers_flips": flips, "flowers_iou": difference}


def _refuse_differences(findings: list[Finding], pixels: dict[str, int]) -> None:
    worst = max(findings, key=lambda finding: finding.error / finding.allowed)
    if not worst.error <= worst.allowed:
        raise ParityError(
            f"{worst.backend} differs from PyTorch by {worst.error:.1e} of the range of output {worst.output} in case"
            f" {worst.case!r} (allowed {worst.allowed:.0e})."
        )
    for backend in dict.fromkeys(finding.backend for finding in findings):
        discrete = [f for f in findings if f.backend == backend and f.output in CHOSEN_OUTPUTS]
        total = sum(pixels[f.case] for f in discrete)
        flipped = sum(f.flips * pixels[f.case] for f in discrete)
        if total and flipped / total > FLIPS:
            worst = max(discrete, key=lambda finding: finding.flips)
            raise ParityError(
                f"{backend} chooses another colour or class than PyTorch in {flipped / total:.1e} of all pixels (allowed"
                f" {FLIPS:.0e}), mostly in case {worst.case!r}."
            )
