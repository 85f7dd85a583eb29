"""BatchNorm statistics that are measured again once the weights are final."""

import torch
from torch import nn

from training.datasets.pictures import Pictures
from training.progress import track


def measure_statistics(network: nn.Module, pictures: Pictures, batch_size: int = 200) -> None:
    """Replace the running statistics of BatchNorm by the mean over one pass of the training ``pictures``, in float32.

    Running and exponentially averaged statistics lag behind the weights and were computed in the precision of training.
    Where few pixels are left (2 x 2 at the bottom of the Lab encoders) that is most of the error. Layers that are never
    trained, such as those of a frozen classifier, keep their statistics.
    Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.
    """
    network.train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None makes PyTorch compute a cumulative mean
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()
    device = next(network.parameters()).device
    starts = range(0, max(1, len(order) - batch_size + 1), batch_size)  # only whole batches, so that each counts the same
    with torch.no_grad():
        for start in track(starts, "Measuring BatchNorm statistics, by batches"):
            network(pictures.__getitems__(order[start : start + batch_size])["input"].to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
