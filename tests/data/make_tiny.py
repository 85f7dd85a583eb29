"""Makes ``tiny.pt`` and ``tiny.onnx``: a UNet with random weights and a vivid palette, for tests of everything around it.

Run from the repository's root: ``PYTHONPATH=. python tests/data/make_tiny.py``.
"""

from pathlib import Path

import numpy as np
import torch
from colorize_run.contract import WorkingSize

from export.specifications import Specification
from export.to_onnx import export
from training.checkpoint import Checkpoint, load
from training.networks import build

COLOURS = [[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.9], [0.9, 0.8, 0.1], [0.05, 0.05, 0.05], [0.95, 0.95, 0.95]]

torch.manual_seed(0)
folder = Path(__file__).parent
arguments = {"kernel": 3, "num_filters": 2, "num_colours": len(COLOURS), "in_channels": 1}
network = build("unet", arguments)
with torch.no_grad():
    for _ in range(20):  # BatchNorm statistics
        network(torch.rand(8, 1, 32, 32))
    network.finalconv.weight.mul_(3)  # decided colours, not a mean of all
colours = np.array(COLOURS, np.float32)
tiny = Checkpoint("tiny", "unet", arguments, network.state_dict(), colours, {"name": "random"}, {}, "nothing")
tiny.save(folder / "tiny.pt")
export(load(folder / "tiny.pt"), Specification("tiny", "unet", WorkingSize(32, 4, 8, 256), temperature=0.5), folder)
