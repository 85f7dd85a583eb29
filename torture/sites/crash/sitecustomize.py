"""Kills the supervisor at a named step: ``TORTURE_STEP=5:3`` is after the third rename of an output.

Python imports this file by itself when its folder is on PYTHONPATH, so the program that is tested holds no hook.
"""

import os
import signal
import sys

# step -> (event, function): the kill comes right after that function returned, or when it is called
_STEPS = {
    "1": ("return", "Ledger.claim"),
    "2": ("call", "Publisher._stage"),
    "3": ("return", "stage"),
    "4": ("return", "Ledger.written"),
    "5": ("c_return", "rename"),
    "6": ("return", "publish"),
    "7": ("return", "Ledger.done"),
    "8": ("return", "dispose"),
    "9": ("return", "_aside"),  # within step 8: the input has no name anybody knows
}


_FILES = "colorize_run/system/durable.py"  # besides the modules of the watch


def _arm(step: str, count: int) -> None:
    event, function = _STEPS[step]
    left = [count]

    def hook(frame, happened, argument):
        if happened != event:
            return
        code = frame.f_code
        if not code.co_filename.endswith(_FILES) and "colorize_run/watch/" not in code.co_filename:
            return
        named = argument.__name__ if event == "c_return" else code.co_qualname
        if named != function or (event == "c_return" and code.co_name != "publish"):
            return
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(hook)


if "TORTURE_STEP" in os.environ and "colorize_run.watch.worker" not in sys.orig_argv:
    _step, _, _count = os.environ["TORTURE_STEP"].partition(":")
    _arm(_step, int(_count))
