"""The folder of a run: locked by one training at a time, and everything that the run leaves there."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from training import plots
from training.batchnorm import measure_statistics
from training.checkpoint import Checkpoint
from training.datasets.pictures import Pictures
from training.errors import TrainingError
from training.families import Data, Prepared
from training.files import load_tensors, read_bytes, remove_what_stays_empty, replacing
from training.networks.deeplab import LAST_LAYER, Base
from training.recipe import Recipe
from training.resume import STATE_KEY, is_first_process, remove_older_states
from training.tasks import Task

_GRIDS = 100  # at most this many picture grids of a run: those of 400 epochs would take half a gigabyte


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create ``folder`` and lock it for this training; the kernel releases the lock when the process dies.

    The lock is on the folder itself, so nothing must be cleaned up after a kill. With DDP only the first process locks it.
    Errors: TrainingError when another training has locked the folder, or nothing can be written there.
    """
    if not is_first_process():
        yield
        return
    with remove_what_stays_empty(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise TrainingError(f"Cannot write to {folder} ({error.strerror}): choose another --run-dir.") from error
        try:
            _lock(descriptor, folder)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrainingError(
            f"Another training is writing to {folder}: wait until it has ended, or choose another --run-dir."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):  # network shares without locks
            raise


def digest(path: Path | None) -> str | None:
    """SHA-256 of a file, hex; None for no file."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


class RunFolder(Callback):
    """Writes what a run leaves: picture grids (at most 100), a log line each epoch, curves, metrics and the checkpoint."""

    def __init__(self, folder: Path, recipe: Recipe, prepared: Prepared, data: Data, devices: int = 1) -> None:
        self.folder, self.recipe, self.evaluator = folder, recipe, prepared.evaluator
        self.weights, self.begun_with = digest(data.weights), digest(data.start)
        self.train, self.validation = prepared.pictures.train, prepared.validation
        self.training_data, self.classes = prepared.description, prepared.classes
        self.fingerprint, self.devices = prepared.fingerprint(), devices
        self.history: list[dict[str, float]] = []
        self.started = time.monotonic()
        self.base: Base | None = None
        self.best = -1.0

    @property
    def state_key(self) -> str:
        return STATE_KEY

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same in a resumed run as in the run that was interrupted."""
        return {
            **self.recipe.as_dict(),
            "palette": self.evaluator.colours.tolist(),
            "data": self.training_data,
            "pictures": self.fingerprint,
            "devices": self.devices,
            "weights": self.weights,
            "start": self.begun_with,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "seconds": time.monotonic() - self.started,
            "identity": self.identity,
            "base": self.base and asdict(self.base),
            "best": self.best,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.started = time.monotonic() - state["seconds"]
        self.weights = self.weights or state["identity"].get("weights")
        self.base = state["base"] and Base(**state["base"])
        self.best = state["best"]

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, Task)
        self.base = module.base or self.base
        (self.folder / "grids").mkdir(exist_ok=True)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            remove_older_states(self.folder)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        # This callback stands before the averaging one, which swaps the averaged weights out again in this hook.
        assert isinstance(module, Task)
        score = float(module.metrics[module.best_by].compute()) if module.best_by else -1.0  # of all processes together
        if trainer.is_global_zero:
            if trainer.current_epoch % math.ceil(self.recipe.epochs / _GRIDS) == 0:
                self._save_grid(module, self.folder / "grids" / f"epoch-{trainer.current_epoch:03d}.png")
            if score > self.best:
                self.best = score
                with replacing(self.folder / "best.pt") as path:
                    torch.save(self._trained_weights(module.network), path)

    def _trained_weights(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold: everything, or the last layer where the rest is that of ``base``."""
        state = network.state_dict()
        if self.base is None or not self.recipe.arguments.get("last_layer_only"):
            return state
        return {name: value for name, value in state.items() if name.startswith(LAST_LAYER)}

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        row = {"epoch": float(trainer.current_epoch)}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.history.append(row)
        if trainer.is_global_zero and trainer.progress_bar_callback is None:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in sorted(row.items()) if name != "epoch")
            print(f"epoch {trainer.current_epoch + 1}/{self.recipe.epochs}  {figures}", file=sys.stderr, flush=True)

    def _save_grid(self, module: L.LightningModule, path: Path) -> None:
        network = module.network
        assert isinstance(network, nn.Module)
        was_training = network.training
        rows = self.evaluator.rows(network.eval(), self.validation[: self.evaluator.grid_pictures])
        plots.save_grid(rows, path, self.evaluator.grid_scale)
        network.train(was_training)

    def finish(self, trainer: L.Trainer, module: Task) -> Path:
        """Write curves, metrics and the checkpoint of the finished run; returns the checkpoint's path.

        Where the best epoch is kept, the checkpoint of the last epoch is written beside it, as ``MODEL-last.pt``.
        """
        recipe = self.recipe
        network = module.network.eval().cpu()
        path = self.folder / f"{recipe.model}.pt"
        if module.best_by and self.best >= 0:
            scores = self.evaluator.score(network, self.validation)
            self._checkpoint(network, scores).save(self.folder / f"{recipe.model}-last.pt")
            self._load_best(network)
        if recipe.precise_batchnorm and isinstance(self.train, Pictures):
            measure_statistics(network, self.train)
        # In float32, whatever the precision of training: `python -m training evaluate` gives the same figures
        checkpoint = self._checkpoint(network, self.evaluator.score(network, self.validation))
        plots.save_curves(self.history, self.folder / "curves.png", recipe.name)
        report = self._report(network, checkpoint.metrics, str(trainer.strategy.root_device))
        with replacing(self.folder / "metrics.json") as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
        self._save_grid(module, self.folder / "grid.png")
        checkpoint.save(path)
        remove_older_states(self.folder)
        return path

    def _report(self, network: nn.Module, metrics: dict[str, float], device: str) -> dict[str, Any]:
        return {
            "recipe": self.recipe.as_dict(),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "metrics": metrics,
            "training_data": self.training_data,
            "seconds": round(time.monotonic() - self.started, 1),
            "device": device,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "history": self.history,
        }

    def _load_best(self, network: nn.Module) -> None:
        """Load the weights of this run's best epoch into ``network``. Errors: TrainingError."""
        path = self.folder / "best.pt"
        fix = "it held the best epoch; train again with another --run-dir"
        if not path.is_file():
            raise TrainingError(f"{path} is missing: {fix}.")
        frozen = network.state_dict()
        for name in self._trained_weights(network):
            del frozen[name]
        best = load_tensors(read_bytes(path), path, fix)
        try:
            network.load_state_dict({**frozen, **best})
        except (RuntimeError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path} belongs to another network: {fix}.") from error

    def _checkpoint(self, network: nn.Module, scores: dict[str, float]) -> Checkpoint:
        recipe = self.recipe
        return Checkpoint(
            recipe.model,
            recipe.network,
            recipe.arguments,
            self._trained_weights(network),
            self.evaluator.colours,
            {**recipe.as_dict(), "classes": list(self.classes)},
            {f"validation_{name}": value for name, value in scores.items()},
            self.training_data,
            self.base,
        )
