"""Handles the answers of workers and writes their outputs.

The order of writing makes kills and power cuts harmless: (1) claim, (2) convert, (3) write a temporary file and fsync it,
(4) record its digest in the ledger, (5) rename it, (6) fsync the folder, (7) record that it is done, (8) only then move or
delete the input. Outputs that arrive together take each step together: one commit, and one fsync of a folder, for all of them.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from colorize_run.watch.generation import generation, generation_beneath
from colorize_run.watch.intake import Intake
from colorize_run.watch.jobs import Answer, Job
from colorize_run.watch.ledger import Work
from colorize_run.watch.lifecycle import remove_reason
from colorize_run.watch.outbox import Origin
from colorize_run.watch.pending import Item
from colorize_run.watch.storage import BlockedError


@dataclass
class _Output:
    """One output on its way: its item, the answer with its bytes, its record for the ledger, and its temporary name."""

    item: Item
    answer: Answer
    work: Work
    temporary: bytes = b""
    seconds: float = 0.0


class Publisher:
    """Acts on the answers of workers. ``last_done``: Unix time of the last finished file."""

    def __init__(self, intake: Intake) -> None:
        self.intake, self.storage, self.lifecycle = intake, intake.storage, intake.lifecycle
        self.settings, self.telemetry = intake.settings, intake.telemetry
        self.last_done: float | None = None

    def worker_died(self, job: Job, err_class: str, err: str) -> None:
        """The worker crashed while it converted this file, or was killed because of it."""
        item = self.intake.in_flight.pop(job.name)
        job.close()
        with contextlib.suppress(BlockedError):
            self.lifecycle.strike(item, err_class, err, {})

    def handle(self, answers: list[Answer]) -> None:
        """Act on answers about files, and publish the outputs among them."""
        outputs: list[_Output] = []
        for answer in answers:
            job = answer.job
            assert job is not None
            item = self.intake.in_flight.pop(job.name)
            try:
                with self._contained(item, answer):
                    if self._is_current(item, job):
                        self._act(item, job, answer, outputs)
            finally:
                job.close()
        if outputs:
            self._publish(outputs)

    @contextlib.contextmanager
    def _contained(self, item: Item, answer: Answer) -> Iterator[None]:
        """Contain errors: they block the watch, or cost this one file a try; they never affect other files."""
        try:
            yield
        except BlockedError:
            self.lifecycle.requeue(item)
        except OSError as error:
            self.storage.block("output", error.strerror or str(error), need=len(answer.body))
            self.lifecycle.requeue(item)
        except Exception as error:
            self.lifecycle.bug(item, error)

    def _is_current(self, item: Item, job: Job) -> bool:
        """Whether the file still has the bytes that were converted; if not, it is handled as changed or gone."""
        try:
            current = generation_beneath(self.intake.source.fd, item.name)
            converted = generation(os.fstat(job.fd))
        except FileNotFoundError:
            self.lifecycle.vanished(item)
            return False
        except OSError as error:
            self.lifecycle.retry(item, error)
            return False
        if current == converted == item.gen:
            return True
        self.telemetry.count("files", "superseded")
        self.telemetry.event("superseded", item.name, gen=current, state="settling")
        self.lifecycle.changed(item, current)
        return False

    def _act(self, item: Item, job: Job, answer: Answer, outputs: list[_Output]) -> None:
        """Act on one answer; an output is staged and added to ``outputs``. Errors: BlockedError, OSError."""
        header = answer.header
        err = str(header.get("error", ""))
        match header["kind"]:
            case "done":
                outputs.append(self._stage(item, answer))
            case "same":
                self._confirm(item, job)
            case "device":
                self.lifecycle.requeue(item)
            case "input":
                self.lifecycle.retry(item, OSError(header["errno"], err))
            case "undecodable":
                self.lifecycle.incomplete(item, "undecodable", err, header)
            case "too_big" | "too_many_pixels" | "too_long" as kind:
                self.lifecycle.quarantine(item, kind, err, header)
            case "memory":
                self.lifecycle.strike(item, "memory", err, header)
            case _:
                self.telemetry.count("bugs")
                self.telemetry.event("bug", item.name, err_class="bug", err=err, trace=header.get("trace"))
                self.lifecycle.strike(item, "bug", err, header)

    def _stage(self, item: Item, answer: Answer) -> _Output:
        """Step 3."""
        header, start = answer.header, time.monotonic()
        name = self.settings.output_name(item.name)
        work = Work(name, header["sha"], header["out_sha"], header["model_sha"], self.settings.options_key)
        temporary = self.storage.outbox.stage(name, answer.body, Origin.of(work))
        return _Output(item, answer, work, temporary, time.monotonic() - start)

    def _publish(self, outputs: list[_Output]) -> None:
        """Steps 4 to 8."""
        start = time.monotonic()
        try:
            with self.storage.state() as ledger:
                ledger.written([(output.item.name, output.work) for output in outputs])
        except BaseException as error:
            for output in outputs:
                self.storage.outbox.discard(output.temporary, output.work.out)
                self.lifecycle.requeue(output.item)
            if isinstance(error, BlockedError):
                return
            raise
        outputs = self._rename(outputs)
        try:
            with self.storage.state() as ledger:
                ledger.done([output.item.name for output in outputs])
        except BlockedError:
            for output in outputs:
                self.lifecycle.requeue(output.item)
            return
        for output in outputs:
            output.seconds += (time.monotonic() - start) / len(outputs)
            with self._contained(output.item, output.answer):
                self._report(output)

    def _rename(self, outputs: list[_Output]) -> list[_Output]:
        """Steps 5 and 6; returns the outputs that now have their names, durably."""
        failed = self.storage.outbox.publish([(output.temporary, output.work.out) for output in outputs])
        for output in outputs:
            if error := failed.get(output.temporary):
                self.storage.block("output", error.strerror or str(error), need=len(output.answer.body))
                self.lifecycle.requeue(output.item)
        return [output for output in outputs if output.temporary not in failed]

    def _report(self, output: _Output) -> None:
        """Record times and notes of a published output, and step 8."""
        header = output.answer.header
        seconds = {stage: value for stage, value in header["seconds"].items() if stage in ("decode", "encode")}
        seconds["infer"] = header["seconds"]["all"] - sum(seconds.values())
        seconds["fsync"] = output.seconds
        for stage, value in seconds.items():
            self.telemetry.observe(stage, value)
        for note in header["notes"]:
            self.telemetry.event("note", output.item.name, note=note)
        self._finish(output.item, output.answer.job, output.work, "done", output.answer.seconds)

    def _confirm(self, item: Item, job: Job) -> None:
        """Only the file's times or its share's device number changed: the output of the same bytes is in place."""
        assert job.existing is not None
        with self.storage.state() as ledger:
            ledger.written([(item.name, job.existing)])
            ledger.done([item.name])
        self._finish(item, job, job.existing, "same", 0.0)

    def _finish(self, item: Item, job: Job | None, work: Work, event: str, seconds: float) -> None:
        """Count and log a finished file, remove an earlier reason for quarantine, and step 8."""
        self.lifecycle.settle(item)
        self.last_done = time.time()
        self.telemetry.count("files", event)
        ms = round(seconds * 1000, 1)
        digests = {"sha": work.sha, "out_sha": work.out_sha}
        if job and job.earlier not in ("", work.sha):
            digests["replaces_sha"] = job.earlier
        self.telemetry.event(event, item.name, gen=item.gen, **digests, state="done", ms=ms)
        remove_reason(self.storage.state_fd, item.name)
        self.lifecycle.disposer.done(item.name, item.gen, job.hints.gen if job and job.hints else "")
