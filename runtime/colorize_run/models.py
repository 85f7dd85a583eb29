"""Finding model files by name: in the installed package first, then in a checkout's ``artifacts/``."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorize_run.errors import ModelFileError
from colorize_run.files import shown

if TYPE_CHECKING:
    from colorize_run.contract import Contract

DEFAULT_COLORIZE_MODEL = "photo"
DEFAULT_SEGMENT_MODEL = "flowers"

_FOLDERS = (Path(__file__).parent / "models", Path(__file__).parents[2] / "artifacts")


def available_models() -> dict[str, Path]:
    """Model files by name, in its order; the package's win over the checkout's."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in folder.glob("*.onnx"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find_model(name_or_path: str) -> Path:
    """Path of a model given by name (``unet``) or by path (``./unet.onnx``).

    Errors: ModelFileError listing the known names.
    """
    if name_or_path.endswith(".onnx") or os.sep in name_or_path:
        path = Path(name_or_path)
        if path.is_file():
            return path
        raise ModelFileError(f"There is no model file {shown(name_or_path)}.")
    models = available_models()
    if name_or_path not in models:
        raise ModelFileError(
            f"There is no model {shown(name_or_path)!r}; known: {', '.join(models) or 'none'}; or give a path."
        )
    return models[name_or_path]


@dataclass(frozen=True)
class Entry:
    """What a model file says of itself: path, ``size`` in bytes, SHA-256, contract, and the graph's own names.

    ``golden`` is the number of golden cases; ``variants`` are the files beside it that are named as its variants.
    """

    path: Path
    size: int
    sha256: str
    contract: "Contract"
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
        """Everything, as plain values; of the palette its size."""
        contract = {**dataclasses.asdict(self.contract), "palette": len(self.contract.palette)}
        return {
            "name": self.path.stem, "path": str(self.path), "bytes": self.size, "sha256": self.sha256, "contract": contract,
            "inputs": list(self.inputs), "outputs": list(self.outputs), "golden": self.golden,
            "variants": [str(path) for path in self.variants],
        }  # fmt: skip

    def facts(self) -> list[tuple[str, str]]:
        """Everything again, as names and texts, for a person."""
        from colorize_run.contract import INPUTS  # imports NumPy

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


def describe(path: Path) -> Entry:
    """The entry of a model file. Errors: ModelFileError, ContractError, also for damaged golden vectors."""
    from colorize_run.session import Model  # imports onnxruntime, which finding a file need not
    from colorize_run.variants import beside

    model = Model(str(path), "cpu")
    inputs = (model.input, *(["temperature"] if model.has_temperature else []))
    return Entry(
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
