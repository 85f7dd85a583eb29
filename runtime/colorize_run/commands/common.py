"""What the commands share: options, exit codes, and how they speak to a person."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from colorize_run.options import LIGHTNESSES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from colorize_run.model.session import Model

_MEANINGS = {
    0: "all done",
    1: "some pictures failed, each named with its reason; the others are done",
    2: "wrong usage",
    65: "bad model file",
    66: "no input exists",
    69: "device not available, or a library that does not load",
    70: "internal error",
    73: "no output can be written",
    75: "another run is writing to the same folder",
    130: "interrupted; what is done is whole",
}


def exit_codes(changes: Mapping[int, str] | None = None) -> str:
    """The exit codes for the end of a help text; ``changes`` are those that mean something else for a command."""
    lines = [f"  {code:<3} {meaning}" for code, meaning in {**_MEANINGS, **(changes or {})}.items()]
    return "\n".join(["\b", "Exit codes:", *lines, ""])


EXIT_CODES = exit_codes()


class DefaultCommandGroup(click.Group):
    """A group with one command whose name may be left out: ``default``."""

    def __init__(self, *arguments: Any, default: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front, unless the first word is a command or an option of the group."""
        own = {*self.commands, *(name for parameter in self.get_params(ctx) for name in parameter.opts)}
        if args and args[0] not in own:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[Any]]":
        """Commands and options that begin with ``incomplete``; files if there is none, because a file may come first."""
        from click.shell_completion import CompletionItem

        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]


def number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Callback of options that take a number: BadParameter for nan, which no range excludes."""
    if value is not None and value != value:
        raise click.BadParameter("nan is not a number.")
    return value


model_option = click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: photo]")
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="cuda fails before any file is touched if it does not work; auto prints its choice, and why.",
)

working_size_option = click.option(
    "--working-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Short side, in pixels, of the picture that the network gets.  [default: the model's]",
)
temperature_option = click.option(
    "--temperature",
    type=click.FloatRange(0.01, 10),
    callback=number,
    help="For palette models: a lower value gives more colour, and more blotches.  [default: the model's]",
)
saturation_option = click.option(
    "--saturation",
    type=click.FloatRange(0, 4),
    default=1.0,
    callback=number,
    show_default=True,
    help="Strength of the new colours: 0 is grey, 1 is the model's own.",
)
lightness_option = click.option(
    "--lightness",
    type=click.Choice(LIGHTNESSES),
    default="luma",
    show_default=True,
    help="What stays as it is: the luma that a JPEG is coded in, untouched, so that `restore` gives the file back; or CIELAB's"
    " lightness, which other formats keep always.",
)


keep_times_option = click.option(
    "--keep-times", is_flag=True, help="Give each output the times of access and modification that its input has."
)


def announce(device: str, model: "Model") -> None:
    """Print the device that ``auto`` chose, and why."""
    if device == "auto":
        say(f"device: {model.device.name} ({model.device.reason})")


def cuda_fault() -> str | None:
    """Why CUDA does not work on this machine; None when it does."""
    from colorize_run.model.session import no_cuda

    fault = no_cuda()
    return fault.cause if fault else None


def chosen(model: str | None, default: str, device: str) -> tuple[str, str, int | None]:
    """Model, device and threads to open: those requested, or those that `tune` chose instead; that is printed."""
    from colorize_run.diagnostics.profile import look_up

    choice, line = look_up(model, default, device, cuda_fault)
    if line:
        say(line)
    return choice.model, choice.device, choice.threads


def say(text: str) -> None:
    """Print one line for a person: on stderr, as stdout carries pictures and JSON."""
    click.echo(text, err=True)


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, each column but the last as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """What is called after each of ``length`` steps: a bar on a terminal, otherwise one line at the beginning."""
    if sys.stderr is None or not sys.stderr.isatty():
        say(f"{label} …")
        yield lambda: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)
