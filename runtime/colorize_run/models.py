"""Finding model files by name: in the installed package first, then in a checkout's ``artifacts/``."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorize_run.errors import ModelFileError

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
        raise ModelFileError(f"There is no model file {name_or_path}.")
    models = available_models()
    if name_or_path not in models:
        raise ModelFileError(f"There is no model {name_or_path!r}; known: {', '.join(models) or 'none'}; or give a path.")
    return models[name_or_path]


@dataclass(frozen=True)
class Entry:
    """One model of the list: its file, the file's size in bytes, and its contract."""

    path: Path
    size: int
    contract: "Contract"

    def row(self) -> tuple[str, ...]:
        """Name, task, size, score and training data, for a person."""
        contract = self.contract
        size = f"{self.size / 1e6:.1f} MB"
        learnt = textwrap.shorten(contract.training_data, 80, placeholder=" …")
        return self.path.stem, contract.task, size, _score(contract.metrics), learnt

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        contract = {**dataclasses.asdict(self.contract), "palette": len(self.contract.palette)}
        return {"name": self.path.stem, "path": str(self.path), "bytes": self.size, "contract": contract}


def describe(path: Path) -> Entry:
    """The list's entry of a model file. Errors: ModelFileError, ContractError."""
    from colorize_run.session import Model  # imports onnxruntime, which finding a file need not

    contract = Model(str(path), "cpu").contract
    return Entry(path, path.stat().st_size, contract)


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
