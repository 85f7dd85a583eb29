"""Running a model file with onnxruntime: device choice that never falls back in silence, threads, contract."""

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from colorize_run.errors import ColorizeRunError, ContractError, DeviceError, ModelFileError
from colorize_run.model import cuda
from colorize_run.model.contract import (
    CONTRACT_KEY,
    GOLDEN_KEY,
    HINTS,
    INPUTS,
    LOGITS,
    TASKS,
    Arrays,
    Contract,
    GoldenCase,
    unpack_golden,
)
from colorize_run.system import processes
from colorize_run.system.hardware import available_threads
from colorize_run.system.native import captured_output, is_own_process, own_process

DEVICES = ("auto", "cpu", "cuda")
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
# Relu of one number, opset 13: a provider must load it, whatever the state of the model files
PROBE = base64.b64decode("CAg6MwoMCgF4EgF5IgRSZWx1EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ==")
_PROBE_SECONDS = 120  # CUDA's libraries are 2 GB, and a disk may be cold
_WARM_UP_SIDE = 64  # a multiple of every network's
_CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm again for each picture size
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",  # TF32 alone costs about 1e-3 of parity
}


@dataclass(frozen=True)
class Device:
    """The device a model runs on, ``cpu`` or ``cuda``, and why it was chosen."""

    name: str
    reason: str


@dataclass(frozen=True)
class NoCuda:
    """Why CUDA does not work here, and how to fix it."""

    cause: str
    way_out: str = ""


def _no_cuda(lines: list[str]) -> NoCuda:
    """The missing library, or the provider's own words, out of what onnxruntime printed."""
    text = "\n".join(lines)
    if match := re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", text):
        library = match[1]
        needed = ", ".join(f"{name} {major}" for name, major in cuda.needed_versions().items())
        cause = f"{library} is missing (needed: {needed}; installed: {cuda.describe_versions(cuda.installed_versions())})"
        if library.startswith("libcuda.so"):
            return NoCuda(cause, "install the NVIDIA driver")
        return NoCuda(cause, "pip install 'colorize-run[gpu]' brings the CUDA 13 and cuDNN 9 libraries")
    for line in lines:
        if "cuda" in line.lower():
            return NoCuda(re.sub(r"\x1b\[[0-9;]*m", "", line).strip()[:300])
    return NoCuda("onnxruntime gave no reason")


def _cpu_build() -> NoCuda:
    """The installed onnxruntime was built without CUDA, or its files were overwritten by one that was."""
    cause = f"onnxruntime {ort.__version__} here is the CPU build"
    return NoCuda(cause, "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'colorize-run[gpu]'")


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads cost nothing alone, but two sessions side by side take each other's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _open_cpu(model: bytes, threads: int) -> ort.InferenceSession:
    return ort.InferenceSession(model, _options(threads), providers=[_CPU])


def _open_cuda(model: bytes, threads: int) -> ort.InferenceSession | NoCuda:
    """A session on CUDA, or why there is none."""
    if _CUDA not in ort.get_available_providers():
        return _cpu_build()
    # onnxruntime says why CUDA fails on stdout and stderr alone, and in a library those are somebody else's.
    if not is_own_process() and (fault := _no_cuda_elsewhere()) is not None:
        return fault
    session, failure = None, ""
    with captured_output() as lines:
        ort.preload_dlls()
        try:
            session = ort.InferenceSession(
                model, _options(threads), providers=[(_CUDA, _CUDA_OPTIONS), _CPU], enable_fallback=0
            )
            session.disable_fallback()  # a device that is lost at run time must be an error, not a CPU session
            if session.get_providers()[0] == _CUDA:
                warm_up(session)
        except Exception as error:  # onnxruntime raises bare RuntimeError and its own family for lost devices
            failure = str(error)
    if session is None or failure or session.get_providers()[0] != _CUDA:
        return _no_cuda([*lines, failure])
    return session


@lru_cache(maxsize=1)
def _no_cuda_elsewhere() -> NoCuda | None:
    """Why CUDA does not work, as a process of our own found; None when it does, or nothing could be learnt."""
    code = "from colorize_run.model.session import print_no_cuda; print_no_cuda()"
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        answer = subprocess.run(  # noqa: S603 (ours)
            processes.command(code), stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=True
        )
        cause = json.loads(answer.stdout)
        return cause and NoCuda(*cause)
    return None


def print_no_cuda() -> None:
    """Print why CUDA does not work in a process of our own, as JSON: cause and way out; null when it does."""
    own_process()
    fault = no_cuda()
    sys.stdout.write(json.dumps(fault and [fault.cause, fault.way_out]))


def warm_up(session: ort.InferenceSession) -> None:
    """Run a graph once on zeros: cuDNN and cuBLAS are loaded by the first convolution, not by the session.

    Errors: whatever onnxruntime raises.
    """
    inputs = {}
    for node in session.get_inputs():
        shape = [side if isinstance(side, int) else 1 if axis == 0 else _WARM_UP_SIDE for axis, side in enumerate(node.shape)]
        inputs[node.name] = np.zeros(shape, np.float32)
    session.run(None, inputs)


def no_cuda() -> NoCuda | None:
    """Why CUDA does not work here; None when it does."""
    session = _open_cuda(PROBE, 1)
    return session if isinstance(session, NoCuda) else None


def open_session(model: bytes, device: str, threads: int) -> tuple[ort.InferenceSession, Device]:
    """Open a session on ``device``: auto, cpu or cuda.

    ``auto`` takes CUDA where it works and says in `Device.reason` why it did not. Errors: DeviceError when cuda is
    requested and does not work, naming the cause; whatever onnxruntime raises for a damaged model.
    """
    if device == "cpu":
        return _open_cpu(model, threads), Device("cpu", "requested")
    session = _open_cuda(model, threads)
    if not isinstance(session, NoCuda):
        return session, Device("cuda", "requested" if device == "cuda" else "CUDA works here")
    if device == "cuda":
        _open_cpu(model, threads)  # a damaged model is not the device's fault: raise its own error
        way_out = f"; {session.way_out}" if session.way_out else ""
        raise DeviceError(f"CUDA was requested, but does not work here: {session.cause}{way_out}.")
    return _open_cpu(model, threads), Device("cpu", f"no CUDA: {session.cause}")


class Model:
    """The model file at ``path``, opened on ``device`` (auto, cpu or cuda) with ``threads``, all available ones when None.

    Attributes: ``path``, ``sha256``, ``contract``, ``device``, ``threads``. Errors: ModelFileError, ContractError, DeviceError.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        if device not in DEVICES:
            raise DeviceError(f"There is no device {device!r}; choose {', '.join(DEVICES)}.")
        self.path = path
        self.threads = threads or available_threads()
        try:
            data = self.path.read_bytes()  # by its path, onnxruntime would also read other files that the model names
            self.sha256 = hashlib.sha256(data).hexdigest()
            self._session, self.device = open_session(data, device, self.threads)
        except ColorizeRunError:
            raise
        except OSError as error:
            raise ModelFileError(f"{self.path} cannot be read: {error.strerror}.") from error
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelFileError(f"{self.path} is not a model that onnxruntime can run: {_first_line(error)}") from error
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{self.path} is damaged: its metadata is not text.") from error
        if CONTRACT_KEY not in metadata:
            raise ContractError(f"{self.path} has no contract: only models written by `python -m export` can be run.")
        self.contract = self._checked(metadata[CONTRACT_KEY])
        self._golden = metadata.get(GOLDEN_KEY, "")

    def _checked(self, text: str) -> Contract:
        """The contract, once the graph keeps it."""
        try:
            contract = Contract.from_json(text)
        except ContractError as error:
            raise ContractError(f"{self.path}: {error}") from error
        allowed, output = TASKS[contract.task]
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [node.name for node in self._session.get_outputs()]
        shapes = [node.shape for node in self._session.get_inputs()]
        dynamic = len(shapes) == 1 and len(shapes[0]) == 4 and not any(isinstance(shapes[0][i], int) for i in (0, 2, 3))
        fits = dynamic and inputs[0] in allowed and shapes[0][1] == INPUTS[inputs[0]]
        if not fits or output not in outputs:
            raise ContractError(
                f"{self.path} breaks its contract: task {contract.task} has input {' or '.join(allowed)} of any batch and"
                f" size, and output {output}; the graph has {inputs} of shape {shapes}, and {outputs}."
            )
        colours = [node.shape[1] for node in self._session.get_outputs() if node.name == LOGITS]
        if colours != ([len(contract.chroma_palette)] if contract.chroma_palette else []):
            raise ContractError(
                f"{self.path} breaks its contract: {len(contract.chroma_palette)} colours in chroma_palette, and outputs"
                f" {LOGITS} of {colours} channels."
            )
        return contract

    @property
    def input(self) -> str:
        """Name of the network's one input, one of `contract.INPUTS`."""
        return str(self._session.get_inputs()[0].name)

    @property
    def has_temperature(self) -> bool:
        """Whether ``temperature``, a number, may be given to `run` beside the input."""
        return self._has_optional("temperature")

    @property
    def has_hints(self) -> bool:
        """Whether `contract.HINTS`, (N, 3, H, W) as large as the input, may be given to `run` beside it."""
        return self._has_optional(HINTS)

    def _has_optional(self, name: str) -> bool:
        return any(node.name == name for node in self._session.get_overridable_initializers())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return tuple(str(node.name) for node in self._session.get_outputs())

    @property
    def has_golden(self) -> bool:
        """Whether the file carries golden vectors, whole or not."""
        return bool(self._golden)

    def golden(self) -> list[GoldenCase]:
        """The golden vectors of the file; ContractError when it has none or they are damaged."""
        if not self._golden:
            raise ContractError(f"{self.path} has no golden vectors.")
        return unpack_golden(self._golden)

    def same_golden(self, other: "Model") -> bool:
        """Whether both files carry the same golden vectors, as a variant and its original do."""
        return bool(self._golden) and self._golden == other._golden

    def run(self, inputs: Arrays, outputs: list[str] | None = None) -> Arrays:
        """Run the network: arrays by graph name in and out, all outputs unless named.

        Errors: ModelFileError when the graph cannot take the inputs, DeviceError when the device fails.
        """
        names = outputs or list(self.outputs)
        values: list[Any]
        try:
            values = self._session.run(names, inputs)
        except Exception as error:
            if self.device.name == "cpu" or "INVALID_ARGUMENT" in str(error):
                raise ModelFileError(f"{self.path} cannot run: {_first_line(error)}") from error
            raise DeviceError(f"{self.contract.name} failed on {self.device.name}: {_first_line(error)}") from error
        return dict(zip(names, (np.asarray(value) for value in values), strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
