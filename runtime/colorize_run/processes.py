"""Processes of our own: the same interpreter and the same package as this one, wherever that lies."""

import sys
from pathlib import Path


def command(code: str, *arguments: str) -> list[str]:
    """The command line of a Python process that runs ``code``, in which `sys` is imported and ``arguments`` are sys.argv[1:].

    A file in the current folder does not pass for a library in it.
    """
    prelude = "import sys; sys.path.append(sys.argv.pop(1)); "
    return [sys.executable, "-P", "-c", prelude + code, str(Path(__file__).parents[1]), *arguments]


def command_line(*arguments: str) -> list[str]:
    """The command line of ``colorize-run`` with ``arguments``."""
    return command("from colorize_run.cli import run; run()", *arguments)
