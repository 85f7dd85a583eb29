"""What every fault test needs: a stub model, pictures, a watch as a process, and the oracle that judges what it left."""

import contextlib
import functools
import hashlib
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, before NumPy is imported

import numpy as np
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.image.formats import accepted
from colorize_run.model.contract import CONTRACT_KEY, Contract, WorkingSize
from colorize_run.watch.generation import generation
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SITES = Path(__file__).parent / "sites"
STATE = ".colorize-run"
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}


class Broken(AssertionError):
    """A promise of the watch that was broken."""


def stub_model(path: Path) -> Path:
    """Five nodes whose chroma swings with every grey level, so that wrong bytes show; written to ``path``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scales = [
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("f", 40.0), ("g", 23.0), ("s", 50.0))
    ]
    nodes = [
        helper.make_node("Mul", ["grey", "f"], ["x"]),
        helper.make_node("Sin", ["x"], ["sine"]),
        helper.make_node("Mul", ["grey", "g"], ["y"]),
        helper.make_node("Cos", ["y"], ["cosine"]),
        helper.make_node("Concat", ["sine", "cosine"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "s"], ["ab"]),
    ]
    planes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("grey", 1), ("ab", 2))
    ]
    graph = helper.make_graph(nodes, "stub", planes[:1], planes[1:], scales)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    contract = Contract("colorize", "stub", "stub", WorkingSize(32, 4, 8, 64), "pillow-bilinear")
    helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
    onnx.save(model, path)
    return path


@functools.cache
def picture(number: int, suffix: str = ".jpg") -> bytes:
    """A small picture, different for each number."""
    random = np.random.default_rng(number)
    pixels = np.repeat(np.repeat(random.integers(0, 255, (3, 4), dtype=np.uint8), 8, 0), 8, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, FORMATS[suffix.lower()])
    return file.getvalue()


class Golden:
    """What the stub model makes of a file's bytes, computed here, in one process, without any watch."""

    def __init__(self, model: Path) -> None:
        self._colorizer = Colorizer(model, "cpu", 1)
        self._known: dict[bytes, str] = {}

    def __call__(self, data: bytes) -> str:
        """SHA-256 of the right output."""
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            made, _ = self._colorizer.colorize_file(io.BytesIO(data), control=Control(keep_colour=True))
            self._known[key] = hashlib.sha256(made).hexdigest()
        return self._known[key]


class Watch:
    """``colorize-run watch`` on a folder of its own: ``in``, ``out`` and the log beside them."""

    def __init__(
        self, folder: Path, model: Path, *options: str, site: str = "", state: Path | None = None, **environment: str
    ) -> None:
        self.folder, self.inbox, self.outbox = folder, folder / "in", folder / "out"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.state = state or self.outbox / STATE
        options = (*options, "--state", str(state)) if state else options
        self.log = folder / "log"
        self._command = [sys.executable, "-m", "colorize_run", "watch", str(self.inbox), str(self.outbox), "-m", str(model),
                         "--device", "cpu", *options]  # fmt: skip
        self._environment = {**os.environ, **environment}
        if site:
            before = os.environ.get("PYTHONPATH")
            self._environment["PYTHONPATH"] = str(SITES / site) + (f":{before}" if before else "")
        self.process: subprocess.Popen[bytes] | None = None
        self.place = ROOT  # its working folder

    def put(self, name: str | bytes, data: bytes) -> Path:
        """A file that appears in the inbox at once: written beside, then renamed."""
        target = Path(os.fsdecode(self.inbox)) / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.parent / f".put-{os.getpid()}"
        hidden.write_bytes(data)
        hidden.replace(target)
        return target

    def start(self) -> "Watch":
        """Start it; returns at once."""
        self._readies, self._starts = len(self.events("ready")), len(self.events("start"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stderr=log, env=self._environment, cwd=self.place
            )
        return self

    def __enter__(self) -> "Watch":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it, and wait until its workers have ended, too."""
        if self.process and self.process.poll() is None:
            workers = children(self.process.pid)
            self.process.send_signal(number)
            self.process.wait()
            for pid in workers:
                wait_for(
                    lambda pid=pid: not Path(f"/proc/{pid}").exists() or is_zombie(pid), 10, "a worker outlives its supervisor"
                )

    def stop(self, timeout: float = 40) -> int:
        """Send SIGTERM and wait; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def run_once(self, timeout: float = 120) -> int:
        """Start it and wait until it ends by itself; the exit code."""
        self.start()
        assert self.process is not None
        return self.process.wait(timeout)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Log lines of these kinds; every line must be JSON."""
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        if lines and not self.log.read_bytes().endswith(b"\n"):
            lines.pop()  # just being written, or cut off by a kill
        found = [json.loads(line) for line in lines]
        return [event for event in found if not kinds or event["event"] in kinds]

    def is_started(self) -> bool:
        """Whether it handles signals; before that a signal ends it, like any program."""
        return len(self.events("start")) > self._starts

    def wait_ready(self, timeout: float = 30) -> "Watch":
        """Wait until the model is loaded, and the inbox was scanned once."""
        wait_for(lambda: len(self.events("ready")) > self._readies, timeout, "did not get ready")
        return self

    def health(self) -> dict[str, Any]:
        """The health file."""
        found: dict[str, Any] = json.loads((self.state / "health.json").read_text())
        return found

    def wait_event(self, kind: str, timeout: float = 20, **fields: Any) -> dict[str, Any]:
        """The first log line of a kind with these fields."""

        def found() -> list[dict[str, Any]]:
            with contextlib.suppress(ValueError):  # a line that is just being written
                return [event for event in self.events(kind) if fields.items() <= event.items()]
            return []

        wait_for(lambda: bool(found()), timeout, f"no event {kind} {fields}")
        return found()[0]

    def rows(self) -> dict[bytes, dict[str, Any]]:
        """The ledger, by name; empty while there is none."""
        return ledger_rows(self.state)

    def inputs(self) -> dict[bytes, os.stat_result]:
        """Regular files of accepted names in the inbox, by relative name."""
        root = os.fsencode(self.inbox)
        found = {}
        for folder, _, names in os.walk(root):
            for base in names:
                path = os.path.join(folder, base)
                status = os.lstat(path)
                if accepted(base) and stat.S_ISREG(status.st_mode):
                    found[os.path.relpath(path, root)] = status
        return found

    def is_quiet(self) -> bool:
        """Whether every input's present generation is done or quarantined."""
        rows, inputs = self.rows(), self.inputs()
        return all(
            name in rows and rows[name]["gen"] == generation(status) and rows[name]["state"] in ("done", "quarantined")
            for name, status in inputs.items()
        )

    def wait_quiet(self, timeout: float = 60) -> "Watch":
        """Wait until no work is left; a fixed time would report false losses."""
        wait_for(self.is_quiet, timeout, f"not done in time: {self._left()}")
        return self

    def _left(self) -> str:
        return f"log ends with {self.log.read_bytes()[-800:].decode(errors='replace')!r}" if self.log.exists() else "no log"


def ledger_rows(state: Path) -> dict[bytes, dict[str, Any]]:
    """All rows of a ledger, by name."""
    path = state / "ledger.db"
    if not path.exists():
        return {}
    for mode in ("ro", "rw"):  # a ledger whose writer was killed must be repaired, which needs write access
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            try:
                return {row["name"]: dict(row) for row in database.execute("SELECT * FROM file")}
            except sqlite3.OperationalError as error:
                if "no such table" in str(error) or "unable to open" in str(error):
                    return {}
                if "readonly" not in str(error):
                    raise
    return {}


def wait_for(condition: Any, timeout: float, message: str) -> float:
    """Seconds until ``condition()`` held. Errors: Broken."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout:
            raise Broken(f"{message} (within {timeout:g} s)")
        time.sleep(0.03)
    return time.monotonic() - start


def children(pid: int) -> list[int]:
    """Child processes."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, but its parent has not waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def rss(pid: int, kind: str = "VmRSS") -> int:
    """Resident memory of a process in MB; its peak as ``VmHWM``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) // 1024


@contextlib.contextmanager
def mounted(folder: Path, kind: str, source: str, options: str = "") -> Iterator[Path]:
    """A file system at ``folder`` while this lasts. Errors: subprocess.CalledProcessError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", kind, *(["-o", options] if options else []), source, str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Unmount a file system once it is unused; after five seconds detach it, so that it goes with its last user."""
    for _ in range(100):
        if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
