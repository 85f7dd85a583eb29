"""The profile that `tune` writes and the commands read: for each model the choice that was fastest on this machine."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colorize_run.errors import ModelFileError, OutputError
from colorize_run.model.library import beside, find_model
from colorize_run.system.files import counted, make_folder, printable, write_atomically
from colorize_run.system.hardware import available_threads, processor

VARIABLE = "COLORIZE_RUN_PROFILE"  # path of the profile; empty for none
VERSION = 1
_MOST_THREADS = 1024
CudaFault = Callable[[], str | None]
_FIELDS = {"original": str, "path": str, "sha256": str, "device": str, "threads": int, "machine": dict, "tuned": str}


@dataclass(frozen=True)
class Choice:
    """What to open in a model's place: a file, its device (auto, cpu or cuda) and threads; None for all there are."""

    model: str
    device: str
    threads: int | None = None


@dataclass(frozen=True)
class ProfileEntry:
    """A choice as it is kept, with what it holds for: SHA-256 of the original and of the chosen file, and the machine."""

    original: str
    path: str
    sha256: str
    device: str
    threads: int
    machine: dict[str, Any]
    tuned: str

    @property
    def text(self) -> str:
        """The choice in words."""
        return f"{Path(self.path).stem} on {self.device}, {counted(self.threads, 'thread')} (tune of {self.tuned})"


def profile_path() -> Path | None:
    """Where the profile lies, whether it exists or not; None where the environment says that there shall be none."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    with contextlib.suppress(RuntimeError):  # no home
        folder = base if base.is_absolute() else Path.home() / ".config"
        return folder / "colorize-run" / "profile.json"
    return None


def machine() -> dict[str, Any]:
    """What a choice holds for: processor and its instructions, threads, and the version of onnxruntime."""
    import onnxruntime  # an extra of the package, and heavy

    cpu = processor()
    return {
        "processor": cpu.name, "features": list(cpu.features), "threads": available_threads(),
        "onnxruntime": onnxruntime.__version__,
    }  # fmt: skip


def key(model: str) -> str:
    """The name under which a model's choice is kept: its own, or for a path that, from the root. Errors: ModelFileError."""
    path = find_model(model)
    return str(path.resolve()) if model.endswith(".onnx") or os.sep in model else path.stem


def read(path: Path) -> dict[str, ProfileEntry]:
    """The entries of a profile, by `key`; none where there is no file.

    Errors: ValueError with the reason, OSError.
    """
    if not os.path.lexists(path):
        return {}
    if not path.is_file():
        raise ValueError("it is not a regular file")
    try:
        content = json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict) or content.get("version") != VERSION or not isinstance(content.get("models"), dict):
        raise ValueError(f"not a profile of version {VERSION}")
    for values in content["models"].values():
        if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != _FIELDS:
            raise ValueError("an entry is malformed")
        if values["device"] not in ("cpu", "cuda") or not 1 <= values["threads"] <= _MOST_THREADS or not values["machine"]:
            raise ValueError("an entry has impossible values")
    return {name: ProfileEntry(**values) for name, values in content["models"].items()}


def make_room(path: Path) -> None:
    """Make the folder that the profile shall lie in, and see that it can be written. Errors: OutputError."""
    make_folder(path.parent)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"{printable(path)} cannot be written: {error.strerror}.") from error


def write(path: Path, entries: dict[str, ProfileEntry]) -> None:
    """Replace the profile, whole or not at all. Errors: OutputError."""
    content = {"version": VERSION, "models": {name: asdict(entry) for name, entry in sorted(entries.items())}}
    write_atomically((json.dumps(content, indent=1) + "\n").encode(), path, overwrite=True)


def look_up(model: str | None, default: str, device: str, cuda_fault: CudaFault) -> tuple[Choice, str | None]:
    """What to open where ``model``, or ``default`` when None, was asked for on ``device``; and a line that says so.

    A file that was named is never replaced by another, nor a device by another; what does not fit any more is not used.
    """
    asked = Choice(model or default, device)
    path = profile_path()
    try:
        entry = read(path).get(key(asked.model)) if path is not None else None
    except (OSError, ValueError) as error:
        return (
            asked,
            f"note: the profile {path} is ignored because it cannot be read ({error}); `colorize-run tune --forget` removes it",
        )
    except ModelFileError:
        return asked, None  # its opening will say so
    if entry is None or device not in ("auto", entry.device):
        return asked, None
    if reason := misfit(entry, asked.model, cuda_fault):
        return asked, f"note: the profile's {entry.text} is ignored: {reason}; `colorize-run tune` measures again"
    if model is not None and Path(entry.path) != find_model(model).resolve():
        return asked, None
    return Choice(entry.path, entry.device, entry.threads), f"profile: {entry.text}"


def misfit(entry: ProfileEntry, model: str, cuda_fault: CudaFault) -> str | None:
    """Why an entry does not hold here and now for ``model``, a name or path; None when it does.

    ``cuda_fault`` tells why CUDA does not work; it loads onnxruntime, which most entries do not need.
    """
    now = machine()
    for name in (*entry.machine, *now):
        if now.get(name) != entry.machine.get(name):
            return f"{name} was {_in_words(entry.machine.get(name))} then, and is {_in_words(now.get(name))} now"
    try:
        original = find_model(model)
    except ModelFileError:
        return f"{model} is gone"
    if digest(original) != entry.original:
        return f"{model} has changed since"
    if Path(entry.path) not in (original.resolve(), *beside(original.resolve())):
        return f"{entry.path} is not a variant of {model}"
    if digest(Path(entry.path)) != entry.sha256:
        return f"{entry.path} has changed since, or is gone"
    if entry.device == "cuda" and (fault := cuda_fault()):
        return f"CUDA no longer works: {fault}"
    return None


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; empty when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
