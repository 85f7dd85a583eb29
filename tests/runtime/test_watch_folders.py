"""Which INBOX an OUTBOX belongs to: another one is refused, and the same one goes on wherever it was moved."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from colorize_run.cli import main
from colorize_run.system.mounts import birth

from torture import faults
from torture.kills import QUICK
from torture.rig import picture

STATE = ".colorize-run"


class Folders:
    """Two cameras that count from the same number, and an OUTBOX."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model, self.outbox = root, model, root / "out"
        self.cameras = [root / "cam_a", root / "cam_b"]
        for number, camera in enumerate(self.cameras):
            camera.mkdir()
            (camera / "IMG_0001.jpg").write_bytes(picture(number))

    def command(self, inbox: Path | str, *options: str | Path, outbox: Path | None = None) -> list[str]:
        words = ("watch", "run", inbox, outbox or self.outbox, "--once", "-m", self.model, "--device", "cpu", *QUICK, *options)
        return [str(word) for word in words]

    def once(self, inbox: Path | str, *options: str | Path, outbox: Path | None = None) -> list[dict[str, Any]]:
        """The events of a watch that ends with 0."""
        command = [sys.executable, "-m", "colorize_run", *self.command(inbox, *options, outbox=outbox)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.root)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stderr.splitlines()]

    def refused(self, inbox: Path | str, *options: str | Path, outbox: Path | None = None) -> str:
        """The sentence of a watch that is refused, and changes no output."""
        before = self.outputs()
        done = CliRunner().invoke(main, self.command(inbox, *options, outbox=outbox))
        assert done.exit_code == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert self.outputs() == before
        return done.stderr

    def outputs(self) -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_ino, path.read_bytes()) for path in self.outbox.glob("*.jpg")}


@pytest.fixture
def folders(tmp_path: Path, stub: Path) -> Folders:
    return Folders(tmp_path, stub)


def kinds(events: list[dict[str, Any]]) -> set[str]:
    return {event["event"] for event in events}


def edit(folders: Folders, **changes: Any) -> None:
    """Change what the state folder remembers of INBOX, as another disk would."""
    path = folders.outbox / STATE / "folders.json"
    content = json.loads(path.read_text())
    content["inbox"].update(changes)
    path.write_text(json.dumps(content))
    drop_attribute(folders.outbox)


def drop_attribute(outbox: Path) -> None:
    if b"user.colorize-run.inbox" in map(os.fsencode, os.listxattr(outbox)):
        os.removexattr(outbox, b"user.colorize-run.inbox")


def test_another_inbox_does_not_take_over_an_outbox(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    said = folders.refused(second)
    assert f"{folders.outbox} belongs to the watch of {first}" in said
    assert "--adopt" in said
    assert kinds(folders.once(first)) & {"done", "moved", "adopted"} == set()


def test_the_same_inbox_under_another_name_goes_on(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    link = folders.root / "link"
    link.symlink_to(first)
    for name in ("cam_a", "./cam_b/../cam_a/", link):
        assert kinds(folders.once(name)) & {"done", "moved", "adopted", "seen"} == set()
    link.unlink()
    link.symlink_to(second)
    folders.refused(link)
    moved = folders.root / "elsewhere" / "camera"
    moved.parent.mkdir()
    first.rename(moved)
    assert kinds(folders.once(moved)) & {"done", "moved", "seen"} == {"moved"}
    assert kinds(folders.once(moved)) & {"done", "moved", "seen"} == set()
    second.rename(first)
    assert f"belongs to the watch of {moved}" in folders.refused(first)


def test_an_inbox_that_is_made_again_or_mounted_again_goes_on(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    shutil.copytree(first, folders.root / "copy")
    shutil.rmtree(first)
    (folders.root / "copy").rename(first)
    assert kinds(folders.once(first)) & {"done", "adopted"} == set()
    edit(folders, device=7, inode=7, birth=7)
    assert kinds(folders.once(first)) & {"done", "adopted"} == set()
    edit(folders, inode=second.stat().st_ino, device=second.stat().st_dev, birth=7)
    folders.refused(second)
    if birth(second):
        edit(folders, inode=second.stat().st_ino, birth=birth(second), device=7)
        assert "moved" in kinds(folders.once(second))


@pytest.mark.skipif(bool(faults.no_mounts()), reason=faults.no_mounts())
def test_another_mount_point_of_the_same_inbox_goes_on(folders: Folders) -> None:
    first = folders.cameras[0]
    if not birth(first):
        pytest.skip("this file system does not tell when a folder was made")
    folders.once(first)
    point = folders.root / "point"
    point.mkdir()
    subprocess.run(["mount", "--bind", first, point], check=True)
    try:
        assert kinds(folders.once(point)) & {"done", "moved"} == {"moved"}
    finally:
        subprocess.run(["umount", point], check=True)


def test_an_inbox_with_the_inode_of_one_that_is_gone_is_another_one(folders: Folders) -> None:
    first, second = folders.cameras
    if not birth(first):
        pytest.skip("this file system does not tell when a folder was made")
    folders.once(first)
    shutil.rmtree(first)
    for number in range(8):  # some of them get its inode
        new = folders.root / f"new{number}"
        shutil.copytree(second, new)
        folders.refused(new)


def test_a_watch_from_before_inboxes_were_remembered_goes_on_and_remembers(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    memory = folders.outbox / STATE / "folders.json"
    drop_attribute(folders.outbox)
    memory.unlink()
    assert CliRunner().invoke(main, ["watch", "status", str(folders.outbox)]).exit_code == 0
    assert kinds(folders.once(first)) & {"done", "moved", "adopted"} == set()
    folders.refused(second)


@pytest.mark.parametrize("content", [b'{"inbox": {"path": 3}, "outbox": 1}', b"\xff", b"[" * 9999])
def test_a_damaged_memory_is_told_unless_outbox_names_its_inbox(folders: Folders, content: bytes) -> None:
    first, second = folders.cameras
    folders.once(first)
    memory = folders.outbox / STATE / "folders.json"
    memory.write_bytes(content)
    assert CliRunner().invoke(main, ["watch", "status", str(folders.outbox)]).exit_code == 0
    assert kinds(folders.once(first)) & {"done", "moved", "adopted"} == set()
    memory.write_bytes(content)
    drop_attribute(folders.outbox)
    for inbox in (first, second):
        assert "folders.json, which says whose OUTBOX this is, is damaged" in folders.refused(inbox)
    assert kinds(folders.once(first, "--adopt")) & {"done", "moved"} == set()
    folders.refused(second)


def test_a_damaged_ledger_does_not_forget_its_inbox(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    ledger = folders.outbox / STATE / "ledger.db"
    ledger.write_bytes(b"no ledger" * 999)
    folders.refused(second)
    assert ledger.read_bytes() == b"no ledger" * 999
    assert "ledger_rebuilt" in kinds(folders.once(first))
    folders.refused(second)


def test_a_state_folder_elsewhere(folders: Folders) -> None:
    first, second = folders.cameras
    states = [folders.root / "state1", folders.root / "state2"]
    other = folders.root / "other"
    folders.once(first, "--state", states[0])
    assert f"The state folder {states[0]} belongs to the watch of {first}" in folders.refused(
        second, "--state", states[0], outbox=other
    )
    assert f"{states[0]} belongs to the outputs in {folders.outbox}" in folders.refused(
        first, "--state", states[0], outbox=other
    )
    if os.listxattr(folders.outbox):
        assert f"{folders.outbox} belongs to the watch of {first}" in folders.refused(second, "--state", states[1])
        folders.refused(second)
    folders.outbox.rename(other)
    assert kinds(folders.once(first, "--state", states[0], outbox=other)) & {"done", "moved", "adopted"} == {"moved"}


def test_an_outbox_may_be_moved_with_its_state(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    copy = folders.root / "copy"
    shutil.copytree(folders.outbox, copy)
    assert kinds(folders.once(first, outbox=copy)) & {"done", "adopted"} == set()
    folders.refused(second, outbox=copy)


def test_an_outbox_without_anything_in_it_is_free(folders: Folders) -> None:
    first, second = folders.cameras
    folders.once(first)
    for path in folders.outbox.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "done" in kinds(folders.once(second))
    folders.refused(first)


def test_what_adopt_means_for_another_inbox(folders: Folders) -> None:
    first, second = folders.cameras
    (first / "same.jpg").write_bytes(picture(5))
    (second / "same.jpg").write_bytes(picture(5))
    before = folders.once(first)
    digests = {event["name"]: event["sha"] for event in before if event["event"] == "done"}
    events = folders.once(second, "--adopt")
    (adopted,) = [event for event in events if event["event"] == "adopted"]
    assert f"belongs to the watch of {first}" in adopted["why"]
    assert [event["name"] for event in events if event["event"] == "same"] == ["same.jpg"]
    (done,) = [event for event in events if event["event"] == "done"]
    assert (done["name"], done["replaces_sha"]) == ("IMG_0001.jpg", digests["IMG_0001.jpg"])
    assert f"belongs to the watch of {second}" in folders.refused(first)
    assert kinds(folders.once(second, "--adopt")) & {"done", "same", "adopted"} == set()


def test_the_commands_on_a_ledger_name_its_inbox(folders: Folders) -> None:
    inbox = folders.root / "caf\udce9\n"
    folders.cameras[0].rename(inbox)
    (inbox / "bad.jpg").write_bytes(b"bad")
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", *folders.command(inbox, "--incomplete-timeout", "0")],
        check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for command, code in (
        (["status"], 0), (["verify"], 0), (["retry", "no.jpg"], 2), (["forget", "no.jpg"], 2),
        (["retry", "bad.jpg"], 0), (["forget", "IMG_0001.jpg"], 0),
    ):  # fmt: skip
        result = CliRunner().invoke(main, ["watch", command[0], str(folders.outbox), *command[1:]])
        assert result.exit_code == code, result.stderr
        assert "INBOX is " in result.stderr
        assert "caf\\udce9\\n" in result.stderr
    status = CliRunner().invoke(main, ["watch", "status", str(folders.outbox), "--json"])
    assert json.loads(status.stdout)["inbox"] == str(inbox)
