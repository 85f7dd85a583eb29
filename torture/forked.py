"""Watches that are forked from this process instead of started: the same program, with the imports done already.

Only how a process begins differs: `main` runs in a fork, and so does a worker's. Kills, descriptors, locks and lines are
real. For a process without threads of its own; `torture.stateful` uses it to begin thousands of watches.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

import cv2
from colorize_run import cli
from colorize_run.system import worker_process
from colorize_run.watch import supervisor
from colorize_run.watch import worker as _loaded_before_the_fork  # noqa: F401

from torture.rig import Broken, Watch

PRELOADED = (supervisor,)  # the command line imports it only when it needs it
cv2.setNumThreads(0)  # its threads would be missing in a fork


class Fork:
    """What `subprocess.Popen` is to a program, for a function: ``function()``'s exit code is the process's."""

    def __init__(self, function: Callable[[], Any], keep: Collection[int], stdout: int | None, stderr: int) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(function, keep, stdout, stderr)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """The exit code, once there is one. Errors: Broken."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise Broken(f"does not end within {timeout:g} s")
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _become(function: Callable[[], Any], keep: Collection[int], stdout: int | None, stderr: int) -> NoReturn:
    """Be a fresh process, as far as one can tell: own session, default signals, no descriptors but those to ``keep``."""
    code = 70
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGIO):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null if stdout is None else stdout, 1)
        os.dup2(stderr, 2)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:
                    continue  # that of the listing itself
        function()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _worker(command: list[str], *, stdout: int, stderr: int, pass_fds: Collection[int], **_: Any) -> Fork:
    """In place of `subprocess.Popen` where the supervisor starts a worker."""

    def serve() -> None:
        sys.argv = ["worker", *command[-2:]]
        worker_process.main()

    return Fork(serve, pass_fds, stdout, stderr)


class ForkedWatch(Watch):
    """A watch in a fork of this process."""

    def __init__(self, folder: Path, model: Path, *options: str, outbox: Path | None = None, state: Path | None = None) -> None:
        super().__init__(folder, model, *options, state=state)
        if outbox is not None:
            self._command[self._command.index(str(self.outbox))] = str(outbox)
            self.outbox = outbox

    def start(self) -> "ForkedWatch":
        """Start it; returns at once."""
        self._readies, self._starts = len(self.events("ready")), len(self.events("start"))
        fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            self.process = Fork(self._serve, (), None, fd)  # type: ignore[assignment]  # as much of it as is used
        finally:
            os.close(fd)
        return self

    def _serve(self) -> None:
        subprocess.Popen = _worker  # type: ignore[misc,assignment]
        os.chdir(self.place)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for good
        cli.main(self._command[3:], prog_name="colorize-run")
