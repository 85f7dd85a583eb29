"""The targets of fuzzing; `torture.fuzzer` fuzzes them, and tests try mutations that need no fuzzer.

Targets take bytes and raise `Broken`, or die, where something else comes out than a class of error that is declared.
"""

import atexit
import functools
import io
import json
import os
import random
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from colorize_run.cli import main as command_line
from colorize_run.errors import ColorizeRunError
from colorize_run.model.session import Model
from colorize_run.watch.ledger import _COLUMNS, Ledger
from colorize_run.watch.log import Telemetry
from colorize_run.watch.pipeline import Pipeline
from colorize_run.watch.settings import Settings
from colorize_run.watch.worker import FileConverter

from torture.rig import FORMATS, Broken, picture, stub_model
from torture.zoo import good

MAX_PIXELS = 4_000_000
DECLARED = {"done", "undecodable", "memory", "too_big", "too_many_pixels", "too_long"}
EXIT_CODES = {0, 1, 2, 65, 66, 69, 73, 75}


@functools.cache
def _place() -> Path:
    place = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)


@functools.cache
def _worker() -> FileConverter:
    model = stub_model(_place() / "stub.onnx")
    return FileConverter(
        {"task": "colorize", "view": "mask", "model": str(model), "device": "cpu", "threads": 1, "max_bytes": 1 << 22,
         "keep_colour": False, "strip_metadata": False, "max_pixels": MAX_PIXELS, "max_side": 16_384}
    )  # fmt: skip


def decode(data: bytes) -> None:
    """A picture, all the way through a worker, refused or done."""
    fd = os.memfd_create("picture")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        header, _ = _worker().answer({"known": None}, fd)
    finally:
        os.close(fd)
    if header["kind"] not in DECLARED:
        raise Broken(f"{header['kind']}: {header.get('error')}\n{header.get('trace', '')}")


def model(data: bytes) -> None:
    """A model's file."""
    path = _place() / "fuzzed.onnx"
    path.write_bytes(data)
    try:
        Model(path, "cpu", 1)
    except ColorizeRunError as error:
        if "\n" in str(error):
            raise Broken(f"not one sentence: {error}") from error


def ledger(data: bytes) -> None:
    """Rows of any kind in a ledger, and a start with it."""
    with tempfile.TemporaryDirectory(dir=_place()) as place:
        inbox, outbox, state = [Path(place) / name for name in ("in", "out", "state")]
        for folder in (inbox, outbox, state):
            folder.mkdir()
        (inbox / "a.jpg").write_bytes(picture(1))
        Ledger(state).close()
        database = sqlite3.connect(state / "ledger.db")
        for row in _rows(data):
            try:
                with database:
                    names = _COLUMNS.split(", ")
                    database.execute(f"INSERT INTO file({_COLUMNS}, gone) VALUES({'?,' * len(names)}0)", row)
            except sqlite3.Error:
                continue  # the table itself refuses it
        database.close()
        try:
            pipeline = Pipeline(Settings(inbox, outbox, state, inputs="delete", adopt=True), Telemetry())
        except (ColorizeRunError, sqlite3.Error, OSError):
            return  # one sentence for whoever started it
        try:
            pipeline.intake.scan()
            pipeline.describe()
        finally:
            pipeline.close()


def _rows(data: bytes) -> list[list[Any]]:
    """Rows that bytes stand for: each value is one of a few kinds, and takes up to 40 bytes."""
    file = io.BytesIO(data)
    found: list[list[Any]] = []
    while file.tell() < len(data) and len(found) < 8:
        row: list[Any] = []
        for column in _COLUMNS.split(", "):
            kind = (file.read(1) or b"\0")[0]
            text = file.read(kind >> 3 & 31)
            likely = {
                "state": ["ready", "claimed", "done", "quarantined"][kind % 4],
                "name": text or b"a.jpg",
                "gen": "1:2:3:4:5",
            }
            values = [likely.get(column, 0), text, text.decode("latin-1"), len(text), -1.5, None, 1 << 62, b"a.jpg"]
            row.append(values[kind & 7] if kind & 0x80 else likely.get(column, b"a.jpg" if column == "out" else None))
        row[3:6] = [value or 0 for value in row[3:6]]
        found.append(row)
    return found


def health(data: bytes) -> None:
    """The health file, which commands beside the watch read."""
    with tempfile.TemporaryDirectory(dir=_place()) as place:
        state = Path(place) / ".colorize-run"
        state.mkdir()
        Ledger(state).close()
        (state / "health.json").write_bytes(data)
        for arguments in (["status"], ["status", "--json"], ["retry", "--all"]):
            _run("watch", arguments[0], place, *arguments[1:])


def options(data: bytes) -> None:
    """Options of the command line, one a line; there is no input folder, so that none of them begins a watch."""
    _run("watch", "run", str(_place() / "nowhere"), str(_place() / "out"), *data.decode("utf-8", "replace").split("\n"))


def _run(*arguments: str) -> None:
    result = CliRunner().invoke(command_line, arguments)
    if result.exit_code not in EXIT_CODES or "internal error" in result.output:
        raise Broken(f"{arguments}: exit code {result.exit_code}: {result.output[-300:]} {result.exception!r}")


def _some_rows() -> list[bytes]:
    chance = random.Random(0)
    return [chance.randbytes(200) for _ in range(20)]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "decode": (decode, lambda: [*good().values(), *(picture(1, suffix) for suffix in FORMATS)]),
    "model": (model, lambda: [stub_model(_place() / "seed.onnx").read_bytes()]),
    "ledger": (ledger, _some_rows),
    "health": (health, lambda: [json.dumps({"state": "running", "pid": 0, "pending": 1, "blocked": {}}).encode(), b"[]"]),
    "options": (
        options,
        lambda: [b"--poll\n1\n--settle\nnan", b"--max-bytes\n0", b"--input\nmove\n--done-dir\n/x", b"--as\nmask"],
    ),
}


def mutated(target: str, count: int, seed: int) -> list[bytes]:
    """Seeds of a target with bits flipped, parts cut out, doubled or replaced: what needs no atheris."""
    chance, seeds, found = random.Random(seed), TARGETS[target][1](), []
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 2, 8))):
            at = chance.randrange(len(data) + 1)
            how = chance.randrange(5)
            if how == 0 and at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            elif how == 1:
                del data[at : at + chance.choice((1, 4, 100))]
            elif how == 2:
                data[at:at] = chance.randbytes(chance.choice((1, 4, 30)))
            elif how == 3:
                data[at : at + 4] = struct.pack(">I", chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65_535)))
            else:
                del data[at:]
        found.append(bytes(data))
    return found


def no_atheris() -> str:
    """Why fuzzing cannot take place here; empty if it can."""
    import importlib.util

    return "" if importlib.util.find_spec("atheris") else "needs atheris"
