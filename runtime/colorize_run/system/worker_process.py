"""A worker process: `WorkerProcess` is the parent's side, `main` the child's, which may die without taking the parent along.

A request is one JSON datagram on a socket, which may carry an open file. An answer is a frame on a pipe: two lengths, a JSON
header and a body of bytes. There is no pickle: a worker handles strangers' files, so the process that reads its answers must
not trust them.
"""

import collections
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from colorize_run.errors import ColorizeRunError, DeviceError, broken_library
from colorize_run.system.native import own_process
from colorize_run.system.processes import command_module

_FRAME = struct.Struct(">IQ")  # bytes of header, bytes of body
_MAX_HEADER, _MAX_BODY = 1 << 20, 1 << 31
_MAX_REQUEST = 1 << 18
_PIPE = 1 << 20  # bytes, so that most answers come whole
_LAST_OUTPUT = 2_000  # bytes of a worker's output that are kept, to say why it died
_PR_SET_PDEATHSIG = 1

Frame = tuple[dict[str, Any], bytes]  # header and body
Handler = Callable[[dict[str, Any], int | None], Frame]  # request and descriptor of the file that came with it, if any


class WorkerProcess:
    """The parent's side of one worker process. ``readable``: descriptors to wait for before `receive`.

    ``interrupted``: whether an error ended `receive` while answers were at hand; they come with the next call.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", requests: socket.socket, answers: int, output: int) -> None:
        self._process, self._requests, self._answers, self._output = process, requests, answers, output
        self._unsent: collections.deque[bytes] = collections.deque()
        self._buffer = bytearray()
        self._frames: list[Frame] = []
        self.interrupted = False
        self._last_output = b""
        self.readable = (answers, output)

    @classmethod
    def start(cls, module: str, options: dict[str, Any]) -> "WorkerProcess":
        """Start a process whose `main` calls ``start`` of ``module`` with ``options``, plain values. Errors: OSError."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            requests, requests_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(requests.close)
            theirs.callback(requests_end.close)
            answers, answers_end = _pipe(ours, theirs)
            output, output_end = _pipe(ours, theirs)
            ends = {"requests": requests_end.fileno(), "answers": answers_end, "parent": os.getpid()}
            process = subprocess.Popen(  # noqa: S603 - ourselves
                command_module(__name__, module, json.dumps({**options, **ends})),
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(requests_end.fileno(), answers_end),
                start_new_session=True,  # Ctrl-C is the parent's
                env={"OPENBLAS_NUM_THREADS": "1", **os.environ},  # read when NumPy is imported
            )
            ours.pop_all()
        with contextlib.suppress(OSError):
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, _PIPE)
        requests.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MAX_REQUEST)
        requests.setblocking(False)
        return cls(process, requests, answers, output)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def send(self, request: dict[str, Any], fd: int | None = None) -> None:
        """Send a request, with an open file if ``fd`` is given. Errors: OSError when the worker is gone.

        A request without a file that finds no room is kept until the worker has taken others, so that this never waits for
        a worker that itself waits to answer.
        """
        data = json.dumps(request).encode()
        if fd is not None:
            socket.send_fds(self._requests, [data], [fd])
            return
        self._unsent.append(data)
        self._flush()

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._requests.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self._unsent.popleft()  # too long, or nobody is there any more: the others must not wait behind it
                raise
            self._unsent.popleft()

    def receive(self) -> list[Frame] | None:
        """Answers that have come in whole, without waiting; None once the worker is gone and nothing is left to read.

        Errors: ValueError for what no worker of ours sends.
        """
        self._read_output()
        try:
            while part := os.read(self._answers, 1 << 20):
                self._buffer += part
        except BlockingIOError:
            with contextlib.suppress(OSError):  # it is gone; the next call notices that
                self._flush()
            return self._take_frames()
        return self._take_frames() or None

    def _read_output(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while output := os.read(self._output, 1 << 16):
                self._last_output = (self._last_output + output)[-_LAST_OUTPUT:]

    def _take_frames(self) -> list[Frame]:
        self.interrupted = True
        while len(self._buffer) >= _FRAME.size:
            head, body = _FRAME.unpack_from(self._buffer)
            if head > _MAX_HEADER or body > _MAX_BODY:
                raise ValueError("a worker sent an invalid answer")
            end = _FRAME.size + head + body
            if len(self._buffer) < end:
                break
            header = json.loads(self._buffer[_FRAME.size : _FRAME.size + head])
            data = bytes(memoryview(self._buffer)[_FRAME.size + head : end])
            self._frames.append((header, data))  # kept here, so that running out of memory at the next one loses none
            del self._buffer[:end]
        frames, self._frames, self.interrupted = self._frames, [], False
        return frames

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> str:
        """End the process if it still runs, and give everything back; how it ended, in words."""
        self._requests.close()
        self.kill()
        code = self._process.wait()
        self._read_output()
        os.close(self._answers)
        os.close(self._output)
        return describe_death(code, self._last_output)


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe that the child writes to: our end, which does not wait, and the child's; each is closed by its stack."""
    end, other_end = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, end)
    theirs.callback(os.close, other_end)
    os.set_blocking(end, False)
    return end, other_end


def describe_death(code: int, output: bytes) -> str:
    """Why a worker ended, in words: the signal or exit code, and the last line of its output."""
    how = f"ended with exit code {code}"
    if code < 0:
        known = {each.value: each.name for each in signal.Signals}
        how = f"died of {known.get(-code, f'signal {-code}')}"
    lines = output.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the worker {how}" + (f": {last[:200]}" if last else "")


def main() -> None:
    """The worker's side: open what the module's ``start(options)`` opens, then answer requests until the parent is gone.

    ``start`` returns what answers requests, how many threads may do so at a time, and a description. The first frame is
    ``ready`` with that description, or ``refused`` with an exit code and a sentence.
    """
    module, options = sys.argv[1], json.loads(sys.argv[2])
    own_process()
    _die_with(options["parent"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # Pillow's, about oddities in metadata
    lock = threading.Lock()

    def send(header: dict[str, Any], body: bytes = b"") -> None:
        with lock:
            _send(options["answers"], header, body)

    with contextlib.suppress(BrokenPipeError):
        try:
            answer, slots, description = importlib.import_module(module).start(options)
        except (ColorizeRunError, ImportError) as error:  # others end the process: they may be chance, and it is started again
            send(_refusal(error))
            return
        send({"kind": "ready", **description})
        _answer_requests(socket.socket(fileno=options["requests"]), answer, send, slots)


def _refusal(error: ColorizeRunError | ImportError) -> dict[str, Any]:
    """Why a worker cannot begin: exit code and sentence."""
    if isinstance(error, ColorizeRunError):
        return {"kind": "refused", "exit": error.exit_code, "error": str(error)}
    return {"kind": "refused", "exit": DeviceError.exit_code, "error": broken_library(error)}


def _answer_requests(requests: socket.socket, answer: Handler, send: Callable[..., None], slots: int) -> None:
    def respond(message: bytes, fd: int | None) -> None:
        try:
            header, body = answer(json.loads(message), fd)
        finally:
            if fd is not None:
                os.close(fd)
        send(header, body)

    def respond_or_end(message: bytes, fd: int | None) -> None:
        try:
            respond(message, fd)
        except BaseException:  # in a thread nobody would see it, and the parent would wait for ever
            sys.excepthook(*sys.exc_info())
            os._exit(70)

    with ThreadPoolExecutor(slots) if slots > 1 else contextlib.nullcontext() as pool:
        while True:
            message, fds, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 1)
            if not message:
                return
            fd = fds[0] if fds else None
            if pool is None:
                respond(message, fd)
            else:
                pool.submit(respond_or_end, message, fd)


def _die_with(parent: int) -> None:
    """End at once when the parent does, even in the middle of a picture."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _send(fd: int, header: dict[str, Any], body: bytes) -> None:
    head = json.dumps(header).encode()
    for part in (_FRAME.pack(len(head), len(body)) + head, body):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]
