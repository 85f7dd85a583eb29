"""Damaged files of every format, coloured: ``python tests/conformance/damaged_files.py [--count 20000] [--seed 0]``.

The files of the conformance table and those that carry something besides a picture (`carried`) are changed at random, as
`damaged_jpegs` does it. Each must be coloured, also where missing pixels are accepted, or refused with one sentence. Prints
how many of each format ended how, the longest time of one file, and by how much memory grew; exit code 1 for anything else
than these ends, and for more than 5 s or 400 MB.
"""

import argparse
import io
import resource
import sys
import time
import warnings
from collections import Counter

import numpy as np
from carried import rows
from colorize_run import Colorizer
from colorize_run.system.native import own_process
from conformance import cases
from damaged_jpegs import MOST_SECONDS, TINY, damaged, judged, opens

MOST_MEGABYTES = 400  # two frames of what a header may claim
MOST_PIXELS = 4_000_000


def end_of(colorizer: Colorizer, data: bytes, *, accept_damaged: bool) -> str:
    """How a damaged file ended; a sentence that begins with WRONG for anything that must not be."""
    try:
        coloured, _ = colorizer.colorize_file(io.BytesIO(data), max_pixels=MOST_PIXELS, accept_damaged=accept_damaged)
    except Exception as error:
        return judged(error)
    try:
        return "coloured" if opens(coloured) else ""
    except Exception as error:
        return f"WRONG: what was written does not open: {error}"


def main() -> int:
    """Damage, convert, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    own_process()
    random = np.random.default_rng(options.seed)
    whole: dict[str, list[bytes]] = {}
    for kind, data in [*((case.kind, case.make()[0]) for case in cases()), *((row.kind, row.make()) for row in rows())]:
        whole.setdefault(kind, []).append(data)
    colorizer = Colorizer(TINY, "cpu", 1)
    ends, longest = Counter[str](), (0.0, "")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(options.count):
        kind = list(whole)[number % len(whole)]
        original, other = (whole[kind][int(index)] for index in random.integers(0, len(whole[kind]), 2))
        data = damaged(original, other, random)
        start = time.perf_counter()
        ends[f"{kind}: {end_of(colorizer, data, accept_damaged=random.random() < 0.5)}"] += 1
        longest = max(longest, (time.perf_counter() - start, kind))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for end, number in sorted(ends.items()):
        sys.stdout.write(f"{number:7} {end}\n")
    sys.stdout.write(f"longest {longest[0]:.2f} s ({longest[1]}), memory grew by {grown:.0f} MB\n")
    return int(any("WRONG" in end for end in ends) or longest[0] > MOST_SECONDS or grown > MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
