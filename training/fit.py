"""One training run: data, network, recipe, trainer, and everything that the run leaves in its folder."""

import hashlib
import json
import logging
import math
import os
import sys
import time
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from torch import nn

from training import plots
from training.batchnorm import measure_statistics
from training.checkpoint import Checkpoint
from training.clustering import kmeans_chroma, kmeans_palette
from training.datasets import cifar, faces, flowers, photos
from training.datasets.flowers import FlowerSamples
from training.datasets.loaders import PictureData
from training.datasets.photos import PhotoSamples
from training.datasets.pictures import Pictures
from training.errors import TrainingError
from training.evaluation.masks import MaskJudge
from training.evaluation.photos import PhotoJudge
from training.evaluation.pixels import AnyJudge, Judge, judge_of, load_split
from training.files import load_tensors, read_bytes, replacing
from training.networks import build, deeplab, encoder_decoder, lab
from training.networks.deeplab import Base, DeepLab
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.lab import FusionColorizer
from training.networks.photo import PhotoColorizer
from training.palette import SoftLabels, rebalancing_weights
from training.recipes import Recipe
from training.resume import (
    STATE_KEY,
    State,
    claimed,
    remove_older_states,
    state_to_begin_with,
    tell_of_another_torch,
    threads_of,
)
from training.tasks import ChromaClassification, MaskClassification, PaletteClassification, SquaredError, Task

CLUSTERED = 4000  # photographs whose chroma makes the palette and the frequency of its colours
_GRIDS = 100  # at most so many pictures of a run: those of 400 epochs would take half a gigabyte


@dataclass(frozen=True)
class Machine:
    """Where to train: ``device`` is auto, cpu or cuda; ``devices`` above 1 trains with DDP on that many."""

    device: str = "auto"
    devices: int = 1

    @property
    def on_cuda(self) -> bool:
        """Whether it is CUDA that trains."""
        return self.device != "cpu" and torch.cuda.is_available()

    def workers(self) -> int:
        """Processes that make batches: none where the processors train, too."""
        return min(16, len(os.sched_getaffinity(0))) // self.devices if self.on_cuda else 0

    def check(self, precision: str = "32-true") -> None:
        """TrainingError when CUDA is asked for and PyTorch finds none, or a ``precision`` that only CUDA has."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise TrainingError(
                f"CUDA was asked for, but PyTorch {torch.__version__} finds no CUDA device here; see `nvidia-smi`, or"
                " train with --device cpu."
            )
        if precision == "16-mixed" and not self.on_cuda:
            raise TrainingError("--precision 16-mixed takes CUDA; on a CPU train with --precision bf16-mixed, or 32-true.")


@dataclass(frozen=True)
class Data:
    """What a run learns from: ``data_dir``, CIFAR-10 ``classes``, and ``extra_classes`` that join the training pictures.

    ``colours`` (K, 3) is the palette in byte / 256, or None to cluster the training pictures. ``weights``: file of
    pretrained ones for a network that begins with some; None lets the library that has them download them.
    """

    data_dir: Path
    classes: tuple[str, ...] = ("horse",)
    extra_classes: tuple[str, ...] = ()
    colours: npt.NDArray[np.float32] | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Data in memory: loaders, the judge of the network, the pictures that validate it, and what was learnt from."""

    pictures: PictureData
    judge: AnyJudge
    validation: Any  # (N, H, W, 3) uint8, Photos or Flowers
    description: str
    classes: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 of all training and validation pictures with their targets."""
        parts = (self.pictures.train, self.pictures.validation)
        return hashlib.sha256("".join(part.fingerprint() for part in parts).encode()).hexdigest()


def prepare(recipe: Recipe, data: Data, *, workers: int = 0) -> Prepared:
    """Load the pictures that ``recipe`` needs; ``workers`` processes cut photographs. Errors: TrainingError."""
    kind = recipe.kind
    if kind.on_photos:
        return _prepare_photos(recipe, data, workers)
    if kind.on_flowers:
        return _prepare_flowers(recipe, data, workers)
    train: Any = load_split(kind, data.data_dir, "train", data.classes, recipe.split_seed)
    validation: Any = load_split(kind, data.data_dir, "validation", data.classes, recipe.split_seed)
    if kind.on_faces:
        colours = np.zeros((0, 3), np.float32)
        description = f"face_images, {len(train)} pictures of {faces.SIZE}x{faces.SIZE}"
        if recipe.folds:
            train = faces.augmented(train, recipe.folds, recipe.seed)
            description += f", {recipe.folds} variants of each"
    else:
        # Without the classes of the run itself: of those, a tenth is for validation.
        extra = tuple(name for name in data.extra_classes if name not in data.classes)
        if extra:
            train = np.concatenate([train, cifar.load_images(data.data_dir, extra)])
        count = recipe.arguments.get("num_colours", 24)
        colours = kmeans_palette(train, count, recipe.seed) if data.colours is None else data.colours
        names = "all classes" if set(data.classes) == set(cifar.CLASSES) else ", ".join(data.classes)
        description = f"CIFAR-10 ({names}{' and ' if extra else ''}{', '.join(extra)}), {len(train)} pictures of 32x32"
    judge = judge_of(recipe.network, recipe.arguments, colours)
    assert isinstance(judge, Judge)
    pictures = PictureData(judge.dataset(train), judge.dataset(validation), recipe.batch_size, recipe.seed, share=recipe.share)
    return Prepared(pictures, judge, validation, description, () if kind.on_faces else data.classes)


def _prepare_photos(recipe: Recipe, data: Data, workers: int) -> Prepared:
    train, validation = photos.split(photos.load_photos(data.data_dir), recipe.split_seed)
    count = recipe.arguments["num_colours"]
    samples = PhotoSamples(train, recipe.side, recipe.seed, augment=True, final_side=recipe.final_side, epochs=recipe.epochs)
    colours = np.zeros((0, 2), np.float32)
    if count:
        colours = kmeans_chroma(samples.chroma(CLUSTERED), count, recipe.seed)
    judge = PhotoJudge(colours)
    pictures = PictureData(samples, judge.dataset(validation, recipe.side), recipe.batch_size, recipe.seed, workers)
    description = f"{len(train)} photographs: {', '.join(sorted(set(train.sources)))}"
    return Prepared(pictures, judge, validation, description, ())


def _prepare_flowers(recipe: Recipe, data: Data, workers: int) -> Prepared:
    train, validation = flowers.load_splits(data.data_dir, ("train", "validation"), recipe.split_seed)
    samples = FlowerSamples(
        train, recipe.side, recipe.seed, augment=recipe.augmented, final_side=recipe.final_side, epochs=recipe.epochs
    )
    judge = MaskJudge()
    pictures = PictureData(
        samples, judge.dataset(validation, recipe.final_side or recipe.side), recipe.batch_size, recipe.seed, workers
    )
    return Prepared(pictures, judge, validation, f"Oxford 17 Flowers, {len(train)} with their trimaps", ())


def _refuse_what_means_nothing(recipe: Recipe, data: Data) -> None:
    """TrainingError for data that this kind of network would pass over in silence."""
    kind = recipe.kind
    learns_from = "faces" if kind.on_faces else "photographs" if kind.on_photos else "flowers" if kind.on_flowers else ""
    if learns_from and (data.classes != ("horse",) or data.extra_classes or data.colours is not None):
        raise TrainingError(
            f"{recipe.model} learns from {learns_from}: --classes, --extra-classes and --palette mean nothing to it."
        )
    if (kind.on_photos or kind.on_flowers) and (recipe.augment or recipe.shift != 1):
        raise TrainingError(f"{recipe.model} moves and changes its pictures itself: --augment and --shift mean nothing to it.")
    if recipe.from_scratch and (recipe.arguments.get("last_layer_only") or "classifier" in recipe.arguments):
        raise TrainingError(f"{recipe.name} freezes what others have trained, which cannot begin at random: no --weights none.")
    if not learns_from and not data.classes:
        raise TrainingError("--classes names no class of CIFAR-10.")


def make_network(recipe: Recipe, weights: Path | None = None, *, pretrained: bool = True) -> tuple[nn.Module, Base | None]:
    """The untrained network of ``recipe``, begun with trained ``weights`` if ``pretrained``; and which, where it matters."""
    network = build(recipe.network, recipe.arguments)
    base = None
    if pretrained and isinstance(network, FusionColorizer):
        lab.pretrain(network, weights)
    if pretrained and isinstance(network, EncoderDecoder):
        encoder_decoder.pretrain(network, weights)
    if pretrained and isinstance(network, DeepLab):
        base = deeplab.pretrain(network, weights)
    return network, base


def make_task(recipe: Recipe, prepared: Prepared, network: nn.Module, base: Base | None = None) -> Task:
    """``network`` in the task that trains it on what is ``prepared``; ``base`` is what `make_network` says."""
    if recipe.kind.on_flowers:
        return MaskClassification(network, recipe, base)
    if isinstance(network, PhotoColorizer):
        return _chroma_classification(network, recipe, prepared)
    if recipe.kind.target != "palette":
        return SquaredError(network, recipe)
    class_weights = None
    if recipe.rebalance:
        assert isinstance(prepared.pictures.train, Pictures)
        class_weights = torch.from_numpy(rebalancing_weights(prepared.pictures.train.target, prepared.judge.colours))
    return PaletteClassification(network, recipe, class_weights)


def _chroma_classification(network: PhotoColorizer, recipe: Recipe, prepared: Prepared) -> ChromaClassification:
    colours, samples = prepared.judge.colours, prepared.pictures.train
    assert isinstance(samples, PhotoSamples)
    if recipe.rebalance and len(colours):
        ab = torch.from_numpy(samples.chroma(CLUSTERED)).T[None, :, None]  # (1, 2, 1, M)
        nearest = SoftLabels(colours)(ab)[0][:, 0]
        network.class_weights.copy_(torch.from_numpy(rebalancing_weights(nearest, colours)))
    return ChromaClassification(network, recipe, torch.from_numpy(colours))


class RunFolder(Callback):
    """Writes what a run leaves behind: grids (at most 100), a line of log each epoch, curves, metrics and the checkpoint."""

    def __init__(self, folder: Path, recipe: Recipe, prepared: Prepared, devices: int = 1, weights: Path | None = None) -> None:
        self.folder, self.recipe, self.judge = folder, recipe, prepared.judge
        self.weights = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
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
        """What must be the same for a resumed run to be the run that was interrupted."""
        return {
            **self.recipe.as_dict(), "palette": self.judge.colours.tolist(), "data": self.training_data,
            "pictures": self.fingerprint, "devices": self.devices, "weights": self.weights,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history, "seconds": time.monotonic() - self.started, "identity": self.identity,
            "base": self.base and asdict(self.base), "best": self.best,
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        }  # fmt: skip

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
        reached = float(module.metrics[module.best_by].compute()) if module.best_by else -1.0  # by all processes together
        if trainer.is_global_zero:
            if trainer.current_epoch % math.ceil(self.recipe.epochs / _GRIDS) == 0:
                self._save_grid(module, self.folder / "grids" / f"epoch-{trainer.current_epoch:03d}.png")
            if reached > self.best:
                self.best = reached
                with replacing(self.folder / "best.pt") as path:
                    torch.save(self._learnt(module.network), path)

    def _learnt(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold: everything, or the last layer where the rest is that of ``base``."""
        state = network.state_dict()
        if self.base is None or not self.recipe.arguments.get("last_layer_only"):
            return state
        return {name: value for name, value in state.items() if name.startswith(deeplab.LAST_LAYER)}

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
        rows = self.judge.rows(network.eval(), self.validation[: self.judge.grid_pictures])
        plots.save_grid(rows, path, self.judge.grid_scale)
        network.train(was_training)

    def finish(self, trainer: L.Trainer, module: Task) -> Path:
        """Write curves, metrics and the checkpoint of the finished run; returns the checkpoint's path.

        Where the best epoch is kept, the last one's checkpoint lies beside it, as ``MODEL-last.pt``.
        """
        recipe = self.recipe
        network = module.network.eval().cpu()
        path = self.folder / f"{recipe.model}.pt"
        if module.best_by and self.best >= 0:
            scores = self.judge.score(network, self.validation)
            self._checkpoint(network, scores).save(self.folder / f"{recipe.model}-last.pt")
            self._take_best(network)
        if recipe.precise_batchnorm and isinstance(self.train, Pictures):
            measure_statistics(network, self.train)
        # In float32, whatever the precision of training: what `python -m training evaluate` will say of the checkpoint
        checkpoint = self._checkpoint(network, self.judge.score(network, self.validation))
        plots.save_curves(self.history, self.folder / "curves.png", recipe.name)
        report = {
            "recipe": recipe.as_dict(),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "metrics": checkpoint.metrics,
            "training_data": self.training_data,
            "seconds": round(time.monotonic() - self.started, 1),
            "device": str(trainer.strategy.root_device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "history": self.history,
        }
        with replacing(self.folder / "metrics.json") as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
        self._save_grid(module, self.folder / "grid.png")
        checkpoint.save(path)
        remove_older_states(self.folder)
        return path

    def _take_best(self, network: nn.Module) -> None:
        """Give ``network`` the weights of this run's best epoch. Errors: TrainingError."""
        path = self.folder / "best.pt"
        way_out = "the best epoch was in it; train anew with another --run-dir"
        if not path.is_file():
            raise TrainingError(f"{path} is missing: {way_out}.")
        frozen = network.state_dict()
        for name in self._learnt(network):
            del frozen[name]
        best = load_tensors(read_bytes(path), path, way_out)
        try:
            network.load_state_dict({**frozen, **best})
        except (RuntimeError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path} is of another network: {way_out}.") from error

    def _checkpoint(self, network: nn.Module, scores: dict[str, float]) -> Checkpoint:
        recipe = self.recipe
        metrics = {f"validation_{name}": value for name, value in scores.items()}
        return Checkpoint(
            recipe.model, recipe.network, recipe.arguments, self._learnt(network), self.judge.colours,
            {**recipe.as_dict(), "classes": list(self.classes)}, metrics, self.training_data, self.base,
        )  # fmt: skip


def _refuse_another_run(state: State, wanted: dict[str, Any]) -> None:
    """TrainingError when the state is that of a run with anything but what is ``wanted``, some of `RunFolder.identity`."""
    # No weights need be given again: the state holds what has become of them
    wanted = {name: value for name, value in wanted.items() if name != "weights" or value is not None}
    absent = {field.name: field.default for field in fields(Recipe)}  # what older runs had, before there was a choice
    begun = {name: state.run["identity"].get(name, absent.get(name)) for name in wanted}
    different = [name for name, value in wanted.items() if begun[name] != value]
    if different:
        if "name" in different:  # of the recipe, from which all the rest follows
            different = ["name"]
        told = ", ".join(_difference(name, begun[name], wanted[name]) for name in different)
        raise TrainingError(
            f"The run in {state.path.parent} began with {told}; resume it with the same, or use another --run-dir."
        )


def _difference(name: str, begun: object, now: object) -> str:
    """In words: what of a run's identity was ``begun`` otherwise than it is wanted ``now``."""
    if isinstance(begun, dict) and isinstance(now, dict):  # a network's arguments
        changed = [key for key in {**begun, **now} if begun.get(key) != now.get(key)]
        return ", ".join(_difference(key, begun.get(key), now.get(key)) for key in changed)
    if name in ("palette", "pictures", "weights"):  # long lists and hashes
        return f"another {name}"
    return f"{'recipe' if name == 'name' else name} {begun}, not {now}"


def _callbacks(recipe: Recipe, folder: Path) -> list[Callback]:
    # A new file each epoch, the old one removed after (by RunFolder where a run was resumed from it): a kill in mid-write
    # leaves the epoch before.
    callbacks: list[Callback] = [ModelCheckpoint(folder, "resume-{epoch}", save_top_k=1, save_on_train_epoch_end=True)]
    if recipe.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=recipe.ema_decay))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar())
    return callbacks


def _quiet() -> None:
    """Silence what Lightning says about choices that are made on purpose here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # the data set is in memory: workers would only copy it
        ".*Checkpoint directory .* exists and is not empty.*",  # that is what --resume is for
        ".*The dirpath has changed from.*",  # a run's folder may be moved
        ".*recommended to use `self.log.*sync_dist=True.*",  # torchmetrics has summed over the devices already
        ".*number of training batches .* smaller than the logging interval.*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # a last layer learns alone
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
    state that ``resume`` goes on from. Errors: TrainingError; KeyboardInterrupt passes through after the state of
    the last whole epoch is safe.
    """
    machine.check(recipe.precision)
    _refuse_what_means_nothing(recipe, data)
    with claimed(folder):
        state = state_to_begin_with(folder, recipe.model, resume=resume)
        if state:
            _refuse_another_run(state, {**recipe.as_dict(), "devices": machine.devices})  # the rest takes the data
            tell_of_another_torch(state)
        with threads_of(None if machine.on_cuda else state, machine.devices):
            return _fit(recipe, data, folder, machine, state)


def _fit(recipe: Recipe, data: Data, folder: Path, machine: Machine, state: State | None) -> Path:
    _quiet()
    L.seed_everything(recipe.seed, verbose=False)
    # Weights before data, which take longer; those of a resumed run are in its state
    network, base = make_network(recipe, data.weights, pretrained=state is None and not recipe.from_scratch)
    prepared = prepare(recipe, data, workers=machine.workers())
    run = RunFolder(folder, recipe, prepared, machine.devices, data.weights)
    if state:
        _refuse_another_run(state, run.identity)
    module = make_task(recipe, prepared, network, base)
    if recipe.precision != "32-true":
        module = module.to(memory_format=torch.channels_last)
    trainer = _trainer(recipe, machine, [run, *_callbacks(recipe, folder)])
    if state and state.epochs >= recipe.epochs:  # killed between the last epoch and its checkpoint
        module.load_state_dict(state.contents["state_dict"])  # the averaged weights, where there are any
        run.load_state_dict(state.run)
        return run.finish(trainer, module)
    try:
        trainer.fit(module, prepared.pictures, ckpt_path=state.path if state else None, weights_only=False if state else None)
    except SystemExit:  # Lightning's answer to Ctrl-C, after it has put everything down
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    return run.finish(trainer, module) if trainer.is_global_zero else folder / f"{recipe.model}.pt"
