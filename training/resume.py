"""Resuming a run: the state after its last complete epoch, and whether it is the same run."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from training.errors import TrainingError
from training.files import check_whole
from training.recipe import Recipe

STATE_KEY = "RunFolder"  # under which a state holds what `training.run_folder.RunFolder` needs


@dataclass(frozen=True)
class State:
    """A run after its last complete epoch: the file, all its ``contents``, and what `RunFolder` stored in it."""

    path: Path
    contents: dict[str, Any]
    run: dict[str, Any]

    @property
    def epochs(self) -> int:
        """Number of complete epochs."""
        return int(self.contents["epoch"]) + 1


def latest_state(folder: Path) -> Path | None:
    """The file with the state after the last complete epoch of the run in ``folder``, if there is one."""
    return next(reversed(_states(folder)), None)


def remove_older_states(folder: Path) -> None:
    """Keep only the latest state: Lightning also keeps the one from which a run was resumed."""
    for path in _states(folder)[:-1]:
        path.unlink(missing_ok=True)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("resume-epoch=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))


def load_state(folder: Path, model: str, *, resume: bool) -> State | None:
    """The state from which to resume, None for a new run.

    Errors: TrainingError when the run in ``folder`` is finished, damaged, or not what ``resume`` expects.
    """
    if all((folder / name).exists() for name in (f"{model}.pt", "metrics.json")):
        raise TrainingError(f"The run in {folder} is finished: choose another --run-dir to train again.")
    latest = latest_state(folder)
    if not resume:
        if latest:
            raise TrainingError(f"{folder} holds an earlier run: continue it with --resume, or choose another --run-dir.")
        return None
    if latest is None:
        raise TrainingError(f"{folder} holds no run to resume: omit --resume to start one.")
    try:
        with latest.open("rb") as file:
            check_whole(file)
            # our own file, with optimiser and callbacks
            contents: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
        state = State(latest, contents, contents["callbacks"][STATE_KEY])
        _ = state.run["identity"], state.epochs
    except Exception as error:  # a damaged pickle can raise anything
        earlier = _states(folder)[:-1]
        fix = f"--resume then continues from {earlier[-1].name}" if earlier else "start the run again, without --resume"
        raise TrainingError(f"{latest} is damaged: delete it; {fix}.") from error
    return state


def refuse_another_run(state: State, expected: dict[str, Any]) -> None:
    """TrainingError when the run of ``state`` differs from ``expected``, which is part of `RunFolder.identity`."""
    # Weights need not be given again: the state holds what training has made of them
    expected = {name: value for name, value in expected.items() if name != "weights" or value is not None}
    absent = {field.name: field.default for field in fields(Recipe)}  # what older runs had, before there was a choice
    before = {name: state.run["identity"].get(name, absent.get(name)) for name in expected}
    different = [name for name, value in expected.items() if before[name] != value]
    if different:
        if "name" in different:  # of the recipe, from which all the rest follows
            different = ["name"]
        differences = ", ".join(_difference(name, before[name], expected[name]) for name in different)
        raise TrainingError(
            f"The run in {state.path.parent} started with {differences}: resume it with the same, or choose another --run-dir."
        )


def _difference(name: str, before: object, now: object) -> str:
    """Describe how the value ``before`` of a run's identity differs from the one given ``now``."""
    if isinstance(before, dict) and isinstance(now, dict):  # a network's arguments
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(_difference(key, before.get(key), now.get(key)) for key in changed)
    if name == "start":
        return "another checkpoint as --start-from" if before and now else f"{'a' if before else 'no'} --start-from"
    if name in ("palette", "pictures", "weights"):  # long lists and hashes
        return f"different {name}"
    return f"{'recipe' if name == 'name' else name} {before}, not {now}"


def is_first_process() -> bool:
    """Whether this process was started by the user, and not by DDP."""
    return not getattr(rank_zero_only, "rank", 0)


@contextlib.contextmanager
def threads_of(state: State | None, devices: int) -> Iterator[None]:
    """On a CPU, use as many threads as the resumed run started with: another number rounds sums differently."""
    current = torch.get_num_threads()
    if devices > 1 and "OMP_NUM_THREADS" not in os.environ:  # what Lightning gives to each of the processes
        current = max(1, len(os.sched_getaffinity(0)) // devices)
    original = current if state is None else state.run.get("threads", current)  # older states do not record it
    if original == current:
        yield
        return
    print(f"The run continues with its original number of threads: {original}, not {current}.", file=sys.stderr, flush=True)
    previous = torch.get_num_threads()
    torch.set_num_threads(original)
    if devices > 1:
        os.environ["OMP_NUM_THREADS"] = str(original)  # for the other processes
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def warn_of_another_torch(state: State) -> None:
    """Print a sentence on stderr when the run started with another version of PyTorch."""
    original = state.run.get("torch", torch.__version__)
    if original != torch.__version__ and is_first_process():
        print(
            f"The run started with PyTorch {original}, this is {torch.__version__}: its weights may differ in rounding from"
            " those of an uninterrupted run.",
            file=sys.stderr,
            flush=True,
        )
