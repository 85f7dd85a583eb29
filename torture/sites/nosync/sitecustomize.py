"""Makes fsync do nothing: the rig of power cuts must find losses then, or it proves nothing.

Python imports this file by itself when its folder is on PYTHONPATH, so the program that is tested holds no hook.
"""

import os
import sys

if "colorize_run.watch.worker" not in sys.orig_argv:
    os.fsync = lambda _fd: None
