"""Finding model files by name: in the installed package first, then in a checkout's ``artifacts/``."""

import os
from pathlib import Path

from colorize_run.errors import ModelFileError
from colorize_run.system.files import printable

KINDS = ("fp16", "int8")  # a variant of NAME.onnx lies beside it as NAME-KIND.onnx

DEFAULT_COLORIZE_MODEL = "photo"
DEFAULT_SEGMENT_MODEL = "flowers"

_FOLDERS = (Path(__file__).parents[1] / "models", Path(__file__).parents[3] / "artifacts")


def available_models() -> dict[str, Path]:
    """Model files by name, in its order; the package's win over the checkout's."""
    models: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in folder.glob("*.onnx"):
            models.setdefault(path.stem, path)
    return dict(sorted(models.items()))


def find_model(name_or_path: str) -> Path:
    """Path of a model given by name (``unet``) or by path (``./unet.onnx``).

    Errors: ModelFileError listing the known names.
    """
    if name_or_path.endswith(".onnx") or os.sep in name_or_path:
        path = Path(name_or_path)
        if path.is_file():
            return path
        raise ModelFileError(f"There is no model file {printable(name_or_path)}.")
    models = available_models()
    if name_or_path not in models:
        raise ModelFileError(
            f"There is no model {printable(name_or_path)!r}; known: {', '.join(models) or 'none'}; or give a path."
        )
    return models[name_or_path]


def beside(path: Path) -> list[Path]:
    """Files beside the model at ``path`` that are named as its variants."""
    candidates = (path.with_name(f"{path.stem}-{kind}.onnx") for kind in KINDS)
    return [candidate for candidate in candidates if candidate.is_file()]
