"""Damaged JPEG files, coloured and restored: ``python tests/conformance/damaged_jpegs.py [--count 20000] [--seed 0]``.

Grey files of many kinds (`grey_jpegs`) and what becomes of them are changed at random: bytes, runs of zeros, parts left out,
doubled or put in from another file, cut off ends, lengths of segments. Each must be coloured, or refused with one sentence;
each coloured one that is damaged must be refused by `restore`, or be given back whole. Prints how many ended how, the longest
time of one file, and by how much memory grew; exit code 1 for anything else than these ends, and for more than 5 s or 200 MB.
"""

import argparse
import contextlib
import io
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.errors import ImageFileError
from colorize_run.image import undo
from colorize_run.image.identify import undecoded
from grey_jpegs import generate

TINY = Path(__file__).parents[1] / "data" / "tiny.onnx"
MOST_SECONDS, MOST_MEGABYTES = 5.0, 200
LARGEST = 200_000  # bytes of a file that is damaged, so that many are


def damaged(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to three changes of a file."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        # half of them where the headers are
        place = int(random.integers(0, min(len(changed), 700) if random.random() < 0.5 else max(1, len(changed))))
        length = int(random.integers(1, 40))
        match random.integers(0, 7):
            case 0:
                changed[place : place + 1] = random.bytes(1)
            case 1:
                changed[place : place + length] = random.bytes(length)
            case 2:
                changed[place : place + length] = bytes(length)
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5:
                start = int(random.integers(0, len(other)))
                changed[place:place] = other[start : start + length * 20]
            case _:
                del changed[place + 2 :]
        if len(changed) < 3:
            break
    return bytes(changed)


def outcome_of(colorizer: Colorizer, original: bytes, data: bytes, *, coloured: bool) -> str:
    """How a damaged file ended; a sentence that begins with WRONG for anything that must not be."""
    try:
        if coloured:
            return "restored whole" if undo.restored(data) == original else "WRONG: restored to something else"
        return "coloured" if opens(colorizer.colorize_file(io.BytesIO(data), control=Control(keep_colour=True))[0]) else ""
    except Exception as error:
        return judged(error)


def opens(data: bytes) -> bool:
    """Whether Pillow reads a picture whole. Errors: Pillow's."""
    undecoded(io.BytesIO(data)).load()
    return True


def judged(error: Exception) -> str:
    """A file that is refused with one sentence is fine; anything else is WRONG."""
    sentence = str(error)
    if not isinstance(error, ImageFileError):
        return f"WRONG: {type(error).__name__}: {sentence}"
    good = sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence
    return "refused" if good else f"WRONG: {sentence!r} is no sentence"


def parsed(description: str | None) -> argparse.Namespace:
    """The options of a script that damages files: ``count`` and ``seed``."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    warnings.simplefilter("ignore")
    return parser.parse_args()


class Tally:
    """How many files ended how, the longest time of one, and by how much memory grew."""

    def __init__(self) -> None:
        self._ends, self._longest = Counter[str](), 0.0
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @contextlib.contextmanager
    def timed(self, kind: str) -> Iterator[Callable[[str], None]]:
        """Time one file; what is given is to be called with its end."""
        start = time.perf_counter()
        yield lambda end: self._ends.update([f"{kind}: {end}"])
        self._longest = max(self._longest, time.perf_counter() - start)

    def report(self, most_megabytes: int) -> int:
        """Print all of it; 1 if an end is WRONG, a file took too long, or memory grew by more than ``most_megabytes``."""
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._before) / 1024
        for end, number in sorted(self._ends.items()):
            sys.stdout.write(f"{number:7} {end}\n")
        sys.stdout.write(f"longest {self._longest:.2f} s, memory grew by {grown:.0f} MB\n")
        return int(any("WRONG" in end for end in self._ends) or self._longest > MOST_SECONDS or grown > most_megabytes)


def main() -> int:
    """Damage, convert, count."""
    options = parsed(__doc__)
    random = np.random.default_rng(options.seed)
    colorizer = Colorizer(TINY, "cpu", 1)
    with tempfile.TemporaryDirectory() as folder:
        whole = [path.read_bytes() for path in generate(Path(folder), 120, options.seed)]
    whole = [data for data in whole if len(data) < LARGEST]
    coloured = [colorizer.colorize_file(io.BytesIO(data))[0] for data in whole]
    tally = Tally()
    for number in range(options.count):
        index, other = (int(value) for value in random.integers(0, len(whole), 2))
        restore = number % 4 == 0
        data = damaged((coloured if restore else whole)[index], whole[other], random)
        with tally.timed("restore" if restore else "colour") as end:
            end(outcome_of(colorizer, whole[index], data, coloured=restore))
    return tally.report(MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
