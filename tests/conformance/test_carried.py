"""Replays what files carry besides their pictures; docs/conformance.md is its record."""

import functools

import pytest
from carried import COLORIZER, Row, faults, rows, table
from colorize_run import Colorizer
from conformance import TABLE

EVERY = rows()
pytest.importorskip("pillow_heif")


@functools.cache
def colorizer() -> Colorizer:
    return Colorizer(COLORIZER, "cpu", 1)


@pytest.mark.parametrize("row", EVERY, ids=[row.name for row in EVERY])
def test_everything_is_kept_or_named(row: Row) -> None:
    assert faults(row, colorizer()) == []


def test_the_record_has_every_row() -> None:
    assert "\n".join(table()) in TABLE.read_text()
