"""Folders into which something was written since a time, on a disk and on S3."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_listing import listed
from batchinf_assets.lake.written import is_written_since

HOUR = timedelta(hours=1)


def test_a_folder_is_as_old_as_the_last_document_that_was_added_to_it(tmp_path: Path) -> None:
    now, folder = datetime.now(UTC), tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json").write_bytes(b"1")
    assert is_written_since(folder, now - HOUR)
    old = (now - 2 * HOUR).timestamp()
    os.utime(folder, (old, old))
    assert not is_written_since(folder, now - HOUR)
    (folder / "b.json").write_bytes(b"2")
    assert is_written_since(folder, now - HOUR)


def test_of_a_folder_that_is_not_there_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_written_since(tmp_path / "folder", datetime.now(UTC))


def test_on_s3_one_listing_tells_the_age_of_every_object(s3_lake: S3Place) -> None:
    now = datetime.now(UTC)
    for name in ("one/a.json", "other/b.json"):
        (s3_lake / name).create(b"1")
    known = listed(s3_lake)
    for name in ("one/a.json", "other/b.json"):
        (s3_lake / name).unlink()  # from here on only what was listed tells
    assert is_written_since(known / "one", now - HOUR)
    assert not is_written_since(known / "one", now + HOUR)
    assert not is_written_since(known / "nothing", now - HOUR)
