"""``python -m torture.reference MODEL FILE…``: says how many seconds one `Colorizer` takes for some of these files.

Each line on stdin names some of them: the index of the first, and the index after the last.
"""

import sys
import time
from pathlib import Path

from colorize_run import Colorizer

if __name__ == "__main__":
    model, *names = sys.argv[1:]
    colorizer = Colorizer(model, "cpu")
    colorizer.colorize_file(Path(names[0]))
    print("ready", flush=True)
    for line in sys.stdin:
        first, last = map(int, line.split())
        start = time.perf_counter()
        for name in names[first:last]:
            colorizer.colorize_file(Path(name))
        print(time.perf_counter() - start, flush=True)
