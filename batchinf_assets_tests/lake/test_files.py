"""Files that are whole or absent, whatever fails while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import DocumentTooLarge, ManifestInvalid, StorageUnavailable
from batchinf_assets.lake import files
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import (
    DataFile,
    aside,
    holds,
    open_input,
    read_bounded,
    read_footer,
    read_parquet,
    write_bytes,
    write_parquet,
)
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place

RANDOM = np.random.default_rng(20130701)
TABLE = pa.table(
    {
        "id": pa.array(range(1_000), pa.int64()),
        "carrier": pa.array(["AA", "UA", None, "DL"] * 250, pa.string()),
        "score": pa.array(RANDOM.random(1_000), pa.float64()),
    }
)
OLD = TABLE.slice(0, 10)
FOOTER = {"rows": 1_000, "unit": "minutes", "nested": [1, None, "ü"]}
CALLS = ("open", "fsync", "replace")


class Died(Exception):
    """Stands for the machine dying: nothing after it runs."""


@contextmanager
def dying_at(call: int) -> Generator[list[str]]:
    """Let the `call`-th of the os calls that make a file durable be the last; yield their names."""
    made: list[str] = []

    def counted(name: str, real):
        def made_or_died(*arguments, **named):
            if len(made) == call:
                raise Died
            made.append(name)
            return real(*arguments, **named)

        return made_or_died

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(files.os, name, counted(name, getattr(os, name)))
        yield made


@contextmanager
def disk_of(size: int) -> Generator[None]:
    """Let the system refuse to write files beyond a size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "window=2013-07-01" / "part.parquet"


def test_rows_read_back_as_they_were_written(path: Path) -> None:
    written = write_parquet(path, TABLE, FOOTER)
    assert read_parquet(path).equals(TABLE)
    assert read_footer(path) == FOOTER
    assert written == DataFile(
        path=path, rows=1_000, bytes=len(path.read_bytes()), sha256=file_sha256(path)
    )


def test_a_table_without_rows_keeps_its_columns(path: Path) -> None:
    write_parquet(path, TABLE.slice(0, 0), {})
    assert read_parquet(path).schema == TABLE.schema
    assert read_footer(path) == {}


def test_every_reader_sees_the_same_rows(path: Path) -> None:
    write_parquet(path, TABLE, FOOTER)
    assert pq.read_table(path).replace_schema_metadata(None).equals(TABLE)


def test_the_same_rows_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = pa.concat_tables([TABLE.slice(0, 7), TABLE.slice(7)])
    again = again.replace_schema_metadata({"origin": "elsewhere"})
    first = write_parquet(path, TABLE, FOOTER)
    second = write_parquet(tmp_path / "elsewhere.parquet", again, dict(reversed(FOOTER.items())))
    assert (first.sha256, first.bytes) == (second.sha256, second.bytes)


def test_other_rows_or_another_footer_give_other_bytes(path: Path) -> None:
    digests = {
        write_parquet(path, table, footer).sha256
        for table in (TABLE, TABLE.slice(1))
        for footer in (FOOTER, {})
    }
    assert len(digests) == 4


def calls_of_one_write(path: Path) -> list[str]:
    with dying_at(-1) as made:
        write_parquet(path, OLD, {})
    return made


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_we_go_on(
    path: Path,
) -> None:
    assert calls_of_one_write(path) == ["open", "fsync", "replace", "open", "fsync"]


@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize("existed", [False, True])
def test_whatever_call_is_the_last_the_path_holds_all_or_what_was_there(
    path: Path, call: int, existed: bool
) -> None:
    if existed:
        write_parquet(path, OLD, {})
    with pytest.raises(Died), dying_at(call) as made:
        write_parquet(path, TABLE, {})
    if "replace" in made:
        assert read_parquet(path).equals(TABLE)
    elif existed:
        assert read_parquet(path).equals(OLD)
    else:
        assert not path.exists()


@pytest.mark.parametrize("call", range(5))
def test_after_a_death_the_next_write_succeeds(path: Path, call: int) -> None:
    with pytest.raises(Died), dying_at(call):
        write_parquet(path, TABLE, {})
    write_parquet(path, TABLE, {})
    assert read_parquet(path).equals(TABLE)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_old_file_and_no_other(path: Path) -> None:
    write_parquet(path, OLD, {})
    before = path.read_bytes()
    with pytest.raises(OSError, match="File too large"), disk_of(4096):
        write_parquet(path, TABLE, {})
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_failure_inside_leaves_nothing_behind(path: Path) -> None:
    def die_halfway() -> None:
        with aside(path) as temporary:
            temporary.write_bytes(b"half")
            assert temporary.parent == path.parent
            assert not temporary.match("*.parquet")
            raise Died

    with pytest.raises(Died):
        die_halfway()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("call", range(5))
def test_small_files_are_whole_or_as_before_too(path: Path, call: int) -> None:
    write_bytes(path, b"old")
    with pytest.raises(Died), dying_at(call) as made:
        write_bytes(path, b"new one")
    assert path.read_bytes() == (b"new one" if "replace" in made else b"old")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_is_named_and_keeps_no_temporary_file(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, fail)
        with pytest.raises(OSError, match="Input/output") as failure:
            write_bytes(path, b"new")
    assert failure.value.filename == str(path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_threads_that_write_the_same_path_do_not_mix(path: Path) -> None:
    contents = [bytes([number]) * 1_000_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_bytes(path, content), contents))
    assert path.read_bytes() in contents
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_two_writers_of_one_process_and_thread_number_write_apart(path: Path) -> None:
    """So number containers that share a file system their processes: each from one on."""
    with aside(path) as first, aside(path) as second:
        first.write_bytes(b"the first one's")
        second.write_bytes(b"the second one's")
        assert first.read_bytes() == b"the first one's"
    assert path.read_bytes() == b"the first one's"  # whose block ended last
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_flipped_bit_in_any_page_is_noticed(path: Path) -> None:
    write_parquet(path, TABLE, FOOTER)
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    places = np.linspace(4, len(content) - footer - 1, 40).astype(int)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ManifestInvalid, match="cannot be read back"):
            read_parquet(path)


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_cut_file_is_refused_with_its_path_and_a_next_step(path: Path, keep: int) -> None:
    write_parquet(path, TABLE, FOOTER)
    path.write_bytes(path.read_bytes()[:keep])
    for read in (read_parquet, read_footer):
        with pytest.raises(ManifestInvalid) as refusal:
            read(path)
        assert str(path) in refusal.value.message
        assert "run the window again" in refusal.value.next_step
        assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(path: Path) -> None:
    for read in (read_parquet, read_footer):
        with pytest.raises(ManifestInvalid, match=r"part\.parquet"):
            read(path)


def test_a_file_of_somebody_else_has_no_footer_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    pq.write_table(TABLE, path)
    with pytest.raises(ManifestInvalid, match="no readable footer"):
        read_footer(path)
    pq.write_table(TABLE.replace_schema_metadata({"batchinf": "{half"}), path)
    with pytest.raises(ManifestInvalid, match="no readable footer"):
        read_footer(path)


def test_pages_have_checksums_and_row_groups_the_declared_size(path: Path) -> None:
    write_parquet(path, TABLE, FOOTER, row_group_rows=400)
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [400, 400, 200]
    score = groups[0].column(TABLE.column_names.index("score"))
    assert "BYTE_STREAM_SPLIT" in score.encodings
    assert not score.has_dictionary_page


def test_a_footer_is_canonical_json(path: Path) -> None:
    write_parquet(path, TABLE, FOOTER)
    kept = pq.read_metadata(path).metadata[files.FOOTER_KEY]
    assert json.loads(kept) == FOOTER
    assert b": " not in kept


def test_an_object_holds_the_same_bytes_as_a_file(path: Path, s3_lake: S3Place) -> None:
    local, remote = write_parquet(path, TABLE, FOOTER), s3_lake / "window=2013-07-01" / "x.parquet"
    written = write_parquet(remote, TABLE, FOOTER)
    assert remote.read_bytes() == path.read_bytes()
    assert written == DataFile(path=remote, rows=1_000, bytes=local.bytes, sha256=local.sha256)
    assert file_sha256(remote) == local.sha256
    assert read_parquet(remote).equals(TABLE)
    assert read_footer(remote) == FOOTER


def test_a_damaged_object_is_refused_like_a_file(path: Path, s3_lake: S3Place) -> None:
    write_parquet(path, TABLE, FOOTER)
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    remote = s3_lake / "part.parquet"
    for content in (bytes(flipped), path.read_bytes()[:-1], b"PAR1", b""):
        write_bytes(remote, content)
        with pytest.raises(ManifestInvalid, match=r"part\.parquet cannot be read back"):
            read_parquet(remote)
    remote.unlink()
    with pytest.raises(ManifestInvalid, match=r"part\.parquet cannot be read back"):
        read_parquet(remote)


def test_a_failure_inside_uploads_nothing_and_leaves_no_local_file(
    s3_lake: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_halfway() -> None:
        with aside(s3_lake / "part.parquet") as temporary:
            assert temporary.is_relative_to(tmp_path)
            temporary.write_bytes(b"half")
            raise Died

    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(Died):
        die_halfway()
    assert not s3_lake.exists()
    nowhere = S3Place(bucket="no-such-bucket", key="a-lake", access=s3_lake.access)
    with pytest.raises(StorageUnavailable):
        write_parquet(nowhere / "part.parquet", TABLE, {})
    assert list(tmp_path.iterdir()) == []


def test_arrow_opens_both_kinds_of_places(path: Path, s3_lake: S3Place) -> None:
    for place in (path, s3_lake / "x"):
        write_bytes(place, b"0123456789")
        with open_input(place) as file:
            assert file.size() == 10
            file.seek(4)
            assert file.read(3) == b"456"
        with pytest.raises(FileNotFoundError):
            open_input(place.with_name("absent"))


@pytest.fixture(params=["on a disk", "on S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    folder = tmp_path if request.param == "on a disk" else request.getfixturevalue("s3_lake")
    return folder / "a document"


def test_a_document_is_read_up_to_its_limit(place: Place) -> None:
    write_bytes(place, b"ten bytes!")
    assert read_bounded(place) == read_bounded(place, 10) == b"ten bytes!"
    with pytest.raises(DocumentTooLarge, match="a document has more than 9 bytes"):
        read_bounded(place, 9)


def test_a_document_that_is_not_there_is_not_there(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(place)


def test_a_device_without_end_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(DocumentTooLarge):
        read_bounded(Path("/dev/zero"), 100)


def test_a_file_holds_its_bytes_and_no_others(place: Place) -> None:
    content = b"a hundred rows"
    sha256 = hashlib.sha256(content).hexdigest()
    assert not holds(place, len(content), sha256)
    write_bytes(place, content)
    assert holds(place, len(content), sha256)
    assert not holds(place, len(content) + 1, sha256)
    write_bytes(place, b"a hundred rowz")
    assert not holds(place, len(content), sha256)


def test_a_folder_holds_no_bytes(tmp_path: Path) -> None:
    assert not holds(tmp_path, tmp_path.stat().st_size, "0" * 64)
