"""Kills: of the supervisor at random and at every named step, of workers, and by files that take their worker down."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torture.oracle import check_outputs, judge, judge_given_up
from torture.rig import Broken, Golden, Watch, children, is_zombie, picture, wait_for

QUICK = ("--settle", "0.05", "--poll", "0.05")
POISONS = {"segv": "crash", "abort": "crash", "hang": "timeout", "memory": "memory"}
RESTART = 10.0  # seconds that a new worker may take; mostly the loading of onnxruntime on a busy machine


def fill(watch: Watch, count: int, first: int = 0) -> dict[bytes, bytes]:
    """Pictures in the inbox; name -> bytes."""
    made = {}
    for number in range(first, first + count):
        name, data = f"p{number}.jpg", picture(number % 300)
        watch.put(name, data)
        made[name.encode()] = data
    return made


def at_step(folder: Path, model: Path, golden: Golden, step: int, count: int, inputs: str = "keep") -> None:
    """kill -9 right after the ``count``-th time that step 1 to 8 was taken; then a run to the end."""
    options: tuple[str, ...] = (*QUICK, "--once")
    if inputs == "move":
        (folder / "gone").mkdir(parents=True)
        options = (*options, "--input", "move", "--done-dir", str(folder / "gone"))
    elif inputs == "delete":
        options = (*options, "--input", "delete")
    watch = Watch(folder, model, *options, site="crash", TORTURE_STEP=f"{step}:{count}")
    made = fill(watch, 8 * count)  # up to eight are claimed and written at once
    if watch.run_once() != -signal.SIGKILL:
        raise Broken(f"step {step} was not taken {count} times")
    again = Watch(folder, model, *options)
    if inputs == "keep":
        check_outputs(again, golden)
    code = again.run_once()
    if code != 0:
        raise Broken(f"exit code {code} after a kill at step {step}")
    if inputs == "keep":
        judge(again, golden, made)
        return
    judge_disposed(again, golden, made, folder / "gone" if inputs == "move" else None)


def between_versions(folder: Path, model: Path, golden: Golden, step: int) -> None:
    """kill -9 at a step of a file's second version: the first one's output is not taken for it."""
    first = Watch(folder, model, *QUICK, "--once")
    fill(first, 12)
    if first.run_once() != 0:
        raise Broken("the first run failed")
    made = {f"p{number}.jpg".encode(): picture(100 + number) for number in range(12)}
    for name, data in made.items():
        first.put(name, data)
    if Watch(folder, model, *QUICK, "--once", site="crash", TORTURE_STEP=f"{step}:2").run_once() != -signal.SIGKILL:
        raise Broken(f"step {step} was not taken twice")
    again = Watch(folder, model, *QUICK, "--once")
    if again.run_once() != 0:
        raise Broken("the last run failed")
    judge(again, golden, made)


def judge_disposed(
    watch: Watch, golden: Golden, made: dict[bytes, bytes], gone: Path | None, quarantined: Mapping[bytes, str] | None = None
) -> None:
    """Each output right, under its own name and no other; each input gone from the inbox, and moved whole.

    Those to be ``quarantined`` are left, with their reasons.
    """
    bad = {name: made[name] for name in quarantined or {}}
    judge_given_up(watch, quarantined or {})
    made = {name: data for name, data in made.items() if name not in bad}
    check_outputs(watch, golden, {name: [data] for name, data in made.items()})
    outputs = {os.fsencode(path.name) for path in watch.outbox.iterdir()} - {b".colorize-run"}
    if outputs != set(made):
        raise Broken(f"outputs {outputs ^ set(made)} are missing or too many")
    if (left := {path.name.encode(): path.read_bytes() for path in watch.inbox.iterdir()}) != bad:
        raise Broken(f"left in the inbox: {set(left) ^ set(bad)}")
    if gone is not None and {path.name.encode(): path.read_bytes() for path in gone.iterdir()} != made:
        raise Broken("the inputs that were moved are not those that were put in")


def at_random(
    folder: Path, model: Path, golden: Golden, seed: int, kills: int, span: tuple[float, float] = (0.05, 1.6)
) -> None:
    """kill -9 ``kills`` times at random moments while files keep coming; then a run to the end."""
    chance = random.Random(seed)
    watch = Watch(folder, model, *QUICK)
    made: dict[bytes, bytes] = {}
    for _ in range(kills):
        made |= fill(watch, chance.randint(1, 8), len(made))
        watch.start()
        time.sleep(chance.uniform(*span))
        watch.kill()
        check_outputs(watch, golden)
        if bad := [name for name, row in watch.rows().items() if row["state"] == "quarantined"]:
            raise Broken(f"good files were quarantined: {bad}")
    with watch:
        watch.wait_ready().wait_quiet()
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made)


def of_workers(folder: Path, model: Path, golden: Golden, seed: int, kills: int) -> list[float]:
    """kill -9 of the worker only, while it works; returns the seconds until a new one was ready.

    No file is struck that was not in that worker's hands, and none is quarantined for one death.
    """
    chance = random.Random(seed)
    watch = Watch(folder, model, *QUICK)
    made, restarts = fill(watch, 20), []
    with watch:
        assert watch.process is not None
        watch.wait_event("worker_ready")
        for _ in range(kills):
            made |= fill(watch, 6, len(made))
            time.sleep(chance.uniform(0.05, 0.4))
            ready = len(watch.events("worker_ready"))
            for pid in children(watch.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            restarts.append(wait_for(lambda ready=ready: len(watch.events("worker_ready")) > ready, RESTART, "no new worker"))
        watch.wait_quiet()
        struck = len(watch.events("strike"))
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    if struck > kills:
        raise Broken(f"{struck} strikes for {kills} deaths")
    twice = {name: row["err_class"] for name, row in watch.rows().items() if row["strikes"] >= 2}
    judge(watch, golden, made, twice)
    if len(twice) > max(1, kills // 20):
        raise Broken(f"{len(twice)} files were hit twice by {kills} random kills")
    return restarts


def stopped(folder: Path, model: Path, golden: Golden) -> None:
    """The supervisor is stopped for longer than a picture may take, as in a pause of its machine: no file is blamed."""
    watch = Watch(folder, model, *QUICK, "--timeout", "1.5")
    made = fill(watch, 6)
    with watch:
        assert watch.process is not None
        watch.wait_event("claimed")
        watch.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        watch.process.send_signal(signal.SIGCONT)
        watch.wait_quiet()
        watch.stop()
    judge(watch, golden, made)
    if watch.events("strike"):
        raise Broken("a pause was held against a file")


def by_poison(folder: Path, model: Path, golden: Golden, how: str) -> None:
    """One file that takes its worker down among good ones: quarantined after two tries, the others all done."""
    watch = Watch(folder, model, *QUICK, "--timeout", "5", site="poison")
    made = fill(watch, 6)
    name = b"p2a.jpg"
    made[name] = picture(999) + b"POISON:" + how.encode()
    watch.put(name, made[name])
    with watch:
        assert watch.process is not None
        watch.wait_quiet()
        if is_zombie(watch.process.pid):
            raise Broken("the supervisor went down, too")
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made, {name: POISONS[how]})
    if struck := {event["name"] for event in watch.events("strike")} - {name.decode()}:
        raise Broken(f"innocent files were struck: {struck}")
    if len(watch.events("strike")) != 2:
        raise Broken("it was not tried exactly twice")


def signalled(folder: Path, model: Path, golden: Golden, seed: int, make: Callable[..., Watch] = Watch) -> None:
    """Signals of all kinds at any moment: a stop signal ends the watch in time with its exit code, and nothing is lost."""
    chance = random.Random(seed)
    watch = make(folder, model, *QUICK)
    made: dict[bytes, bytes] = {}
    for _ in range(3):
        made |= fill(watch, chance.randint(1, 6), len(made))
        with watch:
            wait_for(watch.is_started, 30, "does not start")
            if chance.random() < 0.7:
                watch.wait_ready()
            for _ in range(chance.randint(0, 6)):
                number = chance.choice((signal.SIGUSR1, signal.SIGHUP, signal.SIGSTOP, signal.SIGCONT))
                _send(watch, number)
                time.sleep(chance.uniform(0, 0.1))
            _send(watch, signal.SIGCONT)
            _told_to_stop(watch, chance)
        if any(row["strikes"] or row["state"] == "quarantined" for row in watch.rows().values()):
            raise Broken("a signal was held against a file")
    with watch:
        watch.wait_ready().wait_quiet()
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made)


def _told_to_stop(watch: Watch, chance: random.Random) -> None:
    """SIGTERM or SIGINT, a second one perhaps; the exit code must be theirs, and come soon."""
    first, second = chance.choice((signal.SIGTERM, signal.SIGINT)), chance.choice((None, signal.SIGTERM, signal.SIGINT))
    _send(watch, first)
    allowed = {0}
    if second is not None:
        time.sleep(chance.uniform(0, 0.05))
        _send(watch, second)
        allowed |= {128 + second, -second}  # of the signal itself, once nothing is left but to end
        allowed |= {128 + first, -first}  # they may be obeyed in the order of their numbers
    assert watch.process is not None
    if (code := watch.process.wait(30)) not in allowed:
        raise Broken(f"exit code {code} after {first!r} and {second!r}")


def _send(watch: Watch, number: int) -> None:
    assert watch.process is not None
    watch.process.send_signal(number)
