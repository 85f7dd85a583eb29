"""A recipe: the hyper-parameters of one training run."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from training.errors import TrainingError
from training.networks import NETWORKS, Network


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of one training run, besides the data and the machine."""

    name: str
    """``MODEL-RECIPE``, also the default name of the run's folder."""
    model: str
    """Name under which the result is exported."""
    network: str
    """Kind of network, a key of NETWORKS."""
    arguments: dict[str, Any]
    """Arguments of the network's constructor."""
    learning_rate: float
    """Learning rate; with the schedule "one-cycle" its peak."""
    batch_size: int
    """Pictures in a batch, on each device."""
    epochs: int
    """Number of epochs."""
    seed: int = 0
    """Seed of the initial weights, the order of the pictures, and augmentation."""
    split_seed: int = 0
    """Seed that divides train from validation; it stays the same when ``seed`` is varied."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW with decoupled weight decay."""
    weight_decay: float = 0.0
    """Weight decay of the optimizer."""
    schedule: Literal["constant", "one-cycle"] = "constant"
    """Learning rate over the run; "one-cycle" rises and falls (Smith and Topin 2017)."""
    augment: tuple[str, ...] = ()
    """Augmentations that are drawn again for each batch, some of `training.options.AUGMENTATIONS`."""
    shift: int = 1
    """Largest shift in pixels."""
    folds: int = 0
    """Copies per face that are made once, before the training; 0: only the faces themselves."""
    share: float = 1.0
    """Fraction of the training pictures that make an epoch, drawn again for each epoch."""
    precise_batchnorm: bool = False
    """Whether the statistics of BatchNorm are measured again at the end (`training.batchnorm`)."""
    rebalance: bool = False
    """Whether rare palette colours get more weight in the loss."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of weights and BatchNorm statistics, which is then what is validated and
    kept; 0: no averaging."""
    side: int = 128
    """Side in pixels of the squares that are cut out of photographs and flowers."""
    final_side: int = 0
    """The same in the last quarter of the epochs; 0: no change."""
    chroma_loss: float = 0.0
    """Weight of the distance in a*, b*, which is added to the cross-entropy of ``photo``."""
    learn_encoder: tuple[str, ...] = ()
    """Beginnings of the names of those pretrained encoder layers of ``photo`` that are trained; "" means all."""
    colourless: float = 0.0
    """Share of the photographs in whose place ``photo`` learns from a picture that must stay grey, such as print."""
    augmented: bool = False
    """Whether flowers are moved and lit in another way for each batch."""
    from_scratch: bool = False
    """Whether the network starts with random weights where others have pretrained ones."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Lightning's name for the precision of the training."""

    @property
    def kind(self) -> Network:
        """The kind of network that this recipe trains."""
        return NETWORKS[self.network]

    def with_changes(self, **changes: Any) -> "Recipe":
        """Copy with those ``changes`` that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def with_colours(self, colours: int | None, *, asked: bool) -> "Recipe":
        """Copy for a palette of ``colours``.

        Errors: TrainingError when the user ``asked`` for a number, or for rebalancing, and the network has no palette.
        """
        if self.kind.target not in ("palette", "chroma-palette") or self.arguments.get("num_colours") == 0:
            if asked or self.rebalance:
                raise TrainingError(f"{self.model} does not classify into a palette: omit --colours and --rebalance.")
            return self
        return self if colours is None else replace(self, arguments={**self.arguments, "num_colours": colours})

    def with_encoder(self, encoder: str | None) -> "Recipe":
        """Copy with another pretrained encoder, which is trained as a whole; TrainingError for a network without one."""
        if encoder is None:
            return self
        if "encoder" not in self.arguments:
            raise TrainingError(f"{self.model} has no encoder to choose: omit --encoder.")
        return replace(self, arguments={**self.arguments, "encoder": encoder}, learn_encoder=("",))

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)
