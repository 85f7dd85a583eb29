"""Options that the commands have in common that convert pictures and folders."""

from collections.abc import Callable
from typing import Any

import click

from colorize_run.commands.common import keep_times_option
from colorize_run.system.files import MAX_PIXELS

images_argument = click.argument("images", nargs=-1, required=True, type=click.Path(readable=False), metavar="IMAGE|FOLDER…")


def _number_of_jobs(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Callback of --jobs: 0 stands for auto. Errors: BadParameter."""
    if value is None or value == "auto":
        return None if value is None else 0
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 256):
        raise click.BadParameter(f"{value!r} is not auto or a number from 1 to 256.")
    return int(value)


def _named(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of an option for a file. Errors: BadParameter for an empty name."""
    if value == "":
        raise click.BadParameter("needs the name of a file.")
    return value


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that both commands have for many pictures."""
    for option in reversed(
        (
            click.option("-r", "--recursive", is_flag=True, help="Include sub-folders, and mirror them in the output."),
            click.option(
                "-j", "--jobs", callback=_number_of_jobs, metavar="auto|N",
                help="Pictures at a time: processes, or threads with CUDA.  [default: auto for folders, else 1]",
            ),
            click.option(
                "--report", "reports", type=click.Path(), multiple=True, metavar="FILE",
                help="Write the outcome of each picture: FILE.jsonl for programs, FILE.html for people; may be repeated.",
            ),
            keep_times_option,
            click.option("--overwrite", is_flag=True, help="Also replace existing files that this program did not write."),
            click.option(
                "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True,
                help="Refuse larger pictures before they are decoded.",
            ),
            click.option(
                "--cmyk-profile", type=click.Path(readable=False), callback=_named, metavar="FILE",
                help="The ICC profile of CMYK pictures that have none.  [default: offset print on coated paper]",
            ),
            click.option("--accept-damaged", is_flag=True, help="Convert damaged pictures, too, with the pixels they have."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


FOLDERS = """\b
Folders:
  colorize-run scans/ -o coloured/              every picture in scans/, several at a time
  colorize-run scans/ -o coloured/ --recursive  with sub-folders; run it again to continue
  colorize-run scans/ -o coloured/ --report run.html    before and after, failures with reasons

"""
