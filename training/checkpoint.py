"""The checkpoint that export and evaluation read: weights, recipe and palette, loadable without running code."""

from collections import OrderedDict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.files import load_tensors, read_bytes, replacing
from training.networks import NETWORKS, Network, build
from training.networks.deeplab import Base
from training.palette import load_palette

FORMAT = "colorize-run checkpoint 1"


_FIELDS: dict[str, type] = {
    "model": str,
    "network": str,
    "arguments": dict,
    "state": dict,
    "colours": Tensor,
    "recipe": dict,
    "metrics": dict,
    "training_data": str,
}


@dataclass(frozen=True)
class Checkpoint:
    """One trained network.

    ``model`` is the name it is exported under; ``network`` and ``arguments`` rebuild it, ``colours`` is its palette
    (K, 3) RGB in byte / 256 or (K, 2) a*, b* (K = 0 for networks without one), ``recipe`` its hyper-parameters, ``metrics``
    its figures, ``training_data`` a description of its data. ``base``: the file of pretrained weights where only the last
    layer was trained; `save` stores its name and hash.
    """

    model: str
    network: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]
    colours: npt.NDArray[np.float32]
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    training_data: str = ""
    base: Base | None = None

    @property
    def kind(self) -> Network:
        """The kind of network that this is."""
        return NETWORKS[self.network]

    @property
    def split_seed(self) -> int:
        """The seed that divided train from validation."""
        return int(self.recipe.get("split_seed", 0))

    def build(self) -> nn.Module:
        """Build the network with these weights, in evaluation mode."""
        try:
            model = build(self.network, self.arguments)
            model.load_state_dict(self.state)
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise TrainingError(
                f"The checkpoint's weights do not fit its network, {self.network}({self.arguments}): another version wrote it,"
                " or it was altered; train again with `python -m training fit`."
            ) from error
        return model.eval()

    def in_half_precision(self) -> "Checkpoint":
        """Copy with its filters and matrices rounded to half precision; `build` makes float32 of them again.

        Vectors stay: they are small, and variances of BatchNorm may be larger than half precision holds. Errors: TrainingError
        for a weight that it cannot hold.
        """
        state = {name: value.half() if value.ndim > 1 else value for name, value in self.state.items()}
        if not all(value.isfinite().all() for value in state.values()):
            raise TrainingError("Half precision cannot hold all of these weights: some are above 65504. Keep the checkpoint.")
        return replace(self, state=state)

    def save(self, path: Path) -> None:
        """Write the checkpoint; `load` reads it back with ``weights_only=True``."""
        contents = {
            "format": FORMAT,
            "model": self.model,
            "network": self.network,
            "arguments": self.arguments,
            "state": {name: value.detach().cpu().clone() for name, value in self.state.items()},
            "colours": torch.from_numpy(self.colours),
            "recipe": self.recipe,
            "metrics": self.metrics,
            "training_data": self.training_data,
            "base": self.base and asdict(self.base),
        }
        with replacing(path) as partial:
            torch.save(contents, partial)


def load(path: str | Path, palette: str | Path | None = None, weights: Path | None = None) -> Checkpoint:
    """Read a checkpoint, or a state dict of the assignment's hand-out (with ``palette`` or the one beside it).

    A checkpoint of only a last layer is completed from its base: ``weights``, or the library's download. A palette or
    weights are refused for a checkpoint that does not need them.
    ``path`` may lie in a zip archive: ``archive.zip/weights/unet_k3_f32.pkl``. Errors: TrainingError.
    """
    contents = load_tensors(read_bytes(path), path, "give RUN/NAME.pt of `python -m training fit`, or the assignment's weights")
    handout = isinstance(contents, OrderedDict) and all(isinstance(value, Tensor) for value in contents.values())
    checkpoint = _from_handout(Path(path), contents, palette) if handout else _from_contents(path, contents)
    if palette and not handout:
        raise TrainingError(f"{path} contains its palette: omit --palette, which is for the assignment's weights.")
    if checkpoint.arguments.get("last_layer_only") and checkpoint.base:
        return _completed(checkpoint, weights)
    if weights:
        raise TrainingError(f"{path} contains all of its weights: omit --weights, which is for checkpoints of a last layer.")
    return checkpoint


def _from_contents(path: str | Path, contents: Any) -> Checkpoint:
    """The checkpoint that `Checkpoint.save` wrote."""
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of `python -m training fit`: give RUN/NAME.pt.")
    if contents.get("network") not in tuple(NETWORKS):  # a tuple: the value may be unhashable
        raise TrainingError(f"{path} holds the unknown network {contents.get('network')!r}; known: {', '.join(NETWORKS)}.")
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(contents.get(name), kind)]
    if wrong:
        raise TrainingError(f"{path} is an incomplete or altered checkpoint: it lacks {', '.join(wrong)}. Train again.")
    try:
        fields = {name: contents[name] for name in _FIELDS if name != "colours"}
        base = contents.get("base") and Base(**contents["base"])
        checkpoint = Checkpoint(colours=contents["colours"].numpy(), base=base, **fields)
    except TypeError as error:
        raise TrainingError(f"{path} is an incomplete or altered checkpoint: {error}. Train again.") from error
    values = [contents["colours"], *checkpoint.state.values()]
    if not all(isinstance(value, Tensor) and value.isfinite().all() for value in values):
        raise TrainingError(f"{path} holds weights that are not numbers: the training diverged; try a lower --learning-rate.")
    if checkpoint.kind.target == "palette" and len(checkpoint.colours) != checkpoint.arguments.get(
        "num_colours", len(checkpoint.colours)
    ):
        raise TrainingError(f"{path} has a palette of {len(checkpoint.colours)} colours for another number of classes.")
    return checkpoint


def _completed(checkpoint: Checkpoint, weights: Path | None) -> Checkpoint:
    """The checkpoint of a last layer with the rest of its network, from the file on which it was trained."""
    network, base = build(checkpoint.network, checkpoint.arguments), checkpoint.base
    assert base is not None
    assert checkpoint.kind.pretrain is not None
    loaded = checkpoint.kind.pretrain(network, weights)
    assert loaded is not None
    if loaded.sha256 != base.sha256:
        raise TrainingError(
            f"The checkpoint is a last layer on top of {base.name} (SHA-256 {base.sha256[:12]}…), but {weights or loaded.name}"
            f" is another file: give {base.name} with --weights."
        )
    return replace(checkpoint, state={**network.state_dict(), **checkpoint.state})


def _from_handout(path: Path, state: dict[str, Tensor], palette: str | Path | None) -> Checkpoint:
    """Recognise the assignment's networks by their layers; the palette lies in ``../colours`` beside ``weights``.

    UNet and DilatedUNet have the same tensors: a file whose name starts with ``dunet`` is the dilated one.
    """
    try:
        first, final = state["downconv1.0.weight"], state["finalconv.weight"]
        outputs, skips = final.shape[0], state["upconv1.0.weight"].shape[1] == 4 * first.shape[0]
        arguments = {"kernel": first.shape[2], "num_filters": first.shape[0], "in_channels": first.shape[1]}
    except (KeyError, IndexError) as error:
        raise TrainingError(f"{path} is not a state dict of the assignment's networks: it lacks {error}.") from error
    if skips:
        network = "dilated-unet" if path.name.startswith("dunet") else "unet"
    else:
        network = "regression-cnn" if outputs == 3 else "cnn"
    if network != "regression-cnn":
        arguments["num_colours"] = outputs
    k = arguments.get("num_colours", 24)  # the regression is evaluated by the nearest of 24
    colours = load_palette(palette) if palette else _palette_beside(path, k)
    if network != "regression-cnn" and len(colours) != k:
        raise TrainingError(f"{path} chooses among {k} colours, but its palette has {len(colours)}.")
    recipe = {"name": "hand-out"}
    return Checkpoint(network, network, arguments, state, colours, recipe, {}, "CIFAR-10 horses (CSC321 hand-out)")


def _palette_beside(path: Path, count: int) -> npt.NDArray[np.float32]:
    """Read the palette of ``count`` colours from its place in the hand-out. Errors: TrainingError."""
    try:
        return load_palette(path.parent.parent / f"colours/colour_kmeans{count}_cat7.npy")
    except TrainingError as error:
        raise TrainingError(f"{path} has no palette beside it ({str(error).rstrip('.')}): give it with --palette.") from error
