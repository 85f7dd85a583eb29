"""Processes of our own: the same interpreter and the same package as this one, wherever that lies."""

import contextlib
import ctypes
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

FRAME = struct.Struct(">IQ")  # bytes of header, bytes of body
_PR_SET_PDEATHSIG = 1


def command(code: str, *arguments: str) -> list[str]:
    """The command line of a Python process that runs ``code``, in which `sys` is imported and ``arguments`` are sys.argv[1:].

    A file in the current folder does not pass for a library in it. The package is this one even where the interpreter would
    find another installation first; libraries that lie beside it are looked for there last.
    """
    prelude = "import sys; sys.path.insert(0, sys.argv.pop(1)); import colorize_run; sys.path.append(sys.path.pop(0)); "
    return [sys.executable, "-P", "-c", prelude + code, str(Path(__file__).parents[2]), *arguments]


def command_module(module: str, *arguments: str) -> list[str]:
    """The command line of a Python process that runs ``main()`` of a module of the package, by its full name."""
    return command("import importlib; importlib.import_module(sys.argv.pop(1)).main()", module, *arguments)


def command_line(*arguments: str) -> list[str]:
    """The command line of ``colorize-run`` with ``arguments``."""
    return command("from colorize_run.cli import run; run()", *arguments)


def die_with(parent: int) -> None:
    """End at once when the supervisor does, even in the middle of a picture."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _send(fd: int, header: dict[str, Any], body: bytes = b"") -> None:
    head = json.dumps(header).encode()
    for part in (FRAME.pack(len(head), len(body)) + head, body):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]


def death(code: int, words: bytes) -> str:
    """Why a worker ended, in words: the signal or exit code, and the last line it said."""
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines = words.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the worker {how}" + (f": {last[:200]}" if last else "")
