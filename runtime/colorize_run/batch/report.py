"""Which reports --report asks for: lines of JSON (`JsonLines`) or one page (`Page`), and which files they must not replace."""

import contextlib
import os
from pathlib import Path

from colorize_run.batch.json_lines import JsonLines
from colorize_run.batch.messages import Options
from colorize_run.batch.page import Page
from colorize_run.batch.plan import INDEX_NAME, STANDARD, Plan
from colorize_run.batch.run import Listener
from colorize_run.errors import ColorizeRunError, OptionError, OutputError
from colorize_run.model.library import find_model
from colorize_run.system.files import identity, printable


def reports_to(names: tuple[str, ...], plan: Plan, options: Options) -> list[Listener]:
    """The reports, each file once. OptionError for other names; OutputError for files that must stay."""
    reports: list[Listener] = []
    taken = _run_files(plan, options)
    for path in {os.path.abspath(name): Path(name) for name in names}.values():
        if path.suffix.lower() not in (".jsonl", ".html"):
            raise OptionError(f"--report {printable(path)}: the suffix decides what is written, .jsonl or .html.")
        if INDEX_NAME in (path.name, Path(os.path.realpath(path)).name):
            raise OptionError(f"--report {printable(path)}: this is the name of a folder's index; choose another.")
        for key in _keys(path):
            if key in taken:
                raise OutputError(f"{printable(path)} is {taken[key]}; a report cannot replace it.")
        taken.update(dict.fromkeys(_keys(path), "another report of this run"))
        kind = JsonLines if path.suffix.lower() == ".jsonl" else Page
        reports.append(kind(path, options))
    return reports


def _keys(path: Path) -> list[object]:
    """What tells a file from others, whatever its names: where links lead, and device and inode if it exists."""
    existing = identity(path)
    return [os.path.realpath(path), *([] if existing is None else [existing])]


def _run_files(plan: Plan, options: Options) -> dict[object, str]:
    """Files that the run reads or writes itself, by their keys, and what each is."""
    files = [(path, "a picture of this run") for task in plan.tasks for path in (task.source, task.target)]
    files += [(root / INDEX_NAME, "the index of a folder") for root in {task.root for task in plan.tasks} if root is not None]
    named = {"mask": "mask", "hints": "hints", "like": "reference", "cmyk_profile": "CMYK profile"}
    files += [(path, f"the {named[name]} of this run") for name, path in options.files.items()]
    with contextlib.suppress(ColorizeRunError):  # opening the model will raise it
        files.append((find_model(options.model), "the model of this run"))
    return {key: what for path, what in files if path is not STANDARD for key in _keys(path)}
