"""What this machine is: its processor, and the threads that this process may use. Imports nothing but Python's own."""

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Flags of /proc/cpuinfo that decide how fast a network runs, by the names that people know
_FEATURES = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8", "amx_bf16": "AMX BF16", "asimd": "NEON", "asimddp": "NEON dot product", "i8mm": "NEON int8",
    "bf16": "NEON BF16", "sve": "SVE",
}  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """The processor's name, and which of the instructions it has that networks profit from."""

    name: str
    features: tuple[str, ...]


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor as the kernel describes it in ``cpuinfo``; with no features where it does not say."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine() or "unknown"
    return Processor(name, tuple(label for flag, label in _FEATURES.items() if flag in flags))


@dataclass(frozen=True)
class Threads:
    """How many threads make sense: ``cores`` of the machine, those of the ``affinity`` mask, and the cgroups' ``quota``.

    The quota is in cores' worth of time, None where there is none.
    """

    cores: int
    affinity: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Threads that this process can keep busy, at least 1."""
        return max(1, min(self.affinity, self.affinity if self.quota is None else math.ceil(self.quota)))


def threads() -> Threads:
    """What holds for this process. onnxruntime itself counts the host's cores, and collapses under a container's quota."""
    cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    try:
        membership = Path("/proc/self/cgroup").read_text()
    except OSError:
        membership = ""
    return Threads(cores, affinity, cgroup_quota(Path("/sys/fs/cgroup"), membership))


def available_threads() -> int:
    """Threads that this process can keep busy: its affinity mask, limited by the cgroups' quota."""
    return threads().usable


def cgroup_quota(root: Path, membership: str) -> float | None:
    """Cores' worth of time granted by cgroups of version 1 and 2, the least of all levels; None without a limit.

    ``root``: where cgroups are mounted; ``membership``: content of /proc/self/cgroup. A container may see its own group as
    the root, whatever ``membership`` calls it: so each level that exists is read.
    """
    readers = {2: _quota_2, 1: _quota_1}
    quotas = []
    for folder, version in _cgroup_levels(root, membership, "cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quotas.append(readers[version](folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroup_levels(root: Path, membership: str, controller: str) -> Iterator[tuple[Path, int]]:
    """Folder and version, 1 or 2, of each level of the cgroups that limit ``controller``; some may not exist."""
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inner = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        if number == "0":
            mounts, version = (root, root / "unified"), 2
        elif controller in controllers.split(","):
            mounts, version = (root / controller, root / controllers), 1
        else:
            continue
        for mount in mounts:
            for depth in range(len(inner) + 1):
                yield mount.joinpath(*inner[:depth]), version


def free_memory() -> int:
    """Bytes that this process may still take: what the system has or would give back, limited by the cgroups."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()  # also counts what the system would give back
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    membership = ""
    with contextlib.suppress(OSError):
        membership = Path("/proc/self/cgroup").read_text()
    left = cgroup_memory(Path("/sys/fs/cgroup"), membership)
    return free if left is None else min(free, left)


def cgroup_memory(root: Path, membership: str) -> int | None:
    """Bytes that cgroups of version 1 and 2 leave, the least of all levels; None without a limit. See `cgroup_quota`."""
    names = {2: ("memory.max", "memory.current", ""), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")}
    left = []
    for folder, version in _cgroup_levels(root, membership, "memory"):
        with contextlib.suppress(OSError, ValueError):  # "max": no limit at this level
            limit_name, used_name, prefix = names[version]
            limit, used = int((folder / limit_name).read_text()), int((folder / used_name).read_text())
            left.append(max(0, limit - used + _reclaimable(folder / "memory.stat", f"{prefix}inactive_file")))
    return min(left, default=None)


def _reclaimable(statistics: Path, name: str) -> int:
    """Bytes of file cache that the kernel gives back when memory runs out; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in statistics.read_text().splitlines())[name])
    return 0


def _quota_2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
