"""The watch folder under faults: the short tier of ``python -m torture``, and every seed that ever found a bug."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from torture import faults, fuse_faults, fuzz, kills, machine, models, power, stateful, writers, zoo
from torture.oracle import judge
from torture.rig import Broken, Golden, Watch

needs_mounts = pytest.mark.skipif(bool(faults.no_mounts()), reason=faults.no_mounts())
needs_fuse = pytest.mark.skipif(bool(faults.no_fuse()), reason=faults.no_fuse())
needs_loops = pytest.mark.skipif(bool(power.missing()), reason=power.missing())


def together(trials: list[Callable[[], object]]) -> None:
    """Several trials at a time: they mostly wait."""
    with ThreadPoolExecutor(4) as pool:
        for outcome in [pool.submit(trial) for trial in trials]:
            outcome.result()


def test_a_kill_after_any_step_loses_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(kills.at_step, tmp_path / str(step), stub, golden, step, 2) for step in range(1, 8)])


def test_a_kill_while_inputs_are_disposed_of(tmp_path: Path, stub: Path, golden: Golden) -> None:
    cases = [(7, "move"), (8, "move"), (9, "move"), (9, "delete")]
    together([partial(kills.at_step, tmp_path / f"{step}{way}", stub, golden, step, 2, way) for step, way in cases])


def test_an_earlier_output_is_not_taken_for_a_new_version_s(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(kills.between_versions, tmp_path / str(step), stub, golden, step) for step in (1, 3, 4, 5)])


def test_kills_at_random_moments(tmp_path: Path, stub: Path, golden: Golden) -> None:
    kills.at_random(tmp_path / "w", stub, golden, seed=1, kills=4)


def test_a_killed_worker_costs_one_file_one_try(tmp_path: Path, stub: Path, golden: Golden) -> None:
    kills.of_workers(tmp_path / "w", stub, golden, seed=1, kills=2)


def test_a_stopped_supervisor_blames_no_file(tmp_path: Path, stub: Path, golden: Golden) -> None:
    kills.stopped(tmp_path / "w", stub, golden)


def test_a_file_that_takes_its_worker_down_is_quarantined_alone(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(kills.by_poison, tmp_path / how, stub, golden, how) for how in kills.POISONS])


def test_slow_writers_are_never_half_read(tmp_path: Path, stub: Path, golden: Golden) -> None:
    writers.slow(tmp_path / "w", stub, golden, seed=1, files=60, longest=3.0, at_once=60)


def test_real_tools(tmp_path: Path, stub: Path, golden: Golden) -> None:
    tools = ["rename over", "hard link", "cp -p", *(["rsync", "rsync --inplace"] if shutil.which("rsync") else [])]
    together([partial(writers.delivered, tmp_path / tool, stub, golden, tool, 10) for tool in tools])


def test_the_last_of_many_versions_wins(tmp_path: Path, stub: Path, golden: Golden) -> None:
    writers.overwritten(tmp_path / "w", stub, golden, seed=1, versions=20)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, stub: Path, golden: Golden) -> None:
    writers.changed_while_read(tmp_path / "w", stub, golden)


def test_hostile_names(tmp_path: Path, stub: Path, golden: Golden) -> None:
    writers.named(tmp_path / "w", stub, golden, seed=1, extra=40)


@pytest.mark.skipif(bool(machine.no_faketime()), reason=machine.no_faketime())
def test_a_clock_that_jumps_has_no_effect(tmp_path: Path, stub: Path, golden: Golden) -> None:
    machine.jumping_clock(tmp_path / "w", stub, golden, seed=1, jumps=1)


def test_links_pipes_devices_and_folders_are_left_alone(tmp_path: Path, stub: Path, golden: Golden) -> None:
    writers.kinds(tmp_path / "w", stub, golden)


def test_the_zoo(tmp_path: Path, stub: Path, golden: Golden) -> None:
    zoo.visited(tmp_path / "w", stub, golden, step=25)


@needs_mounts
def test_a_full_disk_blocks_and_heals(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(faults.full_output, tmp_path / kind, stub, golden, kind) for kind in ("bytes", "inodes")])


@needs_mounts
def test_a_full_disk_below_the_ledger_blocks_and_heals(tmp_path: Path, stub: Path, golden: Golden) -> None:
    faults.full_state(tmp_path / "w", stub, golden)


def test_an_output_folder_that_is_exchanged_is_never_written_through(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(faults.output_gone, tmp_path / how, stub, golden, how) for how in ("moved", "linked")])


def test_a_lost_input_folder_infers_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    faults.source_gone(tmp_path / "w", stub, golden, "moved")


@needs_fuse
def test_failing_system_calls_heal(tmp_path: Path, stub: Path, golden: Golden) -> None:
    # A failing stat of the output folder once ended the watch, which found its own lock in the way, and now and then
    # left temporaries for ever; one of an input between its opening and its claim once left that file waiting for ever.
    cases = [("output", "fsync", 5, 1.0), ("output", "stat", 5, 1.0), ("output", "stat", 13, 0.1), ("input", "read", 5, 1.0),
             ("input", "stat", 13, 0.3)]  # fmt: skip
    together([partial(fuse_faults.failing_call, tmp_path / f"{i}", stub, golden, *case) for i, case in enumerate(cases)])


@needs_fuse
def test_a_share_that_another_machine_writes_to(tmp_path: Path, stub: Path, golden: Golden) -> None:
    fuse_faults.remote_writer(tmp_path / "w", stub, golden, files=6)


@needs_loops
def test_power_cuts(tmp_path: Path, stub: Path, golden: Golden) -> None:
    power.cuts(tmp_path / "w", stub, golden, seed=1, trials=4, inner="ext4")


def test_a_damaged_ledger_is_rebuilt_or_refused(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(faults.damaged_ledger, tmp_path / str(seed), stub, golden, seed) for seed in (1, 2, 5)])


def test_a_lost_device_is_reported_and_counts_against_no_file(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(faults.lost_device, tmp_path / device, stub, golden, device) for device in ("auto", "cuda")])


def test_signals_in_the_middle_of_everything(tmp_path: Path, stub: Path, golden: Golden) -> None:
    together([partial(kills.signalled, tmp_path / str(seed), stub, golden, seed) for seed in (1, 2, 3)])


def test_broken_models_are_refused_with_a_sentence(tmp_path: Path, stub: Path, golden: Golden) -> None:
    whats = ["empty", "a string of two gigabytes", "external data above it", "external data by a hard link", "two channels"]
    together([partial(models.broken, tmp_path / str(i), stub, golden, what) for i, what in enumerate(whats)])


@needs_fuse
def test_a_slow_disk_is_no_broken_one(tmp_path: Path, stub: Path, golden: Golden) -> None:
    cases = [("output", "fsync", 0.5), ("input", "read", 0.5)]
    together([partial(machine.slow_disk, tmp_path / case[0], stub, golden, *case) for case in cases])


@pytest.mark.skipif(bool(machine.no_fiu()), reason=machine.no_fiu())
def test_a_failing_c_library_loses_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    machine.failing_library(tmp_path / "w", stub, golden, 1, "posix/io/*", 0.01)


def test_no_memory_while_an_answer_is_read_loses_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    # Answers that had been taken out of the line, but not yet acted on, left their files claimed for ever,
    # and temporaries were left in the outbox where the ledger could not be written for want of memory.
    machine.scarce_memory(tmp_path / "w", stub, golden)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_bytes_are_foreseen(target: str) -> None:
    # Metadata of a model that were no UTF-8, numbers in the ledger where names belong, and a health file that held a list
    # once were internal errors.
    for data in fuzz.mutated(target, 100, seed=2):
        fuzz.TARGETS[target][0](data)


def test_two_watches_do_not_share_folders(tmp_path: Path, stub: Path, golden: Golden) -> None:
    faults.two_at_once(tmp_path / "w", stub, golden)


def test_a_random_walk(tmp_path: Path, stub: Path, golden: Golden) -> None:
    stateful.explore(tmp_path, stub, golden, examples=6, start=1, at_once=2)


def test_the_oracle_sees_what_is_wrong(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path / "w", stub, *kills.QUICK, "--once")
    made = kills.fill(watch, 3)
    assert watch.run_once() == 0
    judge(watch, golden, made)
    output = watch.outbox / "p1.jpg"
    whole = output.read_bytes()
    for change, message in (
        (lambda: output.write_bytes(whole[:-9]), "wrong"),
        (output.unlink, "missing"),
        (lambda: (output.write_bytes(whole), (watch.outbox / ".cz-1-0").touch()), "the outbox holds"),
    ):
        change()
        with pytest.raises(Broken, match=message):
            judge(watch, golden, made)
