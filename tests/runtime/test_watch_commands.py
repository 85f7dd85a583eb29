"""The watch on the command line: options, refusals, and the commands on its ledger."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.system.hardware import available_threads
from PIL import Image

from torture import faults
from torture.kills import QUICK, fill
from torture.oracle import judge
from torture.rig import Golden, Watch, children, picture, wait_for

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["watch", *map(str, arguments)])


def sentence(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    "options", [["--working-size", "96", "--temperature", "0.5", "--saturation", "1.3"], ["--saturation", "0.5"]]
)
def test_options_of_the_colours_give_the_same_bytes_as_for_a_file(tmp_path: Path, options: list[str]) -> None:
    sample = ROOT / "docs" / "samples" / "chelsea.jpg"
    options = [*options, "--force", "--device", "cpu"]
    (tmp_path / "in").mkdir()
    shutil.copy(sample, tmp_path / "in")
    files = [tmp_path / "plain.jpg", tmp_path / "expected.jpg"]
    for target, arguments in zip(files, (["--force", "--device", "cpu"], options), strict=True):
        done = CliRunner().invoke(main, [str(sample), "-o", str(target), *arguments])
        assert done.exit_code == 0, done.stderr
    plain, expected = (path.read_bytes() for path in files)
    command = [sys.executable, "-m", "colorize_run", "watch", tmp_path / "in", tmp_path / "out", "--once", *options]
    result = subprocess.run(command, check=False, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "chelsea.jpg").read_bytes() == expected != plain


def test_options_that_do_not_apply_end_before_any_file_is_touched(tmp_path: Path, stub: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "p.jpg").write_bytes(picture(1))
    before = (inbox / "p.jpg").stat()
    for arguments, words in (
        (["-m", stub, "--temperature", "0.5"], "temperature"),
        (["-m", stub, "--temperature", "nan"], "nan"),
        (["-m", stub, "--working-size", "0"], "--working-size"),
        (["--task", "segment", "--temperature", "0.5"], "--task colorize"),
        (["--task", "segment", "--saturation", "0.5"], "--task colorize"),
    ):
        sentence(run(inbox, outbox, "--once", "--device", "cpu", "--settle", "0.05", *arguments), 2, words)
    assert [path.name for path in outbox.iterdir()] == [".colorize-run"]
    assert run("status", outbox).stderr.startswith("not running; no files yet")
    assert (inbox / "p.jpg").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.skipif(bool(faults.no_mounts()), reason=faults.no_mounts())
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_quota_of_the_cgroup_limits_the_workers_threads(tmp_path: Path, stub: Path) -> None:
    if not re.search(r"^(0:|\d+:(\w+,)*cpu(,\w+)*):", Path("/proc/self/cgroup").read_text(), re.MULTILINE):
        pytest.skip("this process is in no cgroup")
    watch = Watch(tmp_path, stub, *QUICK)
    quota = (
        "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && echo 100000 100000 > cpu.max &&"
        " mkdir -p cpu cpu,cpuacct && echo 100000 | tee cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us"
        " cpu,cpuacct/cpu.cfs_quota_us > cpu,cpuacct/cpu.cfs_period_us && cd - > /dev/null && exec"
    )
    for prefix, threads in (([], available_threads()), (["unshare", "--mount", "sh", "-c", f'{quota} "$@"', "sh"], 1)):
        watch._command = [*prefix, *watch._command]
        with watch:
            watch.wait_ready()
            assert watch.process is not None
            (worker,) = children(watch.process.pid)
            command = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
            assert next(json.loads(word) for word in command if word.startswith("{"))["threads"] == threads
            assert watch.stop() == 0


def test_pictures_that_are_too_large_are_refused_by_their_headers(tmp_path: Path, stub: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    watch = Watch(tmp_path, stub, *QUICK, "--once", "--max-side", "99", "--max-pixels", "5000")
    for name, size in (("long", (128, 16)), ("large", (96, 64)), ("good", (64, 64))):
        for suffix in (".jpg", ".heic"):
            file = io.BytesIO()
            Image.new("L", size, 90).convert("RGB").save(file, "JPEG" if suffix == ".jpg" else "HEIF")
            watch.put(name + suffix, file.getvalue())
    assert watch.run_once() == 1
    refused = {event["name"]: event["err_class"] for event in watch.events("quarantined")}
    assert refused == {
        "long.jpg": "too_long", "long.heic": "too_long", "large.jpg": "too_many_pixels", "large.heic": "too_many_pixels",
    }  # fmt: skip
    assert {event["name"] for event in watch.events("done")} == {"good.jpg", "good.heic"}


def test_outputs_are_known_again_when_the_ledger_is_lost(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK, "--once")
    made = fill(watch, 5)
    assert watch.run_once() == 0
    try:
        os.getxattr(watch.outbox / "p0.jpg", "user.colorize-run")
    except OSError:
        pytest.skip("needs extended attributes")
    (watch.state / "ledger.db").write_bytes(b"no ledger" * 999)
    (watch.outbox / "p1.jpg").write_bytes(b"somebody changed the output")
    made[b"p2.jpg"] = picture(77)
    watch.put("p2.jpg", made[b"p2.jpg"])
    (watch.outbox / "p3.jpg").unlink()
    before = (watch.outbox / "p0.jpg").stat().st_ino
    assert watch.run_once() == 0
    assert {event["name"] for event in watch.events("same")} == {"p0.jpg", "p4.jpg"}
    assert (watch.outbox / "p0.jpg").stat().st_ino == before
    judge(watch, golden, made)
    sentence(run("forget", watch.outbox, "p0.jpg"), 0)
    assert watch.run_once() == 0
    assert len(watch.events("same")) == 2
    assert len([event for event in watch.events("done") if event["name"] == "p0.jpg"]) == 2
    judge(watch, golden, made)


def test_refusals_are_one_sentence_and_an_exit_code(tmp_path: Path, stub: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    sentence(run(tmp_path / "nowhere", outbox), 66, "nowhere")
    sentence(run(inbox, inbox), 2, "is inside the input folder")
    sentence(run(inbox, inbox / "out"), 2, "is inside the input folder")
    sentence(run(inbox, outbox, "--state", inbox / "state"), 2, "state")
    sentence(run(inbox, outbox, "--input", "move"), 2, "--done-dir")
    sentence(run(inbox, tmp_path, "--recursive"), 2, "--recursive")
    sentence(run(inbox, "/proc/nowhere/out"), 73, "cannot be made")
    sentence(run(inbox, outbox, "-m", "nonsense"), 65, "nonsense")
    sentence(run(inbox, outbox, "--task", "segment", "-m", stub), 65, "for colourizing, not for segmenting")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    sentence(run(inbox, outbox, "-m", broken), 65, "broken.onnx")
    sentence(run(inbox, outbox, "--device", "cuda", "-m", stub), 69, "CUDA")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.jpg").write_bytes(b"precious")
    sentence(run(inbox, tmp_path / "full"), 73, "--adopt")
    assert (tmp_path / "full" / "mine.jpg").read_bytes() == b"precious"
    for command in ("status", "verify"):
        sentence(run(command, tmp_path / "nowhere"), 66, "ledger")


def test_a_bound_folder_is_recognised_as_the_inbox(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    sentence(run(tmp_path / "link", tmp_path / "in" / "out"), 2, "is inside the input folder")


def test_status_retry_forget_and_verify(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK, "--incomplete-timeout", "0.2")
    fill(watch, 2)
    watch.put("bad\n.jpg", b"bad")
    with watch:
        watch.wait_ready().wait_quiet()
        status = run("status", watch.outbox)
        sentence(status, 0, "running; ", "2 done", "1 quarantined", "bad\\n.jpg: undecodable: is not a picture")
        report = json.loads(run("status", watch.outbox, "--json").stdout)
        assert report["running"]
        assert report["quarantined"][0]["class"] == "undecodable"
        sentence(run("retry", watch.outbox, "p0.jpg"), 2, "Not quarantined")
        sentence(run("retry", watch.outbox, "--all"), 0, "1 will be tried again")
        wait_for(lambda: len(watch.events("quarantined")) == 2, 20, "was not tried again")
        sentence(run("forget", watch.outbox, "p1.jpg"), 0)
        wait_for(lambda: len([e for e in watch.events("done") if e["name"] == "p1.jpg"]) == 2, 20, "was not converted again")
        assert watch.stop() == 0
    sentence(run("verify", watch.outbox), 0, "2 outputs are unchanged")
    (watch.outbox / "p0.jpg").write_bytes(b"changed")
    (watch.outbox / "p1.jpg").unlink()
    sentence(run("verify", watch.outbox), 1, "p0.jpg: has changed", "p1.jpg: is missing")
    sentence(run("status", watch.outbox), 0, "not running")
