"""The checks of ``colorize-run doctor``, run in a separate process, which a broken library may crash.

`main` does the checks that a JSON object names, and writes each outcome as a line of JSON to its standard
output as soon as it is known. Nothing is imported before the check that needs it.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from colorize_run.diagnostics.check import Check, model_title, reason_of
from colorize_run.diagnostics.model_check import check_model
from colorize_run.system.files import printable
from colorize_run.system.native import captured_output, own_process

REINSTALL_ONNXRUNTIME = "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'colorize-run[cpu]' or 'colorize-run[gpu]'"
REMEDIES = {
    "python": "pip install --force-reinstall 'colorize-run[cpu]'",
    "numpy": "pip install --force-reinstall numpy",
    "pillow": "pip install --force-reinstall pillow",
    "opencv": "pip install --force-reinstall opencv-python-headless",
    "onnxruntime": REINSTALL_ONNXRUNTIME, "providers": REINSTALL_ONNXRUNTIME, "cuda": REINSTALL_ONNXRUNTIME,
}  # fmt: skip
ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm")


def _python(request: dict[str, Any]) -> Check:
    from colorize_run.version import __version__

    where = Path(__file__).parent
    text = f"colorize-run {__version__} in {where}, Python {platform.python_version()}, {platform.platform()}"
    return Check("python", "ok", text, figures={"colorize-run": __version__, "python": platform.python_version()})


def _library(name: str, module: str, package: str, proof: Callable[[Any], object]) -> Check:
    """Import ``module``, and use it: a half-removed package may import as an empty one."""
    try:
        imported = importlib.import_module(module)
        proof(imported)
        version = str(imported.__version__)
    except Exception as error:
        return Check(name, "failed", f"{module} does not load: {reason_of(error)}", REMEDIES[name], 69)
    return Check(name, "ok", f"{package} {version}", figures={"version": version})


def _numpy(request: dict[str, Any]) -> Check:
    return _library("numpy", "numpy", "numpy", lambda numpy: numpy.ones((2, 2)) @ numpy.ones((2, 2)))


def _pillow(request: dict[str, Any]) -> Check:
    def proof(pillow: Any) -> None:
        from PIL import Image

        Image.new("L", (2, 2)).tobytes()

    return _library("pillow", "PIL", "pillow", proof)


def _opencv(request: dict[str, Any]) -> Check:
    return _library("opencv", "cv2", "opencv-python-headless", lambda cv2: cv2.setNumThreads(cv2.getNumThreads()))


def _onnxruntime(request: dict[str, Any]) -> Check:
    installed = {}
    for name in ONNXRUNTIMES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    figures: dict[str, Any] = {"installed": installed}
    listed = " and ".join(f"{name} {version}" for name, version in installed.items())
    try:
        import onnxruntime

        onnxruntime.SessionOptions()
        figures["version"] = onnxruntime.__version__
    except Exception as error:
        cause = f"onnxruntime does not load: {reason_of(error)}; installed: {listed or 'none'}"
        return Check("onnxruntime", "failed", cause, REINSTALL_ONNXRUNTIME, 69, figures)
    if len(installed) > 1:
        return Check("onnxruntime", "failed", f"{listed} overwrite each other's files", REINSTALL_ONNXRUNTIME, 69, figures)
    return Check("onnxruntime", "ok", listed or f"onnxruntime {onnxruntime.__version__}, not installed by pip", figures=figures)


def _processor(request: dict[str, Any]) -> Check:
    from colorize_run.system.hardware import processor

    cpu = processor()
    text = f"{cpu.name}: {', '.join(cpu.features) or 'none of the instructions that speed up networks'}"
    return Check("processor", "ok", text, figures=asdict(cpu))


def _threads(request: dict[str, Any]) -> Check:
    from colorize_run.system.hardware import threads

    available = threads()
    quota = "no quota" if available.quota is None else f"a cgroup quota of {available.quota:g}"
    text = f"{available.usable} used: {available.cores} cores, {available.affinity} by affinity, {quota}"
    return Check("threads", "ok", text, figures={**asdict(available), "usable": available.usable})


def _providers(request: dict[str, Any]) -> Check:
    """Open a session on each provider that onnxruntime lists: what is listed was compiled in, and may not load."""
    import onnxruntime

    from colorize_run.model.session import PROBE

    listed, loaded = onnxruntime.get_available_providers(), []
    for name in listed:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with captured_output():
            try:
                session = onnxruntime.InferenceSession(PROBE, options, providers=[name], enable_fallback=0)
            except Exception:  # noqa: S112 (that it does not load is the outcome)
                continue
        if session.get_providers()[0] == name:
            loaded.append(name)
    figures = {"listed": listed, "loaded": loaded}
    text = f"loaded: {', '.join(loaded) or 'none'}; listed: {', '.join(listed)}"
    if "CPUExecutionProvider" not in loaded:
        return Check("providers", "failed", text, REINSTALL_ONNXRUNTIME, 69, figures)
    return Check("providers", "ok", text, figures=figures)


def _cuda(request: dict[str, Any]) -> Check:
    import onnxruntime

    from colorize_run.model import cuda
    from colorize_run.model.session import no_cuda

    needed, installed = cuda.needed_versions(), cuda.installed_versions()
    figures = {"wanted": needed, "found": installed}
    lacking = no_cuda()
    if lacking is None:
        versions = ", ".join(" ".join(item) for item in needed.items())
        text = f"loads; needed: {versions}; installed: {cuda.describe_versions(installed)}"
        return Check("cuda", "ok", text, figures=figures)
    gpu_build = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    must_work = request["device"] == "cuda" or (gpu_build and request["device"] == "auto")
    way_out = lacking.way_out or "fix what onnxruntime reports; --device cpu works without CUDA"
    return Check("cuda", "failed" if must_work else "absent", lacking.cause, way_out, 69 if must_work else 0, figures)


def _readers(request: dict[str, Any]) -> Check:
    from PIL import features

    figures = {"webp": features.check("webp"), "avif": features.check("avif"), "jpeg2000": features.check("jpg_2000")}
    try:
        import pillow_heif

        figures["heic"] = True
        heic = f"HEIC by pillow-heif {pillow_heif.__version__}"
    except Exception as error:
        figures["heic"] = False
        heic = "" if isinstance(error, ModuleNotFoundError) else reason_of(error)
    have = [name for key, name in {"webp": "WebP", "avif": "AVIF", "jpeg2000": "JPEG 2000"}.items() if figures[key]]
    text = ", ".join(["JPEG, PNG, TIFF, BMP, GIF, PNM", *have])
    if not all(figures.values()):
        lacking = [kind for kind, there in figures.items() if not there]
        way_out = "pip install 'colorize-run[heif]'" if lacking == ["heic"] else "pip install --force-reinstall pillow"
        reason = f" ({heic})" if heic and not figures["heic"] else ""
        return Check("readers", "absent", f"{text}; not: {', '.join(lacking)}{reason}", way_out, figures=figures)
    return Check("readers", "ok", f"{text}, {heic}", figures=figures)


def _turbojpeg(request: dict[str, Any]) -> Check:
    from colorize_run.image.transcode import can_transcode

    if can_transcode():
        return Check("turbojpeg", "ok", "grey pictures in JPEG files that are coded in colour keep their luma")
    text = "grey pictures in JPEG files that are coded in colour are compressed again; grey JPEG files keep their luma"
    return Check("turbojpeg", "absent", text, "apt-get install libturbojpeg0, or brew install jpeg-turbo")


def _writable(name: str, folder: str, way_out: str) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        return Check(name, "failed", f"{folder} cannot be written: {error.strerror}", way_out, 73)
    return Check(name, "ok", f"{folder} can be written")


def _temporary(request: dict[str, Any]) -> Check:
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        return Check("temporary folder", "failed", f"{error.strerror}", "set TMPDIR to a writable folder", 73)
    check = _writable("temporary folder", folder, "set TMPDIR to a writable folder")
    named = os.environ.get("TMPDIR")
    if named and os.path.realpath(named) != os.path.realpath(folder):
        return replace(check, detail=f"{check.detail}; TMPDIR says {printable(named)}, which cannot be written")
    return check


def _current(request: dict[str, Any]) -> Check:
    way_out = "outputs are written beside their inputs: give -o a writable folder"
    try:
        return _writable("current folder", str(Path.cwd()), way_out)
    except OSError as error:
        return Check("current folder", "failed", f"it no longer exists: {error.strerror}", "cd to a folder that exists", 73)


def _profile(request: dict[str, Any]) -> Check:
    """What `tune` chose here; a missing or outdated profile costs only time."""
    from colorize_run.diagnostics import profile
    from colorize_run.model.session import no_cuda

    def cuda_fault() -> str | None:
        fault = no_cuda()
        return fault.cause if fault else None

    path = profile.profile_path()
    if path is None:
        return Check("profile", "absent", "switched off", f"unset {profile.VARIABLE}")
    try:
        entries = profile.read(path)
    except (OSError, ValueError) as error:
        return Check(
            "profile", "absent", f"{path} cannot be read ({error})", "colorize-run tune --forget, then colorize-run tune"
        )
    figures = {
        name: {"choice": entry.text, "misfit": profile.misfit(entry, name, cuda_fault)} for name, entry in entries.items()
    }
    lines = [f"{name}: {each['misfit'] or each['choice']}" for name, each in figures.items()]
    if not entries or any(each["misfit"] for each in figures.values()):
        return Check("profile", "absent", "; ".join(lines) or f"none at {path}", "colorize-run tune", figures=figures)
    return Check("profile", "ok", "; ".join(lines), figures=figures)


CHECKS: dict[str, Callable[[dict[str, Any]], Check]] = {
    "python": _python, "temporary folder": _temporary, "current folder": _current, "numpy": _numpy, "pillow": _pillow,
    "opencv": _opencv, "readers": _readers, "turbojpeg": _turbojpeg, "processor": _processor, "threads": _threads,
    "onnxruntime": _onnxruntime, "providers": _providers, "cuda": _cuda, "profile": _profile,
}  # fmt: skip
_SESSIONS = ("numpy", "onnxruntime", "temporary folder")
NEEDS = {
    "opencv": ("numpy",),
    "onnxruntime": ("numpy",),
    "readers": ("pillow",),
    "providers": _SESSIONS,
    "cuda": _SESSIONS,
    "profile": ("numpy", "onnxruntime"),
}


def check_title(name: str) -> str:
    """The title of a check in the report, for a key of CHECKS or the path of a model file."""
    return name if name in CHECKS else model_title(name)


def needs(name: str, device: str) -> tuple[str, ...]:
    """The checks without which the check ``name`` says nothing."""
    own = NEEDS.get(name, ()) if name in CHECKS else (*_SESSIONS, *(["cuda"] if device == "cuda" else []))
    return ("python", *own)


def outcome(name: str, request: dict[str, Any]) -> Check:
    """Do the check ``name``, a key of CHECKS or the path of a model file. Its errors are outcomes."""
    try:
        return CHECKS[name](request) if name in CHECKS else check_model(request, Path(name))
    except Exception as error:
        way_out = "please report it with the output of `colorize-run doctor --json`"
        return Check(check_title(name), "failed", f"met an unexpected error: {reason_of(error)}", way_out, 70)


def main(text: str) -> None:
    """Do what the JSON object ``text`` asks: ``checks``, names, and ``device``. What libraries print goes to stderr."""
    own_process()
    request = json.loads(text)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for name in request["checks"]:
            print(json.dumps(asdict(outcome(name, request))), file=answers, flush=True)
