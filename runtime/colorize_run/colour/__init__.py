"""Light, and what the eye makes of it. The functions that training shares with the runtime can be imported from here."""

from colorize_run.colour.cielab import (
    TO_XYZ,
    lab_to_srgb,
    lightness,
    linear_of_perceived,
    linear_to_srgb,
    luminance,
    perceived,
    perceived_of_linear,
    resize,
    srgb_to_lab,
    srgb_to_linear,
    to_grey,
)
from colorize_run.colour.joiner import Joiner, join

__all__ = [
    "TO_XYZ",
    "Joiner",
    "join",
    "lab_to_srgb",
    "lightness",
    "linear_of_perceived",
    "linear_to_srgb",
    "luminance",
    "perceived",
    "perceived_of_linear",
    "resize",
    "srgb_to_lab",
    "srgb_to_linear",
    "to_grey",
]
