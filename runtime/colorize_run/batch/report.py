"""Reports of a run: a line of JSON for each picture as it ends, and one page that shows them all."""

import base64
import contextlib
import datetime
import errno
import hashlib
import html
import json
import os
import secrets
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import IO, Any

import click

from colorize_run import __version__
from colorize_run.batch.messages import Order, Outcome
from colorize_run.batch.plan import INDEX_NAME, STANDARD, Plan, Task, in_words
from colorize_run.batch.run import Listener, Summary
from colorize_run.errors import ColorizeRunError, OutputError
from colorize_run.model.library import find_model
from colorize_run.system.files import identity, make_folder, open_regular, publish, shown, told

SCHEMA = 1
_MARK = b'<meta name="generator" content="colorize-run">'
# Longer side of thumbnails in pixels by the number of pictures, so that a page stays below about 40 MB.
_SIDES = ((500, 480), (2_500, 320), (10_000, 200))
_SMALLEST = 120
_OURS = {"run", "input", "status"}  # in every line of JSON


def side_for(pictures: int) -> int:
    """Longer side of the thumbnails of a page with so many pictures."""
    return next((side for most, side in _SIDES if pictures <= most), _SMALLEST)


def reports_to(names: tuple[str, ...], plan: Plan, order: Order, confidence: Path | None = None) -> list[Listener]:
    """What --report asks for, each file once. UsageError for other names; OutputError for files that are not to be replaced."""
    found: list[Listener] = []
    taken = _taken(plan, order, confidence)
    for path in {os.path.abspath(name): Path(name) for name in names}.values():
        if path.suffix.lower() not in (".jsonl", ".html"):
            raise click.UsageError(f"--report {shown(path)}: the suffix decides what is written, .jsonl or .html.")
        if INDEX_NAME in (path.name, Path(os.path.realpath(path)).name):
            raise click.UsageError(f"--report {shown(path)}: that is the name of a folder's index; give another.")
        for key in _keys(path):
            if key in taken:
                raise OutputError(f"{shown(path)} is {taken[key]}; a report cannot replace it.")
        taken.update(dict.fromkeys(_keys(path), "another report of this run"))
        kind = JsonLines if path.suffix.lower() == ".jsonl" else Page
        found.append(kind(path, order))
    return found


def _keys(path: Path) -> list[object]:
    """By what a file is known again under any name: what it is, if it exists, and where its links lead."""
    there = identity(path)
    return [os.path.realpath(path), *([] if there is None else [there])]


def _taken(plan: Plan, order: Order, confidence: Path | None) -> dict[object, str]:
    """Files that the run reads or writes itself, and what each is."""
    files = [(path, "a picture of this run") for task in plan.tasks for path in (task.source, task.target)]
    files += [(root / INDEX_NAME, "the index of a folder") for root in {task.root for task in plan.tasks} if root is not None]
    if order.mask:
        files.append((Path(order.mask), "the mask of this run"))
    if confidence is not None:
        files.append((confidence, "where the confidence goes"))
    with contextlib.suppress(ColorizeRunError):  # its opening will say so
        files.append((find_model(order.model), "the model of this run"))
    return {key: what for path, what in files if path is not STANDARD for key in _keys(path)}


class JsonLines:
    """One line of JSON for each picture, whole, as soon as it has ended; a further run appends. docs/report.md has the fields.

    Errors: OutputError, for a file that is something else unless it may be overwritten, and where nothing can be written.
    """

    def __init__(self, path: Path, order: Order) -> None:
        self._path, self._fd = path, -1
        self._real = Path(os.path.realpath(path))  # a link that is laid later leads nowhere
        self._overwrite, self._was_there = order.overwrite, self._real.exists()
        if self._was_there:
            with told(path):
                fd = open_regular(path, os.O_RDONLY)
                try:
                    self._check(fd)
                finally:
                    os.close(fd)

    def _check(self, fd: int) -> bool:
        """Whether a file is this program's. FileExistsError for one that is not, unless it may be overwritten."""
        ours = _is_lines(fd)
        if not ours and not self._overwrite:
            raise FileExistsError
        return ours

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """Open the file; a line that a power cut tore is ended."""
        del plan
        self._run, self._about = _now(), about
        make_folder(self._real.parent)
        with told(self._path):
            new = 0 if self._overwrite or self._was_there else os.O_EXCL  # what came into being since then is not ours
            self._fd = open_regular(self._real, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | new)
            if not self._check(self._fd):
                os.ftruncate(self._fd, 0)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Append a line, whole or not at all."""
        data = json.dumps({"schema": SCHEMA, "run": self._run, **as_fields(task, outcome, self._about)}).encode() + b"\n"
        with told(self._path):
            before = os.fstat(self._fd).st_size
            try:
                written = os.write(self._fd, data)
            except OSError:
                os.ftruncate(self._fd, before)
                raise
            if written != len(data):
                os.ftruncate(self._fd, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def end(self, summary: Summary) -> None:
        """Close the file."""
        del summary
        os.close(self._fd)


def as_fields(task: Task, outcome: Outcome, about: dict[str, Any]) -> dict[str, Any]:
    """A picture as a report has it; what does not apply is None."""
    worked = outcome.status in ("done", "copied")
    width, height = outcome.size
    return {
        "input": "-" if task.source is STANDARD else os.fspath(task.source),
        "output": _output(task, outcome),
        "status": outcome.status,
        "reason": outcome.reason or None,
        "code": outcome.code,
        "width": width or None,
        "height": height or None,
        "input_bytes": outcome.input_bytes or None,
        "output_bytes": outcome.output_bytes or None,
        "input_sha256": outcome.input_sha256 or None,
        "output_sha256": outcome.output_sha256 or None,
        "ms": outcome.milliseconds,
        "device": about["device"],
        "model": about["model"],
        "model_sha256": about["sha256"],
        "delta_lightness": dict(zip(("mean", "max"), outcome.lightness, strict=True)) if outcome.lightness else None,
        "clipped": round(outcome.clipped, 6) if worked else None,
        "notes": outcome.notes,
    }


def _output(task: Task, outcome: Outcome) -> str | None:
    if outcome.status == "failed":
        return None
    return "-" if task.target is STANDARD else os.fspath(task.target)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_lines(fd: int) -> bool:
    """Whether a file is empty, or begins as `JsonLines` does."""
    head = os.pread(fd, 1 << 20, 0)
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(head.partition(b"\n")[0]) if head else None
        return not head or (isinstance(said, dict) and type(said.get("schema")) is int and said.keys() >= _OURS)
    return False


class Page:
    """One HTML page with everything in it, written when the run has ended or was interrupted; it replaces an earlier one.

    Pictures go to unnamed temporary files beside it as they come, so that memory stays as it is. Errors: OutputError.
    """

    def __init__(self, path: Path, order: Order) -> None:
        self._path, self._order = path, order
        self._number, self._times = 0, [0.0, 0.0]
        with told(path):
            self._replaces = path.exists()
            if self._replaces and not _is_page(path) and not order.overwrite:
                raise FileExistsError

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """Open the temporary files."""
        self._about, self._left, self._run = about, in_words(plan.left), _now()
        make_folder(self._path.parent)
        with told(self._path):
            self._rows, self._pictures, self._failures = (self._file() for _ in range(3))

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._path.parent, prefix=".", suffix=".colorize-run.partial")

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Keep what the page shows of a picture."""
        row = _row(task, outcome)
        with told(self._path):
            self._rows.write((b",\n" if self._number else b"") + _script_json(row))
            if outcome.thumbnails:
                small = _script_json(outcome.thumbnails)
                self._pictures.write(b'<script type="application/json" id="t%d">%s</script>\n' % (self._number, small))
            if outcome.status == "failed":
                self._failures.write(f"<li>{html.escape(outcome.reason)}</li>\n".encode())
        self._number += 1

    def end(self, summary: Summary) -> None:
        """Write the page; it appears whole."""
        partial = self._path.with_name(f".{secrets.token_hex(8)}.colorize-run.partial")
        with told(self._path), self._rows, self._pictures, self._failures:
            try:
                with partial.open("xb") as page:
                    self._write(page, summary)
                    page.flush()
                    os.fsync(page.fileno())
                publish(partial, self._path, overwrite=self._order.overwrite or self._is_earlier())
            finally:
                partial.unlink(missing_ok=True)

    def _is_earlier(self) -> bool:
        """Whether there is still the page that was there when the run began, not what came into being since then."""
        return self._replaces and self._path.exists() and _is_page(self._path)

    def _write(self, page: IO[bytes], summary: Summary) -> None:
        style, script, frame = (
            resources.files("colorize_run.batch").joinpath(f"page.{kind}").read_text() for kind in ("css", "js", "html")
        )
        texts = {
            "csp": _policy(style, script), "style": style, "script": script, "title": self._title(summary),
            "heading": self._title(summary), "subheading": self._subheading(summary),
            "footer": f"Written by colorize-run {__version__}. Nothing is loaded from anywhere, and nothing is sent.",
        }  # fmt: skip
        for number, piece in enumerate(frame.split("@")):
            if number % 2 == 0:
                page.write(piece.encode())
            elif piece in texts:
                page.write(texts[piece].encode())
            else:
                {"summary": self._write_summary, "failures": self._write_failures, "data": self._write_data}[piece](
                    page, summary
                )

    def _title(self, summary: Summary) -> str:
        what = "coloured" if self._order.task == "colorize" else "segmented"
        names = (("done", what), ("skipped", "done before"), ("copied", "copied"), ("failed", "failed"))
        counts = ", ".join(f"{summary.counts[status]} {word}" for status, word in names if summary.counts[status])
        total = summary.counts.total()
        return f"{total} {'picture' if total == 1 else 'pictures'}: {counts or 'nothing done'}"

    def _subheading(self, summary: Summary) -> str:
        ended = "interrupted" if summary.interrupted else "stopped: " + summary.stopped if summary.stopped else "ended"
        return html.escape(f"Begun {self._run}, {ended} after {summary.seconds:.1f} s.")

    def _write_summary(self, page: IO[bytes], summary: Summary) -> None:
        worked = summary.counts["done"] + summary.counts["copied"]
        tiles = {
            "done": summary.counts["done"], "done before": summary.counts["skipped"],
            "copied, had colours": summary.counts["copied"], "failed": summary.counts["failed"],
            "images/s": f"{worked / summary.seconds:.1f}" if worked and summary.seconds else "–",
        }  # fmt: skip
        about = self._about
        facts = {
            "Model": f"{about['model']} ({about['path']})", "Model's SHA-256": about["sha256"],
            "Device": f"{about['device']} ({about['why']})", "At a time": f"{about['jobs']} of {about['threads']} threads",
            "Options": _options(self._order), "Left out": self._left or "nothing",
            "Pictures below": f"the files as read and written, at most {self._order.thumbnails} pixels",
            "ΔL*": "mean and largest change of lightness between pixels read and pixels before encoding, to 0.02",
        }  # fmt: skip
        page.write(b'<section aria-labelledby="summary-heading"><h2 id="summary-heading">Summary</h2>\n<dl class="tiles">')
        page.write("".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items()).encode())
        cells = (f'<tr><th scope="row">{name}</th><td>{html.escape(shown(value))}</td></tr>\n' for name, value in facts.items())
        page.write(f"</dl>\n<table>{''.join(cells)}</table></section>\n".encode())

    def _write_failures(self, page: IO[bytes], summary: Summary) -> None:
        if not summary.counts["failed"]:
            return
        page.write(b'<section aria-labelledby="failures-heading"><h2 id="failures-heading">Failures</h2>\n')
        page.write(b'<ol class="failures" tabindex="0" aria-labelledby="failures-heading">\n')
        _copy(self._failures, page)
        page.write(b"</ol></section>\n")

    def _write_data(self, page: IO[bytes], summary: Summary) -> None:
        del summary
        page.write(b'<script type="application/json" id="rows">[')
        _copy(self._rows, page)
        page.write(b"]</script>\n")
        _copy(self._pictures, page)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target, 1 << 20)


def _row(task: Task, outcome: Outcome) -> dict[str, Any]:
    mean, largest = outcome.lightness or (None, None)
    across, down = _size_of_webp(outcome.thumbnails[1]) if outcome.thumbnails else (0, 0)
    return {
        "name": "stdin" if task.source is STANDARD else shown(task.source), "status": outcome.status, "reason": outcome.reason,
        "output": "" if task.target is STANDARD or outcome.status == "failed" else shown(task.target),
        "width": outcome.size[0], "height": outcome.size[1], "total": round(sum(outcome.milliseconds.values()), 1),
        "mean": mean, "max": largest, "clipped": round(outcome.clipped, 4), "notes": outcome.notes,
        "thumbnails": bool(outcome.thumbnails), "across": across, "down": down,
    }  # fmt: skip


def _size_of_webp(encoded: str) -> tuple[int, int]:
    """Width and height of a WebP in base64, by its first chunk. Source: Google, WebP Container Specification; RFC 6386, 9.1."""
    head = base64.b64decode(encoded[:40])
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _script_json(value: Any) -> bytes:
    """JSON in ASCII that cannot end the script element that it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows the page's own style, script and inline pictures, and no network."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_hash, script_hash = hashes
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}';"
        " base-uri 'none'; form-action 'none'"
    )


def _options(order: Order) -> str:
    """What was asked for beside the defaults."""
    plain = Order(order.task, order.model)
    hidden = {"task", "model", "device", "threads", "measure", "thumbnails"}
    said = [f"{name.replace('_', ' ')} {value}" for name, value in vars(order).items()
            if name not in hidden and value != getattr(plain, name)]  # fmt: skip
    return ", ".join(said) or "none"


def _is_page(path: Path) -> bool:
    fd = open_regular(path, os.O_RDONLY)
    try:
        return _MARK in os.pread(fd, 2000, 0)
    finally:
        os.close(fd)
