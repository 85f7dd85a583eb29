"""Lets onnxruntime pretend to a CUDA device that fails: from its ``TORTURE_GPU``-th run on, in every worker.

Python imports this file by itself when its folder is on PYTHONPATH, so the program that is tested holds no hook.
"""

import sys

if "colorize_run.watch.worker" in sys.orig_argv:
    import os

    import onnxruntime

    _CUDA = "CUDAExecutionProvider"
    _session = onnxruntime.InferenceSession

    class _Failing:
        """A session on the CPU that says it is on CUDA."""

        def __init__(self, model, options, providers, **_):
            self._left = int(os.environ["TORTURE_GPU"])
            self._real = _session(model, options, providers=["CPUExecutionProvider"])

        def __getattr__(self, name):
            return getattr(self._real, name)

        def get_providers(self):
            return [_CUDA, "CPUExecutionProvider"]

        def run(self, *arguments):
            self._left -= 1
            if self._left <= 0:
                raise RuntimeError("CUDA failure 719: unspecified launch failure")
            return self._real.run(*arguments)

    class _Either:
        """The session that the providers ask for; a class, because annotations name it."""

        def __new__(cls, model, options, providers, **rest):
            if any(_CUDA in provider for provider in providers):
                return _Failing(model, options, providers, **rest)
            return _session(model, options, providers=providers, **rest)

    onnxruntime.InferenceSession = _Either
    onnxruntime.get_available_providers = lambda: [_CUDA, "CPUExecutionProvider"]
    onnxruntime.preload_dlls = lambda: None
