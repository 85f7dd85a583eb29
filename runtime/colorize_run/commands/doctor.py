"""``colorize-run doctor``: what works on this machine, and how to fix what does not."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from colorize_run.commands.common import EXIT_CODES, say
from colorize_run.system import processes

_PATIENCE = 120.0  # seconds that one check may take
_GRACE = 5.0  # seconds for a process to end by itself

Outcome = dict[str, Any]


@click.command(epilog=EXIT_CODES, short_help="Check what works on this machine, and how to fix the rest.")
@click.option(
    "-m", "--model", "models", multiple=True, help="Check only this model, by name or path; may be repeated.  [default: all]"
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="cuda: CUDA must work. cpu: it is not needed. auto: it must work if onnxruntime-gpu is installed.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object on stdout.")
def doctor(models: tuple[str, ...], device: str, as_json: bool) -> None:
    """Check libraries, devices, model files and folders on this machine; each line is ok or says how to fix it.

    \b
    colorize-run doctor                    everything, with one run of every model
    colorize-run doctor --device cuda      fails if CUDA does not work, and says why
    colorize-run doctor --json             one object, for programs

    The exit code is that of the first failure, 0 without one. An optional part that is absent is not a failure.
    """
    outcomes = []
    for outcome in _outcomes(models, device):
        outcomes.append(outcome)
        if not as_json:
            say(_line(outcome))
    failed = [outcome for outcome in outcomes if outcome["status"] == "failed"]
    code = failed[0]["exit_code"] if failed else 0
    if as_json:
        click.echo(json.dumps({"ok": not failed, "exit_code": code, "device": device, "checks": outcomes}))
    else:
        say(f"{len(failed)} of {len(outcomes)} checks failed." if failed else "Everything that is needed works.")
    sys.exit(code)


def _line(outcome: Outcome) -> str:
    leading = "to get it" if outcome["status"] == "absent" else "fix"
    way_out = f"; {leading}: {outcome['way_out']}" if outcome["way_out"] else ""
    return f"{outcome['status'].ljust(8)}{outcome['name']}: {outcome['detail']}{way_out}"


def _outcomes(models: tuple[str, ...], device: str) -> Iterator[Outcome]:
    """Every check in turn; those whose needs have failed are skipped."""
    from colorize_run.diagnostics.doctor import CHECKS
    from colorize_run.errors import ModelFileError
    from colorize_run.model.library import available_models, find_model

    pending = list(CHECKS)
    for name in models or available_models():
        try:
            pending.append(str(find_model(name).absolute()))
        except ModelFileError as error:
            yield _outcome(f"model {name}", "failed", str(error).rstrip("."), "see `colorize-run models`", 65)
    if not models and len(pending) == len(CHECKS):
        yield _outcome("models", "failed", "none is installed", "pip install --force-reinstall colorize-run", 65)
    failed: set[str] = set()
    while pending:
        for outcome in _run(tuple(pending), device):
            pending.pop(0)
            yield outcome
            if outcome["status"] == "failed" and outcome["name"] in CHECKS:
                failed.add(outcome["name"])
                break  # those that come may need it
        pending, skipped = _without(pending, failed, device)
        yield from skipped


def _outcome(name: str, status: str, detail: str, way_out: str, code: int) -> Outcome:
    from colorize_run.diagnostics.check import Check

    return asdict(Check(name, status, detail, way_out, code))


def _without(pending: list[str], failed: set[str], device: str) -> tuple[list[str], list[Outcome]]:
    """The checks that can still be done, and outcomes of those that cannot as something that they need has failed."""
    from colorize_run.diagnostics.doctor import check_title, needs

    possible, skipped = [], []
    for name in pending:
        lacking = [need for need in needs(name, device) if need in failed]
        if lacking:
            skipped.append(_outcome(check_title(name), "skipped", f"needs {lacking[0]}", f"fix {lacking[0]} first", 0))
        else:
            possible.append(name)
    return possible, skipped


def _run(names: tuple[str, ...], device: str) -> Iterator[Outcome]:
    """Outcomes from a process of their own; the check during which that dies or falls silent has failed."""
    from colorize_run.diagnostics.doctor import CHECKS, REMEDIES, check_title

    request = json.dumps({"checks": names, "device": device})
    command = processes.command("from colorize_run.diagnostics.doctor import main; main(sys.argv[1])", request)
    done = 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 (ours)
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[bytes] = []
    listener = threading.Thread(target=lambda stream: errors.append(stream.read()), args=[process.stderr], daemon=True)
    listener.start()
    try:
        while done < len(names) and (line := _answer(process)):
            done += 1
            yield json.loads(line)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    finally:
        process.kill()
        process.wait()
        listener.join(_GRACE)
        process.stdout.close()
        process.stderr.close()
    if done < len(names):
        end = _death(process.returncode, b"".join(errors).decode(errors="replace"))
        way_out = REMEDIES.get(names[done], "copy the file again")
        yield _outcome(check_title(names[done]), "failed", end, way_out, 69 if names[done] in CHECKS else 65)


def _answer(process: "subprocess.Popen[bytes]") -> bytes:
    """The next line, empty when the process is at its end; one that falls silent is killed."""
    assert process.stdout is not None
    watchdog = threading.Timer(_PATIENCE, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline()
    finally:
        watchdog.cancel()


def _death(code: int, output: str) -> str:
    """What a process died of, and the last that it output."""
    if code == -signal.SIGKILL:
        return f"its process was killed: it ran out of memory, or gave no answer in {_PATIENCE:.0f} s"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    last = output.strip().splitlines()[-1:]
    return f"crashed its process: {how}" + (f", {last[0].strip()[:200]}" if last else "")
