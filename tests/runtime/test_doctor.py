"""``colorize-run doctor``: real processes, on machines that are broken in one way each."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from colorize_run.system.hardware import Threads, cgroup_memory, cgroup_quota, processor

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
NAMES = [
    "python", "temporary folder", "current folder", "numpy", "pillow", "opencv", "readers", "turbojpeg", "processor", "threads",
    "onnxruntime", "providers", "cuda", "profile", "model tiny",
]  # fmt: skip


def doctor(
    *arguments: str, shadow: Path | None = None, prefix: tuple[str, ...] = (), **environment: str
) -> tuple[int, dict[str, Any]]:
    """Exit code and report of one process; packages in folder ``shadow`` come before those that are installed."""
    path = os.pathsep.join(str(folder) for folder in (shadow, ROOT / "runtime") if folder)
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "colorize_run", "doctor", "-m", str(TINY), "--json", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode
    assert report["ok"] == (done.returncode == 0)
    for check in report["checks"]:
        assert set(check) == {"name", "status", "detail", "way_out", "exit_code", "figures"}
        assert check["status"] in ("ok", "absent", "failed", "skipped")
        assert check["detail"]
        assert bool(check["way_out"]) == (check["status"] != "ok"), check
        assert bool(check["exit_code"]) == (check["status"] == "failed"), check
    return done.returncode, {check["name"]: check for check in report["checks"]}


def package(folder: Path, name: str, code: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return folder


def test_a_sound_machine(tmp_path: Path) -> None:
    code, checks = doctor()
    assert list(checks) == NAMES
    assert (code, checks["cuda"]["status"]) in ((0, "absent"), (0, "ok"))
    model = checks["model tiny"]["figures"]
    assert model["golden"] >= 3
    assert 0 < model["first_run_seconds"] < 60
    assert "CPUExecutionProvider" in checks["providers"]["figures"]["loaded"]
    assert checks["threads"]["figures"]["usable"] >= 1


def test_names_and_figures_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "operator.md").read_text().split("| name | figures |")[1].split("\n\n")[0]
    documented = {}
    for row in page.splitlines()[2:]:
        names, figures = row.strip("|").split("|", 1)
        for name in re.findall(r"`([^`]+)`", names):
            documented[name.replace("NAME", "tiny")] = set(re.findall(r"`([^`]+)`", figures))
    _, checks = doctor(COLORIZE_RUN_PROFILE="")
    assert set(documented) == set(checks)
    for name, check in checks.items():
        assert set(check["figures"]) <= documented[name], name


def test_a_person_reads_lines_on_stderr() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", "doctor", "-m", TINY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1] == "Everything that is needed works."
    assert len(lines) == len(NAMES) + 1
    assert sum(line.startswith("ok ") for line in lines) >= len(NAMES) - 3


@pytest.mark.parametrize(
    ("name", "module", "skipped"),
    [
        ("onnxruntime", "onnxruntime", {"providers", "cuda", "profile", "model tiny"}),
        ("numpy", "numpy", {"opencv", "onnxruntime", "providers", "cuda", "profile", "model tiny"}),
        ("opencv", "cv2", set()),
        ("pillow", "PIL", {"readers"}),
    ],
)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("import os; os.abort()", "SIGABRT"),
        ("", "does not load"),  # what uninstalling one of two packages leaves
    ],
)
def test_libraries_that_do_not_load(tmp_path: Path, name: str, module: str, skipped: set[str], code: str, words: str) -> None:
    exit_code, checks = doctor(shadow=package(tmp_path, module, code))
    assert exit_code == 69
    assert set(checks) == set(NAMES)
    assert checks[name]["status"] == "failed"
    assert words in checks[name]["detail"]
    assert "pip" in checks[name]["way_out"]
    assert {n for n, check in checks.items() if check["status"] == "skipped"} == skipped
    assert {n for n, check in checks.items() if check["status"] == "failed"} == {name}


def test_commands_point_to_doctor_when_a_library_does_not_load(tmp_path: Path) -> None:
    shadow = package(tmp_path / "shadow", "onnxruntime", "raise ImportError('libgomp.so.1: cannot open shared object file')")
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", str(ROOT / "docs" / "samples" / "coffee.jpg"), "-o", str(tmp_path / "out.jpg")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": f"{shadow}:{ROOT / 'runtime'}"},
    )  # fmt: skip
    assert done.returncode == 69
    assert "libgomp.so.1" in done.stderr
    assert "colorize-run doctor" in done.stderr
    assert not (tmp_path / "out.jpg").exists()


def test_the_profile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    environment = {"COLORIZE_RUN_PROFILE": str(path)}
    assert doctor(**environment)[1]["profile"]["detail"] == f"none at {path}"
    tuning = [sys.executable, "-m", "colorize_run", "tune", "-m", TINY, "--rounds", "3", "--size", "64x48", "--device", "cpu"]
    subprocess.run(tuning, check=True, capture_output=True, env={**os.environ, **environment})
    code, checks = doctor(**environment)
    assert (code, checks["profile"]["status"]) == (0, "ok")
    assert "tiny on cpu" in checks["profile"]["detail"]
    path.write_text(path.read_text().replace('"onnxruntime": "', '"onnxruntime": "0.'))
    code, checks = doctor(**environment)
    assert (code, checks["profile"]["status"]) == (0, "absent")
    assert "onnxruntime was 0." in checks["profile"]["detail"]
    path.write_text("{")
    assert "cannot be read" in doctor(**environment)[1]["profile"]["detail"]


def test_two_packages_of_onnxruntime(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        (tmp_path / f"{name}-1.99.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.99.0.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.99.0\n"
        )
    code, checks = doctor(shadow=tmp_path)
    assert code == 69
    assert "onnxruntime 1.99.0 and onnxruntime-gpu 1.99.0 overwrite each other" in checks["onnxruntime"]["detail"]
    assert "pip uninstall onnxruntime onnxruntime-gpu" in checks["onnxruntime"]["way_out"]


def test_cuda_that_is_asked_for_must_work() -> None:
    code, checks = doctor("--device", "cuda")
    if code == 0:
        assert checks["cuda"]["status"] == "ok"
        return
    assert code == 69
    assert checks["cuda"]["status"] == "failed"
    assert checks["model tiny"]["status"] == "skipped"


@pytest.mark.parametrize("content", [None, b"", b"no model", TINY.read_bytes()[:20_000]])
def test_broken_model_files(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    code, checks = doctor("-m", str(tmp_path / "bad.onnx"))
    assert code == 65
    found = next(check for name, check in checks.items() if "bad" in name)
    assert found["status"] == "failed"
    assert "bad.onnx" in found["detail"]
    assert checks["model tiny"]["status"] == "ok"


def test_a_model_that_computes_something_else(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(TINY)
    tensor = next(t for t in model.graph.initializer if t.name == "network.finalconv.bias")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "astray.onnx")
    code, checks = doctor("-m", str(tmp_path / "astray.onnx"))
    assert code == 65
    assert "DIFFERS" in checks["model astray"]["detail"]


def test_folders_that_cannot_be_written() -> None:
    code, checks = doctor(TMPDIR="/proc/nowhere", prefix=("env", "-C", "/proc"))
    assert checks["current folder"]["status"] == "failed"
    assert "/proc" in checks["current folder"]["detail"]
    assert code == 73


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code, checks = doctor(prefix=("sh", "-c", f'cd "{gone}"; rmdir "{gone}"; exec "$@"', "sh"))
    assert code == 73
    assert checks["current folder"]["status"] == "failed"
    assert checks["model tiny"]["status"] == "ok"


def test_a_file_in_the_current_folder_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not me')")
    script = f"import sys; sys.path.append({str(ROOT / 'runtime')!r}); from colorize_run.cli import run; run()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "doctor", "-m", TINY], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
def test_threads_follow_the_affinity_mask() -> None:
    _, checks = doctor(prefix=("taskset", "-c", str(min(os.sched_getaffinity(0)))))
    assert checks["threads"]["figures"]["usable"] == 1


# -- the machine, from the kernel's own files -----------------------------------------------------------------


def grant(folder: Path, quota: str, *, version: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} 100000\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")


def test_quotas_of_cgroups(tmp_path: Path) -> None:
    grant(tmp_path / "two" / "a.slice", "150000", version=2)
    grant(tmp_path / "two" / "a.slice" / "b.service", "max", version=2)
    assert cgroup_quota(tmp_path / "two", "0::/a.slice/b.service\n") == 1.5  # a level above limits it
    assert cgroup_quota(tmp_path / "two", "0::/\n") is None
    grant(tmp_path / "one" / "cpu", "50000", version=1)
    assert cgroup_quota(tmp_path / "one", "4:cpu:/docker/abc\n0::/\n") == 0.5  # a container sees its group as the root
    grant(tmp_path / "both" / "cpu,cpuacct" / "job", "-1", version=1)
    grant(tmp_path / "both" / "unified" / "job", "300000", version=2)
    assert cgroup_quota(tmp_path / "both", "4:cpu,cpuacct:/job\n0::/job\n") == 3.0
    assert cgroup_quota(tmp_path, "nonsense\n3:memory:/x\n") is None


def test_usable_threads() -> None:
    assert Threads(8, 4, None).usable == 4
    assert Threads(8, 4, 1.5).usable == 2
    assert Threads(8, 4, 0.1).usable == 1
    assert Threads(8, 4, 16.0).usable == 4


def test_processors_of_two_kinds(tmp_path: Path) -> None:
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("processor : 0\nmodel name : Some CPU\nflags : fpu avx2 avx512f avx512_vnni\n\nprocessor : 1\nflags : fpu\n")
    arm.write_text("processor : 0\nFeatures : fp asimd asimddp bf16\n")
    assert processor(x86).name == "Some CPU"
    assert processor(x86).features == ("AVX2", "AVX-512", "AVX-512 VNNI")
    assert processor(arm).features == ("NEON", "NEON dot product", "NEON BF16")
    assert processor(tmp_path / "none").features == ()


def test_a_folder_for_temporary_files_that_is_not_used_is_told() -> None:
    _, checks = doctor(TMPDIR="/nowhere")
    assert "TMPDIR says /nowhere, which cannot be written" in checks["temporary folder"]["detail"]


def test_memory_that_cgroups_leave(tmp_path: Path) -> None:
    for level, limit, used in (("a.slice", "1000000", "400000"), ("a.slice/b.service", "max", "300000")):
        folder = tmp_path / "two" / level
        folder.mkdir(parents=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
    assert cgroup_memory(tmp_path / "two", "0::/a.slice/b.service\n") == 600_000  # a level above limits it
    (tmp_path / "two" / "a.slice" / "memory.stat").write_text("anon 300000\ninactive_file 100000\n")
    assert cgroup_memory(tmp_path / "two", "0::/a.slice/b.service\n") == 700_000  # file cache is given back
    assert cgroup_memory(tmp_path / "two", "0::/\n") is None
    folder = tmp_path / "one" / "memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("500\n")
    (folder / "memory.usage_in_bytes").write_text("700\n")
    assert cgroup_memory(tmp_path / "one", "9:memory:/docker/abc\n0::/\n") == 0
