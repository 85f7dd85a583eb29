import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Shells start background jobs with SIGINT ignored, which children would inherit: tests of Ctrl-C could not press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["COLORIZE_RUN_PROFILE"] = ""  # what somebody tuned on this machine is no part of a test


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout, or where $COLORIZE_DATA says."""
    folder = Path(os.environ.get("COLORIZE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder} (or $COLORIZE_DATA)")
    return folder


@pytest.fixture
def tiny_model() -> Path:
    return ROOT / "tests" / "data" / "tiny.onnx"


@pytest.fixture
def tiny_checkpoint() -> Path:
    return ROOT / "tests" / "data" / "tiny.pt"


class Foreign:
    """What a pickle only gives back by running code."""

    def __reduce__(self) -> tuple:
        return print, ("was run",)


@pytest.fixture
def foreign() -> object:
    """An object whose unpickling prints "was run"."""
    return Foreign()


@pytest.fixture
def on_terminal() -> Callable[[list[str], dict[str, str]], tuple[int, str, str]]:
    """Runs a command with stderr on a pseudo-terminal: its exit code, stdout, and what the terminal got."""

    def run(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        import pty

        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
            os.close(theirs)
            said = b""
            while True:
                try:
                    said += os.read(ours, 4096)
                except OSError:  # the other end is closed
                    break
            assert process.stdout is not None
            answer = process.stdout.read().decode()
        os.close(ours)
        return process.returncode, answer, said.decode()

    return run


@pytest.fixture
def interrupted() -> Callable[[list[str]], str]:
    """Runs a training command, presses Ctrl-C after its second epoch, and returns what it then says."""

    def run(command: list[str]) -> str:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("epoch 2/"):
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stderr.read()
            assert process.wait(timeout=60) == 130, rest
        return rest

    return run
