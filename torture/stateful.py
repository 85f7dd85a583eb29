"""A random walk against a model (hypothesis): whatever happens to the folder, in the end every file has its state."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from torture.rig import Broken, Golden, Watch, check_outputs, judge, picture

NAMES = st.sampled_from(["a.jpg", "b.png", "sub/a.jpg", "x\ny.webp"])
OPTIONS = ("--settle", "0.05", "--poll", "0.05", "--incomplete-timeout", "0.3", "--recursive", "--min-free", "0")


def machine(model: Path, golden: Golden, base: Path) -> type[RuleBasedStateMachine]:  # noqa: C901 - one rule each
    """The walk's rules, for this model, in folders below ``base``."""

    class Walk(RuleBasedStateMachine):
        """What the inbox holds is kept in ``files``; ``versions`` is all that each name ever was."""

        def __init__(self) -> None:
            super().__init__()
            self.watch = Watch(Path(tempfile.mkdtemp(dir=base)), model, *OPTIONS)
            self.files: dict[bytes, bytes] = {}
            self.versions: dict[bytes, list[bytes]] = {}
            self.running = False

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
            """Something is appended, as by a writer that opens the file anew."""
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

        @rule()
        def kill(self) -> None:
            """kill -9."""
            self.watch.kill()
            self.running = False

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
            self.start()
            self.watch.wait_ready().wait_quiet(30)
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
                self.watch.kill()
                shutil.rmtree(self.watch.folder, ignore_errors=True)

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


def explore(base: Path, model: Path, golden: Golden, examples: int, start: int) -> str:
    """Walk ``examples`` times; what failed first, made as small as it gets, or nothing."""
    base.mkdir(parents=True, exist_ok=True)
    walk = settings(
        max_examples=examples, stateful_step_count=12, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(start)(machine(model, golden, base)), settings=walk)
    except (Broken, AssertionError) as error:
        return str(error)
    return ""
