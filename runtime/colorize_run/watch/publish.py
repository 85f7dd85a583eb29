"""What workers say of their files, and writing what they made.

The order of writing is what makes kills and power cuts harmless: (1) claim, (2) work, (3) write and fsync a temporary,
(4) its digest into the ledger, (5) rename, (6) fsync the folder, (7) done, (8) only then dispose of the input. Outputs
that come together take each step together: one commit, and one fsync of a folder, for all of them.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from colorize_run.system import durable
from colorize_run.watch.inbox import generation
from colorize_run.watch.intake import Intake
from colorize_run.watch.jobs import Answer, Job
from colorize_run.watch.ledger import Work
from colorize_run.watch.lifecycle import remove_reason
from colorize_run.watch.outbox import Origin
from colorize_run.watch.pending import Item
from colorize_run.watch.storage import BlockedError


@dataclass
class _Made:
    """One output on its way: its item, the answer that holds its bytes, what the ledger shall know, its temporary name."""

    item: Item
    answer: Answer
    work: Work
    temporary: bytes = b""
    seconds: float = 0.0


class Publisher:
    """Acts on answers of workers."""

    def __init__(self, intake: Intake) -> None:
        self.intake, self.storage, self.lifecycle = intake, intake.storage, intake.lifecycle
        self.settings, self.telemetry = intake.settings, intake.telemetry
        self.last_done: float | None = None

    def died(self, job: Job, err_class: str, err: str) -> None:
        """The worker died of a file, or was killed for it."""
        item = self.intake.in_flight.pop(job.name)
        job.close()
        with contextlib.suppress(BlockedError):
            self.lifecycle.strike(item, err_class, err, {})

    def answered(self, answers: list[Answer]) -> None:
        """Act on what workers say of their files."""
        made: list[_Made] = []
        for answer in answers:
            job = answer.job
            assert job is not None
            item = self.intake.in_flight.pop(job.name)
            try:
                self._guarded(item, answer, partial(self._act, item, job, answer, made))
            finally:
                job.close()
        if made:
            self._publish(made)

    def _guarded(self, item: Item, answer: Answer, act: Callable[[], None]) -> bool:
        """Whether ``act`` went well; whatever it raises holds up the folder or costs the file a try, and nothing else."""
        try:
            act()
        except BlockedError:
            self.lifecycle.again(item)
        except OSError as error:
            self.storage.block("output", error.strerror or str(error), need=len(answer.body))
            self.lifecycle.again(item)
        except Exception as error:
            self.lifecycle.bug(item, error)
        else:
            return True
        return False

    def _is_current(self, item: Item, job: Job) -> bool:
        """Whether the bytes that were worked on are still the file's."""
        try:
            now = generation(durable.stat_beneath(self.intake.source.fd, item.name))
            read = generation(os.fstat(job.fd))
        except FileNotFoundError:
            self.lifecycle.vanished(item)
            return False
        except OSError as error:
            self.lifecycle.retry(item, error)
            return False
        if now == read == item.gen:
            return True
        self.telemetry.count("files", "superseded")
        self.telemetry.event("superseded", item.name, gen=now, state="settling")
        self.lifecycle.renew(item, now)
        return False

    def _act(self, item: Item, job: Job, answer: Answer, made: list[_Made]) -> None:
        if not self._is_current(item, job):
            return
        header = answer.header
        kind, err = header["kind"], str(header.get("error", ""))
        if kind == "done":
            made.append(self._stage(item, answer))
        elif kind == "same":
            self._confirm(item, job)
        elif kind == "input":
            self.lifecycle.retry(item, OSError(header["errno"], err))
        elif kind in ("too_big", "too_many_pixels", "too_long"):
            self.lifecycle.quarantine(item, kind, err, header)
        elif kind == "undecodable":
            self.lifecycle.incomplete(item, kind, err, header)
        elif kind == "device":
            self.lifecycle.again(item)
        elif kind == "memory":
            self.lifecycle.strike(item, kind, err, header)
        else:
            self.telemetry.count("bugs")
            self.telemetry.event("bug", item.name, err_class="bug", err=err, trace=header.get("trace"))
            self.lifecycle.strike(item, "bug", err, header)

    def _stage(self, item: Item, answer: Answer) -> _Made:
        """Step 3."""
        header, start = answer.header, time.monotonic()
        name = self.settings.output_name(item.name)
        work = Work(name, header["sha"], header["out_sha"], header["model_sha"], self.settings.options_key)
        temporary = self.storage.outbox.stage(name, answer.body, Origin.of(work))
        return _Made(item, answer, work, temporary, time.monotonic() - start)

    def _publish(self, made: list[_Made]) -> None:
        """Steps 4 to 8."""
        start = time.monotonic()
        try:
            with self.storage.state() as ledger:
                ledger.written([(each.item.name, each.work) for each in made])
        except BaseException as error:
            for each in made:
                self.storage.outbox.discard(each.temporary, each.work.out)
                self.lifecycle.again(each.item)
            if isinstance(error, BlockedError):
                return
            raise
        made = self._renamed(made)
        try:
            with self.storage.state() as ledger:
                ledger.done([each.item.name for each in made])
        except BlockedError:
            for each in made:
                self.lifecycle.again(each.item)
            return
        for each in made:
            each.seconds += (time.monotonic() - start) / len(made)
            self._guarded(each.item, each.answer, partial(self._report, each))

    def _renamed(self, made: list[_Made]) -> list[_Made]:
        """Steps 5 and 6: those that have their names, durably."""
        failed = self.storage.outbox.publish([(each.temporary, each.work.out) for each in made])
        for each in made:
            if error := failed.get(each.temporary):
                self.storage.block("output", error.strerror or str(error), need=len(each.answer.body))
                self.lifecycle.again(each.item)
        return [each for each in made if each.temporary not in failed]

    def _report(self, made: _Made) -> None:
        header = made.answer.header
        seconds = {stage: value for stage, value in header["seconds"].items() if stage in ("decode", "encode")}
        seconds["infer"] = header["seconds"]["all"] - sum(seconds.values())
        seconds["fsync"] = made.seconds
        for stage, value in seconds.items():
            self.telemetry.observe(stage, value)
        for note in header["notes"]:
            self.telemetry.event("note", made.item.name, note=note)
        self._finished(made.item, made.work, "done", made.answer.seconds)

    def _confirm(self, item: Item, job: Job) -> None:
        """The file was touched, or its share mounted anew, but its bytes are those whose output is in place."""
        before = job.before
        assert before is not None
        with self.storage.state() as ledger:
            ledger.written([(item.name, before)])
            ledger.done([item.name])
        self._finished(item, before, "same", 0.0)

    def _finished(self, item: Item, work: Work, event: str, seconds: float) -> None:
        self.lifecycle.settle(item)
        self.last_done = time.time()
        self.telemetry.count("files", event)
        took = round(seconds * 1000, 1)
        self.telemetry.event(event, item.name, gen=item.gen, sha=work.sha, out_sha=work.out_sha, state="done", ms=took)
        remove_reason(self.storage.state_fd, item.name)
        self.lifecycle.disposer.done(item.name, item.gen)
