"""Replays the conformance table, before readers that are not ours; docs/conformance.md is its record."""

import shutil
from pathlib import Path

import pytest
from conformance import TABLE, Case, cases, image_magick, judge_by_exiftool, judge_by_image_magick, replay

EVERY = cases()


def test_there_are_enough_cases_and_the_record_knows_them_all() -> None:
    assert len(EVERY) >= 200
    record = TABLE.read_text().split("# What else")[0]
    rows = [line for line in record.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(EVERY)
    assert all(row.endswith("| yes |") for row in rows)


@pytest.mark.parametrize("case", EVERY, ids=[case.name for case in EVERY])
def test_every_kind_of_file_is_kept(case: Case, tmp_path: Path) -> None:
    assert replay(case, tmp_path).failures == []


@pytest.mark.skipif(image_magick() is None, reason="needs ImageMagick: apt-get install imagemagick")
def test_image_magick_sees_the_same_pixels(tmp_path: Path) -> None:
    convert = image_magick()
    assert convert is not None
    outcomes = [replay(case, tmp_path) for case in EVERY]
    for outcome in outcomes:
        judge_by_image_magick(outcome, tmp_path, convert)
    assert {outcome.case.name: outcome.failures for outcome in outcomes if outcome.failures} == {}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs ExifTool: apt-get install libimage-exiftool-perl")
def test_exiftool_sees_the_same_tags(tmp_path: Path) -> None:
    outcomes = [replay(case, tmp_path) for case in EVERY]
    judge_by_exiftool(outcomes, tmp_path)
    assert {outcome.case.name: outcome.failures for outcome in outcomes if outcome.failures} == {}
