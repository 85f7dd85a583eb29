"""Progress of a training in a log: plain lines on stderr, at least one a minute."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from training.progress import INTERVAL


class StepLog(Callback):
    """Prints a line every `INTERVAL` seconds: epoch, step, samples a second, mean loss, and the time that is left.

    Loss and speed are those of the steps since the last such line. The time left is that of the whole run, with validation,
    at its speed since this process started. Only the first process prints.
    """

    def __init__(self) -> None:
        self.interval = INTERVAL
        self.started = self.printed = self.measured = time.monotonic()
        self.first_step = self.samples = self.batches = 0
        self.loss: Tensor | float = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.started = self.printed = self.measured = time.monotonic()
        self.first_step = trainer.global_step

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.measured -= time.monotonic()  # validation does not count for the speed

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.measured += time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += len(batch["input"]) * trainer.world_size
        self.batches += 1
        self.loss = self.loss + outputs["loss"].detach()  # stays on the device until a line is due
        if self._is_due(trainer):
            seconds = max(time.monotonic() - self.measured, 1e-9)
            steps, loss = int(trainer.num_training_batches), float(self.loss) / self.batches
            self._print(
                trainer,
                f"step {batch_idx + 1}/{steps}",
                f"{self.samples / seconds:.0f} samples/s  loss {loss:.4g}  {self._left(trainer)} left",
            )
            self.samples, self.batches, self.loss, self.measured = 0, 0, 0.0, time.monotonic()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._print(trainer, f"validation {batch_idx + 1}/{int(trainer.num_val_batches[0])}", self._left(trainer) + " left")

    def _is_due(self, trainer: L.Trainer) -> bool:
        return trainer.is_global_zero and time.monotonic() - self.printed >= self.interval

    def _print(self, trainer: L.Trainer, place: str, figures: str) -> None:
        print(f"{place} of epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}", file=sys.stderr, flush=True)
        self.printed = time.monotonic()

    def _left(self, trainer: L.Trainer) -> str:
        done = trainer.global_step - self.first_step
        steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 0) - trainer.global_step
        return duration(steps * (time.monotonic() - self.started) / max(1, done))


def duration(seconds: float) -> str:
    """A number of seconds as text: hours and minutes, minutes, or seconds."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
