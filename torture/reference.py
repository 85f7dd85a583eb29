"""``python -m torture.reference MODEL FILE…``: seconds that one `Colorizer` takes for these files, one after the other."""

import sys
import time
from pathlib import Path

from colorize_run import Colorizer

if __name__ == "__main__":
    model, *names = sys.argv[1:]
    colorizer = Colorizer(model, "cpu")
    colorizer.colorize_file(Path(names[0]))
    start = time.perf_counter()
    for name in names:
        colorizer.colorize_file(Path(name))
    print(time.perf_counter() - start)
