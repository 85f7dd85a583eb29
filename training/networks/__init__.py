"""The networks by name, so that a checkpoint can say which one it holds."""

from collections.abc import Callable
from typing import Any

from torch import nn

from training.networks.unet import UNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"unet": UNet}


def build(network: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the network called ``network`` with its constructor's ``arguments``; KeyError for an unknown name."""
    return NETWORKS[network](**arguments)
