"""Training tasks: one LightningModule for each kind of loss."""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from training.datasets.cifar import Batch
from training.recipes import Recipe


def mirror_and_shift(grey: Tensor, target: Tensor, shift: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half the pictures left-right and shift the batch by up to ``shift`` pixels over reflected borders.

    ``grey`` (N, 1, H, W) and ``target`` (N, H, W) move together, so that each pixel keeps its colour.
    """
    n, _, h, w = grey.shape
    mirrored = torch.rand(n, generator=generator).lt(0.5).to(grey.device)
    both = torch.cat([grey, target[:, None].to(grey.dtype)], dim=1)  # (N, 2, H, W); class numbers are exact in float32
    both = torch.where(mirrored[:, None, None, None], both.flip(3), both)
    both = F.pad(both, (shift, shift, shift, shift), mode="reflect")
    dy, dx = torch.randint(0, 2 * shift + 1, (2,), generator=generator).tolist()
    both = both[:, :, dy : dy + h, dx : dx + w]
    return both[:, :1].contiguous(), both[:, 1].round().long()


class PaletteClassification(L.LightningModule):
    """Cross-entropy over the palette colour of each pixel.

    Batches: ``grey`` (N, 1, H, W) float32, ``target`` (N, H, W) int64. Logs ``train_loss``, ``train_accuracy``,
    ``validation_loss`` and ``validation_accuracy``; accuracy is the share of pixels whose colour is right.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        colours = recipe.arguments["num_colours"]
        self.metrics: dict[str, Metric] = {}
        for split in ("train", "validation"):
            self.metrics[f"{split}_loss"] = MeanMetric()
            self.metrics[f"{split}_accuracy"] = MulticlassAccuracy(colours, average="micro")
        self.torchmetrics = nn.ModuleList(self.metrics.values())  # so that they follow the module to its device

    def _step(self, split: str, grey: Tensor, target: Tensor) -> Tensor:
        if self.recipe.precision != "32-true":
            grey = grey.contiguous(memory_format=torch.channels_last)  # twice as fast in bf16
        logits = self.network(grey).float()
        loss = F.cross_entropy(logits, target)
        self.metrics[f"{split}_loss"].update(loss.detach(), len(grey))
        self.metrics[f"{split}_accuracy"].update(logits.detach(), target)
        return loss

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        grey, target = batch["grey"], batch["target"]
        if self.recipe.augment:
            # Seeded by the place in the run, so that a resumed run augments as an uninterrupted one does.
            place = (self.global_step * self.trainer.world_size + self.global_rank) * 1_000_003 + self.recipe.seed
            grey, target = mirror_and_shift(grey, target, self.recipe.shift, torch.Generator().manual_seed(place))
        return self._step("train", grey, target)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._step("validation", batch["grey"], batch["target"])

    def on_validation_epoch_end(self) -> None:
        # Validation closes the epoch, so the training figures are complete here too.
        self.log_dict({name: metric.compute() for name, metric in self.metrics.items()}, prog_bar=True)
        for metric in self.metrics.values():
            metric.reset()

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        if recipe.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches), pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
