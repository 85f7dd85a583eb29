"""Errors that a person can act on; each carries the exit code of the command line (sysexits.h)."""


class ColorizeRunError(Exception):
    """Base of every error raised on purpose: one sentence that says what failed, where, and how to fix it."""

    exit_code = 70


class ModelFileError(ColorizeRunError):
    """A model file that is missing, damaged, or fails its own golden vectors."""

    exit_code = 65


class ContractError(ModelFileError):
    """A model file without a contract, or with one that this version does not support."""


class OptionError(ColorizeRunError):
    """An option that the model does not support."""

    exit_code = 2


class DeviceError(ColorizeRunError):
    """The requested device is not available, or was lost."""

    exit_code = 69


class ImageFileError(ColorizeRunError):
    """A picture that cannot be read, or that the output format cannot hold."""

    exit_code = 1


class InputMissingError(ImageFileError):
    """An input that does not exist."""

    exit_code = 66


class OutputError(ColorizeRunError):
    """An output that cannot be written."""

    exit_code = 73


class InboxMissingError(ColorizeRunError):
    """An input folder that does not exist."""

    exit_code = 66


class LockedError(ColorizeRunError):
    """Folders that another process is using."""

    exit_code = 75


def interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt that caused an error, or None: NumPy turns one during its import into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused the error."""
    return interrupt(error) is not None


def broken_library(error: ImportError) -> str:
    """The message for a library that does not load."""
    return f"a library does not load ({error}); `colorize-run doctor` says which one, and how to fix it."


def internal(error: BaseException) -> str:
    """The message for an unexpected error."""
    reason = " ".join(str(error).split())[:200]
    ways = "`colorize-run doctor` checks the installation, COLORIZE_RUN_TRACEBACK=1 shows where"
    return f"internal error: {type(error).__name__}: {reason} ({ways})"
