"""The report for people: one HTML page with the pictures before and after; page.html, page.css and page.js are its parts."""

import base64
import hashlib
import html
import json
import os
import secrets
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from string import Template
from typing import IO, Any

from colorize_run.batch.json_lines import utc_now
from colorize_run.batch.messages import Engine, Options, Outcome
from colorize_run.batch.plan import STANDARD, Plan, Task, common_folder
from colorize_run.batch.run import Summary
from colorize_run.system.files import as_output_errors, make_folder, open_regular, printable, publish
from colorize_run.version import __version__

_MARK = b'<meta name="generator" content="colorize-run">'
# Longer side of thumbnails in pixels by the number of pictures, so that a page stays below about 40 MB.
_SIDES = ((500, 480), (2_500, 320), (10_000, 200))
_SMALLEST = 120


def side_for(pictures: int) -> int:
    """Longer side, in pixels, of the thumbnails of a page with so many pictures."""
    return next((side for most, side in _SIDES if pictures <= most), _SMALLEST)


class Page:
    """One HTML page with everything in it, written when the run has ended or was interrupted; it replaces an earlier one.

    Pictures go to unnamed temporary files beside it as they come, so that memory does not grow. Errors: OutputError.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._options = path, options
        self._number = 0
        with as_output_errors(path):
            self._existed = path.exists()
            if self._existed and not _is_page(path) and not options.overwrite:
                raise FileExistsError

    def begin(self, plan: Plan, engine: Engine) -> None:
        """Open the temporary files."""
        self._plan, self._engine, self._run = plan, engine, utc_now()
        targets = [task for task in plan.tasks if task.target is not STANDARD]
        self._output = common_folder(task.root or task.target.parent for task in targets)
        make_folder(self._path.parent)
        with as_output_errors(self._path):
            self._rows, self._pictures, self._failures = (self._file() for _ in range(3))

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._path.parent, prefix=".", suffix=".colorize-run.partial")

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Keep what the page shows of a picture."""
        row = _row(task, outcome, self._plan.folder, self._output)
        with as_output_errors(self._path):
            self._rows.write((b",\n" if self._number else b"") + _script_json(row))
            if outcome.thumbnails:
                pair = _script_json(outcome.thumbnails)
                self._pictures.write(b'<script type="application/json" id="t%d">%s</script>\n' % (self._number, pair))
            if outcome.status == "failed":
                self._failures.write(f"<li>{html.escape(outcome.reason)}</li>\n".encode())
        self._number += 1

    def end(self, summary: Summary) -> None:
        """Write the page; it appears whole."""
        partial = self._path.with_name(f".{secrets.token_hex(8)}.colorize-run.partial")
        with as_output_errors(self._path), self._rows, self._pictures, self._failures:
            try:
                with partial.open("xb") as page:
                    self._write(page, summary)
                    page.flush()
                    os.fsync(page.fileno())
                publish(partial, self._path, overwrite=self._options.overwrite or self._is_earlier())
            finally:
                partial.unlink(missing_ok=True)

    def _is_earlier(self) -> bool:
        """Whether the page of an earlier run, which was there when this one began, is still there."""
        return self._existed and self._path.exists() and _is_page(self._path)

    def _write(self, page: IO[bytes], summary: Summary) -> None:
        folder = resources.files("colorize_run.batch")
        style, script, frame = (folder.joinpath(f"page.{kind}").read_text() for kind in ("css", "js", "html"))
        texts = {
            "csp": _policy(style, script),
            "style": style,
            "script": script,
            "title": _title(self._options, summary),
            "subtitle": html.escape(self._subtitle(summary)),
            "facts": _rows_of(self._facts(summary)),
            "version": __version__,
        }
        head, rest = frame.split("$failures")
        middle, foot = rest.split("$data")
        page.write(Template(head).substitute(texts).encode())
        self._write_failures(page, summary.counts["failed"])
        page.write(Template(middle).substitute(texts).encode())
        self._write_data(page)
        page.write(Template(foot).substitute(texts).encode())

    def _subtitle(self, summary: Summary) -> str:
        ended = "interrupted" if summary.interrupted else "stopped" if summary.stopped else "finished"
        reason = f": {summary.stopped}" if summary.stopped else ""
        return f"{self._run[:10]} {self._run[11:16]} UTC, {ended} after {summary.seconds:.1f}\N{NO-BREAK SPACE}s{reason}"

    def _facts(self, summary: Summary) -> dict[str, str]:
        engine = self._engine
        facts = {
            "Input folder": self._plan.folder,
            "Output folder": self._output,
            "Ignored": self._plan.ignored.describe() or "nothing",
            "Options": describe_options(self._options) or "defaults",
            "Model": f"{engine.model} ({engine.path})",
            "Model's SHA-256": engine.sha256,
            "Device": f"{engine.device} ({engine.why})",
            "In parallel": engine.describe_jobs(),
            "Speed": f"{summary.pictures_per_second:.1f} images/s" if summary.pictures_per_second else "",
            "Pictures": f"the files as read and as written, reduced to {self._options.thumbnails} pixels or less",
            "ΔL*": "change of lightness (CIELAB L*, 0 to 100) between the pixels read and the coloured pixels before encoding",
        }
        return {name: fact for name, fact in facts.items() if fact}

    def _write_failures(self, page: IO[bytes], count: int) -> None:
        if not count:
            return
        page.write(f'<details><summary id="failures">Failures: {count}</summary>\n'.encode())
        page.write(b'<ol class="failures" tabindex="0" aria-labelledby="failures">\n')
        _copy(self._failures, page)
        page.write(b"</ol></details>\n")

    def _write_data(self, page: IO[bytes]) -> None:
        page.write(b'<script type="application/json" id="rows">[')
        _copy(self._rows, page)
        page.write(b"]</script>\n")
        _copy(self._pictures, page)


def _title(options: Options, summary: Summary) -> str:
    done = "coloured" if options.task == "colorize" else "segmented"
    names = {"done": done, "skipped": "already done", "copied": "copied", "failed": "failed"}
    counts = ", ".join(f"{summary.counts[status]} {name}" for status, name in names.items() if summary.counts[status])
    total = summary.counts.total()
    return f"{total} {'picture' if total == 1 else 'pictures'}: {counts or 'nothing done'}"


def _rows_of(facts: dict[str, str]) -> str:
    """Rows of an HTML table."""
    return "".join(
        f'<tr><th scope="row">{name}</th><td>{html.escape(printable(fact))}</td></tr>\n' for name, fact in facts.items()
    )


def describe_options(options: Options) -> str:
    """The options that differ from the defaults, in words; empty if none does."""
    size = options.working_size
    words = {
        "working_size": f"the network sees {size} pixels on the short side",
        "temperature": f"temperature {options.temperature}",
        "raw": "the network's own picture, not joined with the photograph",
        "saturation": f"saturation {options.saturation:g}",
        "blend": f"{options.blend:.0%} of the new colours",
        "mask": f"coloured only where {options.mask} is white",
        "hint": f"hints {options.hint}",
        "hints": f"hints of {options.hints}",
        "like": f"colours like those of {options.like}",
        "confidence": "how sure the network is, instead of colours",
        "keep_colour": "pictures that already have colours are coloured too",
        "view": f"written as {options.view}",
        "strip_metadata": "metadata removed",
        "max_pixels": f"pictures of more than {options.max_pixels:,} pixels refused",
        "overwrite": "existing files replaced",
    }
    defaults = Options(options.task, options.model)
    return "; ".join(text for name, text in words.items() if getattr(options, name) != getattr(defaults, name))


def _row(task: Task, outcome: Outcome, input_folder: str, output_folder: str) -> dict[str, Any]:
    """What the page's script reads of a picture; ``name`` and ``output`` are relative to the folders."""
    mean, largest = outcome.lightness or (None, None)
    width, height = outcome.size
    across, down = outcome.thumbnail_size
    written = task.target is not STANDARD and outcome.status != "failed"
    return {
        "name": "stdin" if task.source is STANDARD else _relative(task.source, input_folder),
        "path": "" if task.source is STANDARD else printable(os.path.abspath(task.source)),
        "output": _relative(task.target, output_folder) if written else "",
        "outputPath": printable(os.path.abspath(task.target)) if written else "",
        "status": outcome.status,
        "reason": outcome.reason,
        "width": width,
        "height": height,
        "total": round(sum(outcome.milliseconds.values()), 1),
        "mean": mean,
        "max": largest,
        "clipped": round(outcome.clipped, 4),
        "notes": outcome.notes,
        "thumbnails": bool(outcome.thumbnails),
        "across": across,
        "down": down,
    }


def _relative(path: Path, folder: str) -> str:
    """A file's name as it may be printable, relative to a folder."""
    return printable(os.path.relpath(os.path.abspath(path), folder) if folder else path)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target, 1 << 20)


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


def _is_page(path: Path) -> bool:
    fd = open_regular(path, os.O_RDONLY)
    try:
        return _MARK in os.pread(fd, 2000, 0)
    finally:
        os.close(fd)
