"""Finding model files by name: in the installed package first, then in a checkout's ``artifacts/``."""

import os
from pathlib import Path

from colorize_run.errors import ModelFileError

DEFAULT_COLORIZE_MODEL = "unet"

_FOLDERS = (Path(__file__).parent / "models", Path(__file__).parents[2] / "artifacts")


def available_models() -> dict[str, Path]:
    """Model files by name, the package's before the checkout's."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob("*.onnx")):
            found.setdefault(path.stem, path)
    return found


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
