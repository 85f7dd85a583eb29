"""Properties of the parts of the watch: names, sets, leases, and the stub model of its tests."""

import fcntl
import os
import signal
import tracemalloc
from pathlib import Path

import pytest
from colorize_run.image.formats import accepted
from colorize_run.system.files import shortened
from colorize_run.system.mounts import has_writer, leases_count
from colorize_run.watch.pending import Settled
from colorize_run.watch.settings import Settings
from hypothesis import given
from hypothesis import strategies as st

from torture.rig import Golden, picture, stub_model
from torture.writers import IGNORED, NAMES


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
