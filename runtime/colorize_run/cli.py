"""Command line: wiring only. stdout carries pictures or JSON, everything that a person reads goes to stderr."""

import contextlib
import errno
import os
import signal
from typing import Any

import click

# The matrices here are small: OpenBLAS's own threads only get in the way of ours. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from colorize_run.commands.bench import bench
from colorize_run.commands.common import EXIT_CODES, DefaultCommandGroup, say
from colorize_run.commands.completion import complete_model_names, completion
from colorize_run.commands.doctor import doctor
from colorize_run.commands.models import models, verify
from colorize_run.commands.pictures import colorize, segment
from colorize_run.commands.restore import restore
from colorize_run.commands.tune import tune
from colorize_run.commands.watch import watch
from colorize_run.errors import ColorizeRunError, broken_library, internal, interrupt
from colorize_run.system.native import own_process
from colorize_run.version import __version__


class Program(DefaultCommandGroup):
    """The whole command line: turns every error into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors are printed as one sentence, never as a traceback."""
        try:
            return super().invoke(ctx)
        except ColorizeRunError as error:
            say(f"Error: {error}")
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click knows what to do
            say(f"Error: stdout cannot be written: {error.strerror}.")
            ctx.exit(73)
        except (KeyboardInterrupt, Exception) as error:
            if (ended := interrupt(error)) is not None:
                say("Interrupted; finished outputs are complete, and no partial file is left.")
                ctx.exit(128 + getattr(ended, "signal", signal.SIGINT))
            if "COLORIZE_RUN_TRACEBACK" in os.environ:
                raise
            if isinstance(error, ImportError):
                say(f"Error: {broken_library(error)}")
                ctx.exit(69)
            say(internal(error))
            ctx.exit(70)


def run() -> None:
    """Entry point of the installed command: closed or full streams while help is shown end in no traceback either."""
    _occupy_standard_descriptors()
    try:
        main(prog_name="colorize-run")
    except OSError as error:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            say(f"Error: stdout or stderr cannot be written: {error.strerror}.")
        os._exit(73)  # a normal exit would flush the same stream, and fail again
    except KeyboardInterrupt:
        os._exit(130)


def _occupy_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr, so that no file or pipe of ours gets its number.

    `sys.stdout` and the like stay None: what would be written there is refused or left out, as before.
    """
    with contextlib.suppress(OSError):  # a system without it
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)


@click.group(
    cls=Program,
    default="colorize",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="colorize-run")
def main() -> None:
    """Colourize and segment photographs.

    \b
    colorize-run photo.jpg                 writes photo.colorized.jpg beside it
    colorize-run --force photo.jpg         even if it already has colours
    colorize-run segment rose.jpg --as cutout
    colorize-run *.jpg -o out/             writes out/NAME for each
    colorize-run scans/ -o out/ -r         a folder with its sub-folders; run it again to continue
    colorize-run scans/ -o out/ --report run.html    with a page of before and after
    colorize-run - -o - < in.png > out.png
    colorize-run restore photo.colorized.jpg    the grey JPEG that it was, byte for byte
    colorize-run watch INBOX OUTBOX        converts every picture that arrives in a folder
    colorize-run models                    lists the models that -m knows
    colorize-run verify --all              checks that they compute the same here
    colorize-run doctor                    checks what works on this machine, and how to fix what does not
    colorize-run bench                     measures how fast this machine is
    colorize-run tune                      finds the fastest settings, and saves them
    eval "$(colorize-run completion bash)" completes commands, files and model names

    `colorize-run IMAGE…` is short for `colorize-run colorize IMAGE…`; its options: `colorize-run colorize --help`.
    """
    own_process()


for command in (colorize, segment, restore, watch, models, verify, doctor, bench, tune, completion):
    main.add_command(command)
complete_model_names(main)
