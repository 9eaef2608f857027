import os
import socket
from pathlib import Path

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.plain_files import plain_folder_names, read_plain


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path / "file"


def refusal_of(path, **asked):
    with pytest.raises(ModelRefused, match=r"^The thing: .*file") as refusal:
        read_plain(path, "The thing", **{"limit": 100, **asked})
    return refusal.value.reason


@pytest.mark.parametrize(("limit", "read"), [(7, b"content"), (6, b"content"), (2, b"con")])
def test_no_more_is_read_than_shows_that_there_was_more(path, limit, read):
    assert read_plain(path, "The thing", limit=limit) == read


def test_a_file_larger_than_memory_is_read_to_its_bound(path):
    os.truncate(path, 1 << 40)
    assert len(read_plain(path, "The thing", limit=1000)) == 1001


def test_a_bound_larger_than_memory_reserves_none(path):
    assert read_plain(path, "The thing", limit=1 << 60) == b"content"


def test_a_missing_file_has_the_code_that_was_asked_for(path):
    path.unlink()
    assert refusal_of(path) is Refusal.MISSING_FILE
    assert refusal_of(path, missing=Refusal.UNSIGNED) is Refusal.UNSIGNED


@pytest.mark.parametrize("target", ["file", "nowhere", "."])
def test_a_link_is_not_followed(tmp_path, path, target):
    (tmp_path / "linked file").symlink_to(tmp_path / target)
    assert refusal_of(tmp_path / "linked file") is Refusal.NO_PLAIN_FILE
    assert path.exists()


def test_a_pipe_is_refused_and_not_waited_for(path):
    path.unlink()
    os.mkfifo(path)
    assert refusal_of(path) is Refusal.NO_PLAIN_FILE


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("file")
        assert refusal_of(tmp_path / "file") is Refusal.NO_PLAIN_FILE


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "file").mkdir()
    assert refusal_of(tmp_path / "file") is Refusal.NO_PLAIN_FILE


def test_a_device_is_refused():
    with pytest.raises(ModelRefused, match="zero is no plain file"):
        read_plain(Path("/dev/zero"), "It", limit=10)


def test_a_file_in_place_of_the_folder_is_refused(path):
    assert refusal_of(path / "file") is Refusal.NO_PLAIN_FILE


def test_another_name_of_the_same_bytes_is_a_plain_file(tmp_path, path):
    (tmp_path / "hard link").hardlink_to(path)
    assert read_plain(tmp_path / "hard link", "The thing", limit=7) == b"content"


def test_a_name_cannot_forge_a_second_line(tmp_path):
    name = "a file\nbatchinf: all is well \x1b[2K\u202e"
    with pytest.raises(ModelRefused) as refusal:
        read_plain(tmp_path / name, "The thing", limit=1)
    assert str(refusal.value).isprintable()


def test_the_names_in_a_folder_are_listed(tmp_path, path):
    (tmp_path / ".hidden").mkdir()
    assert plain_folder_names(tmp_path, "The thing") == {path.name, ".hidden"}


def test_a_folder_must_be_one_of_its_own(tmp_path, path):
    (tmp_path / "link").symlink_to(tmp_path)
    for other, code in [
        (path, Refusal.NO_PLAIN_FILE),
        (tmp_path / "link", Refusal.NO_PLAIN_FILE),
        (tmp_path / "nowhere", Refusal.MISSING_FILE),
        (path / "below", Refusal.UNREADABLE),
    ]:
        with pytest.raises(ModelRefused, match=str(other)) as refusal:
            plain_folder_names(other, "The thing")
        assert refusal.value.reason is code
