"""The check of a model file: it opens, proves itself, and is the one that was shipped."""

import base64
import importlib
import time
from pathlib import Path
from typing import Any

from colorize_run.diagnostics.check import Check, model_title


def check_model(request: dict[str, Any], path: Path) -> Check:
    """Open the file, run it once at its working size, and replay its golden vectors."""
    import numpy as np

    from colorize_run.errors import ColorizeRunError
    from colorize_run.model.contract import INPUTS
    from colorize_run.model.session import Model
    from colorize_run.model.verify import verify

    name = model_title(path)
    anew = "copy the file again"
    try:
        start = time.perf_counter()
        model = Model(path, "auto" if request["device"] == "auto" else request["device"])
        opened = time.perf_counter()
        side = model.contract.working_size.pad(model.contract.working_size.short_side)
        model.run({model.input: np.full((1, INPUTS[model.input], side, side), 0.5, np.float32)})
        ran = time.perf_counter()
        outcome = verify(model) if model.has_golden else None
    except ColorizeRunError as error:
        return Check(name, "failed", str(error).rstrip("."), anew, error.exit_code)
    figures = {
        "path": str(path), "sha256": model.sha256, "device": model.device.name, "golden": outcome.cases if outcome else 0,
        "open_seconds": opened - start, "first_run_seconds": ran - opened,
    }  # fmt: skip
    if shipped := _shipped_digest(path):
        figures["shipped_sha256"] = shipped
        if shipped != model.sha256:
            cause = f"is not the file that was installed: SHA-256 {model.sha256}, shipped {shipped}"
            return Check(name, "failed", cause, "pip install --force-reinstall colorize-run", 65, figures)
    if outcome is None:
        text = f"{path} has no golden vectors, so it cannot be verified"
        return Check(name, "failed", text, "export it again with `python -m export`", 65, figures)
    if not outcome.ok:
        cause = f"DIFFERS from its golden vectors by {outcome.error:.1e} of the range, allowed {outcome.tolerance:.0e}"
        return Check(name, "failed", cause, f"{anew}, and see `colorize-run verify -m {path.stem}`", 65, figures)
    text = (
        f"{model.sha256[:12]}, {outcome.cases} golden cases match on {model.device.name};"
        f" opened in {1e3 * (opened - start):.0f} ms, first run {1e3 * (ran - opened):.0f} ms"
    )
    return Check(name, "ok", text, figures=figures)


def _shipped_digest(path: Path) -> str:
    """SHA-256, in hexadecimal, that the installed wheel's list has for a file; empty for files of no wheel."""
    try:
        files = importlib.metadata.files("colorize-run") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for file in files:
        if file.name == path.name and file.hash and Path(str(file.locate())).resolve() == path.resolve():
            return base64.urlsafe_b64decode(file.hash.value + "==").hex()
    return ""
