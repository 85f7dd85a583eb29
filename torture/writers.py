"""Deliveries: slow writers of every kind, overwriting, real tools, hostile names, and things that are no files."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torture.kills import QUICK
from torture.oracle import judge
from torture.rig import FORMATS, Broken, Golden, Watch, children, picture

STYLES = ("open", "reopened", "preallocated")


@dataclass(frozen=True)
class Slow:
    """How one file is written: its style, in how many chunks, with which gaps between them in seconds."""

    name: str
    data: bytes
    style: str
    chunks: int
    gap: float

    def write(self, inbox: Path) -> None:
        """Write it; takes about ``chunks * gap`` seconds."""
        path, size = inbox / self.name, -(-len(self.data) // self.chunks)
        parts = [self.data[i : i + size] for i in range(0, len(self.data), size)]
        if self.style == "reopened":
            for part in parts:
                with path.open("ab") as file:
                    file.write(part)
                time.sleep(self.gap)
            return
        with path.open("wb", buffering=0) as file:
            if self.style == "preallocated":  # as Windows copies do: full size and old time from the start
                file.truncate(len(self.data))
                os.utime(path, (1e9, 1e9))
            for part in parts:
                time.sleep(self.gap)
                file.write(part)
                if self.style == "preallocated":
                    os.utime(path, (1e9, 1e9))


def slow_plan(seed: int, files: int, longest: float) -> list[Slow]:
    """Writers of all styles and formats; each takes at most ``longest`` seconds."""
    chance = random.Random(seed)
    plan = []
    for number in range(files):
        suffix = chance.choice(list(FORMATS))
        chunks = chance.choice((1, 2, 3, 5, 9, 17, 64))
        gap = chance.choice((0.0, 0.01, 0.05, 0.3, 0.7, 1.5, longest / chunks))
        data = picture(number % 200, suffix)
        plan.append(Slow(f"s{number}{suffix}", data, STYLES[number % 3], chunks, min(gap, longest / chunks)))
    return plan


def slow(folder: Path, model: Path, golden: Golden, seed: int, files: int, longest: float, at_once: int = 24) -> int:
    """Many writers, ``at_once`` at a time; none may be half-read, none quarantined. Returns false starts.

    A writer that opens the file again for each chunk and pauses for longer than the watch waits looks like one
    that is done: its file is taken, found cut off, and left until it changes. Those are counted.
    """
    plan = slow_plan(seed, files, longest)
    watch = Watch(folder, model, "--settle", "0.2", "--poll", "0.1")
    pool = threading.Semaphore(at_once)

    def write(writer: Slow) -> None:
        with pool:
            writer.write(watch.inbox)

    with watch:
        watch.wait_ready()
        threads = [threading.Thread(target=write, args=(writer,)) for writer in plan]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watch.wait_quiet(120)
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, {writer.name.encode(): writer.data for writer in plan})
    done = {event["out_sha"] for event in watch.events("done")}
    if wrong := done - {golden(writer.data) for writer in plan}:
        raise Broken(f"{len(wrong)} outputs came from half-written files")
    return len(watch.events("incomplete"))


def overwritten(folder: Path, model: Path, golden: Golden, seed: int, versions: int) -> int:
    """One name, overwritten again and again, in place and by renaming; the last version wins. Returns those skipped."""
    chance = random.Random(seed)
    watch = Watch(folder, model, *QUICK)
    data = b""
    with watch:
        watch.wait_ready()
        for number in range(versions):
            data = picture(number)
            if chance.random() < 0.5:
                watch.put("one.jpg", data)
            else:
                (watch.inbox / "one.jpg").write_bytes(data)
            time.sleep(chance.choice((0.01, 0.05, 0.2)))
        watch.wait_quiet()
        watch.stop()
    judge(watch, golden, {b"one.jpg": data})
    return versions - len(watch.events("done"))


def changed_while_read(folder: Path, model: Path, golden: Golden) -> None:
    """A file that is overwritten in place between its claim and its reading: what was read is thrown away."""
    watch = Watch(folder, model, *QUICK)
    old, new = picture(1, ".bmp"), picture(2, ".bmp")
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        workers = children(watch.process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        path = watch.put("x.bmp", old)
        watch.wait_event("claimed")
        with path.open("r+b", buffering=0) as file:
            file.write(new[: len(new) // 2])
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            watch.wait_event("superseded")
            file.write(new[len(new) // 2 :])
        watch.wait_quiet()
        watch.stop()
    judge(watch, golden, {b"x.bmp": new})
    if {event["out_sha"] for event in watch.events("done")} != {golden(new)}:
        raise Broken("an output came from two versions")


def _shell(*command: str) -> Callable[[Path, Path], object]:
    return lambda source, inbox: subprocess.run(
        [part.format(source=source, inbox=inbox) for part in command], check=True, capture_output=True, timeout=60
    )


def _rename_within(source: Path, inbox: Path) -> None:
    for path in source.iterdir():
        shutil.copy(path, inbox / f"{path.name}.part")
        (inbox / f"{path.name}.part").rename(inbox / path.name)


def _rename_from_outside(source: Path, inbox: Path) -> None:
    for path in list(source.iterdir()):
        path.rename(inbox / path.name)


def _rename_over(source: Path, inbox: Path) -> None:
    for path in list(source.iterdir()):
        (inbox / path.name).write_bytes(b"an earlier version that was never whole")
        path.replace(inbox / path.name)


def _hard_links(source: Path, inbox: Path) -> None:
    for path in source.iterdir():
        os.link(path, inbox / path.name)


def _tar(source: Path, inbox: Path) -> None:
    made = subprocess.run(["tar", "-C", source, "-cf", "-", "."], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", inbox, "-xf", "-"], input=made, check=True)


def _curl(source: Path, inbox: Path) -> None:
    for path in source.iterdir():
        subprocess.run(["curl", "-s", "--limit-rate", "20k", "-o", inbox / path.name, f"file://{path}"], check=True)


TOOLS: dict[str, Callable[[Path, Path], object]] = {
    "rename within": _rename_within,
    "rename from outside": _rename_from_outside,
    "rename over": _rename_over,
    "hard link": _hard_links,
    "cp": _shell("cp", "-r", "{source}/.", "{inbox}"),
    "cp -p": _shell("cp", "-rp", "{source}/.", "{inbox}"),
    "cp --reflink=auto": _shell("cp", "-r", "--reflink=auto", "{source}/.", "{inbox}"),
    "rsync": _shell("rsync", "-a", "{source}/", "{inbox}/"),
    "rsync --inplace": _shell("rsync", "-a", "--inplace", "{source}/", "{inbox}/"),
    "tar": _tar,
    "curl": _curl,
}


def delivered(folder: Path, model: Path, golden: Golden, tool: str, files: int) -> None:
    """Files that come by a real tool. Errors: FileNotFoundError where the tool is not installed."""
    watch = Watch(folder, model, *QUICK)
    source = folder / "source"
    source.mkdir(parents=True)
    made = {}
    for number in range(files):
        suffix = list(FORMATS)[number % len(FORMATS)]
        name = f"t{number}{suffix}"
        made[name.encode()] = picture(number % 300, suffix)
        (source / name).write_bytes(made[name.encode()])
    with watch:
        watch.wait_ready()
        TOOLS[tool](source, watch.inbox)
        watch.wait_quiet()
        watch.stop()
    judge(watch, golden, made)


NAMES = [
    b"new\nline.jpg", b"tab\t.jpg", b"\x1b[31mred.jpg", b"it's.jpg", b'say "hi".jpg', b"$(reboot).jpg", b"`id`.jpg", b"-rf.jpg",
    b"--help.jpg", b"a..\\..\\x.jpg", b"caf\xe9.jpg", b"caf\xc3\xa9.jpg", b"cafe\xcc\x81.jpg", b"Case.jpg", b"case.jpg",
    b"\xff\xfe.jpg", b"a" * 251 + b".jpg", b"\xe2\x80\xaegpj.jpg", b"%s%n%d.jpg", b"{0}{name}.jpg", b"a b.jpg", b" .jpg",
    b"\x01\x7f.jpg", b"x.JPG", b"x.jPeG", b"\xf0\x9f\x90\xb1.jpg", b"NUL.jpg", b"semi;colon&.jpg", b"*?.jpg",
    b"~.jpg", b"#.jpg",
]  # fmt: skip
IGNORED = [
    b".photo.jpg.Xa3f9z", b".syncthing.photo.jpg.tmp", b"~syncthing~photo.jpg.tmp", b".in.photo.jpg.",
    b".pureftpd-upload.1.jpg", b"photo.jpg.part", b"photo.jpg.crdownload", b"photo.jpg.filepart", b"._photo.jpg",
    b".DS_Store", b"Thumbs.db",
    b"photo.jpg.!sync", b"photo.txt", b"jpg", b".jpg",
]  # fmt: skip


def named(folder: Path, model: Path, golden: Golden, seed: int, extra: int) -> None:
    """Hostile names, and ``extra`` random ones: one output each; log lines stay JSON; temporaries are left alone."""
    chance = random.Random(seed)
    names = list(NAMES)
    while len(names) < len(NAMES) + extra:
        body = bytes(chance.choice([b for b in range(1, 256) if b != 0x2F]) for _ in range(chance.randint(1, 40)))
        if body[0] != ord(".") and not body.startswith(b"~syncthing~"):
            names.append(body + b".jpg")
    watch = Watch(folder, model, *QUICK, "--once")
    made = {name: picture(number % 300) for number, name in enumerate(names)}
    for name, data in made.items():
        watch.put(name, data)
    for name in IGNORED:
        with open(os.path.join(os.fsencode(watch.inbox), name), "wb") as file:
            file.write(picture(1))
    if watch.run_once(300) != 0:
        raise Broken("hostile names failed")
    judge(watch, golden, made)
    watch.events()


@contextlib.contextmanager
def no_files(inbox: Path, secret: Path) -> Iterator[None]:
    """Things with a picture's name that are no regular files of the inbox."""
    (inbox / "out.jpg").symlink_to(secret)
    (inbox / "in.jpg").symlink_to("good.jpg")
    (inbox / "loop.jpg").symlink_to("loop.jpg")
    (inbox / "dangling.jpg").symlink_to("nowhere")
    (inbox / "folder.jpg").mkdir()
    (inbox / "link").symlink_to("/")
    os.mkfifo(inbox / "pipe.jpg")
    with contextlib.suppress(PermissionError):
        os.mknod(inbox / "device.jpg", 0o600 | 0o020000, os.makedev(1, 5))  # endless zeros
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(inbox / "socket.jpg"))
        yield


def kinds(folder: Path, model: Path, golden: Golden) -> None:
    """Links, pipes, sockets, devices and folders are neither opened nor followed, and hold nothing up."""
    watch = Watch(folder, model, *QUICK, "--once", "--recursive")
    secret = folder / "secret.jpg"
    secret.write_bytes(picture(7))
    with no_files(watch.inbox, secret):
        watch.put("good.jpg", picture(1))
        watch.put("sub/deep/good.jpg", picture(2))
        if watch.run_once(60) != 0:
            raise Broken("something that is no file was taken for one")
    judge(watch, golden, {b"good.jpg": picture(1), b"sub/deep/good.jpg": picture(2)})
