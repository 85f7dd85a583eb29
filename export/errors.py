"""Errors of the export side."""


class ExportError(Exception):
    """What went wrong, where, and how to fix it, in one sentence; the command line prints it and exits 1."""


class ParityError(ExportError):
    """The ONNX file does not compute what the PyTorch network computes; names the worst case."""
