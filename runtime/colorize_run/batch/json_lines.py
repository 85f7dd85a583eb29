"""The report for programs: a line of JSON for each picture as it ends. docs/report.md has the fields."""

import contextlib
import datetime
import errno
import json
import os
from pathlib import Path
from typing import Any

from colorize_run.batch.messages import Engine, Options, Outcome
from colorize_run.batch.plan import STANDARD, Plan, Task
from colorize_run.batch.run import Summary
from colorize_run.system.files import as_output_errors, make_folder, open_regular

SCHEMA = 1
_OURS = {"run", "input", "status"}  # keys in every line


class JsonLines:
    """One line of JSON for each picture, whole, as soon as it has ended; a further run appends.

    Errors: OutputError, for a file that is something else unless it may be overwritten, and where nothing can be written.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._fd = path, -1
        self._real = Path(os.path.realpath(path))  # a link that is made later is not followed
        self._overwrite, self._existed = options.overwrite, self._real.exists()
        if self._existed:
            with as_output_errors(path):
                fd = open_regular(path, os.O_RDONLY)
                try:
                    self._check(fd)
                finally:
                    os.close(fd)

    def _check(self, fd: int) -> bool:
        """Whether a file is this program's. FileExistsError for one that is not, unless it may be overwritten."""
        ours = _is_lines(fd)
        if not ours and not self._overwrite:
            raise FileExistsError
        return ours

    def begin(self, plan: Plan, engine: Engine) -> None:
        """Open the file; if a power cut tore its last line, that line is ended."""
        del plan
        self._run, self._engine = utc_now(), engine
        make_folder(self._real.parent)
        with as_output_errors(self._path):
            new = 0 if self._overwrite or self._existed else os.O_EXCL  # a file that appeared since then is not ours
            self._fd = open_regular(self._real, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | new)
            if not self._check(self._fd):
                os.ftruncate(self._fd, 0)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Append a line, whole or not at all."""
        line = json.dumps({"schema": SCHEMA, "run": self._run, **as_fields(task, outcome, self._engine)}).encode() + b"\n"
        with as_output_errors(self._path):
            before = os.fstat(self._fd).st_size
            try:
                written = os.write(self._fd, line)
            except OSError:
                os.ftruncate(self._fd, before)
                raise
            if written != len(line):
                os.ftruncate(self._fd, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def end(self, summary: Summary) -> None:
        """Close the file."""
        del summary
        os.close(self._fd)


def as_fields(task: Task, outcome: Outcome, engine: Engine) -> dict[str, Any]:
    """A picture as a line of the report has it; what does not apply is None."""
    worked = outcome.status in ("done", "copied")
    width, height = outcome.size
    return {
        "input": "-" if task.source is STANDARD else os.fspath(task.source),
        "output": _output(task, outcome),
        "status": outcome.status,
        "reason": outcome.reason or None,
        "code": outcome.code,
        "width": width or None,
        "height": height or None,
        "input_bytes": outcome.input_bytes or None,
        "output_bytes": outcome.output_bytes or None,
        "input_sha256": outcome.input_sha256 or None,
        "output_sha256": outcome.output_sha256 or None,
        "ms": outcome.milliseconds,
        "device": engine.device,
        "model": engine.model,
        "model_sha256": engine.sha256,
        "delta_lightness": dict(zip(("mean", "max"), outcome.lightness, strict=True)) if outcome.lightness else None,
        "clipped": round(outcome.clipped, 6) if worked else None,
        "notes": outcome.notes,
    }


def _output(task: Task, outcome: Outcome) -> str | None:
    if outcome.status == "failed":
        return None
    return "-" if task.target is STANDARD else os.fspath(task.target)


def utc_now() -> str:
    """The time as ``2026-01-31T12:34:56.789Z``."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_lines(fd: int) -> bool:
    """Whether a file is empty, or begins as `JsonLines` does."""
    head = os.pread(fd, 1 << 20, 0)
    with contextlib.suppress(ValueError, RecursionError):
        first = json.loads(head.partition(b"\n")[0]) if head else None
        return not head or (isinstance(first, dict) and type(first.get("schema")) is int and first.keys() >= _OURS)
    return False
