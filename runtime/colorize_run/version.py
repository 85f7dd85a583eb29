"""The version of this program; the build reads it here."""

__version__ = "0.1.0"
