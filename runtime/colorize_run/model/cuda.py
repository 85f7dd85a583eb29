"""Which CUDA the installed onnxruntime wants, and which is here: major versions. Nothing but the driver is loaded for it."""

import contextlib
import ctypes
import importlib.metadata
import re
import shutil
import subprocess

import onnxruntime


def needed_versions() -> dict[str, str]:
    """Major versions that this onnxruntime was built for: ``CUDA`` and ``cuDNN``; empty for the CPU build.

    ImportError when onnxruntime does not load.
    """
    majors = {}
    if version := getattr(onnxruntime, "cuda_version", ""):
        majors["CUDA"] = str(version).partition(".")[0]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for requirement in importlib.metadata.requires("onnxruntime-gpu") or []:
            if match := re.match(r"nvidia-cudnn-cu\d+\D+(\d+)", requirement):
                majors["cuDNN"] = match[1]
    return majors


def installed_versions() -> dict[str, list[str]]:
    """Major versions of the ``CUDA`` run time, ``cuDNN`` and the ``driver``'s CUDA that are installed here, each sorted."""
    majors: dict[str, set[str]] = {"CUDA": set(), "cuDNN": set(), "driver": set()}
    for package in importlib.metadata.distributions():
        name = (package.metadata["Name"] or "").lower()
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name):
            majors["CUDA"].add(package.version.partition(".")[0])
        elif re.fullmatch(r"nvidia-cudnn(-cu\d+)?", name):
            majors["cuDNN"].add(package.version.partition(".")[0])
    for library, kind in (("libcudart", "CUDA"), ("libcudnn", "cuDNN")):
        majors[kind].update(re.findall(rf"{library}\.so\.(\d+)", _linker_cache()))
    if driver := _driver():
        majors["driver"].add(driver)
    return {kind: sorted(versions, key=int) for kind, versions in majors.items() if versions}


def _linker_cache() -> str:
    """What the dynamic linker knows by name; empty where there is no ldconfig."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if ldconfig is None:
        return ""
    done = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 (our path)
    return done.stdout


def _driver() -> str:
    """Major version of the newest CUDA that the NVIDIA driver runs; empty without a driver."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) != 0:
            return ""
    except (OSError, AttributeError):
        return ""
    return str(version.value // 1000)


def describe_versions(majors: dict[str, list[str]]) -> str:
    """The result of `installed_versions`, as part of a sentence."""
    libraries = [f"{kind} {' and '.join(majors[kind])}" for kind in ("CUDA", "cuDNN") if kind in majors]
    driver = f"a driver for CUDA {majors['driver'][0]}" if "driver" in majors else "no NVIDIA driver"
    return ", ".join([*libraries, driver])
