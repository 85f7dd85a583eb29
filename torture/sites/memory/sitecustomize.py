"""Has the supervisor run out of memory: nine times while it reads answers of workers, once before step 4.

Python imports this file by itself when its folder is on PYTHONPATH, so the program that is tested holds no hook.
"""

import sys

if "colorize_run.watch.worker" not in sys.orig_argv:
    import json

    _loads, _calls = json.loads, [0]

    def _scarce(*arguments, **options):
        _calls[0] += 1
        if _calls[0] % 3 == 0 and _calls[0] < 30:
            raise MemoryError
        return _loads(*arguments, **options)

    def _hook(frame, happened, _argument):
        if happened == "call" and frame.f_code.co_qualname == "Ledger.written":
            raise MemoryError  # which takes the hook away

    json.loads = _scarce
    sys.setprofile(_hook)
