import errno
import fcntl
import json
import os
from pathlib import Path
from threading import Thread

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.seen import Seen, SeenPromotions


def seen(sequence):
    return Seen(sequence=sequence, sha256=f"{sequence:064d}")


@pytest.fixture
def marks(tmp_path):
    return SeenPromotions.beside(tmp_path / "keys", Path("models"))


def test_nothing_was_seen_before_the_first_mark(marks):
    assert marks.last("toy", "champion") is None
    assert not marks.path.parent.exists()


def test_a_mark_is_of_one_alias_of_one_model(marks):
    marks.remember("toy", "champion", seen(3))
    marks.remember("toy", "challenger", seen(1))
    marks.remember("other", "champion", seen(2))
    assert marks.last("toy", "champion") == seen(3)
    assert marks.last("toy", "challenger") == seen(1)
    assert marks.last("other", "champion") == seen(2)
    assert marks.last("other", "challenger") is None


@pytest.mark.parametrize("later", [1, 2, 3])
def test_a_mark_never_goes_back(marks, later):
    marks.remember("toy", "champion", seen(3))
    marks.remember("toy", "champion", Seen(sequence=later, sha256="f" * 64))
    assert marks.last("toy", "champion") == seen(3)


def test_marks_that_are_set_at_once_all_stay(marks):
    """Another process holds the lock, and has read the file before two of ours want to write."""
    marks.remember("toy", "champion", seen(2))
    with marks.path.with_suffix(".lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        late = Thread(target=marks.remember, args=("toy", "champion", seen(3)))
        new = Thread(target=marks.remember, args=("new", "champion", seen(1)))
        for thread in (late, new):
            thread.start()
            thread.join(timeout=0.2)  # without the lock it is over now, and its mark is lost
        [mark] = json.loads(marks.path.read_text())
        marks.path.write_text(json.dumps({mark: seen(5).model_dump()}))
    for thread in (late, new):
        thread.join()
    assert marks.last("toy", "champion") == seen(5)
    assert marks.last("new", "champion") == seen(1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"toy/champion": {"sequence": 0, "sha256": ""}}',
        b'{"toy/champion": {"sequence": 1, "sha256": "f"}}',
        b'{"toy/champion": 3}',
    ],
)
def test_damaged_marks_are_refused_and_never_replaced(marks, content):
    marks.path.parent.mkdir()
    marks.path.write_bytes(content)
    for ask in (
        lambda: marks.last("toy", "champion"),
        lambda: marks.remember("toy", "champion", seen(9)),
    ):
        with pytest.raises(ModelRefused, match=r"seen of model toy@champion .*seen\.json") as it:
            ask()
        assert it.value.reason is Refusal.UNREADABLE
    assert marks.path.read_bytes() == content


def test_marks_that_cannot_be_read_are_refused(marks):
    marks.path.mkdir(parents=True)
    with pytest.raises(ModelRefused, match="Is a directory"):
        marks.last("toy", "champion")


def test_a_read_only_folder_still_says_what_was_seen(tmp_path, monkeypatch, unprivileged):
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above belong to one user alone
    marks = SeenPromotions.beside(Path("keys"), Path("models"))
    marks.remember("toy", "champion", seen(2))
    Path("keys").chmod(0o555)
    marks.path.with_suffix(".lock").chmod(0o444)
    with unprivileged():
        with pytest.raises(PermissionError):
            Path("keys/new").touch()
        marks.remember("toy", "champion", seen(3))
        assert marks.last("toy", "champion") == seen(2)


def test_a_disk_that_is_full_is_said(tmp_path, monkeypatch):
    marks = SeenPromotions.beside(tmp_path, Path("models"))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        marks.remember("toy", "champion", seen(3))
    assert marks.last("toy", "champion") is None
