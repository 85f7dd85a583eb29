"""``python -m colorize_run``: the same as ``colorize-run``."""

from colorize_run.cli import run

run()
