"""Rows of the table of trials: kills of the supervisor and of workers, and power cuts. Importing this registers them."""

import random
import shutil
import statistics

from torture import kills, power
from torture.rig import Broken
from torture.rows import Bench, Outcome, row


@row("1", "kill -9 of the supervisor at random moments")
def _random_kills(bench: Bench, outcome: Outcome) -> None:
    for seed in bench.seeds(1, 50):
        outcome.attempt(bench, kills.at_random, seed, 20, weight=20)
    outcome.note = "20 kills a folder"


@row("2", "kill -9 right after each named step, for keep, move and delete")
def _steps(bench: Bench, outcome: Outcome) -> None:
    chance = random.Random(bench.seed)
    for _ in bench.seeds(1, 15):
        for inputs in ("keep", "move", "delete"):
            for step in range(1, 10 if inputs != "keep" else 8):
                outcome.attempt(bench, kills.at_step, step, chance.randint(1, 4), inputs)


@row("2v", "the same at each step of a file's second version")
def _versions(bench: Bench, outcome: Outcome) -> None:
    for _ in bench.seeds(1, 10):
        for step in range(1, 8):
            outcome.attempt(bench, kills.between_versions, step)


@row("3", "kill -9 of a worker at random moments")
def _worker_kills(bench: Bench, outcome: Outcome) -> None:
    restarts: list[float] = []
    for seed in bench.seeds(1, 20):
        restarts += outcome.attempt(bench, kills.of_workers, seed, 25, weight=25) or []
    if restarts:
        outcome.note = f"a new worker after {statistics.median(restarts):.2f} s (median), {max(restarts):.2f} s at most"


@row("4", "a file that takes its worker down: segfault, abort, hang, memory")
def _poison(bench: Bench, outcome: Outcome) -> None:
    for _ in bench.seeds(1, 25):
        for how in kills.POISONS:
            outcome.attempt(bench, kills.by_poison, how)


@row("5", "power cuts, ext4 and xfs, for keep, move and delete", power.missing)
def _power(bench: Bench, outcome: Outcome) -> None:
    trials, checked = bench.of(5, 60), 0
    for inner, inputs in (("ext4", "keep"), ("xfs", "keep"), ("ext4", "move"), ("ext4", "delete"), ("xfs", "delete")):
        checked += outcome.attempt(bench, power.cuts, bench.seed, trials, inner, inputs, weight=trials) or 0
    outcome.note = f"{checked:,} rows in state done, each with its output"


@row("5c", "control of row 5: the same with an fsync that does nothing must lose", power.missing)
def _power_control(bench: Bench, outcome: Outcome) -> None:
    outcome.trials = 1
    folder = bench.trial()
    try:
        power.cuts(folder, bench.model, bench.golden, bench.seed, 20, "ext4", site="nosync")
    except Broken as error:
        outcome.note = f"lost, as it must: {error}"
        shutil.rmtree(folder, ignore_errors=True)
    else:
        outcome.failures.append("the rig finds nothing")
