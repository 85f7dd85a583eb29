"""``python -m torture``: every fault, many times, and a table of what was lost. ``--trials quick`` takes minutes, ``full`` hours."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from torture import bursts, faults, kills, power, stateful, writers, zoo
from torture.rig import ROOT, Broken, Golden, stub_model

DEFAULT_MODEL = str(ROOT / "artifacts" / "photo.onnx")


@dataclass
class Bench:
    """Where trials take place, and with what; ``scale`` is quick or full."""

    folder: Path
    model: Path
    golden: Golden
    seed: int
    scale: str
    made: int = 0

    def trial(self) -> Path:
        """A fresh folder."""
        self.made += 1
        return self.folder / f"trial{self.made}"

    def of(self, quick: int, full: int) -> int:
        """As many as the scale asks for."""
        return quick if self.scale == "quick" else full


@dataclass
class Outcome:
    """One row of the table."""

    trials: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""
    skipped: str = ""

    def attempt(self, bench: Bench, trial: Callable[[Path], object], weight: int = 1) -> object:
        """Run one trial that counts for ``weight``; its folder is kept if it failed."""
        folder = bench.trial()
        self.trials += weight
        try:
            result = trial(folder)
        except (Broken, subprocess.TimeoutExpired) as error:
            self.failures.append(f"{folder.name}: {error}")
            click.echo(f"  FAILED in {folder}: {error}", err=True)
            return None
        shutil.rmtree(folder, ignore_errors=True)
        return result


Row = Callable[[Bench, Outcome], None]
ROWS: dict[str, tuple[str, Row]] = {}


def row(key: str, title: str) -> Callable[[Row], Row]:
    """Put a function into the table."""

    def enter(function: Row) -> Row:
        ROWS[key] = title, function
        return function

    return enter


@row("1", "kill -9 of the supervisor at random moments")
def _random_kills(bench: Bench, outcome: Outcome) -> None:
    batch = 20
    for number in range(bench.of(20, 1000) // batch):
        seed = bench.seed + number
        outcome.attempt(bench, lambda folder, s=seed: kills.at_random(folder, bench.model, bench.golden, s, batch), batch)
    outcome.note = f"{batch} kills a folder"


@row("2", "kill -9 right after each named step, for keep, move and delete")
def _steps(bench: Bench, outcome: Outcome) -> None:
    chance = random.Random(bench.seed)
    for _ in range(bench.of(1, 15)):
        for inputs in ("keep", "move", "delete"):
            for step in range(1, 10 if inputs != "keep" else 8):
                count = chance.randint(1, 4)
                outcome.attempt(
                    bench, lambda folder, s=step, c=count, i=inputs: kills.at_step(folder, bench.model, bench.golden, s, c, i)
                )


@row("3", "kill -9 of a worker at random moments")
def _worker_kills(bench: Bench, outcome: Outcome) -> None:
    batch, restarts = 25, []
    for number in range(bench.of(25, 500) // batch):
        seed = bench.seed + number
        found = outcome.attempt(
            bench, lambda folder, s=seed: kills.of_workers(folder, bench.model, bench.golden, s, batch), batch
        )
        restarts += found if isinstance(found, list) else []
    if restarts:
        restarts.sort()
        outcome.note = f"new worker ready after {restarts[len(restarts) // 2]:.2f} s (median), {restarts[-1]:.2f} s at most"


@row("4", "a file that takes its worker down: segfault, abort, hang, memory")
def _poison(bench: Bench, outcome: Outcome) -> None:
    for _ in range(bench.of(1, 25)):
        for how in kills.POISONS:
            outcome.attempt(bench, lambda folder, h=how: kills.by_poison(folder, bench.model, bench.golden, h))


@row("6", "slow, reopened and preallocated writers, five formats (rows 6 and 7)")
def _slow(bench: Bench, outcome: Outcome) -> None:
    false_starts = 0
    for number in range(bench.of(1, 10)):
        seed = bench.seed + number
        longest = 4.0 if number % 2 else 12.0
        found = outcome.attempt(
            bench, lambda folder, s=seed, t=longest: writers.slow(folder, bench.model, bench.golden, s, 100, t), 100
        )
        false_starts += found if isinstance(found, int) else 0
    outcome.note = f"{false_starts} times cut-off bytes were seen, and waited for"


@row("8", "real tools: renames, links, cp, rsync, tar, curl")
def _tools(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(10, 100)
    for tool in writers.TOOLS:
        if tool.startswith("rsync") and not shutil.which("rsync"):
            outcome.note = "rsync is not installed"
            continue
        outcome.attempt(bench, lambda folder, t=tool: writers.delivered(folder, bench.model, bench.golden, t, files), files)


@row("18", "one name overwritten 1 to 100 times a second")
def _overwritten(bench: Bench, outcome: Outcome) -> None:
    for number in range(bench.of(1, 10)):
        seed = bench.seed + number
        outcome.attempt(bench, lambda folder, s=seed: writers.overwritten(folder, bench.model, bench.golden, s, 50), 50)


@row("19", "hostile names, and random bytes as names")
def _names(bench: Bench, outcome: Outcome) -> None:
    for number in range(bench.of(1, 5)):
        seed = bench.seed + number
        outcome.attempt(bench, lambda folder, s=seed: writers.named(folder, bench.model, bench.golden, s, 370), 400)


@row("20", "links, pipes, sockets, devices, folders named like pictures")
def _kinds(bench: Bench, outcome: Outcome) -> None:
    for _ in range(bench.of(1, 20)):
        outcome.attempt(bench, lambda folder: writers.kinds(folder, bench.model, bench.golden), 9)


@row("21", "the zoo: strange pictures, bombs, five formats cut off everywhere")
def _zoo(bench: Bench, outcome: Outcome) -> None:
    found = outcome.attempt(bench, lambda folder: zoo.visited(folder, bench.model, bench.golden, bench.of(10, 1)))
    if isinstance(found, tuple):
        outcome.trials = found[0]
        outcome.note = f"worker's peak {found[1]} MB, slowest picture {found[2]:.2f} s"


def _slowest(outcome: Outcome, seconds: list[object]) -> None:
    found = [value for value in seconds if isinstance(value, float)]
    if found:
        outcome.note = f"work went on {max(found):.1f} s after healing at most"


@row("5", "power cuts, ext4 and xfs, for keep, move and delete")
def _power(bench: Bench, outcome: Outcome) -> None:
    outcome.skipped = power.missing()
    if outcome.skipped:
        return
    trials, checked = bench.of(5, 60), 0
    for inner, inputs in (("ext4", "keep"), ("xfs", "keep"), ("ext4", "move"), ("ext4", "delete"), ("xfs", "delete")):
        found = outcome.attempt(
            bench, lambda folder, f=inner, i=inputs: power.cuts(folder, bench.model, bench.golden, bench.seed, trials, f, i), trials
        )
        checked += found[0] if isinstance(found, tuple) else 0
    outcome.note = f"{checked:,} rows that said done, each with its output"


@row("5c", "control of row 5: the same with an fsync that does nothing must lose")
def _power_control(bench: Bench, outcome: Outcome) -> None:
    outcome.skipped = power.missing()
    if outcome.skipped:
        return
    outcome.trials = 1
    folder = bench.trial()
    try:
        power.cuts(folder, bench.model, bench.golden, bench.seed, 20, "ext4", site="nosync")
    except Broken as error:
        outcome.note = f"lost, as it must: {error}"
        shutil.rmtree(folder, ignore_errors=True)
    else:
        outcome.failures.append("the rig finds nothing")


@row("9", "a flood while the process is stopped")
def _flood(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(1000, 20_000)
    found = outcome.attempt(bench, lambda folder: bursts.flood(folder, bench.model, bench.golden, files), files)
    if isinstance(found, tuple):
        outcome.note = f"{found[0] * 1000:.1f} ms a file; supervisor's peak {found[2]} MB, {found[1]} MB before"
        if found[2] - found[1] > 50:
            outcome.failures.append(f"the supervisor grew by {found[2] - found[1]} MB")


@row("11", "no space or no inodes for outputs")
def _full_output(bench: Bench, outcome: Outcome) -> None:
    kinds = ["bytes", "inodes"] * bench.of(1, 10)
    _slowest(outcome, [
        outcome.attempt(bench, lambda folder, k=kind: faults.full_output(folder, bench.model, bench.golden, k)) for kind in kinds
    ])  # fmt: skip


@row("12", "no space for the ledger")
def _full_state(bench: Bench, outcome: Outcome) -> None:
    trials = range(bench.of(1, 10))
    _slowest(outcome, [outcome.attempt(bench, lambda folder: faults.full_state(folder, bench.model, bench.golden)) for _ in trials])


@row("13", "failing system calls (FUSE) on the output's and the input's side, then healed")
def _failing_calls(bench: Bench, outcome: Outcome) -> None:
    calls = [("output", call) for call in faults.OUTPUT_CALLS] + [("input", call) for call in faults.INPUT_CALLS]
    numbers, shares = faults.ERRNOS[: bench.of(1, 5)], (1.0, 0.1) if bench.scale == "full" else (1.0,)
    _slowest(outcome, [
        outcome.attempt(
            bench, lambda folder, s=side, c=call, n=number, h=share: faults.failing_call(folder, bench.model, bench.golden, s, c, n, h)
        )
        for side, call in calls for number in numbers for share in shares
    ])  # fmt: skip


@row("13r", "a share: slow writers on another machine, no events, leases wrongly granted")
def _remote(bench: Bench, outcome: Outcome) -> None:
    for _ in range(bench.of(1, 10)):
        outcome.attempt(bench, lambda folder: faults.remote_writer(folder, bench.model, bench.golden, 10), 10)


@row("15", "the output read-only, renamed away, or replaced by a link")
def _output_gone(bench: Bench, outcome: Outcome) -> None:
    seconds = []
    for _ in range(bench.of(1, 10)):
        seconds.append(outcome.attempt(bench, lambda folder: faults.read_only_output(folder, bench.model, bench.golden)))
        for how in ("moved", "linked"):
            seconds.append(
                outcome.attempt(bench, lambda folder, h=how: faults.output_gone(folder, bench.model, bench.golden, h))
            )
    _slowest(outcome, seconds)


@row("16", "the input unmounted or renamed away")
def _source_gone(bench: Bench, outcome: Outcome) -> None:
    kinds = ["unmounted", "moved"] * bench.of(1, 10)
    _slowest(outcome, [
        outcome.attempt(bench, lambda folder, k=kind: faults.source_gone(folder, bench.model, bench.golden, k)) for kind in kinds
    ])  # fmt: skip


@row("25", "two watches on the same folders")
def _two(bench: Bench, outcome: Outcome) -> None:
    for _ in range(bench.of(1, 10)):
        outcome.attempt(bench, lambda folder: faults.two_at_once(folder, bench.model, bench.golden))


@row("27", "soak, one file in a hundred bad (an hour; quick: a minute)")
def _soak(bench: Bench, outcome: Outcome) -> None:
    found = outcome.attempt(
        bench, lambda folder: bursts.soak(folder, bench.model, bench.golden, bench.of(60, 3600), 4.0)
    )
    if isinstance(found, dict):
        outcome.trials = int(found["files"])
        outcome.note = (
            f"{found['bad']:.0f} quarantined; supervisor {found['rss']:.0f} MB, {found['slope']:+.2f} MB an hour;"
            f" descriptors {found['fds_first']:.0f}, at most {found['fds_most']:.0f}; worker {found['worker']:.0f} MB"
        )


@row("28", "the ledger damaged, cut off, emptied or removed between two runs")
def _ledger(bench: Bench, outcome: Outcome) -> None:
    for number in range(bench.of(5, 100)):
        seed = bench.seed + number
        outcome.attempt(bench, lambda folder, s=seed: faults.damaged_ledger(folder, bench.model, bench.golden, s))


@row("29", "a random walk against a model: write, append, rename, overwrite, delete, kill, fill, heal")
def _stateful(bench: Bench, outcome: Outcome) -> None:
    outcome.trials = bench.of(20, 5000)
    if failure := stateful.explore(bench.model, bench.golden, bench.folder, outcome.trials, bench.seed):
        outcome.failures.append(failure)


@row("lat", "latency from a file's closing to its claim, with default options")
def _latency(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(60, 300)
    for others in (0, bench.of(0, 3000)):
        found = outcome.attempt(bench, lambda folder, o=others: bursts.latency(folder, bench.model, files, o), files)
        if isinstance(found, list):
            outcome.note += f"{others} others: p50 {found[len(found) // 2]:.2f} s, p99 {found[len(found) * 99 // 100]:.2f} s. "


@row("thr", "throughput against one Colorizer in one process, 640 x 480, the default model")
def _throughput(bench: Bench, outcome: Outcome) -> None:
    found = outcome.attempt(bench, lambda folder: bursts.throughput(folder, DEFAULT_MODEL, bench.of(60, 200), bench.of(1, 5)))
    if isinstance(found, list):
        outcome.trials = len(found)
        outcome.note = f"ratio {statistics.median(found):.2f} (median; {min(found):.2f} to {max(found):.2f})"


@click.command()
@click.option("--trials", "scale", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--only", help="Numbers of rows, separated by commas.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where trials take place.  [default: /dev/shm, or the temporary folder]"
)
def main(scale: str, only: str | None, seed: int, folder: Path | None) -> None:
    """Treat the watch folder badly, and print the table of what was lost."""
    base = folder or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir()))
    wanted = only.split(",") if only else list(ROWS)
    if unknown := set(wanted) - set(ROWS):
        raise click.UsageError(f"There are no rows {', '.join(sorted(unknown))}; known: {', '.join(ROWS)}.")
    place = Path(tempfile.mkdtemp(prefix="torture-", dir=base))
    model = stub_model(place / "stub.onnx")
    bench = Bench(place, model, Golden(model), seed, scale)
    click.echo("| row | fault | trials | lost or wrong | s | |\n|---|---|---|---|---|---|")
    failed = 0
    for line, outcome in _outcomes(bench, wanted):
        failed += len(outcome.failures)
        click.echo(line)
    click.echo(f"\nseed {seed}, {scale}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    if failed:
        click.echo(f"{failed} trials failed; their folders are kept in {place}", err=True)
        sys.exit(1)
    shutil.rmtree(place, ignore_errors=True)


def _outcomes(bench: Bench, wanted: list[str]) -> Iterator[tuple[str, Outcome]]:
    for key in wanted:
        title, function = ROWS[key]
        outcome, start = Outcome(), time.monotonic()
        function(bench, outcome)
        seconds = round(time.monotonic() - start)
        lost = f"skipped: {outcome.skipped}" if outcome.skipped else str(len(outcome.failures))
        yield f"| {key} | {title} | {outcome.trials:,} | {lost} | {seconds} | {outcome.note} |", outcome


if __name__ == "__main__":
    main()
