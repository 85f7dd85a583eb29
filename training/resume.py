"""The folder of a run: held by one training at a time, with the state that an interrupted one goes on from."""

import contextlib
import errno
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from training.errors import TrainingError
from training.files import check_whole, left_as_found

STATE_KEY = "RunFolder"  # under which the callback of that name is found in a state


@dataclass(frozen=True)
class State:
    """A run after its last whole epoch: the file, all its ``contents``, and what the run's own callback put there."""

    path: Path
    contents: dict[str, Any]
    run: dict[str, Any]

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return int(self.contents["epoch"]) + 1


def latest_state(folder: Path) -> Path | None:
    """The file that holds the state after the last whole epoch of the run in ``folder``, if there is one."""
    return next(reversed(_states(folder)), None)


def remove_older_states(folder: Path) -> None:
    """Keep the latest state alone: Lightning keeps the one that a run was resumed from, too."""
    for path in _states(folder)[:-1]:
        path.unlink(missing_ok=True)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("resume-epoch=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))


def state_to_begin_with(folder: Path, model: str, *, resume: bool) -> State | None:
    """The state to go on from, None for a new run; TrainingError where the folder holds another kind of beginning."""
    if all((folder / name).exists() for name in (f"{model}.pt", "metrics.json")):
        raise TrainingError(f"The run in {folder} is finished: choose another --run-dir to train anew.")
    latest = latest_state(folder)
    if not resume:
        if latest:
            raise TrainingError(f"{folder} holds an earlier run; go on with --resume, or choose another --run-dir.")
        return None
    if latest is None:
        raise TrainingError(f"{folder} holds no run to resume; leave --resume away to start one.")
    try:
        with latest.open("rb") as file:
            check_whole(file)
            # our own file, with optimiser and callbacks
            contents: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
        state = State(latest, contents, contents["callbacks"][STATE_KEY])
        _ = state.run["identity"], state.epochs
    except Exception as error:  # whatever a damaged pickle brings
        before = _states(folder)[:-1]
        way_out = f"--resume then goes on from {before[-1].name}" if before else "start the run anew, without --resume"
        raise TrainingError(f"{latest} is damaged: delete it; {way_out}.") from error
    return state


def _is_first_process() -> bool:
    """Whether this is the process that was started by hand, or the only one, and none that DDP started."""
    return not getattr(rank_zero_only, "rank", 0)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it for this training alone; the kernel lets go of it when the process dies.

    The lock is on the folder itself: nothing has to be cleared away after a kill. The other processes of DDP leave it to
    the first one. Errors: TrainingError when another training holds the folder, or nothing can be written there.
    """
    if not _is_first_process():
        yield
        return
    with left_as_found(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be written to ({error.strerror}): choose another --run-dir.") from error
        try:
            _lock(held, folder)
            yield
        finally:
            os.close(held)


def _lock(held: int, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrainingError(
            f"Another training is writing to {folder}: wait for it to end, or choose another --run-dir."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):  # shares without locks
            raise


@contextlib.contextmanager
def threads_of(state: State | None, devices: int) -> Iterator[None]:
    """On a CPU, the number of threads that the resumed run began with: another adds in another order, to other weights."""
    here = torch.get_num_threads()
    if devices > 1 and "OMP_NUM_THREADS" not in os.environ:  # what Lightning gives to each of the processes
        here = max(1, len(os.sched_getaffinity(0)) // devices)
    begun = here if state is None else state.run.get("threads", here)  # of a time before it was kept: as ever
    if begun == here:
        yield
        return
    sentence = f"The run goes on with the number of threads that it began with: {begun}, not {here}."
    print(sentence, file=sys.stderr, flush=True)
    before = torch.get_num_threads()
    torch.set_num_threads(begun)
    if devices > 1:
        os.environ["OMP_NUM_THREADS"] = str(begun)  # for the other processes
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tell_of_another_torch(state: State) -> None:
    """One sentence on stderr where the run began with another PyTorch."""
    begun = state.run.get("torch", torch.__version__)
    if begun != torch.__version__ and _is_first_process():
        print(
            f"The run began with PyTorch {begun}, this is {torch.__version__}: its weights may differ in rounding from those"
            " of an uninterrupted run.",
            file=sys.stderr,
            flush=True,
        )
