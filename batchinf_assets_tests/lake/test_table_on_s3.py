"""Window tables on S3: what `test_table` shows on a disk, where the store makes a difference."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import boto3
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import Fenced, LostRace, ManifestInvalid, StorageUnavailable
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.windows import Window, WindowSpec

SCHEMA = pa.schema([("id", pa.int64())])
WIDER = SCHEMA.append(pa.field("score", pa.float64()))
FIRST, SECOND, THIRD = WindowSpec(start=date(2013, 1, 1)).between("2013-01-01", "2013-01-03")


@pytest.fixture
def folder(s3_lake: S3Place) -> S3Place:
    return s3_lake / "flights" / "predictions"


def put(table: WindowTable, window: Window, ids: Sequence[int], token: int = 1) -> int:
    rows = pa.table({"id": pa.array(ids, pa.int64())})
    file = write_parquet(table.folder_of(window) / f"{ids[0]}.parquet", rows, {})
    return table.commit(window, [file], {"first": str(ids[0])}, token=token)


def contents(folder: S3Place) -> dict[str, list[int]]:
    table = WindowTable(folder, SCHEMA)
    found = {key: table.read(window) for key, window in _windows(table).items()}
    return {key: rows["id"].to_pylist() for key, rows in found.items() if rows is not None}


def _windows(table: WindowTable) -> dict[str, Window]:
    days = WindowSpec(start=date(2013, 1, 1))
    return {key: days.window(key) for key in table.files()}


def at_once(*acts: Callable[[], object]) -> list[str]:
    """Do things at the same moment; say how each ended."""
    ready, outcomes = threading.Barrier(len(acts)), [""] * len(acts)

    def run(index: int) -> None:
        ready.wait()
        try:
            acts[index]()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
            outcomes[index] = type(error).__name__
        else:
            outcomes[index] = "won"

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_an_hour_that_comes_twice_is_two_windows(folder: S3Place) -> None:
    hours = WindowSpec(every="hour", start=date(2013, 1, 1), timezone="Europe/London")
    first, second = hours.between("2013-10-27-01:00", "2013-10-27-01:00+0000")
    table = WindowTable(folder, SCHEMA)
    for place, window in enumerate((first, second)):
        put(table, window, [place])
    for place, window in enumerate((first, second)):
        found = table.read(window)
        assert found is not None
        assert found["id"].to_pylist() == [place]


def test_windows_are_replaced_one_at_a_time(folder: S3Place) -> None:
    table = WindowTable(folder, SCHEMA)
    assert (table.files(), table.read(FIRST), table.version_of(FIRST)) == ({}, None, None)
    assert [put(table, FIRST, [1, 2]), put(table, SECOND, [3]), put(table, FIRST, [4])] == [1, 2, 3]
    assert contents(folder) == {"2013-01-01": [4], "2013-01-02": [3]}
    assert table.files_of(FIRST) == (folder / "window=2013-01-01" / "4.parquet",)
    assert (table.version_of(FIRST), table.commit_metadata(SECOND)["first"]) == (3, "3")


def test_any_reader_of_delta_sees_the_same_rows_and_their_window(folder: S3Place) -> None:
    put(WindowTable(folder, SCHEMA), FIRST, [1, 2])
    seen = DeltaTable(folder.url, storage_options=folder.storage_options()).to_pyarrow_table()
    assert seen.to_pylist() == [{"window": "2013-01-01", "id": i} for i in (1, 2)]


def test_rows_that_are_kept_twice_are_committed_once(folder: S3Place) -> None:
    table, rows = WindowTable(folder, SCHEMA), pa.table({"id": [1, 2]})
    place = table.keep(FIRST, "abc", rows, {"unit": "row"})
    assert table.keep(FIRST, "abc", rows, {"unit": "row"}) == place
    assert table.version_of(FIRST) == 1
    place.unlink()
    with pytest.raises(ManifestInvalid, match=r"abc\.parquet"):
        table.read(FIRST)
    table.keep(FIRST, "abc", rows, {"unit": "row"})
    assert contents(folder) == {"2013-01-01": [1, 2]}


def test_a_new_column_is_null_in_older_windows(folder: S3Place) -> None:
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    put(WindowTable(folder, WIDER), SECOND, [2])
    options = folder.storage_options()
    schema = DeltaTable(folder.url, storage_options=options).schema()
    assert [field.name for field in schema.fields] == ["window", "id", "score"]


def test_the_first_commits_of_a_table_may_come_all_at_once(folder: S3Place) -> None:
    windows = [FIRST, SECOND, THIRD]
    acts = [
        lambda w=w, i=i: put(WindowTable(folder, SCHEMA), w, [i]) for i, w in enumerate(windows)
    ]
    assert at_once(*acts) == ["won"] * 3
    assert contents(folder) == {window.key: [index] for index, window in enumerate(windows)}
    logged = sorted(place.name for place in (folder / "_delta_log").glob("*.json"))
    assert logged == [f"{version:020d}.json" for version in range(4)]


def test_of_two_writers_of_a_window_one_wins_and_the_other_knows(
    folder: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    look = late._writer._actions

    def look_then_wait(*arguments: Any) -> list[dict[str, Any]]:
        found = look(*arguments)
        put(early, FIRST, [1])
        return found

    monkeypatch.setattr(late._writer, "_actions", look_then_wait)
    with pytest.raises(LostRace, match="2013-01-01"):
        put(late, FIRST, [2])
    assert contents(folder) == {"2013-01-01": [1]}


def test_a_window_is_wholly_one_writers_however_many_commit_at_once(folder: S3Place) -> None:
    acts = [lambda i=i: put(WindowTable(folder, SCHEMA), FIRST, [i, i]) for i in range(4)]
    outcomes = at_once(*acts)
    assert set(outcomes) <= {"won", "LostRace"}
    winners = [[index, index] for index, outcome in enumerate(outcomes) if outcome == "won"]
    assert contents(folder)["2013-01-01"] in winners


def test_a_zombie_is_fenced(folder: S3Place) -> None:
    zombie, heir = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    put(zombie, FIRST, [1], token=1)
    heir.fence(FIRST, 2)
    with pytest.raises(Fenced):
        put(zombie, FIRST, [2], token=1)
    put(heir, FIRST, [3], token=2)
    assert contents(folder) == {"2013-01-01": [3]}
    assert heir.token_of(FIRST) == 2


def test_objects_and_commits_are_encrypted_with_the_key_that_was_set(folder: S3Place) -> None:
    key = "arn:aws:kms:us-east-1:1:key/2"
    encryption = (("server_side_encryption", "aws:kms"), ("sse_kms_key_id", key))
    kept = replace(folder, access=replace(folder.access, encryption=encryption))
    put(WindowTable(kept, SCHEMA), FIRST, [1])
    put(WindowTable(kept, SCHEMA), FIRST, [2])
    written = list(kept.rglob("*"))
    assert len(written) == 5  # two files, three commits
    client = boto3.client("s3", endpoint_url=folder.access.endpoint)
    for place in written:
        head = client.head_object(Bucket=place.bucket, Key=place.key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    client.close()


def test_a_damaged_log_is_no_outage_and_a_missing_bucket_no_empty_table(folder: S3Place) -> None:
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    (folder / "_delta_log" / f"{1:020d}.json").write_bytes(b"{")
    with pytest.raises(ManifestInvalid, match="_delta_log"):
        WindowTable(folder, WIDER).commit_metadata(FIRST)
    nowhere = S3Place(bucket="no-such-bucket", key="lake/predictions", access=folder.access)
    with pytest.raises(StorageUnavailable, match="does not exist"):
        WindowTable(nowhere, SCHEMA).files()
