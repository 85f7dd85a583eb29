"""What ``colorize-run tune`` measures and chooses: the fastest of what a model's quality budget allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorize_run.diagnostics import timing
from colorize_run.diagnostics.timing import Action, Candidate, Times
from colorize_run.errors import DeviceError, ModelFileError
from colorize_run.model.describe import refusal
from colorize_run.model.library import beside
from colorize_run.model.session import Model
from colorize_run.model.verify import verify
from colorize_run.system import hardware

FASTER = 0.95  # of another's time: a smaller gain may be chance

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """A candidate with the times of its rounds, and the median of their ratios to those of what is used without a profile."""

    candidate: Candidate
    times: Times
    ratio: float


def eligible(path: Path, devices: Sequence[str], say: Say) -> list[tuple[Path, str]]:
    """The model and those of its variants that are within the quality budget, each with the devices on which it proved itself.

    What is left out is said. Errors: ModelFileError, ContractError when the original itself does not keep its golden vectors.
    """
    original = Model(path, "cpu")
    allowed = [path]
    for file in beside(path):
        try:
            reason = refusal(original, Model(file, "cpu"))
        except ModelFileError as error:
            reason = f"cannot be used: {error}"
        if reason:
            say(f"{file.stem} {reason}")
        else:
            allowed.append(file)
    return [(file, device) for file in allowed for device in devices if _proven(file, device, say, needed=file == path)]


def _proven(path: Path, device: str, say: Say, *, needed: bool) -> bool:
    """Whether the file keeps its golden vectors on a device; an error instead where it is ``needed`` and the CPU fails it."""
    try:
        outcome = verify(Model(path, device))
    except DeviceError as error:
        say(f"{path.stem} on {device}: {error}")
        return False
    if not outcome.ok:
        off = f"off by {outcome.error:.1e}, allowed {outcome.tolerance:.0e}"
        text = f"{path.stem} does not match its golden vectors on {device}: {off}"
        if needed and device == "cpu":
            raise ModelFileError(f"{text}; `colorize-run doctor` says more.")
        say(text)
    return outcome.ok


def thread_counts(available: int) -> list[int]:
    """The numbers of threads that are tried: all there are, which is what is used without a profile, half, 2 and 1."""
    return sorted({available, max(1, available // 2), min(2, available), 1}, reverse=True)


def candidates(task: str, path: Path, proven: Sequence[tuple[Path, str]]) -> list[Candidate]:
    """What is measured, first what is used without a profile: the file itself, on CUDA where that works, with all threads."""
    available = hardware.available_threads()
    first = (path, "cuda" if (path, "cuda") in proven else "cpu")
    if first not in proven:
        raise DeviceError(f"{path} matches its golden vectors on none of the requested devices.")
    rest = [pair for pair in proven if pair != first]
    return [Candidate(task, file, device, threads) for file, device in (first, *rest) for threads in thread_counts(available)]


def measure(candidates: Sequence[Candidate], data: bytes, rounds: int, tick: Action) -> list[Measured]:
    """Whole pictures, in turn, as candidates stand: read, network, join, write."""
    actions = [lambda candidate=candidate: candidate.convert(data) for candidate in candidates]
    times = timing.in_turn(actions, rounds, tick)
    return [Measured(candidate, each, each.ratio(times[0])) for candidate, each in zip(candidates, times, strict=True)]


def choose(measured: Sequence[Measured]) -> Measured:
    """The fastest, or what comes before it and is as fast but for chance: originals before variants, more threads first."""
    fastest = min(each.ratio for each in measured)
    return next(each for each in measured if fastest > FASTER * each.ratio)
