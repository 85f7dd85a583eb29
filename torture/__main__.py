"""``python -m torture``: every fault, many times, and a table of what was lost. Minutes, or hours with ``--trials full``."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from torture import (
    bursts,
    faults,
    fuse_faults,
    fuzz,
    kills,
    machine,
    models,
    rows_kills,  # noqa: F401 - registers its rows
    stateful,
    writers,
    zoo,
)
from torture.forked import ForkedWatch
from torture.rig import ROOT, Golden, stub_model
from torture.rows import ROWS, Bench, Outcome, row

DEFAULT_MODEL = str(ROOT / "artifacts" / "photo.onnx")


@row("6", "slow, reopened and preallocated writers, five formats (rows 6 and 7)")
def _slow(bench: Bench, outcome: Outcome) -> None:
    false_starts = 0
    for seed in bench.seeds(1, 10):
        false_starts += outcome.attempt(bench, writers.slow, seed, 100, 4.0 if seed % 2 else 12.0, weight=100) or 0
    outcome.note = f"{false_starts} times cut-off bytes were seen, and waited for"


@row("8", "real tools: renames, links, cp, rsync, tar, curl")
def _tools(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(10, 100)
    for tool in writers.TOOLS:
        if not tool.startswith("rsync") or shutil.which("rsync"):
            outcome.attempt(bench, writers.delivered, tool, files, weight=files)
        else:
            outcome.note = "rsync is not installed"


@row("9", "a flood while the process is stopped")
def _flood(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(1000, 20_000)
    if found := outcome.attempt(bench, bursts.flood, files, weight=files):
        each, before, peak = found
        outcome.note = f"{each * 1000:.1f} ms a file; supervisor's peak {peak} MB, {before} MB before"
        if peak - before > 50:
            outcome.failures.append(f"the supervisor grew by {peak - before} MB")


@row("9p", "files that wait in the folder, by the hundred thousand")
def _backlog(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(5000, 200_000)
    if found := outcome.attempt(bench, bursts.backlog, files, weight=files):
        before, peak = found
        outcome.note = f"supervisor's peak {peak} MB, {before} MB before"
        if peak - before > 50 or peak > 60:
            outcome.failures.append(f"the supervisor grew by {peak - before} MB")


@row("11", "no space or no inodes for outputs", faults.no_mounts)
def _full_output(bench: Bench, outcome: Outcome) -> None:
    outcome.note_slowest([outcome.attempt(bench, faults.full_output, kind) for kind in ["bytes", "inodes"] * bench.of(1, 10)])


@row("12", "no space for the ledger", faults.no_mounts)
def _full_state(bench: Bench, outcome: Outcome) -> None:
    outcome.note_slowest([outcome.attempt(bench, faults.full_state) for _ in bench.seeds(1, 10)])


@row("13", "failing system calls (FUSE) on the output's and the input's side, then healed", faults.no_fuse)
def _failing_calls(bench: Bench, outcome: Outcome) -> None:
    calls = [("output", call) for call in fuse_faults.OUTPUT_CALLS] + [("input", call) for call in fuse_faults.INPUT_CALLS]
    cases = [
        (side, call, number, share)
        for side, call in calls
        for number in fuse_faults.ERRNOS[: bench.of(1, 5)]
        for share in ((1.0, 0.1) if bench.of(1, 2) > 1 else (1.0,))
    ]
    outcome.note_slowest([outcome.attempt(bench, fuse_faults.failing_call, *case) for case in cases])


@row("13r", "a share: slow writers on another machine, no events, leases wrongly granted", faults.no_fuse)
def _remote(bench: Bench, outcome: Outcome) -> None:
    for _ in bench.seeds(1, 10):
        outcome.attempt(bench, fuse_faults.remote_writer, 10, weight=10)


@row("14", "calls of the C library fail at random (libfiu) in supervisor and worker, then no more", machine.no_fiu)
def _failing_library(bench: Bench, outcome: Outcome) -> None:
    given_up = 0
    for seed in bench.seeds(1, 20):
        for faults_, share in (("posix/io/*", 0.001), ("posix/io/*", 0.01), ("posix/io/*", 0.05), ("libc/mm/*", 0.0001)):
            given_up += outcome.attempt(bench, machine.failing_library, seed, faults_, share) or 0
    for _ in bench.seeds(1, 20):
        outcome.attempt(bench, machine.scarce_memory)
    outcome.note = f"{given_up} files were given up meanwhile, and done when retried"


@row("15", "the output read-only, renamed away, or replaced by a link", faults.no_mounts)
def _output_gone(bench: Bench, outcome: Outcome) -> None:
    seconds = [outcome.attempt(bench, faults.read_only_output) for _ in bench.seeds(1, 10)]
    seconds += [outcome.attempt(bench, faults.output_gone, how) for how in ["moved", "linked"] * bench.of(1, 10)]
    outcome.note_slowest(seconds)


@row("16", "the input unmounted or renamed away", faults.no_mounts)
def _source_gone(bench: Bench, outcome: Outcome) -> None:
    kinds = ["unmounted", "moved"] * bench.of(1, 10)
    outcome.note_slowest([outcome.attempt(bench, faults.source_gone, kind) for kind in kinds])


@row("17", "the wall clock jumps by days and decades, files have times from 1901 to 2255", machine.no_faketime)
def _clock(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(2, 100):
        outcome.attempt(bench, machine.jumping_clock, seed)


@row("18", "one name overwritten 1 to 100 times a second, and once while it is being read")
def _overwritten(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(1, 10):
        outcome.attempt(bench, writers.overwritten, seed, 50, weight=50)
        outcome.attempt(bench, writers.changed_while_read)


@row("19", "hostile names, and random bytes as names")
def _names(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(1, 5):
        outcome.attempt(bench, writers.named, seed, 370, weight=370 + len(writers.NAMES))


@row("20", "links, pipes, sockets, devices, folders named like pictures")
def _kinds(bench: Bench, outcome: Outcome) -> None:
    for _ in bench.seeds(1, 20):
        outcome.attempt(bench, writers.kinds, weight=9)


@row("21", "the zoo: strange pictures, bombs, five formats cut off everywhere")
def _zoo(bench: Bench, outcome: Outcome) -> None:
    if found := outcome.attempt(bench, zoo.visited, 10 if bench.scale == "quick" else 1):
        outcome.trials, peak, slowest = found
        outcome.note = f"worker's peak {peak} MB, slowest picture {slowest:.2f} s"


@row("22", "broken models: bits flipped, cut off, external data, links, operators, shapes")
def _models(bench: Bench, outcome: Outcome) -> None:
    for what in models.BROKEN:
        outcome.attempt(bench, models.broken, what)
    refused = [outcome.attempt(bench, models.damaged, seed, ForkedWatch) for seed in bench.seeds(50, 500)]
    outcome.note = f"{sum(map(bool, refused))} of {len(refused)} damaged ones refused; the others made pictures"


@row("23", "a CUDA device (a stub) that fails: auto goes on with the CPU, cuda ends with 69")
def _device(bench: Bench, outcome: Outcome) -> None:
    for device in ["auto", "cuda"] * bench.of(1, 10):
        outcome.attempt(bench, faults.lost_device, device)


@row("24", "SIGTERM, SIGINT, each twice, SIGHUP, SIGSTOP, SIGCONT and SIGUSR1 in the middle of everything")
def _signals(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(10, 170):
        outcome.attempt(bench, kills.signalled, seed, ForkedWatch, weight=3)


@row("25", "two watches on the same folders")
def _two(bench: Bench, outcome: Outcome) -> None:
    for _ in bench.seeds(1, 10):
        outcome.attempt(bench, faults.two_at_once)


@row("26", "slow disks (FUSE): one system call takes 0.1 to 2 s on the input's or output's side", faults.no_fuse)
def _slow_disk(bench: Bench, outcome: Outcome) -> None:
    calls = [("output", call) for call in fuse_faults.OUTPUT_CALLS] + [("input", call) for call in fuse_faults.INPUT_CALLS]
    cases = [(side, call, seconds) for side, call in calls for seconds in (0.1, 0.5, 2.0)[: bench.of(1, 3)]]
    scans = [outcome.attempt(bench, machine.slow_disk, *case) or 0.0 for case in cases]
    outcome.note = f"scans of up to {max(scans):.1f} s"


@row("27", "soak, one file in a hundred bad; an hour, or a minute")
def _soak(bench: Bench, outcome: Outcome) -> None:
    seconds = bench.of(60, 3600)
    for inputs in ("keep", "move", "delete")[: bench.of(1, 3)]:
        if found := outcome.attempt(bench, bursts.soak, seconds, 4.0, inputs, weight=0):
            files, bad, samples = found
            outcome.trials += files
            outcome.note += f"{inputs}, {seconds} s: {bad} quarantined; {bursts.trend(samples)}. "


@row("28", "the ledger damaged, cut off, emptied or removed between two runs")
def _ledger(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(5, 100):
        outcome.attempt(bench, faults.damaged_ledger, seed)


@row("29", "a random walk against a model: write, append, rename, overwrite, delete, kill, start")
def _walk(bench: Bench, outcome: Outcome) -> None:
    examples = bench.of(20, 5000)
    outcome.attempt(bench, stateful.explore, examples, bench.seed, weight=examples)


def _fuzzed(bench: Bench, outcome: Outcome, targets: tuple[str, ...], seconds: int) -> None:
    """Run atheris for ``seconds`` on each target, in a process of its own."""
    for target in targets:
        folder = bench.trial()
        folder.mkdir()
        command = [sys.executable, "-m", "torture.fuzzer", target, str(seconds), str(folder)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", cwd=ROOT, timeout=2 * seconds + 120
        )
        runs = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
        if done.returncode or not runs:
            outcome.failures.append(target)
            click.echo(f"  FAILED: {target}, see {folder}: {(done.stdout + done.stderr)[-2000:]}", err=True)
            continue
        outcome.trials += int(runs[1])
        outcome.note += f"{target}: {int(runs[1]):,} in {runs[2]} s. "
        shutil.rmtree(folder, ignore_errors=True)


@row("30", "fuzzing (atheris) of decoding, network and encoding, from the zoo's pictures", fuzz.no_atheris)
def _fuzz_pictures(bench: Bench, outcome: Outcome) -> None:
    _fuzzed(bench, outcome, ("decode",), bench.of(60, 1800))


@row("31", "fuzzing of model files, ledger rows, the health file and options", fuzz.no_atheris)
def _fuzz_others(bench: Bench, outcome: Outcome) -> None:
    _fuzzed(bench, outcome, ("model", "ledger", "health", "options"), bench.of(10, 150))


@row("lat", "seconds from a file's closing to its claim; default options")
def _latency(bench: Bench, outcome: Outcome) -> None:
    files = bench.of(60, 300)
    for others in (0, 10_000)[: bench.of(1, 2)]:
        if found := outcome.attempt(bench, bursts.latency, files, others, weight=files):
            outcome.note += f"{others:,} others: p50 {found[files // 2]:.2f} s, p99 {found[files * 99 // 100]:.2f} s. "


@row("thr", "throughput against one Colorizer in one process, 640 x 480, the default model")
def _throughput(bench: Bench, outcome: Outcome) -> None:
    if found := outcome.attempt(bench, bursts.throughput, DEFAULT_MODEL, bench.of(3, 10)):
        outcome.trials = len(found)
        outcome.note = f"batches of 40; ratio {statistics.median(found):.2f} (median; {min(found):.2f} to {max(found):.2f})"


@click.command()
@click.option("--trials", "scale", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, help="Part of the full number of trials.")
@click.option("--only", help="Numbers of rows, separated by commas.")
@click.option("--seed", default=1, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the trials.  [default: /dev/shm if there is one]")
def main(scale: str, share: float, only: str | None, seed: int, folder: Path | None) -> None:
    """Mistreat the watch folder, and print a table of what was lost."""
    memory = Path("/dev/shm")
    base = folder or (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir()))
    wanted = only.split(",") if only else list(ROWS)
    if unknown := set(wanted) - set(ROWS):
        raise click.UsageError(f"There are no rows {', '.join(sorted(unknown))}; known: {', '.join(ROWS)}.")
    place = Path(tempfile.mkdtemp(prefix="torture-", dir=base))
    model = stub_model(place / "stub.onnx")
    bench = Bench(place, model, Golden(model), seed, scale, share)
    click.echo("| row | fault | trials | lost or wrong | s | |\n|---|---|---|---|---|---|")
    failed = 0
    for line, outcome in _outcomes(bench, wanted):
        failed += len(outcome.failures)
        click.echo(line)
    click.echo(f"\nseed {seed}, {scale}, share {share:g}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
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
