"""Window tables: replaced one window at a time, whole, also when two writers meet."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures

from batchinf_assets.errors import Fenced, InvalidSpec, LostRace, ManifestInvalid, StorageFailed
from batchinf_assets.lake import table_commits as commits_room
from batchinf_assets.lake import table_log as room
from batchinf_assets.lake import table_writer as writer_room
from batchinf_assets.lake.files import DataFile, fsync, write_parquet
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_commits import put_commit
from batchinf_assets.windows import Window, WindowSpec

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())])
WIDER = SCHEMA.append(pa.field("score", pa.float64()))
TIMES = pa.timestamp("us", tz="UTC")
DAYS = WindowSpec(start=date(2013, 1, 1))
FIRST, SECOND, THIRD, FOURTH = DAYS.between("2013-01-01", "2013-01-04")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a lake" / "predictions"


def rows(ids: Sequence[int], schema: pa.Schema = SCHEMA) -> pa.Table:
    columns = {
        "id": pa.array(ids, pa.int64()),
        "text": pa.array([f"row {i}" for i in ids], pa.string()),
        "score": pa.array([i / 8 for i in ids], pa.float64()),
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def staged(
    table: WindowTable, window: Window, ids: Sequence[int], schema: pa.Schema = SCHEMA
) -> DataFile:
    """Write a file beside the table's log, as a revision does before it is published."""
    name = "-".join(map(str, ids)) or "empty"
    return write_parquet(table.folder_of(window) / f"{name}.parquet", rows(ids, schema), {})


def put(table: WindowTable, window: Window, *parts: Sequence[int]) -> None:
    table.commit(window, [staged(table, window, ids) for ids in parts], {})


def contents(folder: Path) -> dict[str, list[int]]:
    """What a reader of today sees, by window."""
    table = WindowTable(folder, SCHEMA)
    return {key: read(table, DAYS.window(key)) for key in table.files()}


def read(table: WindowTable, window: Window) -> list[int]:
    found = table.read(window)
    assert found is not None
    return found["id"].to_pylist()


def meanwhile(
    table: WindowTable,
    action: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    times: int = 1,
) -> None:
    """Let something happen after `table` looked at the log and before its first commits."""
    look, left = table._writer._actions, iter(range(times))

    def look_then_wait(*arguments: Any) -> list[dict[str, Any]]:
        found = look(*arguments)
        if next(left, None) is not None:
            action()
        return found

    monkeypatch.setattr(table._writer, "_actions", look_then_wait)


def test_before_any_commit_there_is_nothing(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    assert (table.files(), table.files_of(FIRST), table.read(FIRST)) == ({}, (), None)
    assert not folder.exists()


def test_committed_rows_are_read_back(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1, 2])
    found = table.read(FIRST)
    assert found is not None
    assert found.equals(rows([1, 2]))
    assert table.files_of(FIRST) == (folder / "window=2013-01-01" / "1-2.parquet",)


def test_a_file_is_invisible_until_it_is_committed(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    staged(table, FIRST, [2])
    staged(table, SECOND, [3])
    assert contents(folder) == {"2013-01-01": [1]}
    assert DeltaTable(folder).to_pyarrow_table()["id"].to_pylist() == [1]


def test_a_commit_replaces_its_window_and_no_other(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1], [2])
    put(table, SECOND, [3])
    put(table, FIRST, [4])
    assert contents(folder) == {"2013-01-01": [4], "2013-01-02": [3]}


def test_files_of_a_window_are_read_in_the_order_of_their_names(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [3], [1], [2])
    assert read(table, FIRST) == [1, 2, 3]


def test_an_earlier_state_can_be_committed_again(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    old = staged(table, FIRST, [1])
    table.commit(FIRST, [old], {})
    put(table, FIRST, [2])
    table.commit(FIRST, [old], {})
    assert contents(folder) == {"2013-01-01": [1]}


def test_an_open_table_sees_what_others_committed(folder: Path) -> None:
    reader, writer = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    put(writer, FIRST, [1])
    assert read(reader, FIRST) == [1]
    put(writer, FIRST, [2])
    assert read(reader, FIRST) == [2]


def test_any_reader_of_delta_sees_the_same_rows_and_their_window(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1], [2])
    put(table, SECOND, [3])
    seen = DeltaTable(folder).to_pyarrow_table().sort_by("id")
    assert seen.select(SCHEMA.names).to_pylist() == rows([1, 2, 3]).to_pylist()
    assert seen["window"].to_pylist() == ["2013-01-01", "2013-01-01", "2013-01-02"]
    only = DeltaTable(folder).to_pyarrow_table(filters=[("window", "=", "2013-01-02")])
    assert only["id"].to_pylist() == [3]


def test_every_declared_type_survives_a_reader_of_delta(folder: Path) -> None:
    values = {
        "b": pa.array([True, None], pa.bool_()),
        "i": pa.array([-(2**31), 2**31 - 1], pa.int32()),
        "l": pa.array([2**53 + 1, None], pa.int64()),
        "f": pa.array([0.1, None], pa.float32()),
        "d": pa.array([0.1, float("inf")], pa.float64()),
        "t": pa.array([datetime(2013, 7, 1, 4, 0, 0, 1, tzinfo=UTC), None], TIMES),
        "y": pa.array([date(1969, 12, 31), None], pa.date32()),
        "s": pa.array(["", None], pa.string()),
    }
    written = pa.table(values)
    table = WindowTable(folder, written.schema)
    file = write_parquet(table.folder_of(FIRST) / "x.parquet", written, {})
    table.commit(FIRST, [file], {})
    seen = DeltaTable(folder).to_pyarrow_table().drop_columns(["window"])
    assert seen.to_pydict() == written.to_pydict()


def test_what_an_attempt_keeps_no_earlier_one_replaces(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    table.keep(FIRST, "old", rows([1]), {}, token=2)
    table.keep(FIRST, "new", rows([2]), {}, token=3)
    with pytest.raises(Fenced, match="Attempt 2 at 2013-01-01 may no longer change table pred"):
        table.keep(FIRST, "old", rows([1]), {}, token=2)
    assert contents(folder) == {"2013-01-01": [2]}


def test_an_attempt_that_finds_all_as_it_would_keep_it_shuts_earlier_ones_out(
    folder: Path,
) -> None:
    table = WindowTable(folder, SCHEMA)
    for token in (2, 3, 3):
        table.keep(FIRST, "same", rows([1]), {}, token=token)
    assert DeltaTable(folder).version() == 2  # made, kept, and the third attempt's token
    with pytest.raises(Fenced):
        table.keep(FIRST, "other", rows([2]), {}, token=2)
    assert contents(folder) == {"2013-01-01": [1]}


def test_a_commit_keeps_what_it_was_told_in_the_history(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    table.commit(FIRST, [staged(table, FIRST, [1])], {"batchinf.revision": "abc"})
    latest = DeltaTable(folder).history(1)[0]
    assert latest["batchinf.window"] == "2013-01-01"
    assert latest["batchinf.revision"] == "abc"


def test_old_versions_stay_readable(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    version = DeltaTable(folder).version()
    put(table, FIRST, [2])
    assert DeltaTable(folder, version=version).to_pyarrow_table()["id"].to_pylist() == [1]


def test_an_hour_is_found_under_its_key_though_its_folder_has_no_colon(folder: Path) -> None:
    hour = WindowSpec(every="hour", start=date(2013, 1, 1)).window("2013-01-01-05:00")
    table = WindowTable(folder, SCHEMA)
    put(table, hour, [1])
    assert table.folder_of(hour).name == "window=2013-01-01-0500"
    assert read(table, hour) == [1]
    assert DeltaTable(folder).to_pyarrow_table()["window"].to_pylist() == ["2013-01-01-05:00"]


def test_an_hour_that_comes_twice_is_two_windows_also_in_the_log(folder: Path) -> None:
    hours = WindowSpec(every="hour", start=date(2013, 1, 1), timezone="Europe/London")
    first, second = hours.between("2013-10-27-01:00", "2013-10-27-01:00+0000")
    table = WindowTable(folder, SCHEMA)
    put(table, first, [1])
    put(table, second, [2])
    put(table, first, [3])
    assert sorted(table.files()) == [first.key, second.key]
    assert (read(table, first), read(table, second)) == ([3], [2])
    seen = DeltaTable(folder).to_pyarrow_table()
    assert sorted(seen.select(["window", "id"]).to_pylist(), key=str) == [
        {"window": first.key, "id": 3},
        {"window": second.key, "id": 2},
    ]


def test_a_window_without_rows_is_not_a_window_without_commit(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [])
    found = table.read(FIRST)
    assert found is not None
    assert (found.num_rows, found.schema.names) == (0, SCHEMA.names)
    assert table.read(SECOND) is None


def test_a_visible_file_that_is_gone_is_an_error_and_no_empty_window(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    table.files_of(FIRST)[0].unlink()
    with pytest.raises(ManifestInvalid, match=r"1\.parquet"):
        table.read(FIRST)


def test_a_file_that_is_gone_is_not_committed_and_is_named(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    gone = staged(table, FIRST, [2])
    gone.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.parquet"):
        table.commit(FIRST, [gone], {})
    assert contents(folder) == {"2013-01-01": [1]}


def test_delta_knows_our_files_by_their_paths_whatever_is_in_them(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, SECOND, [1])
    name = "".join(chr(code) for code in range(32, 127) if chr(code) != "/")
    file = write_parquet(table.path(FIRST, f"{name} ä"), rows([2]), {})
    table.commit(FIRST, [file], {})
    assert table.files_of(FIRST) == (file.path,)
    DeltaTable(folder).delete("window = '2013-01-01'")
    assert contents(folder) == {"2013-01-02": [1]}
    assert DeltaTable(folder).to_pyarrow_table()["id"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EPERM, "its file system makes no hard links. Move the lake"),
        (errno.EOPNOTSUPP, "its file system makes no hard links. Move the lake"),
        (errno.ENOSPC, "No space left on device. Make room"),
    ],
)
def test_a_log_that_takes_no_commit_says_what_to_do(
    folder: Path, number: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    file = staged(table, FIRST, [2])

    def refuse(_self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", refuse)
        with pytest.raises(StorageFailed) as failure:
            table.commit(FIRST, [file], {})
    assert f"_delta_log could not be written: {sentence}" in str(failure.value)
    assert contents(folder) == {"2013-01-01": [1]}
    assert {path.suffix for path in (folder / "_delta_log").iterdir()} == {".json"}


@pytest.mark.parametrize("before", [[], [FIRST], [SECOND], [FIRST, SECOND]])
@pytest.mark.parametrize("others", [1, 3])
def test_disjoint_windows_both_survive_a_race(
    folder: Path, before: list[Window], others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, other = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    for window in [THIRD, *before]:
        put(table, window, [0])
    meanwhile(table, lambda: put(other, SECOND, [2], [3]), monkeypatch, times=others)
    put(table, FIRST, [1])
    assert contents(folder) == {"2013-01-01": [1], "2013-01-02": [2, 3], "2013-01-03": [0]}


@pytest.mark.parametrize("before", [[], [FIRST], [SECOND], [FIRST, SECOND]])
def test_of_two_writers_of_a_window_one_wins_and_the_other_knows(
    folder: Path, before: list[Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    for window in before:
        put(early, window, [0])
    late_files = [staged(late, FIRST, [7]), staged(late, FIRST, [8])]
    meanwhile(late, lambda: put(early, FIRST, [1], [2]), monkeypatch)
    with pytest.raises(LostRace) as lost:
        late.commit(FIRST, late_files, {})
    assert contents(folder)["2013-01-01"] == [1, 2]
    assert DeltaTable(folder).to_pyarrow_table().num_rows == 2 + (SECOND in before)
    assert "predictions" in lost.value.message
    assert "2013-01-01" in lost.value.message


def test_a_lost_race_can_be_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, early = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    with monkeypatch.context() as patch:
        meanwhile(late, lambda: put(early, FIRST, [1]), patch)
        with pytest.raises(LostRace):
            put(late, FIRST, [2])
    put(late, FIRST, [2])
    assert contents(folder) == {"2013-01-01": [2]}


def outcomes_of_race(folder: Path, windows: Sequence[Window]) -> list[str]:
    """Commit file `i` to window `i`, all at the same time; say how each ended."""
    ready, outcomes = threading.Barrier(len(windows)), [""] * len(windows)

    def write(index: int) -> None:
        table = WindowTable(folder, SCHEMA)
        files = [staged(table, windows[index], [part, 10 + index]) for part in (1, 2)]
        ready.wait()
        try:
            table.commit(windows[index], files, {})
        except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
            outcomes[index] = type(error).__name__
        else:
            outcomes[index] = "won"

    writers = [threading.Thread(target=write, args=(index,)) for index in range(len(windows))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return outcomes


@pytest.mark.parametrize("attempt", range(5))
def test_the_first_commits_of_a_table_may_come_all_at_once(folder: Path, attempt: int) -> None:
    assert outcomes_of_race(folder, [FIRST, SECOND, THIRD, FOURTH]) == ["won"] * 4, attempt
    assert contents(folder) == {f"2013-01-0{day}": [1, 9 + day, 2, 9 + day] for day in range(1, 5)}


@pytest.mark.parametrize("attempt", range(5))
def test_windows_that_have_content_may_be_replaced_all_at_once(folder: Path, attempt: int) -> None:
    windows = [FIRST, SECOND, THIRD, FOURTH]
    for window in windows:
        put(WindowTable(folder, SCHEMA), window, [0])
    assert outcomes_of_race(folder, windows) == ["won"] * 4, attempt
    assert contents(folder) == {f"2013-01-0{day}": [1, 9 + day, 2, 9 + day] for day in range(1, 5)}


@pytest.mark.parametrize("attempt", range(5))
def test_a_window_is_wholly_one_writers_however_many_commit_at_once(
    folder: Path, attempt: int
) -> None:
    outcomes = outcomes_of_race(folder, [FIRST] * 4)
    assert set(outcomes) <= {"won", "LostRace"}, attempt
    (visible,) = contents(folder).values()
    winners = [index for index, outcome in enumerate(outcomes) if outcome == "won"]
    assert visible in [[1, 10 + index, 2, 10 + index] for index in winners]


@pytest.mark.parametrize("step", ["rename", "mkdir"])
def test_a_run_that_dies_while_it_creates_the_table_leaves_none(
    folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EIO, "disk gone")

    table = WindowTable(folder, SCHEMA)
    file = staged(table, FIRST, [1])
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, die)
        with pytest.raises(OSError, match="disk gone"):
            table.commit(FIRST, [file], {})
    assert contents(folder) == {}
    table.commit(FIRST, [file], {})
    assert contents(folder) == {"2013-01-01": [1]}
    assert sorted(path.name for path in folder.iterdir()) == ["_delta_log", "window=2013-01-01"]


def test_a_commit_and_all_it_builds_on_are_on_the_disk_before_it_returns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()  # by inode: a commit is written under another name
    for place in (room, commits_room):
        monkeypatch.setattr(
            place, "fsync", lambda path: (synced.add(path.stat().st_ino), fsync(path))
        )
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    wider = WindowTable(folder, WIDER)
    wider.commit(SECOND, [staged(wider, SECOND, [2], WIDER)], {})
    log = [*(folder / "_delta_log").glob("*.json")]
    assert len(log) == 3
    assert {path.stat().st_ino for path in [folder / "_delta_log", *log]} <= synced


def test_a_sum_of_the_log_is_on_the_disk_before_anything_builds_on_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(room, "fsync", lambda path: (synced.add(path.stat().st_ino), fsync(path)))
    monkeypatch.setattr(writer_room, "CHECKPOINT_COMMITS", 2)
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    put(WindowTable(folder, SCHEMA), SECOND, [2])
    sums = [*(folder / "_delta_log").glob("*checkpoint*")]
    assert len(sums) == 2  # one points to the other
    assert {path.stat().st_ino for path in sums} <= synced


def test_a_commit_that_may_not_have_reached_the_disk_names_what_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    file, sync = staged(table, FIRST, [2]), os.fsync

    def fail_on_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_on_folders)
    with pytest.raises(OSError, match="_delta_log"):
        table.commit(FIRST, [file], {})


def test_a_new_column_is_added_and_null_in_older_windows(folder: Path) -> None:
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    wider = WindowTable(folder, WIDER)
    wider.commit(SECOND, [staged(wider, SECOND, [2], WIDER)], {})
    seen = DeltaTable(folder).to_pyarrow_table().sort_by("id")
    assert seen["score"].to_pylist() == [None, 0.25]
    assert contents(folder) == {"2013-01-01": [1], "2013-01-02": [2]}


@pytest.mark.parametrize("made_with", [SCHEMA, SCHEMA.append(pa.field("at", pa.timestamp("us")))])
@pytest.mark.parametrize("new", [pa.timestamp("us"), pa.timestamp("ns"), pa.list_(pa.int32())])
def test_a_new_column_asks_of_readers_what_its_type_does(
    folder: Path, made_with: pa.Schema, new: pa.DataType
) -> None:
    table = WindowTable(folder, made_with)
    put(table, FIRST, [1])
    asked = {*(DeltaTable(folder).protocol().reader_features or ())}
    schema = made_with.append(pa.field("new", new))
    table = WindowTable(folder, schema)
    put(table, SECOND, [2])
    alone = WindowTable(folder.with_name("alone"), schema)
    put(alone, SECOND, [2])
    made, needed = DeltaTable(folder).protocol(), DeltaTable(alone.folder).protocol()
    assert {*(made.reader_features or ())} == asked | {*(needed.reader_features or ())}
    assert {*(made.writer_features or ())} == {*(made.reader_features or ())}
    assert made.min_reader_version == needed.min_reader_version
    assert contents(folder) == {"2013-01-01": [1], "2013-01-02": [2]}


def test_a_table_that_asks_more_of_its_writers_is_left_alone(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, FIRST, [1])
    DeltaTable(folder).alter.add_feature(
        TableFeatures.ColumnMapping, allow_protocol_versions_increase=True
    )
    with pytest.raises(ManifestInvalid, match="columnMapping"):
        put(table, FIRST, [2])
    assert contents(folder) == {"2013-01-01": [1]}


def test_who_lost_a_race_is_told_to_whom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(WindowTable(folder, SCHEMA), FOURTH, [0])
    numbers = count(1)

    def another_window() -> None:
        put(WindowTable(folder, SCHEMA), SECOND, [next(numbers)])

    def same_window() -> None:
        put(WindowTable(folder, SCHEMA), FIRST, [next(numbers)])

    def other_tool() -> None:
        DeltaTable(folder).alter.set_table_properties({"delta.appendOnly": "false"})

    monkeypatch.setattr(writer_room, "COMMIT_TRIES", 3)
    for act, times, said in [
        (
            another_window,
            3,
            "Table predictions got commits of other windows before that of 2013-01-01, 3 times in "
            "a row. Nothing was changed by this run; run it again while fewer windows are worked "
            "on side by side.",
        ),
        (
            same_window,
            1,
            "Another run changed 2013-01-01 in table predictions while this one did. Nothing was "
            "changed by this run; run it again to work on the new state.",
        ),
        (
            other_tool,
            1,
            "Something else than a run changed table predictions while this one committed "
            "2013-01-01. Nothing was changed by this run; run it again to work on the new state.",
        ),
    ]:
        late = WindowTable(folder, SCHEMA)
        file = staged(late, FIRST, [100])
        meanwhile(late, act, monkeypatch, times)
        with pytest.raises(LostRace) as lost:
            late.commit(FIRST, [file], {})
        assert str(lost.value) == said


@pytest.mark.parametrize("value", ["true", "True"])
def test_of_a_table_that_only_grows_no_window_is_replaced(folder: Path, value: str) -> None:
    table, other = WindowTable(folder, SCHEMA), WindowTable(folder, WIDER)
    put(table, FIRST, [1])
    DeltaTable(folder).alter.set_table_properties({"delta.appendOnly": value})
    with pytest.raises(ManifestInvalid, match=r"predictions has the property delta\.appendOnly"):
        put(table, FIRST, [2])
    with pytest.raises(ManifestInvalid, match=r"delta\.appendOnly.* 2013-01-01"):
        table.commit(FIRST, [], {})
    table.fence(FIRST, 2)
    put(table, SECOND, [3])
    other.commit(THIRD, [staged(other, THIRD, [4], WIDER)], {})
    assert contents(folder) == {"2013-01-01": [1], "2013-01-02": [3], "2013-01-03": [4]}
    DeltaTable(folder).alter.set_table_properties({"delta.appendOnly": "false"})
    table.commit(FIRST, [staged(table, FIRST, [2])], {}, token=2)
    assert contents(folder)["2013-01-01"] == [2]


def test_a_column_no_longer_declared_stays_for_the_windows_that_have_it(folder: Path) -> None:
    wider = WindowTable(folder, WIDER)
    wider.commit(FIRST, [staged(wider, FIRST, [2], WIDER)], {})
    put(WindowTable(folder, SCHEMA), SECOND, [3])
    seen = DeltaTable(folder).to_pyarrow_table().sort_by("id")
    assert seen["score"].to_pylist() == [0.25, None]


def test_of_two_writers_that_add_the_same_column_one_adds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(WindowTable(folder, SCHEMA), THIRD, [0])
    late, early = WindowTable(folder, WIDER), WindowTable(folder, WIDER)
    first, second = staged(late, FIRST, [1], WIDER), staged(early, SECOND, [2], WIDER)
    acts = [lambda: early.commit(SECOND, [second], {})]
    meanwhile(late, lambda: acts.pop()() if acts else None, monkeypatch)
    late.commit(FIRST, [first], {})
    assert contents(folder) == {"2013-01-01": [1], "2013-01-02": [2], "2013-01-03": [0]}
    logged = [path.read_text() for path in (folder / "_delta_log").glob("*.json")]
    assert sum('"metaData"' in each for each in logged) == 2  # the first made the table


def test_a_changed_type_is_refused_and_changes_nothing(folder: Path) -> None:
    put(WindowTable(folder, SCHEMA), FIRST, [1])
    changed = WindowTable(folder, pa.schema([("id", pa.string()), ("text", pa.string())]))
    with pytest.raises(InvalidSpec) as refusal:
        changed.commit(FIRST, [staged(changed, FIRST, [2])], {})
    assert "'id' of table predictions" in refusal.value.message
    assert contents(folder) == {"2013-01-01": [1]}


def under(table: WindowTable, token: int, ids: Sequence[int], window: Window = FIRST) -> int:
    return table.commit(window, [staged(table, window, ids)], {}, token=token)


def test_a_commit_tells_the_version_that_gave_its_window_its_content(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    assert (table.version_of(FIRST), table.token_of(FIRST)) == (None, 0)
    versions = [under(table, 1, [1]), under(table, 1, [2], SECOND), under(table, 1, [3])]
    assert versions == [1, 2, 3]
    assert (table.version_of(FIRST), table.version_of(SECOND)) == (3, 2)
    assert table.version_of(THIRD) is None
    for version, ids in zip(versions, [[1], [1, 2], [2, 3]], strict=True):
        seen = DeltaTable(folder, version=version).to_pyarrow_table()
        assert sorted(seen["id"].to_pylist()) == ids


def test_a_fence_is_no_content(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    version = under(table, 1, [1])
    metadata = table.commit_metadata(FIRST)
    table.fence(FIRST, 7)
    assert (table.version_of(FIRST), table.commit_metadata(FIRST)) == (version, metadata)
    assert contents(folder) == {"2013-01-01": [1]}
    assert (table.token_of(FIRST), table.token_of(SECOND)) == (7, 0)


@pytest.mark.parametrize("raised_by", ["fence", "commit"])
def test_a_lower_token_is_refused_and_the_same_or_a_higher_one_goes_on(
    folder: Path, raised_by: str
) -> None:
    table, zombie = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    under(zombie, 2, [1])
    if raised_by == "fence":
        table.fence(FIRST, 3)
    else:
        under(table, 3, [2])
    for act in (lambda: under(zombie, 2, [9]), lambda: zombie.fence(FIRST, 2)):
        with pytest.raises(Fenced) as refusal:
            act()
        assert "2013-01-01" in refusal.value.message
        assert "predictions" in refusal.value.message
    assert 9 not in contents(folder)["2013-01-01"]
    under(zombie, 2, [8], SECOND)
    under(table, 3, [3])
    under(table, 5, [4])
    assert contents(folder) == {"2013-01-01": [4], "2013-01-02": [8]}


def test_a_window_can_be_fenced_before_anything_was_committed(folder: Path) -> None:
    WindowTable(folder, SCHEMA).fence(FIRST, 2)
    assert contents(folder) == {}
    with pytest.raises(Fenced):
        under(WindowTable(folder, SCHEMA), 1, [1])


def test_a_fence_that_stands_is_not_committed_again(folder: Path) -> None:
    table = WindowTable(folder, SCHEMA)
    table.fence(FIRST, 2)
    before = DeltaTable(folder).version()
    table.fence(FIRST, 2)
    assert DeltaTable(folder).version() == before


@pytest.mark.parametrize("moment", ["before the last look", "after the last look"])
@pytest.mark.parametrize("content", [False, True])
def test_a_commit_that_was_prepared_before_a_fence_does_not_land_after_it(
    folder: Path, moment: str, content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, heir = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    if content:
        under(zombie, 1, [1])
    look = zombie._writer._actions

    def look_while_fenced(*arguments: Any) -> list[dict[str, Any]]:
        if moment == "before the last look":
            heir.fence(FIRST, 2)
        found = look(*arguments)
        if moment == "after the last look":
            heir.fence(FIRST, 2)
        return found

    monkeypatch.setattr(zombie._writer, "_actions", look_while_fenced)
    with pytest.raises(Fenced):
        under(zombie, 1, [9])
    assert contents(folder) == ({"2013-01-01": [1]} if content else {})
    under(heir, 2, [2])
    assert contents(folder) == {"2013-01-01": [2]}


@pytest.mark.parametrize("times", [1, 2])
def test_a_fence_stands_though_a_commit_comes_first(
    folder: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heir, zombie = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    meanwhile(heir, lambda: under(zombie, 1, [1]), monkeypatch, times)
    heir.fence(FIRST, 2)
    assert (heir.token_of(FIRST), contents(folder)) == (2, {"2013-01-01": [1]})


def test_a_fence_that_commits_come_before_again_and_again_does_not_claim_to_stand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heir, zombie = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    meanwhile(heir, lambda: under(zombie, 1, [1]), monkeypatch, times=writer_room.FENCE_TRIES)
    with pytest.raises(LostRace):
        heir.fence(FIRST, 2)
    assert heir.token_of(FIRST) == 1


def test_a_commit_whose_answer_was_lost_knows_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = WindowTable(folder, SCHEMA)

    def put_and_lose_the_answer(*arguments: Any) -> None:
        put_commit(*arguments)
        raise OSError(errno.EIO, "the answer was lost")

    monkeypatch.setattr(writer_room, "put_commit", put_and_lose_the_answer)
    assert under(table, 1, [1]) == 1
    assert under(table, 1, [2]) == 2
    assert contents(folder) == {"2013-01-01": [2]}


def test_the_same_commit_of_another_is_not_taken_for_ones_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = WindowTable(folder, SCHEMA), WindowTable(folder, SCHEMA)
    file = staged(late, FIRST, [1])
    meanwhile(late, lambda: early.commit(FIRST, [file], {"same": "metadata"}), monkeypatch)
    with pytest.raises(LostRace):
        late.commit(FIRST, [file], {"same": "metadata"})
