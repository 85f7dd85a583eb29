"""Command lines of our own processes: the same interpreter and the same package as this one, wherever that lies."""

import sys
from pathlib import Path


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
