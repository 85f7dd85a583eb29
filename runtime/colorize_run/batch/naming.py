"""How outputs are named, and how such names are recognised."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MARKS = (b".colorized", b".overlay")  # before the suffix of an output that lies beside its input
_PNG_MARKS = (b".mask.png", b".soft.png", b".cutout.png")


@dataclass(frozen=True)
class Naming:
    """How outputs are named: ``beside`` an input, ``in_folder`` of -o, and ``mirrored`` for what a folder was searched for.

    Each maps the name of a file to another one. ``mirrored`` gives different names for different names; its second argument
    says whether the output lies beside its input.
    """

    beside: Callable[[Path], str]
    in_folder: Callable[[Path], str]
    mirrored: Callable[[Path, bool], str]


def colorized_name(source: Path) -> str:
    """``photo.jpg`` -> ``photo.colorized.jpg``; different names give different ones."""
    return f"{source.stem}.colorized{source.suffix}"


def _same_name(source: Path) -> str:
    return source.name


def _mirrored_name(source: Path, beside: bool) -> str:
    return colorized_name(source) if beside else source.name


COLORIZE_NAMES = Naming(colorized_name, _same_name, _mirrored_name)


def segment_names(form: str) -> Naming:
    """Names of segmentations. In folders ``a.jpg`` -> ``a.jpg.mask.png``, as there may be an ``a.png`` too."""

    def suffix(source: Path) -> str:
        return source.suffix if form == "overlay" else ".png"

    def short(source: Path) -> str:
        return f"{source.stem}.{form}{suffix(source)}"

    def mirrored(source: Path, _beside: bool) -> str:
        return f"{source.name}.{form}{suffix(source)}"

    return Naming(short, short, mirrored)


def is_output(name: bytes) -> bool:
    """Whether a file is named like an output that lies beside its input: the search of a folder ignores these."""
    return name.lower().rpartition(b".")[0].endswith(_MARKS) or name.lower().endswith(_PNG_MARKS)
