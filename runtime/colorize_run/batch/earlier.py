"""Earlier outputs among the files that a person names, as by ``*.jpg`` given again."""

import contextlib
import os
from pathlib import Path

from colorize_run.batch.naming import COLORIZE_NAMES, Naming, is_output, segment_names
from colorize_run.image.xmp import SIGNATURE
from colorize_run.options import FORMS


def earlier_outputs(files: list[Path], output: str | None, *, overwrite: bool) -> set[Path]:
    """The files that have the name of an output, of any command, of others of ``files``, beside them or in ``output``.

    With ``overwrite``, coloured pictures that are left out will be replaced: then only those that say that they were made by
    this program. Segmentations never say that.
    """
    coloured = _outputs(files, output, [COLORIZE_NAMES])
    segmented = _outputs(files, output, [segment_names(form) for form in FORMS])
    named = [(file, os.path.abspath(file)) for file in files if is_output(os.fsencode(file.name))]
    earlier = {file for file, path in named if path in segmented}
    return earlier | {file for file, path in named if path in coloured and (not overwrite or is_signed(file))}


def _outputs(files: list[Path], output: str | None, namings: list[Naming]) -> set[str]:
    places = [(file, place) for file in files for place in (file.parent, Path(output or file.parent))]
    return {os.path.abspath(place / naming.beside(file)) for file, place in places for naming in namings}


def is_signed(path: Path) -> bool:
    """Whether a file says that this program made it."""
    with contextlib.suppress(OSError):
        return path.is_file() and SIGNATURE in path.read_bytes()
    return False
