"""Training tasks: one LightningModule for each kind of loss."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import BinaryJaccardIndex, MulticlassAccuracy

from training.datasets.flowers import UNLABELLED
from training.datasets.pictures import Batch
from training.networks.deeplab import Base
from training.networks.photo import PhotoColorizer
from training.palette import SoftLabels
from training.recipe import Recipe

GRAIN = 0.15  # largest standard deviation of added noise, of inputs in 0..1


def augment(inputs: Tensor, target: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip half the pictures, shift the batch over reflected borders, add noise, as ``recipe.augment`` says.

    ``inputs`` (N, C, H, W) and ``target`` (N, H, W) or (N, D, H, W) move together, so that each pixel keeps its colour;
    a target of whole pictures, (N, D), is unchanged. Noise is Gaussian, only on the inputs, stronger in some pictures.
    """
    n, c, h, w = inputs.shape
    planes = target[:, None] if target.ndim == 3 else target if target.ndim == 4 else inputs[:, :0]
    both = torch.cat([inputs, planes.to(inputs.dtype)], dim=1)  # class numbers are exact in float32
    for kind, axis in (("flip-left-right", 3), ("flip-up-down", 2)):
        if kind in recipe.augment:
            flipped = torch.rand(n, generator=generator).lt(0.5).to(inputs.device)
            both = torch.where(flipped[:, None, None, None], both.flip(axis), both)
    s = recipe.shift
    both = F.pad(both, (s, s, s, s), mode="reflect")
    dy, dx = torch.randint(0, 2 * s + 1, (2,), generator=generator).tolist()
    top = dy if "shift-up-down" in recipe.augment else s
    left = dx if "shift-sideways" in recipe.augment else s
    both = both[:, :, top : top + h, left : left + w]
    moved, planes = both[:, :c].contiguous(), both[:, c:].contiguous()
    if "grain" in recipe.augment:
        strength = GRAIN * torch.rand(n, 1, 1, 1, generator=generator)
        moved = (moved + (strength * torch.randn(moved.shape, generator=generator)).to(moved.device)).clamp(0, 1)
    return moved, target if target.ndim == 2 else planes[:, 0].round().long() if target.ndim == 3 else planes


class Task(L.LightningModule, ABC):
    """What all tasks share: optimiser, schedule, augmentation, and metrics that are logged at the end of an epoch.

    Batches: ``input`` (N, C, H, W) float32 and ``target``. Logs ``train_loss`` and ``validation_loss``. ``base`` is the
    file of pretrained weights that the network started with, where a checkpoint must record it.
    """

    # The weights of the epoch with the highest value of this metric are kept; "": those of the last epoch
    best_by: ClassVar[str] = ""

    def __init__(self, network: nn.Module, recipe: Recipe, base: Base | None = None) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.base = base
        self.metrics: dict[str, Metric] = {f"{split}_loss": MeanMetric() for split in ("train", "validation")}
        self.add_metrics()
        self.torchmetrics = nn.ModuleList(self.metrics.values())  # so that they follow the module to its device

    def add_metrics(self) -> None:
        """Add to ``metrics``."""

    @abstractmethod
    def step(self, split: str, output: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch; updates the metrics of ``split``."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser learns, in groups that may have a learning rate ``lr`` of their own."""
        return [{"params": [parameter for parameter in self.network.parameters() if parameter.requires_grad]}]

    def with_lower_rate(self, pretrained: nn.Module) -> list[dict[str, Any]]:
        """Groups where the ``pretrained`` part of the network learns at a fifth of the rate, unless it starts at random."""
        if self.recipe.from_scratch:
            return Task.parameter_groups(self)
        inside = {id(parameter) for parameter in pretrained.parameters()}
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [{"params": [parameter for parameter in learning if id(parameter) not in inside]}]
        slow = [parameter for parameter in learning if id(parameter) in inside]
        return [*groups, {"params": slow, "lr": self.recipe.learning_rate / 5}] if slow else groups

    def _forward(self, inputs: Tensor) -> Tensor:
        if self.recipe.precision != "32-true":
            inputs = inputs.contiguous(memory_format=torch.channels_last)  # twice as fast in bf16
        output: Tensor = self.network(inputs)
        return output.float()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        inputs, target = batch["input"], batch["target"]
        if self.recipe.augment:
            # Seeded by the place in the run, so that a resumed run augments as an uninterrupted one does.
            place = (self.global_step * self.trainer.world_size + self.global_rank) * 1_000_003 + self.recipe.seed
            inputs, target = augment(inputs, target, self.recipe, torch.Generator().manual_seed(place))
        return self.step("train", self._forward(inputs), target)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.step("validation", self._forward(batch["input"]), batch["target"])

    def on_validation_epoch_end(self) -> None:
        # Validation closes the epoch, so the training figures are complete here too.
        self.log_dict({name: metric.compute() for name, metric in self.metrics.items()}, prog_bar=True)
        for metric in self.metrics.values():
            metric.reset()

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        groups = self.parameter_groups()
        optimizer = kind(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        if recipe.schedule == "constant":
            return optimizer
        steps = max(10, int(self.trainer.estimated_stepping_batches))  # PyTorch divides by 0.2 · steps - 1
        peaks = [group.get("lr", recipe.learning_rate) for group in groups]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class PaletteClassification(Task):
    """Cross-entropy over the palette colour of each pixel, (N, K, H, W) against (N, H, W).

    Also logs ``train_accuracy`` and ``validation_accuracy``, the fraction of pixels whose colour is right.
    ``class_weights`` (K,) rebalance the training loss; the validation loss is never rebalanced.
    """

    class_weights: Tensor

    def __init__(self, network: nn.Module, recipe: Recipe, class_weights: Tensor | None = None) -> None:
        super().__init__(network, recipe)
        colours = recipe.arguments["num_colours"]
        weights = torch.ones(colours) if class_weights is None else class_weights
        self.register_buffer("class_weights", weights, persistent=False)

    def add_metrics(self) -> None:
        colours = self.recipe.arguments["num_colours"]
        for split in ("train", "validation"):
            self.metrics[f"{split}_accuracy"] = MulticlassAccuracy(colours, average="micro")

    def step(self, split: str, output: Tensor, target: Tensor) -> Tensor:
        if split == "train" and self.recipe.rebalance:
            # The mean of weighted terms, not PyTorch's weighted mean: the weights' mean over all pixels is 1.
            loss = (F.cross_entropy(output, target, reduction="none") * self.class_weights[target]).mean()
        else:
            loss = F.cross_entropy(output, target)
        self.metrics[f"{split}_loss"].update(loss.detach(), len(output))
        self.metrics[f"{split}_accuracy"].update(output.detach(), target)
        return loss


class SquaredError(Task):
    """Mean squared error between output and target of equal shape."""

    def step(self, split: str, output: Tensor, target: Tensor) -> Tensor:
        loss = F.mse_loss(output, target)
        self.metrics[f"{split}_loss"].update(loss.detach(), len(output))
        return loss


class ChromaClassification(Task):
    """Cross-entropy with soft labels over a palette of chroma, and the distance of the mean colour from the truth.

    Output (N, K, h, w) logits over ``palette`` (K, 2) a*, b*, target (N, 2, h, w). The network's ``class_weights``
    rebalance both by the true colour; ``recipe.chroma_loss`` weighs the distance. Without a palette the output is ab / 110
    and the loss is the distance. The validation loss is not rebalanced; ``validation_ab_error`` is the distance.
    """

    network: PhotoColorizer
    palette: Tensor

    def __init__(self, network: PhotoColorizer, recipe: Recipe, palette: Tensor) -> None:
        super().__init__(network, recipe)
        self.register_buffer("palette", palette, persistent=False)
        self.labels = SoftLabels(palette.numpy()) if len(palette) else None
        for name, parameter in network.encoder.named_parameters():
            if not recipe.from_scratch and not name.startswith(recipe.learn_encoder):
                parameter.requires_grad_(False)

    def add_metrics(self) -> None:
        for split in ("train", "validation"):
            self.metrics[f"{split}_ab_error"] = MeanMetric()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.with_lower_rate(self.network.encoder)

    def step(self, split: str, output: Tensor, target: Tensor) -> Tensor:
        rebalance = split == "train" and self.recipe.rebalance
        if self.labels is None:
            distance = (output * 110 - target).norm(dim=1)
            loss = distance.mean()
        else:
            labels, weights = self.labels(target)
            entropy = output.logsumexp(dim=1) - (output.gather(1, labels) * weights).sum(dim=1)
            mean = torch.einsum("nkhw,kc->nchw", output.softmax(dim=1), self.palette)
            distance = (mean - target).norm(dim=1)
            per_cell = entropy + self.recipe.chroma_loss * distance
            loss = (per_cell * self.network.class_weights[labels[:, 0]]).mean() if rebalance else per_cell.mean()
        self.metrics[f"{split}_loss"].update(loss.detach(), len(output))
        assert isinstance(loss, Tensor)
        self.metrics[f"{split}_ab_error"].update(distance.detach().mean(), len(output))
        return loss


class MaskClassification(Task):
    """Cross-entropy over the class of each labelled pixel, (N, K, H, W) against (N, H, W) with 255 for unlabelled.

    Also logs ``train_iou`` and ``validation_iou``, the intersection over union of class 1.
    """

    best_by = "validation_iou"

    def add_metrics(self) -> None:
        for split in ("train", "validation"):
            self.metrics[f"{split}_iou"] = BinaryJaccardIndex(ignore_index=UNLABELLED)

    def parameter_groups(self) -> list[dict[str, Any]]:
        pretrained = self.network.pretrained_part
        assert isinstance(pretrained, nn.Module)
        return self.with_lower_rate(pretrained)

    def step(self, split: str, output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output, target, ignore_index=UNLABELLED)
        self.metrics[f"{split}_loss"].update(loss.detach(), len(output))
        self.metrics[f"{split}_iou"].update(output.detach().argmax(dim=1), target)
        return loss
