"""What a module loads is part of its contract: light modules stay light."""

import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
HEAVY = ("numpy", "PIL", "cv2", "onnxruntime")
LIGHT = (
    "colorize_run",
    "colorize_run.cli",
    "colorize_run.errors",
    "colorize_run.options",
    "colorize_run.image.formats",
    "colorize_run.model.library",
    "colorize_run.diagnostics.profile",
    "colorize_run.diagnostics.doctor",
    "colorize_run.batch.plan",
    "colorize_run.batch.run",
    "colorize_run.batch.pool",
    "colorize_run.batch.page",
    "colorize_run.batch.json_lines",
    "colorize_run.watch.supervisor",
    "colorize_run.system.worker_process",
    "colorize_run.system.durable",
    "colorize_run.system.files",
    "colorize_run.system.hardware",
)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(RUNTIME)})
    assert (done.stdout.strip(), done.stderr) == ("", "")
