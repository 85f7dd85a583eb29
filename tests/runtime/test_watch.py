"""The watch folder, as an operator uses it."""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.image.formats import accepted
from colorize_run.system.files import shortened
from colorize_run.system.hardware import available_threads
from colorize_run.system.mounts import has_writer, leases_count
from colorize_run.watch.pending import Settled
from colorize_run.watch.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from torture import faults
from torture.kills import QUICK, fill
from torture.rig import Golden, Watch, children, judge, picture, rss, stub_model, wait_for
from torture.writers import IGNORED, NAMES

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["watch", *map(str, arguments)])


def sentence(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    for word in words:
        assert word in result.stderr


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


def test_names() -> None:
    assert all(accepted(name) for name in NAMES)
    assert not any(accepted(name) for name in IGNORED)


names = st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b".."))


@given(names, names, st.sampled_from(["mask", "soft", "overlay", "cutout"]))
def test_two_inputs_never_share_an_output(one: bytes, other: bytes, view: str) -> None:
    settings = Settings(Path("in"), Path("out"), Path("state"), task="segment", view=view)
    assert (settings.output_name(one) == settings.output_name(other)) == (one == other)
    assert len(settings.output_name(one)) <= 255


@given(names, st.sampled_from([b"", b".mask.png", b".json"]))
def test_names_are_shortened_only_where_they_must(name: bytes, suffix: bytes) -> None:
    short = shortened(name, suffix)
    assert len(short) <= 255
    assert short == name + suffix or len(name + suffix) > 255


generations = st.tuples(st.sampled_from([b"a", b"b", b"c/d"]) | st.binary(min_size=1), st.sampled_from(["1", "2"]))


@given(st.lists(st.tuples(st.sampled_from(["add", "meet", "scan", "keep"]), generations), max_size=60))
def test_what_is_settled_is_a_set(steps: list[tuple[str, tuple[bytes, str]]]) -> None:
    settled, known, met = Settled(), set(), set()
    for step, entry in steps:
        if step == "add":
            settled.add(*entry)
            known.add(entry)
            met.add(entry)
        elif step == "meet":
            assert settled.meet(*entry) == (None if entry not in known else entry not in met)
            met |= {entry} & known
        elif step == "scan":
            settled.begin_scan()
            met.clear()
        else:
            settled.keep_met()
            known &= met
        assert (len(settled), settled.met_count) == (len(known), len(met))
        assert settled.has_met(*entry) == (entry in met)


def test_settled_files_take_little_memory() -> None:
    settled = Settled()
    tracemalloc.start()
    try:
        for number in range(20_000):
            settled.add(b"%d.jpg" % number, "1:2:3:4:5")
        taken = tracemalloc.get_traced_memory()[1]  # at most, while it grows
    finally:
        tracemalloc.stop()
    assert taken < 1_000_000  # fifty bytes each
    assert settled.meet(b"19999.jpg", "1:2:3:4:5") is False
    assert settled.meet(b"19999.jpg", "1:2:3:4:6") is None


def test_the_kernel_tells_who_writes(tmp_path: Path) -> None:
    if not leases_count(tmp_path):
        pytest.skip("leases prove nothing on this file system")
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    path = tmp_path / "x.jpg"
    with path.open("wb"):
        fd = os.open(path, os.O_RDONLY)
        assert has_writer(fd) is True
    assert has_writer(fd) is False
    assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    os.close(fd)


def test_the_stub_shows_wrong_bytes(tmp_path: Path, golden: Golden) -> None:
    again = Golden(stub_model(tmp_path / "again.onnx"))
    assert [again(picture(n)) for n in range(5)] == [golden(picture(n)) for n in range(5)]
    assert len({golden(picture(n)) for n in range(50)}) == 50
