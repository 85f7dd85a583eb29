"""Worker processes: what is sent arrives, and every way to die is described."""

import select
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from colorize_run.system.worker_process import WorkerProcess, describe_death

WORKERS = {
    "echoing": "def start(options):\n"
    " return (lambda request, fd: (request, b'x' * request['body'])), 1, {'given': options['given']}",
    "reading": "import os\ndef start(options):\n return (lambda request, fd: ({}, os.read(fd, 100))), 1, {}",
    "refusing": "from colorize_run.errors import ModelFileError\ndef start(options):\n raise ModelFileError('no such model')",
    "lacking": "import a_library_that_is_not_there",
    "failing": "def start(options):\n raise ValueError('out of luck')",
    "crying": "import os\ndef start(options):\n print('LAST WORDS', flush=True)\n os._exit(70)",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in WORKERS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def frames(worker: WorkerProcess, count: int) -> list[tuple[dict[str, Any], bytes]]:
    received: list[tuple[dict[str, Any], bytes]] = []
    while len(received) < count:
        select.select(worker.readable, [], [])
        new = worker.receive()
        if new is None:
            break
        received += new
    return received


def test_thousands_of_requests_are_answered_although_nobody_waits() -> None:
    worker = WorkerProcess.start("echoing", {"given": 7})
    assert frames(worker, 1) == [({"kind": "ready", "given": 7}, b"")]
    for number in range(3_000):
        worker.send({"number": number, "body": 1_000, "padding": "p" * 500})
    answers = frames(worker, 3_000)
    assert [header["number"] for header, _ in answers] == list(range(3_000))
    assert all(body == b"x" * 1_000 for _, body in answers)
    assert worker.close() == "the worker died of SIGKILL"


def test_a_request_may_carry_an_open_file() -> None:
    worker = WorkerProcess.start("reading", {})
    frames(worker, 1)
    with tempfile.TemporaryFile() as file:
        file.write(b"some bytes")
        file.seek(0)
        worker.send({}, file.fileno())
        assert frames(worker, 1) == [({}, b"some bytes")]
    worker.close()


@pytest.mark.parametrize(
    ("module", "code", "words"), [("refusing", 65, "no such model"), ("lacking", 69, "colorize-run doctor")]
)
def test_what_cannot_change_is_refused(module: str, code: int, words: str) -> None:
    worker = WorkerProcess.start(module, {})
    ((header, _),) = frames(worker, 1)
    assert (header["kind"], header["exit"]) == ("refused", code)
    assert words in header["error"]
    worker.close()


@pytest.mark.parametrize(("module", "code", "words"), [("failing", 1, "ValueError: out of luck"), ("crying", 70, "LAST WORDS")])
def test_what_may_be_chance_is_a_death_with_its_last_words(module: str, code: int, words: str) -> None:
    worker = WorkerProcess.start(module, {})
    assert frames(worker, 1) == []
    death = worker.close()
    assert f"exit code {code}" in death
    assert words in death


def test_a_process_that_does_not_start_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = list(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        with pytest.raises(OSError, match="nowhere"):
            WorkerProcess.start("echoing", {"given": 1})
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_signals_without_a_name_have_their_number() -> None:
    assert describe_death(-37, b"") == "the worker died of signal 37"
