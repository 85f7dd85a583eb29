"""Records what the program writes and prints, so that a change of structure can prove that it changes nothing else.

``python tests/conformance/frozen.py FOLDER`` records into an empty FOLDER: 40 picture files, the SHA-256 of what
``colorize`` and four forms of ``segment`` make of them, help texts, the JSON keys of doctor, models list, bench, run.jsonl,
a folder's index and the watch's health, and the ledger. The same command again compares, names each difference and exits
with 1. Recordings hold for one machine and one set of libraries.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conformance import cases

ROOT = Path(__file__).resolve().parents[2]
FORMS = ("mask", "soft", "overlay", "cutout")
COMMANDS: tuple[list[str], ...] = (
    [], ["colorize"], ["segment"], ["watch"], ["watch", "run"], ["watch", "status"], ["watch", "retry"], ["watch", "forget"],
    ["models"], ["models", "list"], ["models", "show"], ["models", "path"], ["models", "verify"], ["verify"], ["doctor"],
    ["bench"], ["tune"], ["completion"],
)  # fmt: skip


def run(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line."""
    environment = {**os.environ, "COLUMNS": "100", "COLORIZE_RUN_PROFILE": "", "PYTHONPATH": str(ROOT / "runtime")}
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", *arguments], capture_output=True, text=True, env=environment, cwd=cwd
    )
    return done.returncode, done.stdout, done.stderr


def make_inputs(folder: Path) -> None:
    """Forty conformance files of all formats, evenly chosen."""
    folder.mkdir(parents=True)
    known = cases()
    for case in known[:: max(1, len(known) // 40)][:40]:
        (folder / case.file_name).write_bytes(case.make()[0])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keys(value: Any) -> Any:
    """The shape of a JSON value: keys, and of a list its first item; no figures."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in sorted(value.items())}
    return [keys(value[0])] if isinstance(value, list) and value else type(value).__name__


def outputs(inputs: Path) -> Iterator[tuple[str, str]]:
    """What becomes of the files, by name."""
    names = sorted(path for path in inputs.iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "colorize"
        report = Path(scratch) / "run.jsonl"
        run("colorize", *map(str, names), "-o", str(out), "--force", "--device", "cpu", "--report", str(report))
        for path in sorted(out.iterdir()):
            yield f"colorize {path.name}", digest(path.read_bytes())
        yield "run.jsonl", json.dumps([keys(json.loads(line)) for line in report.read_text().splitlines()[:2]])
        for form in FORMS:
            out = Path(scratch) / form
            run("segment", *map(str, names[::13]), "-o", str(out), "--as", form, "--device", "cpu")
            for path in sorted(out.iterdir()):
                yield f"segment {form} {path.name}", digest(path.read_bytes())


def folders(inputs: Path) -> Iterator[tuple[str, str]]:
    """The index of a folder's run, and what a watch keeps: keys, ledger columns, and the digests of options."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "in"
        source.mkdir()
        sample = ROOT / "docs" / "samples" / "chelsea.jpg"
        (source / "chelsea.jpg").write_bytes(sample.read_bytes())
        out = Path(scratch) / "out"
        run("colorize", str(source), "-o", str(out), "--force", "--device", "cpu")
        for path in sorted(path for path in out.rglob("*") if path.is_file()):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else []
            shape = json.dumps([{**keys(json.loads(line)), "key": json.loads(line).get("key")} for line in lines])
            yield f"folder {path.relative_to(out).parent / path.suffix}", shape if lines else digest(path.read_bytes())
        watched = Path(scratch) / "watched"
        _, printed, _ = run("watch", str(source), str(watched), "--once", "--force", "--device", "cpu")
        yield "watch prints", printed
        for path in sorted(path for path in watched.rglob("*") if path.is_file() and path.suffix in (".jpg", ".json")):
            content = path.read_bytes()
            shape = json.dumps(keys(json.loads(content))) if path.suffix == ".json" else digest(content)
            yield f"watch {path.relative_to(watched)}", shape
        yield "ledger", _ledger(watched)


def _ledger(watched: Path) -> str:
    import sqlite3

    found = []
    for path in sorted(watched.rglob("*.sqlite*")) + sorted(watched.rglob("*.db")):
        if path.name.endswith(("-wal", "-shm")):
            continue
        with sqlite3.connect(path) as connection:
            found += [row[0] for row in connection.execute("select sql from sqlite_master order by name") if row[0]]
            for (table,) in connection.execute("select name from sqlite_master where type='table'").fetchall():
                columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
                if "opts_sha" in columns:
                    found += [str(row) for row in connection.execute(f"select distinct opts_sha, out_sha from {table}")]
    return "\n".join(found)


def printed() -> Iterator[tuple[str, str]]:
    """Help texts, and the keys of JSON that commands print."""
    for command in COMMANDS:
        yield f"help {' '.join(command)}", run(*command, "--help")[1]
    for command in (["doctor", "--json"], ["models", "list", "--json"], ["bench", "--json", "-m", "unet", "--rounds", "1"]):
        code, text, error = run(*command)
        yield " ".join(command), json.dumps(keys(json.loads(text))) if text.strip() else f"{code}: {error}"


def main() -> int:
    """Record into an empty folder, or compare with what it holds."""
    folder = Path(sys.argv[1])
    if not (folder / "inputs").is_dir():
        make_inputs(folder / "inputs")
    now = dict([*outputs(folder / "inputs"), *folders(folder / "inputs"), *printed()])
    record = folder / "frozen.json"
    if not record.is_file():
        record.write_text(json.dumps(now, indent=1))
        sys.stdout.write(f"recorded: {len(now)} values\n")
        return 0
    before = json.loads(record.read_text())
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    for name in differing:
        sys.stdout.write(f"differs: {name}\n")
        if name.startswith(("help", "watch", "doctor", "bench", "models", "folder")):
            sys.stdout.write(f"  before: {before.get(name)}\n  now:    {now.get(name)}\n")
    sys.stdout.write(f"{len(now) - len(differing)} of {len({**before, **now})} values are the same\n")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
