"""DeepLabV3 over several backbones, for segmentation with few classes. Source: Chen et al. 2017."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, segmentation

from training.errors import TrainingError
from training.files import load_tensors, read_bytes

Backbone = Literal["resnet101", "resnet50", "mobilenet_v3_large", "mobilenet_v2"]
LAST_LAYER = "classifier.4"
_MINIMUM = 33  # side, in pixels
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def _mobilenet_v2() -> nn.Module:
    """MobileNetV2 without its last layer, at a sixteenth of the picture: block 14 keeps the size, 15 to 17 are dilated."""
    features = cast("nn.Sequential", mobilenet_v2(weights=None).features)[:18]
    for i in (14, 15, 16, 17):
        for module in features[i].modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.stride = (1, 1)
                if i > 14:
                    module.dilation = module.padding = (2, 2)
    return features


def _point(in_channels: int, out_channels: int) -> nn.Sequential:
    """1 x 1 convolution -> BatchNorm -> ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())


class _PointAndMean(nn.Module):
    """DeepLabV3's pyramid reduced to its two cheapest levels: each cell, and the mean of the picture."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pool, self.aspp0 = _point(in_channels, out_channels), _point(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        mean = self.pool(features.mean(dim=(2, 3), keepdim=True))  # (N, 256, 1, 1)
        cells = self.aspp0(features)  # (N, 256, H/16, W/16)
        return torch.cat([mean.expand_as(cells), cells], dim=1)


class DeepLab(nn.Module):
    """Logits over ``num_classes`` for each pixel, by DeepLabV3 on one of four backbones.

    Input (N, 3, H, W), R, G, B, sRGB-encoded, 0..1, any H and W; output (N, num_classes, H, W). The last layer,
    ``classifier.4``, is a convolution of ``kernel`` x ``kernel`` pixels with a border of ``padding``; the original recipe's
    is 3 x 3 without one. ``last_layer_only`` freezes the rest, whose BatchNorm then keeps its statistics.
    It is built with random weights: `pretrain` loads those of COCO or Pascal VOC.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone = "resnet101",
        num_classes: int = 2,
        kernel: int = 3,
        padding: int = 0,
        *,
        last_layer_only: bool = False,
    ) -> None:
        super().__init__()
        self.backbone_name, self.last_layer_only = backbone, last_layer_only
        self.corners = backbone == "mobilenet_v2"  # as in TensorFlow: with sides of 16k + 1 the cells stay in place
        if backbone == "mobilenet_v2":
            self.backbone: nn.Module = _mobilenet_v2()
            head = [_PointAndMean(320, 256), nn.Conv2d(512, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        else:
            whole = getattr(segmentation, f"deeplabv3_{backbone}")(weights=None, weights_backbone=None, aux_loss=None)
            self.backbone, head = whole.backbone, list(whole.classifier)[:4]
        self.classifier = nn.Sequential(*head, nn.Conv2d(256, num_classes, kernel, padding=padding))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        if last_layer_only:
            self.requires_grad_(False)
            self.get_submodule(LAST_LAYER).requires_grad_(True)
        self.train()  # Lightning does not change the modes when it starts

    @property
    def pretrained_part(self) -> nn.Module:
        """The part whose weights others have trained."""
        return self.backbone

    def train(self, mode: bool = True) -> "DeepLab":
        """As in every module, but frozen parts stay in evaluation mode, so that BatchNorm's statistics are frozen too."""
        super().train(mode)
        if self.last_layer_only:
            for module in self.modules():
                module.training = False
        self.training = mode
        return self

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2], image.shape[3]
        stride, rest = (16, 1) if self.corners else (8, 0)
        to_height, to_width = (_rounded_up(side, stride, rest) for side in (height, width))
        whole = F.pad((image - self.mean) / self.std, (0, to_width - width, 0, to_height - height), mode="replicate")
        features = self.backbone(whole)  # (N, C, H/8, W/8), of MobileNetV2 (N, 320, H/16 + 1, W/16 + 1)
        logits = self.classifier(features if isinstance(features, Tensor) else features["out"])  # (N, K, …)
        enlarged = F.interpolate(logits, (to_height, to_width), mode="bilinear", align_corners=self.corners)
        return enlarged[:, :, :height, :width]


def _rounded_up(side: int, stride: int, rest: int) -> int:
    """``side`` padded to a multiple of ``stride`` plus ``rest``, enough for a last layer of 3 x 3 without a border."""
    enough: Any = torch.sym_max(side, _MINIMUM)  # a symbol during export
    return cast("int", enough + (rest - enough) % stride)


@dataclass(frozen=True)
class Base:
    """A file of pretrained weights: its name, and the SHA-256 of its bytes."""

    name: str
    sha256: str


def public_weights(backbone: str) -> str:
    """URL of torchvision's COCO weights for a backbone; TrainingError for MobileNetV2, of which it has none."""
    if backbone == "mobilenet_v2":
        raise TrainingError(
            "DeepLabV3 on MobileNetV2 has no weights that can be downloaded: give deeplabv3_mnv2_voc.pth with --weights, or"
            " start at random with --weights none."
        )
    name = {"resnet101": "ResNet101", "resnet50": "ResNet50", "mobilenet_v3_large": "MobileNet_V3_Large"}[backbone]
    weights: Any = getattr(segmentation, f"DeepLabV3_{name}_Weights").DEFAULT
    return str(weights.url)


def weights_file(backbone: str, given: Path | None) -> Path:
    """The file of pretrained weights: the ``given`` one, or torchvision's, downloaded when missing. Errors: TrainingError."""
    if given is not None:
        return given
    url = public_weights(backbone)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise TrainingError(
                f"The weights of {backbone} could not be downloaded ({error}): fetch {url} on a connected machine and put it"
                f" into {folder}, or give the file with --weights, or start at random with --weights none."
            ) from error
    return path


def pretrain(network: DeepLab, given: Path | None = None) -> Base:
    """Load all but the last layer of ``network`` from a file of pretrained weights; returns which. Errors: TrainingError."""
    path = weights_file(network.backbone_name, given)
    data = read_bytes(path)
    fix = "give another with --weights" if given else "delete it, and it is downloaded again"
    state = load_tensors(data, path, fix)
    try:
        _load_base(network, {_renamed(name): value for name, value in state.items()})
    except (ValueError, AttributeError) as error:  # AttributeError: no dictionary of tensors
        reason = error if isinstance(error, ValueError) else "it is not a dictionary of tensors"
        raise TrainingError(
            f"{path} does not contain weights of DeepLabV3 on {network.backbone_name} ({reason}): {fix}."
        ) from error
    return Base(path.name, hashlib.sha256(data).hexdigest())


def _load_base(network: DeepLab, state: dict[str, Tensor]) -> None:
    given = {
        name: value for name, value in state.items() if not name.startswith((f"{LAST_LAYER}.", "aux_classifier.", "logits."))
    }
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith(f"{LAST_LAYER}.")}
    missing, unknown = expected.keys() - given.keys(), given.keys() - expected.keys()
    if missing or unknown:
        raise ValueError(f"{len(missing)} tensors are missing and {len(unknown)} are unknown")
    reshaped = sum(given[name].shape != value.shape for name, value in expected.items())
    if reshaped:
        raise ValueError(f"{reshaped} tensors have another shape")
    network.load_state_dict(given, strict=False)


def _renamed(name: str) -> str:
    """Translate a name in deeplabv3_mnv2_voc.pth to `DeepLab`'s; torchvision's names are `DeepLab`'s already."""
    for old, new in (
        ("features.", "backbone."),
        ("pool.", "classifier.0.pool."),
        ("aspp0.", "classifier.0.aspp0."),
        ("project.0.", "classifier.1."),
        ("project.1.", "classifier.2."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
