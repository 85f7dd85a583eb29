"""What happens to the files of a folder, whatever they are: ``python -m benchmarks.refusals FOLDER``.

Every file is coloured; each that is refused is printed with its sentence, then how many ended how, the longest time of one
and the most memory. Exit code 1 for anything but a picture that opens again and a sentence. Test pictures of other projects
are good folders: Pillow's Tests/images, sharp's test/fixtures, libvips' test/test-suite/images, ExifTool's t/images.
"""

import io
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import click
from colorize_run import Colorizer
from colorize_run.errors import ImageFileError
from colorize_run.image import reader
from colorize_run.system.native import own_process
from PIL import Image

TINY = Path(__file__).parents[1] / "tests" / "data" / "tiny.onnx"


def end_of(colorizer: Colorizer, path: Path) -> tuple[str, str]:
    """How a file ended, and what was said."""
    try:
        data, _ = colorizer.colorize_file(path)
    except ImageFileError as error:
        return "refused", str(error)
    except Exception as error:
        return "FAILED", f"{type(error).__name__}: {error}"
    try:
        reader.read(io.BytesIO(data), max_pixels=1 << 40, accept_damaged=True)
    except ImageFileError as error:
        return "FAILED", f"what was written {error}"
    return "done", ""


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Colour, count, print."""
    warnings.simplefilter("ignore")
    own_process()
    Image.MAX_IMAGE_PIXELS = None  # as the command line has it
    colorizer = Colorizer(TINY, "cpu", 1)
    ends, longest = Counter[str](), (0.0, "")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        start = time.perf_counter()
        end, said = end_of(colorizer, path)
        longest = max(longest, (time.perf_counter() - start, path.name))
        ends[end] += 1
        if said:
            print(f"{end}: {path.relative_to(folder)} {said}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{', '.join(f'{count} {end}' for end, count in ends.items())}; {longest[0]:.1f} s for {longest[1]}, {peak} MB")
    sys.exit(bool(ends["FAILED"]))


if __name__ == "__main__":
    main()
