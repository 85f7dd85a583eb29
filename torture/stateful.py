"""A random walk (hypothesis) against a model of the inbox: whatever is done to files, disk and process, the oracle holds.

``python -m torture.stateful MODEL FOLDER EXAMPLES SEED`` walks alone; `explore` lets several walk at a time.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from torture.faults import ballast, no_mounts
from torture.forked import ForkedWatch
from torture.oracle import check_outputs, judge
from torture.rig import ROOT, Broken, Golden, Watch, mounted, picture

NAMES = st.sampled_from(["a.jpg", "b.png", "sub/a.jpg", "x\ny.webp"])
OPTIONS = ("--settle", "0.05", "--poll", "0.05", "--incomplete-timeout", "0.3", "--recursive", "--min-free", "0")


def machine(model: Path, golden: Golden, base: Path, disk: Path) -> type[RuleBasedStateMachine]:  # noqa: C901 - one rule each
    """The walk's rules, for this model, in folders below ``base``; outputs go below ``disk``, which is filled now and then."""

    class Walk(RuleBasedStateMachine):
        """What the inbox holds is kept in ``files``; ``versions`` is all that each name ever was."""

        def __init__(self) -> None:
            super().__init__()
            folder, outbox = Path(tempfile.mkdtemp(dir=base)), Path(tempfile.mkdtemp(dir=disk))
            self.watch = ForkedWatch(folder, model, *OPTIONS, outbox=outbox, state=folder / "state")
            self.files: dict[bytes, bytes] = {}
            self.versions: dict[bytes, list[bytes]] = {}
            self.running = False
            self.ballast: Path | None = None

        def _keep(self, name: str, data: bytes) -> None:
            self.files[os.fsencode(name)] = data
            self.versions.setdefault(os.fsencode(name), []).append(data)

        def _path(self, name: str) -> Path:
            path = self.watch.inbox / name
            path.parent.mkdir(exist_ok=True)
            return path

        @initialize()
        def begin(self) -> None:
            """It runs from the start."""
            self.start()

        @rule(name=NAMES, number=st.integers(0, 20))
        def put(self, name: str, number: int) -> None:
            """A file is renamed in, over another perhaps."""
            data = picture(number, Path(name).suffix)
            self.watch.put(name, data)
            self._keep(name, data)

        @rule(name=NAMES, number=st.integers(0, 20))
        def write(self, name: str, number: int) -> None:
            """A file is written in place, over another perhaps."""
            data = picture(number, Path(name).suffix)
            self._path(name).write_bytes(data)
            self._keep(name, data)

        @rule(name=NAMES, number=st.integers(0, 20), share=st.floats(0.1, 0.9))
        def half(self, name: str, number: int, share: float) -> None:
            """Half a file is written, and left."""
            data = picture(number, Path(name).suffix)
            data = data[: int(len(data) * share)]
            self._path(name).write_bytes(data)
            self._keep(name, data)

        @rule(name=NAMES, number=st.integers(0, 20))
        def append(self, name: str, number: int) -> None:
            """Something is appended, as by a writer that opens the file again."""
            before = self.files.get(os.fsencode(name))
            if before is not None:
                with self._path(name).open("ab") as file:
                    file.write(bytes([number]) * 10)
                self._keep(name, before + bytes([number]) * 10)

        @rule(old=NAMES, new=NAMES)
        def rename(self, old: str, new: str) -> None:
            """A file gets another name, over another perhaps."""
            data = self.files.get(os.fsencode(old))
            if data is not None and Path(old).suffix == Path(new).suffix:
                self._path(old).replace(self._path(new))
                del self.files[os.fsencode(old)]
                self._keep(new, data)

        @rule(name=NAMES)
        def delete(self, name: str) -> None:
            """A file goes."""
            self._path(name).unlink(missing_ok=True)
            self.files.pop(os.fsencode(name), None)

        @rule(after=st.floats(0, 0.2))
        def kill(self, after: float) -> None:
            """kill -9, after a moment."""
            time.sleep(after)
            self.watch.kill()
            self.running = False

        @rule(number=st.sampled_from([signal.SIGHUP, signal.SIGUSR1]))
        def signal(self, number: int) -> None:
            """A signal to scan everything again, or to log its state."""
            self._send(number)

        @rule(seconds=st.floats(0, 0.3))
        def stop(self, seconds: float) -> None:
            """Stopped for a moment, as by a pause of its machine."""
            self._send(signal.SIGSTOP)
            time.sleep(seconds)
            self._send(signal.SIGCONT)

        def _send(self, number: int) -> None:
            if self.running and self.watch.process is not None and self.watch.is_started():
                self.watch.process.send_signal(number)

        @rule()
        def fill(self) -> None:
            """No space is left for outputs, if they have a disk of their own."""
            if disk != base:
                self.ballast = self.ballast or ballast(disk)

        @rule()
        def heal(self) -> None:
            """There is space again."""
            if self.ballast:
                self.ballast.unlink()
            self.ballast = None

        @rule()
        def start(self) -> None:
            """It starts again, unless it runs."""
            if not self.running:
                self.watch.start()
                self.running = True

        @rule()
        def retouch(self) -> None:
            """Times change, contents do not."""
            for name in self.files:
                os.utime(os.path.join(os.fsencode(self.watch.inbox), name), (1, 1))

        @rule()
        def settle(self) -> None:
            """A while passes."""
            self._judge()

        def _judge(self) -> None:
            self.heal()
            self.start()
            self.watch.wait_ready().wait_quiet(60)
            expected, bad = {}, {}
            for name, data in self.files.items():
                expected[name] = data
                with contextlib.suppress(Exception):
                    golden(data)
                    continue
                bad[name] = "empty" if not data else "undecodable"
            check_outputs(
                self.watch, golden, {name: [d for d in all_ if _fine(golden, d)] for name, all_ in self.versions.items()}
            )
            gone = set(self.versions) - set(expected)
            _judge_present(self.watch, golden, expected, bad, gone)

        def teardown(self) -> None:
            """In the end all must be well."""
            try:
                self._judge()
                if self.watch.stop() != 0:
                    raise Broken("did not stop cleanly")
            finally:
                self.heal()
                self.watch.kill()
            shutil.rmtree(self.watch.folder, ignore_errors=True)  # kept when it failed
            shutil.rmtree(self.watch.outbox, ignore_errors=True)

    return Walk


def _fine(golden: Golden, data: bytes) -> bool:
    with contextlib.suppress(Exception):
        golden(data)
        return True
    return False


def _judge_present(watch: Watch, golden: Golden, expected: dict[bytes, bytes], bad: dict[bytes, str], gone: set[bytes]) -> None:
    """The oracle, where outputs of inputs that are gone or became bad may stay as they were."""
    stale = {name for name in gone | set(bad) if (watch.outbox / os.fsdecode(name)).exists()}
    aside = {}
    for name in stale:
        path = watch.outbox / os.fsdecode(name)
        aside[path] = path.read_bytes()
        path.unlink()
    try:
        judge(watch, golden, expected, bad)
    except Broken as error:
        known = any(text in str(error) for text in ("the outbox holds {b'sub'}", "the ledger knows"))
        if not (known and (gone or bad)):  # an emptied sub-folder stays
            raise
    finally:
        for path, data in aside.items():
            path.write_bytes(data)


def walk(base: Path, model: Path, golden: Golden, examples: int, start: int) -> str:
    """Walk ``examples`` times in this process; returns how the first walk failed, or nothing."""
    base.mkdir(parents=True, exist_ok=True)
    chosen = settings(
        max_examples=examples, stateful_step_count=12, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
    )  # fmt: skip
    place = contextlib.nullcontext(base) if no_mounts() else mounted(base / "disk", "tmpfs", "tmpfs", "size=1m")
    with place as disk:
        try:
            run_state_machine_as_test(seed(start)(machine(model, golden, base, disk)), settings=chosen)
        except (Broken, AssertionError) as error:
            return str(error) or type(error).__name__
    return ""


def explore(base: Path, model: Path, _golden: Golden, examples: int, start: int, at_once: int = 8) -> None:
    """Walk ``examples`` times, in several processes. Errors: Broken, with what failed first in each."""
    base.mkdir(parents=True, exist_ok=True)
    walkers = min(at_once, examples)  # they mostly wait
    shares = [examples // walkers + (number < examples % walkers) for number in range(walkers)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "torture.stateful", model, base / str(number), str(share), str(1000 * start + number)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        )
        for number, share in enumerate(shares)
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in running]
    if failed := [text for process, text in zip(running, outputs, strict=True) if process.returncode]:
        raise Broken("\n".join(failed))


if __name__ == "__main__":
    _model, _base = Path(sys.argv[1]), Path(sys.argv[2])
    if _failure := walk(_base, _model, Golden(_model), int(sys.argv[3]), int(sys.argv[4])):
        print(_failure)
        sys.exit(1)
