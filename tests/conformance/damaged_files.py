"""Damaged files of every format, coloured: ``python tests/conformance/damaged_files.py [--count 20000] [--seed 0]``.

The files of the conformance table and those that carry something besides a picture (`carried`) are changed at random, as
`damaged_jpegs` does it. Each must be coloured, also where missing pixels are accepted, or refused with one sentence. Prints
how many of each format ended how, the longest time of one file, and by how much memory grew; exit code 1 for anything else
than these ends, and for more than 5 s or 400 MB.
"""

import io
import sys

import numpy as np
from carried import rows
from colorize_run import Colorizer
from colorize_run.system.native import own_process
from conformance import cases
from damaged_jpegs import TINY, Tally, damaged, judged, opens, parsed

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
    options = parsed(__doc__)
    own_process()
    random = np.random.default_rng(options.seed)
    whole: dict[str, list[bytes]] = {}
    for kind, data in [*((case.kind, case.make()[0]) for case in cases()), *((row.kind, row.make()) for row in rows())]:
        whole.setdefault(kind, []).append(data)
    colorizer = Colorizer(TINY, "cpu", 1)
    tally = Tally()
    for number in range(options.count):
        kind = list(whole)[number % len(whole)]
        original, other = (whole[kind][int(index)] for index in random.integers(0, len(whole[kind]), 2))
        data = damaged(original, other, random)
        with tally.timed(kind) as end:
            end(end_of(colorizer, data, accept_damaged=random.random() < 0.5))
    return tally.report(MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
