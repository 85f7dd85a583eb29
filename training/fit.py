"""One training run, from top to bottom: machine, network, data, trainer."""

import logging
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from torch import nn

from training.checkpoint import load
from training.errors import TrainingError
from training.families import Data, family_of
from training.networks import build
from training.networks.deeplab import Base
from training.networks.photo import PhotoColorizer
from training.recipe import Recipe
from training.resume import State, load_state, refuse_another_run, threads_of, warn_of_another_torch
from training.run_folder import RunFolder, claimed, digest
from training.step_log import StepLog


@dataclass(frozen=True)
class Machine:
    """Where to train: ``device`` is auto, cpu or cuda; more than one of ``devices`` train together by DDP."""

    device: str = "auto"
    devices: int = 1

    @property
    def on_cuda(self) -> bool:
        """Whether the training runs on CUDA."""
        return self.device != "cpu" and torch.cuda.is_available()

    def workers(self) -> int:
        """Number of processes that make batches: 0 where the training itself needs the processors."""
        return min(16, len(os.sched_getaffinity(0))) // self.devices if self.on_cuda else 0

    def check(self, precision: str = "32-true") -> None:
        """TrainingError when CUDA is requested and PyTorch finds none, or for a ``precision`` that only CUDA has."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise TrainingError(
                f"PyTorch {torch.__version__} finds no CUDA device here: check `nvidia-smi`, or train with --device cpu."
            )
        if precision == "16-mixed" and not self.on_cuda:
            raise TrainingError("--precision 16-mixed needs CUDA: on a CPU use --precision bf16-mixed or 32-true.")


def make_network(recipe: Recipe, weights: Path | None = None, *, pretrained: bool = True) -> tuple[nn.Module, Base | None]:
    """The untrained network of ``recipe``, with pretrained ``weights`` in it if ``pretrained``.

    Also the file of those weights, where a checkpoint must record it. Errors: TrainingError.
    """
    network = build(recipe.network, recipe.arguments)
    load_weights = recipe.kind.pretrain
    return network, load_weights(network, weights) if pretrained and load_weights else None


def _begin_with(network: nn.Module, start: Path, recipe: Recipe) -> None:
    """Give ``network`` the weights of the checkpoint ``start``; one without hints may begin one with hints."""
    if recipe.arguments.get("last_layer_only"):
        raise TrainingError(f"{recipe.name} trains a last layer on top of pretrained weights: omit --start-from.")
    checkpoint = load(start)
    try:
        if checkpoint.network != recipe.network:
            raise TrainingError(f"{start} holds a {checkpoint.network}, but {recipe.name} trains a {recipe.network}.")
        if isinstance(network, PhotoColorizer):
            network.load_without_hints(checkpoint.state)
        else:
            network.load_state_dict(checkpoint.state)
    except RuntimeError as error:
        raise TrainingError(
            f"{start} does not fit: it holds a network of {checkpoint.arguments}, and {recipe.name} trains one of"
            f" {recipe.arguments}."
        ) from error


def _callbacks(recipe: Recipe, folder: Path) -> list[Callback]:
    # Each epoch writes a new file before the old one is removed (by RunFolder where a run was resumed from it): a kill
    # while it is written leaves the state of the epoch before.
    callbacks: list[Callback] = [ModelCheckpoint(folder, "resume-{epoch}", save_top_k=1, save_on_train_epoch_end=True)]
    if recipe.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=recipe.ema_decay))
    callbacks.append(RichProgressBar() if sys.stderr.isatty() else StepLog())
    return callbacks


def _quiet() -> None:
    """Silence Lightning's warnings about choices that are made on purpose here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # the data set is in memory: workers would only copy it
        ".*Checkpoint directory .* exists and is not empty.*",  # so --resume needs it
        ".*The dirpath has changed from.*",  # a run's folder may be moved
        ".*recommended to use `self.log.*sync_dist=True.*",  # torchmetrics has summed over the devices already
        ".*number of training batches .* smaller than the logging interval.*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # only the last layer learns
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 on torch 2.15
        ".*lr_scheduler.step.*before.*optimizer.step.*",  # first step under a gradient scaler
    ):
        warnings.filterwarnings("ignore", message)


def _trainer(recipe: Recipe, machine: Machine, callbacks: list[Callback]) -> L.Trainer:
    return L.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[machine.device],
        devices=machine.devices,
        strategy="ddp" if machine.devices > 1 else "auto",
        precision=recipe.precision,
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        logger=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


def fit(recipe: Recipe, data: Data, folder: Path, *, machine: Machine = Machine(), resume: bool = False) -> Path:
    """Train by ``recipe`` on ``data``; returns the path of the checkpoint.

    Leaves in ``folder``: ``MODEL.pt``, ``metrics.json``, ``curves.png``, ``grid.png``, ``grids/epoch-NNN.png`` and the
    state from which ``resume`` continues. Errors: TrainingError; KeyboardInterrupt is passed on when the state of the last
    complete epoch is safe.
    """
    machine.check(recipe.precision)
    family_of(recipe.kind).refuse_useless_options(recipe, data)
    with claimed(folder):
        state = load_state(folder, recipe.model, resume=resume)
        if state:
            # What can be compared before the data are loaded, which takes long
            refuse_another_run(state, {**recipe.as_dict(), "devices": machine.devices, "start": digest(data.start)})
            warn_of_another_torch(state)
        with threads_of(None if machine.on_cuda else state, machine.devices):
            return _fit(recipe, data, folder, machine, state)


def _fit(recipe: Recipe, data: Data, folder: Path, machine: Machine, state: State | None) -> Path:
    _quiet()
    L.seed_everything(recipe.seed, verbose=False)
    family = family_of(recipe.kind)
    # Weights before data, which take longer; a resumed run has its weights in its state
    pretrained = state is None and not recipe.from_scratch and data.start is None
    network, base = make_network(recipe, data.weights, pretrained=pretrained)
    if data.start is not None:
        _begin_with(network, data.start, recipe)
    prepared = family.prepare(recipe, data, machine.workers())
    run = RunFolder(folder, recipe, prepared, data, machine.devices)
    if state:
        refuse_another_run(state, run.identity)
    module = family.make_task(network, recipe, prepared, base)
    if recipe.precision != "32-true":
        module = module.to(memory_format=torch.channels_last)
    trainer = _trainer(recipe, machine, [run, *_callbacks(recipe, folder)])
    if state and state.epochs >= recipe.epochs:  # killed between the last epoch and its checkpoint
        module.load_state_dict(state.contents["state_dict"])  # the averaged weights, where there are any
        run.load_state_dict(state.run)
        return run.finish(trainer, module)
    try:
        trainer.fit(module, prepared.pictures, ckpt_path=state.path if state else None, weights_only=False if state else None)
    except SystemExit:  # Lightning's answer to Ctrl-C, after it has written everything
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    return run.finish(trainer, module) if trainer.is_global_zero else folder / f"{recipe.model}.pt"
