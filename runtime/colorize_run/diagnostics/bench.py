"""What ``colorize-run bench`` measures: cold starts, whole pictures against decoding and encoding alone, the network alone."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colorize_run.diagnostics import profile, timing
from colorize_run.diagnostics.timing import Action, Candidate
from colorize_run.errors import ColorizeRunError
from colorize_run.system import processes

COLD_ROUNDS = 5  # at most: whole processes are slow, and agree well

Row = dict[str, Any]
Progress = Callable[[str, int], AbstractContextManager[Action]]


@dataclass(frozen=True)
class Subject:
    """One file to be measured: the task, the file, the devices on which it opens."""

    task: str
    path: Path
    devices: Sequence[str]


@dataclass
class Report:
    """Rows by kind; each holds model, path, device and times in seconds, beside what is its kind's own."""

    cold_start: list[Row] = field(default_factory=list)
    pictures: list[Row] = field(default_factory=list)
    network: list[Row] = field(default_factory=list)


def cold_start(subject: Subject, device: str, picture: Path, folder: Path) -> Action:
    """A call that runs one process from its start to its first picture."""
    command = ["segment"] if subject.task == "segment" else ["colorize", "--force"]
    arguments = [*command, str(picture), "-m", str(subject.path), "--device", device, "--overwrite", "-o", f"{folder}/"]
    environment = {**os.environ, profile.VARIABLE: ""}

    def start() -> None:
        done = subprocess.run(processes.command_line(*arguments), capture_output=True, text=True, check=False, env=environment)  # noqa: S603 (ours)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ColorizeRunError(f"A measured process failed: {last[0]}")

    return start


def cold_starts(subjects: Sequence[Subject], picture: bytes, suffix: str, rounds: int, progress: Progress) -> list[Row]:
    """Rows of cold starts, of all subjects and devices in turn."""
    rows, actions = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"in{suffix}"
        source.write_bytes(picture)
        for subject in subjects:
            for device in subject.devices:
                rows.append({"model": subject.path.stem, "path": str(subject.path), "device": device})
                actions.append(cold_start(subject, device, source, Path(folder) / "out"))
        rounds = min(rounds, COLD_ROUNDS)
        with progress("cold starts", rounds + 1) as tick:
            measured = timing.in_turn(actions, rounds, tick, warm_up=1)
    return [{**row, **times.as_dict()} for row, times in zip(rows, measured, strict=True)]


def pictures(candidates: Sequence[Candidate], data: bytes, rounds: int, tick: Action) -> list[Row]:
    """Rows of whole pictures, and how many times the floor of the same round they take; all in turn."""
    floor = candidates[0].floor(data)
    actions = [floor, *(lambda candidate=candidate: candidate.convert(data) for candidate in candidates)]
    base, *measured = timing.in_turn(actions, rounds, tick)
    return [
        {
            **candidate.about, **times.as_dict(), "pictures_per_s": 1 / times.median,
            "floor_s": base.median, "times_floor": times.ratio(base),
        }
        for candidate, times in zip(candidates, measured, strict=True)
    ]  # fmt: skip


def network(candidates: Sequence[Candidate], batches: Sequence[int], rounds: int, tick: Action) -> list[Row]:
    """Rows of the network alone, for each batch, all in turn."""
    cases = [(candidate, batch) for candidate in candidates for batch in batches]
    measured = timing.in_turn([candidate.network(batch) for candidate, batch in cases], rounds, tick)
    return [
        {
            **candidate.about, "side": candidate.side, "batch": batch, **times.as_dict(),
            "pictures_per_s": batch / times.median,
        }
        for (candidate, batch), times in zip(cases, measured, strict=True)
    ]  # fmt: skip
