"""Evaluation of a checkpoint: which pictures it may be evaluated on, and its figures on them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.checkpoint import Checkpoint
from training.conventions import FROM_256THS
from training.datasets import cifar
from training.errors import TrainingError
from training.evaluation.evaluator import Evaluator
from training.evaluation.photos import Predict
from training.families import PHOTOGRAPHS, family_of
from training.palette import annealed_mean, palette_to_ab


def evaluator_of(checkpoint: Checkpoint) -> Evaluator:
    """The evaluator for the network of ``checkpoint``."""
    kind = checkpoint.kind
    return family_of(kind).evaluator(kind, checkpoint.arguments, checkpoint.colours)


def evaluate(checkpoint: Checkpoint, pictures: Any, device: str = "cpu") -> dict[str, Any]:
    """`Evaluator.report` of ``checkpoint`` on ``pictures``, which `Family.load_split` of its kind has loaded."""
    return evaluator_of(checkpoint).report(checkpoint.build().to(device), pictures)


def classes_to_evaluate(checkpoint: Checkpoint, asked: tuple[str, ...] | None, split: str) -> tuple[str, ...]:
    """CIFAR-10 classes of ``split`` to evaluate ``checkpoint`` on: those ``asked`` for, or those that it learnt from.

    Training divides only the classes of the run into train and validation. In any other class, the tenth that would be
    called validation may have been trained on. Errors: TrainingError.
    """
    learnt = tuple(checkpoint.recipe.get("classes") or ("horse",))  # the hand-out and older checkpoints record none
    if asked is None:
        return learnt
    if not asked:
        raise TrainingError("--classes names no class of CIFAR-10.")
    if split in ("train", "validation") and set(asked) <= set(cifar.CLASSES) and set(asked) != set(learnt):
        raise TrainingError(
            f"{checkpoint.model} learnt from {', '.join(learnt)}, and only these classes have a validation split: use"
            " --split test or all to evaluate other --classes."
        )
    return asked


def refuse_useless_options(checkpoint: Checkpoint, *, split: str, classes: bool, on_photos: bool, grid: bool) -> None:
    """TrainingError for options that the evaluation of ``checkpoint`` would ignore, or could not follow."""
    family, model = family_of(checkpoint.kind), checkpoint.model
    if on_photos and (checkpoint.kind.target != "palette" or checkpoint.kind.sees_colour):
        raise TrainingError(
            f"{model} cannot be evaluated with --photos, which is for networks that colour grey CIFAR-10 pictures with a"
            f" palette: omit --photos ({model} is evaluated on {family.name})."
        )
    if classes and (on_photos or not family.has_classes):
        what = "With --photos, " if on_photos else ""
        raise TrainingError(f"{what}{model} is not evaluated on CIFAR-10: omit --classes.")
    if split == "sources" and family is not PHOTOGRAPHS and not on_photos:
        raise TrainingError(f"{model} is evaluated on {family.name}, which have no held-out sources: omit --split sources.")
    if grid and on_photos:
        raise TrainingError("No grid is drawn with --photos: omit --grid.")


def small_predictor(checkpoint: Checkpoint, device: str = "cpu") -> Predict:
    """A palette network for grey CIFAR-10 pictures as the runtime uses it: at 32 pixels, with its chroma enlarged."""
    network, palette = checkpoint.build().to(device), torch.from_numpy(palette_to_ab(checkpoint.colours))

    def predict(grey: Tensor) -> Tensor:
        small = F.interpolate(grey, (32, 32), mode="bilinear", antialias=True)
        with torch.no_grad():
            ab = annealed_mean(network((small / FROM_256THS).to(device)).cpu(), palette, torch.tensor(1.0))
        return F.interpolate(ab, grey.shape[2:], mode="bilinear", align_corners=False)

    return predict
