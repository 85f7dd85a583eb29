"""Whatever decoders raise and print, as one sentence."""

import contextlib
from collections.abc import Iterator

from PIL import Image

from colorize_run.errors import ImageFileError
from colorize_run.system.native import captured_output


@contextlib.contextmanager
def with_libtiff_messages(kind: str) -> Iterator[None]:
    """Add what libtiff prints to the error that Pillow raises."""
    if kind != "TIFF":
        yield
        return
    failure = None
    with captured_output() as lines:
        try:
            yield
        except OSError as error:
            failure = error
    if failure is not None:
        raise OSError(f"{failure} ({lines[-1].strip()})" if lines else str(failure)) from failure


@contextlib.contextmanager
def decode_errors() -> Iterator[None]:
    """Turn whatever decoders raise into an ImageFileError of one sentence."""
    try:
        yield
    except ImageFileError:
        raise
    except Image.DecompressionBombError as error:  # the host process's own limit, which is not ours to lift
        raise ImageFileError("has more pixels than Pillow's MAX_IMAGE_PIXELS allows in this process.") from error
    except MemoryError as error:
        raise ImageFileError("needs more memory than is available.") from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        reason = " ".join((str(error) or type(error).__name__).split())
        raise ImageFileError(f"is damaged or incomplete: {reason[:200].rstrip('.')}.") from error
