"""What counts as a variant of a model, and how much it may lose: one budget for those who make them and those who use them."""

import dataclasses
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colorize_run.model.contract import HINTS, INPUTS, Contract
from colorize_run.model.library import beside
from colorize_run.model.session import Model

QUALITY = 0.005  # a variant may lose half a point of each figure that counts, on validation pictures
COUNTED = {"colorize": ("error_reduction", "colourfulness_ratio"), "segment": ("iou",)}  # figures in which more is better


def lost(original: Mapping[str, float], variant: Mapping[str, float], counted: tuple[str, ...]) -> float:
    """What the worst of the ``counted`` figures falls by; negative when all rise. KeyError where one is not recorded."""
    return max(original[name] - variant[name] for name in counted)


def refusal(original: Model, variant: Model) -> str | None:
    """Why ``variant`` may not stand in for ``original``, as the end of a sentence; None when it may.

    It must carry the original's golden vectors, the same contract but for its own figures, and recorded figures that are
    within the budget. Whether it keeps its tolerance on this machine, `verify` tells.
    """
    ours, theirs = original.contract, variant.contract
    same = ("task", "network", "working_size", "resize", "grey_weights", "palette", "classes", "class_colours")
    if any(getattr(ours, name) != getattr(theirs, name) for name in same) or original.input != variant.input:
        return "has another contract: make it again with `python -m export variants`"
    if original.has_temperature != variant.has_temperature or set(original.outputs) != set(variant.outputs):
        return "has other inputs or outputs: make it again with `python -m export variants`"
    if not original.same_golden(variant):
        return "was made from another original: make it again with `python -m export variants`"
    counted = tuple(f"validation_{name}" for name in COUNTED[ours.task])
    try:
        loss = lost(ours.metrics, theirs.metrics, counted)
    except KeyError as error:
        return f"has no recorded {error.args[0]}, so its loss is unknown"
    if not loss <= QUALITY:
        return f"loses {loss:.4f} of quality, but only {QUALITY} is allowed"
    return None


@dataclass(frozen=True)
class ModelDescription:
    """What a model file says of itself: path, ``size`` in bytes, SHA-256, contract, and the graph's own names.

    ``golden`` is the number of golden cases; ``variants`` are the files beside it that are named as its variants.
    """

    path: Path
    size: int
    sha256: str
    contract: Contract
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    golden: int
    variants: tuple[Path, ...]

    def row(self) -> tuple[str, ...]:
        """Name, task, size, score and training data, for a person."""
        contract = self.contract
        size = f"{self.size / 1e6:.1f} MB"
        learnt = textwrap.shorten(contract.training_data, 80, placeholder=" …")
        return self.path.stem, contract.task, size, _score(contract.metrics), learnt

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values; of the palettes their size."""
        palettes = {name: len(getattr(self.contract, name)) for name in ("palette", "chroma_palette")}
        contract = {**dataclasses.asdict(self.contract), **palettes}
        return {
            "name": self.path.stem, "path": str(self.path), "bytes": self.size, "sha256": self.sha256, "contract": contract,
            "inputs": list(self.inputs), "outputs": list(self.outputs), "golden": self.golden,
            "variants": [str(path) for path in self.variants],
        }  # fmt: skip

    def facts(self) -> list[tuple[str, str]]:
        """Everything again, as names and texts, for a person."""
        contract, size = self.contract, self.contract.working_size
        channels = INPUTS[self.inputs[0]]
        facts = {
            "file": str(self.path),
            "size": f"{self.size / 1e6:.1f} MB",
            "sha256": self.sha256,
            "task": contract.task,
            "network": contract.network,
            "input": f"{self.inputs[0]} (N, {channels}, H, W), 0..1"
            + "".join(f", and {name}, which may be left out" for name in self.inputs[1:]),
            "outputs": ", ".join(self.outputs),
            "working size": f"short side {size.short_side}, long side at most {size.maximum}; multiple of {size.multiple},"
            f" at least {size.minimum}; resized by {contract.resize}",
            "palette": f"{len(contract.palette)} colours" if contract.palette else "",
            "palette of chroma": f"{len(contract.chroma_palette)} colours" if contract.chroma_palette else "",
            "classes": ", ".join(contract.classes),
            "training data": contract.training_data,
            "licence": contract.licence,
            "metrics": _figures(contract.metrics),
            "parity": _figures(contract.parity),
            "allowed error": f"{_figures(contract.tolerance)} of the range; flips {_figures(contract.flips)}",
            "golden cases": str(self.golden or "none: `verify` has nothing to replay"),
            "variants": ", ".join(path.stem for path in self.variants) or "none beside it",
        }
        return [(name, text) for name, text in facts.items() if text]


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('validation_')} {value:.4g}" for name, value in figures.items())


def describe(path: Path) -> ModelDescription:
    """The description of a model file. Errors: ModelFileError, ContractError, also for damaged golden vectors."""
    model = Model(path, "cpu")
    optional = {"temperature": model.has_temperature, HINTS: model.has_hints}
    inputs = (model.input, *(name for name, there in optional.items() if there))
    return ModelDescription(
        path, path.stat().st_size, model.sha256, model.contract, inputs, model.outputs,
        len(model.golden()) if model.has_golden else 0, tuple(beside(path)),
    )  # fmt: skip


def _score(metrics: Mapping[str, float]) -> str:
    """The figure of a model that says most, in words."""
    figures = {name.removeprefix("validation_"): value for name, value in metrics.items()}
    if "accuracy" in figures:
        return f"accuracy {figures['accuracy']:.1%}"
    if "iou" in figures:
        return f"IoU {figures['iou']:.1%}"
    if "error_reduction" in figures:
        return f"a*b* error {figures['error_reduction']:.1%} below grey"
    if "mse" in figures:
        return f"MSE {figures['mse']:.2e}"
    return ", ".join(f"{name} {value:.3g}" for name, value in list(figures.items())[:1])
