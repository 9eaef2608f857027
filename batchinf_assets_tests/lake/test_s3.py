"""Places on S3, asked of moto's server: as pathlib, and what pathlib cannot do."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import StorageRefused, StorageUnavailable, UsageError
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access
from batchinf_assets.lake.versioned import Outdated

HERE = S3Place(bucket="lakes", key="one/flights")
NAMES = ["a/b.json", "a/c.json", "a/deep/d.json", "a/deep/e.txt", "f.json", "window=2013-01-01/g"]


def local_twin(folder: Path) -> Path:
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def filled(s3_lake: S3Place) -> S3Place:
    (s3_lake.parent / "a-lake-beside" / "x").write_bytes(b"another lake with a longer name")
    for name in NAMES:
        (s3_lake / name).write_bytes(name.encode())
    return s3_lake


def test_names_are_those_of_a_path() -> None:
    place, path = HERE / "window=2013-01-01" / "part.x.parquet", Path("/lakes/one/flights")
    path = path / "window=2013-01-01" / "part.x.parquet"
    assert (place.name, place.stem, place.suffix) == (path.name, path.stem, path.suffix)
    assert (place.parent.name, place.parent.parent) == (path.parent.name, HERE)
    assert str(place) == "s3://lakes/one/flights/window=2013-01-01/part.x.parquet"
    assert place.as_uri() == place.url == str(place)
    assert place.parts[:2] == ("s3://lakes", "one")
    assert place.with_name("other").key == "one/flights/window=2013-01-01/other"


def test_a_place_lies_below_another_part_by_part() -> None:
    place = HERE / "a" / "b"
    assert place.relative_to(HERE) == PurePosixPath("a/b")
    assert place.is_relative_to(HERE)
    assert HERE.is_relative_to(HERE)
    assert not replace(HERE, key="one/flights-too/a").is_relative_to(HERE)
    assert not replace(place, bucket="other").is_relative_to(HERE)
    assert not place.is_relative_to(Path("/one/flights"))
    with pytest.raises(ValueError, match="does not lie below"):
        HERE.relative_to(place)


@pytest.mark.parametrize("below", ["../x", "a/../../x", "/x", ".."])
def test_nothing_climbs_out_of_a_place(below: str) -> None:
    with pytest.raises(ValueError, match="does not lie below"):
        HERE / below


def test_the_bucket_is_its_own_parent() -> None:
    root = S3Place(bucket="lakes", key="")
    assert (root.parent, str(root), (root / "a").key) == (root, "s3://lakes", "a")


def test_places_are_values_in_the_order_of_their_parts() -> None:
    assert len({HERE / "a", HERE / "a", HERE / "b"}) == 2
    assert sorted([HERE / "a-b", HERE / "a" / "c"]) == [HERE / "a" / "c", HERE / "a-b"]
    elsewhere = replace(HERE, access=S3Access(endpoint="http://127.0.0.1:1"))
    assert elsewhere != HERE


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.json", "a/*", "a/*.json", "*/*.json", "f.json", "a/deep/d.json", "g.json", "a/no/*"],
)
def test_a_pattern_finds_what_pathlib_finds(filled: S3Place, pattern: str, tmp_path: Path) -> None:
    twin = local_twin(tmp_path)
    expected = sorted(path.relative_to(twin).as_posix() for path in twin.glob(pattern))
    assert [str(place.relative_to(filled)) for place in filled.glob(pattern)] == expected


@pytest.mark.parametrize("pattern", ["*", "*.json", "deep/*.json", "g", "d.json", "no"])
def test_any_depth_finds_the_files_that_pathlib_finds(
    filled: S3Place, pattern: str, tmp_path: Path
) -> None:
    twin = local_twin(tmp_path)
    files = [path for path in twin.rglob(pattern) if path.is_file()]
    expected = sorted(path.relative_to(twin).as_posix() for path in files)
    assert [str(place.relative_to(filled)) for place in filled.rglob(pattern)] == expected
    assert list(filled.glob(f"**/{pattern}")) == list(filled.rglob(pattern))


def test_a_folder_is_there_as_soon_as_something_is_in_it(filled: S3Place) -> None:
    kinds = {
        name: ((filled / name).exists(), (filled / name).is_file(), (filled / name).is_dir())
        for name in ("a", "a/b.json", "a/dee", "no")
    }
    assert kinds == {
        "a": (True, False, True),
        "a/b.json": (True, True, False),
        "a/dee": (False, False, False),
        "no": (False, False, False),
    }
    assert filled.parent.is_dir()
    assert [place.name for place in filled.iterdir()] == ["a", "f.json", "window=2013-01-01"]


def test_bytes_come_back_under_every_name_that_the_lake_gives(s3_lake: S3Place) -> None:
    for name in ("window=2013-01-01-0500/part-00000.parquet", "a b+c%20ü.json", "_leases/x~.json"):
        (s3_lake / name).write_bytes(name.encode())
        assert (s3_lake / name).read_bytes() == name.encode()
        assert s3_lake / name in (s3_lake / name).parent.iterdir()


def test_an_object_tells_its_size_and_time(filled: S3Place) -> None:
    found = (filled / "f.json").stat()
    assert found.st_size == len("f.json")
    assert found.st_mtime > 1_000_000_000


def test_a_deleted_object_is_gone(filled: S3Place) -> None:
    (filled / "f.json").unlink()
    assert not (filled / "f.json").exists()
    (filled / "f.json").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=r"f\.json"):
        (filled / "f.json").unlink()


@pytest.mark.parametrize(
    "ask", [S3Place.read_bytes, S3Place.stat, S3Place.open], ids=["read", "stat", "open"]
)
def test_an_absent_object_is_missing_by_its_name(
    s3_lake: S3Place, ask: Callable[[S3Place], object]
) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        ask(s3_lake / "nothing.json")
    assert missing.value.filename == f"{s3_lake}/nothing.json"
    assert "\n" not in str(missing.value)


def test_a_large_file_is_uploaded_in_parts_and_read_anywhere(
    s3_lake: S3Place, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4096 * 10
    (tmp_path / "large").write_bytes(content)
    place = s3_lake / "large"
    place.upload(tmp_path / "large")
    with place.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
        assert file.seek(-3, io.SEEK_END) == len(content) - 3
        assert file.read() == content[-3:]
        file.seek(5_000_000)
        assert file.read(1000) == content[5_000_000:5_001_000]
        assert file.read(0) == b""
    with pytest.raises(ValueError, match="only be opened for reading"):
        place.open("wb")  # pyright: ignore[reportArgumentType]


def test_an_object_that_is_replaced_while_it_is_read_is_never_a_mix(s3_lake: S3Place) -> None:
    place = s3_lake / "part.parquet"
    place.write_bytes(b"old " * 1000)
    with place.open("rb", buffering=0) as file:
        assert file.read(4) == b"old "
        place.write_bytes(b"new " * 1000)
        with pytest.raises(OSError, match="replaced while it was read"):
            file.read(4)


def test_arrow_reads_single_row_groups(s3_lake: S3Place) -> None:
    table = pa.table({"id": range(1000)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=100)
    (s3_lake / "x.parquet").write_bytes(buffer.getvalue())
    file = pq.ParquetFile(pa.PythonFile((s3_lake / "x.parquet").open("rb", buffering=0), mode="r"))
    assert file.read_row_group(7)["id"].to_pylist() == list(range(700, 800))


def test_what_is_created_is_there_once(s3_lake: S3Place) -> None:
    place = s3_lake / "_leases" / "2013-01-01.json"
    assert place.read_versioned() is None
    version = place.create(b"first")
    with pytest.raises(FileExistsError, match=r"2013-01-01\.json"):
        place.create(b"second")
    found = place.read_versioned()
    assert found is not None
    assert (found.content, found.version) == (b"first", version)


def test_only_the_version_that_was_read_is_replaced(s3_lake: S3Place) -> None:
    place = s3_lake / "lease.json"
    first = place.create(b"first")
    second = place.replace(b"second", first)
    with pytest.raises(Outdated, match=r"lease\.json"):
        place.replace(b"third", first)
    assert place.read_bytes() == b"second"
    assert place.replace(b"third", second) not in (first, second)
    place.unlink()
    with pytest.raises(Outdated):
        place.replace(b"fourth", second)
    assert not place.exists()


def winners(act: Callable[[int], object], count: int = 8) -> list[int]:
    """Let threads act at the same moment; return those that were not told of another's work."""
    ready, won = threading.Barrier(count), []

    def run(index: int) -> None:
        ready.wait()
        try:
            act(index)
        except (FileExistsError, Outdated):
            return
        won.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


@pytest.mark.parametrize("attempt", range(3))
def test_of_eight_that_create_or_replace_at_once_one_wins(s3_lake: S3Place, attempt: int) -> None:
    place = s3_lake / f"{attempt}.json"
    created = winners(lambda index: place.create(f"created by {index}".encode()))
    assert [f"created by {index}".encode() for index in created] == [place.read_bytes()]
    before = place.read_versioned()
    assert before is not None
    version = before.version
    replaced = winners(lambda index: place.replace(f"replaced by {index}".encode(), version))
    assert [f"replaced by {index}".encode() for index in replaced] == [place.read_bytes()]


def test_equal_bytes_of_another_writer_are_not_taken_for_our_own(s3_lake: S3Place) -> None:
    assert len(winners(lambda _index: (s3_lake / "same.json").create(b"the same"))) == 1


def test_a_bucket_that_does_not_exist_is_no_empty_lake(s3_lake: S3Place) -> None:
    nowhere = replace(s3_lake, bucket="no-such-bucket")
    for ask in (S3Place.is_dir, S3Place.read_bytes, lambda p: list(p.iterdir())):
        with pytest.raises(StorageUnavailable, match=r"no-such-bucket.* does not exist"):
            ask(nowhere)


def test_a_store_that_is_not_there_is_named_without_the_request(s3_lake: S3Place) -> None:
    limits = replace(s3_lake.access.limits, retries=1)
    access = S3Access(endpoint="http://127.0.0.1:1", limits=limits)
    with pytest.raises(StorageUnavailable) as failure:
        replace(s3_lake, access=access).read_bytes()
    assert failure.value.message == (f"The store did not do its part for {s3_lake}: no connection.")


def test_without_credentials_it_says_so_at_once(
    s3_lake: S3Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    fresh = replace(s3_lake, bucket="never-asked-before")
    with pytest.raises(StorageRefused, match="no AWS credentials for s3://never-asked-before"):
        fresh.read_bytes()
    (tmp_path / "AWS_SHARED_CREDENTIALS_FILE").write_text(
        "[default]\naws_access_key_id = somebody\naws_secret_access_key = something\n"
    )
    assert not (replace(s3_lake, key="from-the-profile") / "x").exists()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageRefused, match="AWS_PROFILE"):
        replace(s3_lake, bucket="never-asked-either").read_bytes()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_is_told_instead_of_waiting_for_ever(s3_lake: S3Place) -> None:
    (s3_lake / "x").write_bytes(b"1")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # only what must not hang, and no way back into pytest
        signal.alarm(20)
        try:
            (s3_lake / "x").read_bytes()
        except StorageUnavailable as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:  # noqa: PTH123 - a pipe
        assert b"spawn" in told.read()
    assert os.waitpid(child, 0)[1] == 0


def test_places_go_to_other_processes(s3_lake: S3Place) -> None:
    (s3_lake / "x").write_bytes(b"1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(S3Place.read_bytes, s3_lake / "x").result() == b"1"


def test_a_local_lake_never_imports_the_client_and_its_absence_is_one_line() -> None:
    script = """
import sys
from batchinf_assets.lake.place import parse_place
from batchinf_assets.lake.table import WindowTable
from pathlib import Path
parse_place("data/lake", Path("/"), {}, variable="BATCHINF_LAKE")
assert "obstore" not in sys.modules and "boto3" not in sys.modules
sys.modules["obstore"] = None  # as if it were not installed
try:
    parse_place("s3://some-bucket/lake", Path("/"), {}, variable="BATCHINF_LAKE").is_dir()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith(UsageError.__name__), done.stderr
    assert "batchinf-assets[aws]" in done.stdout
    assert done.stdout.count("\n") == 1
