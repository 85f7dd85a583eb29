"""This process converts and writes the pictures itself, one after another."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from colorize_run.batch.item import ItemConverter
from colorize_run.batch.messages import Options, Outcome, Request
from colorize_run.errors import OutputError
from colorize_run.system.files import make_folder, write_atomically
from colorize_run.system.times import NOT_HELD


class InProcess:
    """An executor without workers. Errors: those of the model."""

    staging = False

    def __init__(self, options: Options) -> None:
        self._converter, self._options = ItemConverter(options, options.threads), options
        self.engine = replace(self._converter.engine, jobs=1)

    def run(self, requests: Iterable[Request]) -> Iterator[list[tuple[Request, Outcome]]]:
        """Convert and write all pictures."""
        for request in requests:
            outcome, data = self._converter.do(request)
            if outcome.status != "failed":
                start = time.perf_counter()
                try:
                    self._write(request, outcome, data)
                except OutputError as error:
                    outcome = Outcome.of_error(error, request.source)
                outcome.milliseconds["write"] = round(1e3 * (time.perf_counter() - start), 2)
            yield [(request, outcome)]

    def _write(self, request: Request, outcome: Outcome, data: bytes) -> None:
        if not request.target:
            _write_standard_output(data)
            return
        target = Path(request.target)
        make_folder(target.parent)
        if not write_atomically(data, target, overwrite=self._options.overwrite, times=outcome.times):
            outcome.notes.append(NOT_HELD)

    def close(self) -> None:
        """Do nothing: there is no process to end."""


def _write_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("stdout is closed: name a file with -o.")
    if sys.stdout.isatty():
        raise OutputError("A terminal cannot show a picture: redirect stdout, or name a file with -o.")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"stdout cannot be written: {error.strerror}.") from error
