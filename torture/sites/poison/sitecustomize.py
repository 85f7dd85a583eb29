"""Makes the worker's picture decoder misbehave on files that end in ``POISON:how``, as a bug in a native library would.

Python imports this file by itself when its folder is on PYTHONPATH, so the program that is tested holds no hook.
"""

import sys

if "colorize_run.watch.worker" in sys.orig_argv:
    import ctypes
    import os
    import time

    import PIL.Image

    _open = PIL.Image.open

    def _poisoned(file, *arguments, **options):
        _, found, how = file.getvalue()[-20:].partition(b"POISON:")
        if found:
            if how == b"segv":
                ctypes.string_at(0)
            elif how == b"abort":
                os.abort()
            elif how == b"hang":
                time.sleep(3600)
            elif how == b"memory":
                raise MemoryError
            elif how == b"talk":
                os.write(2, b"what a picture! " * 20_000)
        return _open(file, *arguments, **options)

    PIL.Image.open = _poisoned
