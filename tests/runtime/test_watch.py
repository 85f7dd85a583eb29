"""The watch folder, as an operator uses it."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from torture.kills import QUICK, fill
from torture.oracle import judge
from torture.rig import Golden, Watch, children, picture, rss, wait_for

ROOT = Path(__file__).resolve().parents[2]


def test_pictures_that_come_are_done(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, "--recursive")
    made = fill(watch, 3)
    with watch:
        watch.wait_ready()
        made[b"sub/deep/a.png"] = picture(5, ".png")
        watch.put("sub/deep/a.png", made[b"sub/deep/a.png"])
        watch.put("notes.txt", b"no picture")
        watch.wait_quiet()
        health = watch.health()
        assert watch.stop() == 0
    judge(watch, golden, made)
    assert health["unaccounted"] == 0
    assert health["provider"] == {"requested": "cpu", "actual": "cpu"}
    assert watch.health()["state"] == "stopped"


def test_the_default_model_and_the_live_line_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(ROOT / "docs" / "samples" / "coffee.jpg", tmp_path / "in")
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "colorize_run", "watch", str(tmp_path / "in"), str(tmp_path / "out"), "--once"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 4096):
            output += part
    except OSError:  # the terminal's other end is closed
        pass
    assert process.wait(60) == 0
    os.close(ours)
    assert re.search(rb"0 pending, 1 done, 0 quarantined, [\d.]+ images/s, cpu", output)
    assert (tmp_path / "out" / "coffee.jpg").stat().st_size > 10_000


def test_segmentation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(ROOT / "docs" / "samples" / "coffee.jpg", tmp_path / "in")
    for view in ("mask", "overlay", "cutout"):
        result = subprocess.run(
            [sys.executable, "-m", "colorize_run", "watch", tmp_path / "in", tmp_path / view, "--once", "--task", "segment",
             "--as", view, "--device", "cpu"], check=False, capture_output=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert (tmp_path / view / f"coffee.jpg.{view}.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_that_have_colours_are_copied_unless_forced(tmp_path: Path, stub: Path) -> None:
    sample = (ROOT / "docs" / "samples" / "coffee.jpg").read_bytes()
    for option, same in (("--keep-colour", True), ("--force", False)):
        watch = Watch(tmp_path / option, stub, *QUICK, "--once", option)
        watch.put("coffee.jpg", sample)
        assert watch.run_once() == 0
        assert ((watch.outbox / "coffee.jpg").read_bytes() == sample) is same


def test_what_is_not_kept_is_moved_or_deleted_once_its_output_is_there(tmp_path: Path, stub: Path, golden: Golden) -> None:
    for name in ("done", "failed"):
        (tmp_path / name).mkdir()
    (tmp_path / "done" / "p0.jpg").write_bytes(b"taken")
    options = ("--input", "move", "--done-dir", str(tmp_path / "done"), "--failed-dir", str(tmp_path / "failed"))
    watch = Watch(tmp_path, stub, *QUICK, "--once", "--incomplete-timeout", "0", *options)
    fill(watch, 2)
    watch.put("bad.jpg", b"bad")
    assert watch.run_once() == 1
    assert not list(watch.inbox.iterdir())
    assert (tmp_path / "done" / "p0.jpg").read_bytes() == b"taken"
    moved = [path.read_bytes() for path in (tmp_path / "done").iterdir() if path.name != "p0.jpg"]
    assert sorted(moved) == sorted([picture(0), picture(1)])
    assert (tmp_path / "failed" / "bad.jpg").read_bytes() == b"bad"
    assert hashlib.sha256((watch.outbox / "p1.jpg").read_bytes()).hexdigest() == golden(picture(1))


def test_touched_files_are_hashed_not_converted_again(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK, "--once")
    made = fill(watch, 3)
    assert watch.run_once() == 0
    for name in made:
        os.utime(watch.inbox / os.fsdecode(name), (1, 1))
    (watch.outbox / "p2.jpg").write_bytes(b"somebody changed the output")
    assert watch.run_once() == 0
    assert len(watch.events("same")) == 2
    judge(watch, golden, made)


def test_times_mean_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK, "--once")
    made = fill(watch, 4)
    for name, when in zip(made, (-2_177_452_800, 0, 4_294_967_296, 9_000_000_000), strict=True):  # 1901 to 2255
        os.utime(watch.inbox / os.fsdecode(name), (when, when))
    assert watch.run_once() == 0
    judge(watch, golden, made)


def test_an_incomplete_file_waits_and_only_then_is_quarantined(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK, "--incomplete-timeout", "1.5")
    whole = picture(1)
    with watch:
        watch.wait_ready()
        watch.put("late.jpg", whole[:300])
        watch.put("never.jpg", whole[:300])
        watch.wait_event("incomplete", name="late.jpg")
        assert not watch.events("quarantined")
        with (watch.inbox / "late.jpg").open("ab") as file:
            file.write(whole[300:])
        watch.wait_quiet()
        watch.stop()
    judge(watch, golden, {b"late.jpg": whole, b"never.jpg": whole[:300]}, {b"never.jpg": "undecodable"})


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, stub: Path, golden: Golden) -> None:
    watch = Watch(tmp_path, stub, *QUICK)
    made = fill(watch, 400)
    process = subprocess.Popen(watch._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stderr is not None
    try:
        watch.wait_quiet()
        wait_for(lambda: watch.health()["log_lines_dropped"] > 0, 10, "nothing was dropped")
        with watch.log.open("wb") as log:
            log.write(process.stderr.read1(1 << 20))  # type: ignore[attr-defined]  # somebody reads again
            process.send_signal(signal.SIGTERM)
            log.write(process.stderr.read())
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    judge(watch, golden, made)
    assert watch.events("log_dropped")[0]["lines"] > 100
    assert watch.events("stop")


def test_signals(tmp_path: Path, stub: Path) -> None:
    watch = Watch(tmp_path, stub, *QUICK)
    fill(watch, 2)
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        watch.process.send_signal(signal.SIGUSR1)
        assert watch.wait_event("status")["health"]["state"] == "running"
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(20) == 0
    again = Watch(tmp_path, stub, *QUICK, "--drain", "30", site="poison")
    again.put("slow.jpg", picture(3) + b"POISON:hang")
    with again:
        assert again.process is not None
        again.wait_ready().wait_event("claimed", name="slow.jpg")
        again.process.send_signal(signal.SIGTERM)
        again.wait_event("stopping")
        time.sleep(0.3)
        assert again.process.poll() is None  # it waits for the file in hand
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(5) == 143
    row = again.rows()[b"slow.jpg"]
    assert (row["state"], row["strikes"]) == ("claimed", 0)


def test_a_model_is_upgraded_without_stopping(tmp_path: Path, stub: Path, golden: Golden) -> None:
    model = tmp_path / "model.onnx"
    shutil.copy(stub, model)
    watch = Watch(tmp_path, model, *QUICK)
    made = fill(watch, 1)
    with watch:
        assert watch.process is not None
        watch.wait_ready().wait_quiet()
        first = watch.health()["model_sha"]
        (tmp_path / "new.onnx").write_bytes(b"a broken upgrade")
        (tmp_path / "new.onnx").replace(model)
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_event("model_refused")
        made |= fill(watch, 1, 1)
        watch.wait_quiet()  # by the old one
        import onnx

        newer = onnx.load(stub)
        newer.doc_string = "newer"
        onnx.save(newer, tmp_path / "new.onnx")
        (tmp_path / "new.onnx").replace(model)
        watch.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(watch.events("worker_ready")) == 2, 20, "no worker with the new model")
        made |= fill(watch, 1, 2)
        watch.wait_quiet()
        wait_for(lambda: len(children(watch.process.pid)) == 1, 10, "the old worker stays")
        assert watch.stop() == 0
    rows = watch.rows()
    assert rows[b"p1.jpg"]["model_sha"] == first != rows[b"p2.jpg"]["model_sha"]
    assert rows[b"p1.jpg"]["out_sha"] == golden(made[b"p1.jpg"])
    assert rows[b"p2.jpg"]["out_sha"] == Golden(model)(made[b"p2.jpg"])


def test_metrics_and_health_over_http(tmp_path: Path, stub: Path) -> None:
    pytest.importorskip("prometheus_client")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    watch = Watch(tmp_path, stub, *QUICK, "--port", str(port), "--incomplete-timeout", "0.1")
    fill(watch, 2)
    watch.put("bad.jpg", b"bad")

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    with watch:
        watch.wait_ready().wait_quiet()
        wait_for(lambda: "colorize_pending 0.0" in page("/metrics"), 5, "not counted")
        metrics = page("/metrics")
        for line in (
            'colorize_files_total{state="quarantined"} 1.0',
            'colorize_files_total{state="done"} 2.0',
            "colorize_unaccounted 0.0",
            'colorize_provider_info{actual="cpu",requested="cpu"} 1.0',
            'stage="decode"',
            'stage="fsync"',
        ):
            assert line in metrics
        assert json.loads(page("/healthz"))["healthy"]
        assert json.loads(page("/readyz"))["ready"]
        assert watch.stop() == 0


def test_only_the_port_needs_prometheus(tmp_path: Path, stub: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['prometheus_client'] = None\n")
    for options, code in (((), 0), (("--port", "9999"), 2)):
        watch = Watch(tmp_path, stub, *QUICK, "--once", *options, PYTHONPATH=str(site))
        fill(watch, 1)
        assert watch.run_once() == code
    assert b"pip install 'colorize-run[watch]'" in watch.log.read_bytes()


def test_systemd_is_notified(tmp_path: Path, stub: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(20)
        watch = Watch(tmp_path, stub, NOTIFY_SOCKET=str(tmp_path / "notify"))
        messages = ""
        with watch:
            while "READY=1" not in messages or "WATCHDOG=1" not in messages:
                messages += line.recv(4096).decode() + "\n"
            assert watch.stop() == 0
        while "STOPPING=1" not in messages:
            messages += line.recv(4096).decode() + "\n"
        assert "STATUS=running: 0 pending" in messages


def test_the_supervisor_is_light_and_imports_no_image_or_network_library(tmp_path: Path, stub: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "if 'colorize_run.watch.worker' not in sys.orig_argv:\n"
        f"    atexit.register(lambda: open({str(tmp_path / 'modules')!r}, 'w').write(' '.join(sys.modules)))\n"
    )
    watch = Watch(tmp_path, stub, *QUICK, PYTHONPATH=str(site))
    fill(watch, 2)
    with watch:
        assert watch.process is not None
        watch.wait_ready().wait_quiet()
        assert rss(watch.process.pid) < 60
        watch.stop()
    loaded = set((tmp_path / "modules").read_text().split())
    assert "colorize_run.watch.supervisor" in loaded
    assert not loaded & {"numpy", "PIL", "cv2", "onnxruntime", "torch"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_confined() -> None:
    unit = ROOT / "deploy" / "colorize-run-watch.service"
    command = ["systemd-analyze", "security", "--offline=true", str(unit)]
    analysis = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    if not (found := re.search(r"Overall exposure level for \S+: ([\d.]+)", analysis)):
        pytest.skip("this systemd-analyze does not judge files")
    assert float(found[1]) <= 2.0
