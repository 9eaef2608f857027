from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchinf_assets.snapshots.landed_digests import BoundedDigests, LandedDigests


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_that_is_not_there_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    digests = LandedDigests(tmp_path)
    assert [digests.sha256(path) for path in ("none", "none/below", "file/below")] == [None] * 3


def test_the_digest_is_that_of_the_bytes_and_stays_while_one_plan_is_made(tmp_path: Path) -> None:
    path = tmp_path / "day" / "file"
    path.parent.mkdir()
    path.write_bytes(b"one")
    digests = LandedDigests(tmp_path)
    assert digests.sha256("day/file") == sha256(b"one")
    path.write_bytes(b"another")
    assert digests.sha256("day/file") == sha256(b"one")
    assert LandedDigests(tmp_path).sha256("day/file") == sha256(b"another")


def test_a_folder_in_the_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError, match="is no file"):
        LandedDigests(tmp_path).sha256("file")


def test_a_pipe_in_the_place_of_a_file_is_an_error_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match="is no file"):
        LandedDigests(tmp_path).sha256("file")


def test_a_file_that_could_not_be_read_is_read_once_it_can_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to(path)
    digests = LandedDigests(tmp_path)
    with pytest.raises(OSError, match="symbolic links") as refused:
        digests.sha256("file")
    assert refused.value.errno == errno.ELOOP
    path.unlink()
    path.write_bytes(b"one")
    assert digests.sha256("file") == sha256(b"one")


@pytest.mark.parametrize(
    ("allowed", "seconds", "read"), [(10**6, 99.0, 4), (2, 99.0, 2), (10**6, 3.0, 3), (0, 99.0, 0)]
)
def test_reading_ends_after_so_many_bytes_or_seconds(
    tmp_path: Path, allowed: int, seconds: float, read: int
) -> None:
    """A second passes between files; what was done before the first takes none of them."""
    names = ["a", "b", "c", "d"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    ticks: Iterator[int] = iter(range(100, 109))
    digests = BoundedDigests(
        digests=LandedDigests(tmp_path),
        paths={name: name for name in names},
        sizes=dict.fromkeys(names, 1),
        allowed=allowed,
        seconds=seconds,
        clock=lambda: float(next(ticks)),
    )
    found = [digests.sha256(name) for name in names]
    assert found == [sha256(name.encode()) for name in names[:read]] + [None] * (4 - read)
