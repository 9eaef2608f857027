"""What is read of a log commit by commit is what delta-rs reads of it as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake import table_commits as commits_room
from batchinf_assets.lake import table_log as log_room
from batchinf_assets.lake import table_state as room
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_commits import COMMIT, LOG
from batchinf_assets.windows import Window, WindowSpec

SCHEMA = pa.schema([pa.field("id", pa.int64())])
HOURS = WindowSpec.model_validate(
    {"every": "hour", "start": "2013-11-03", "timezone": "America/New_York"}
)
WINDOWS = HOURS.between("2013-11-03-00:00", "2013-11-03-02:00")
"""Four of them: the clock was set back."""

STEPS = st.lists(
    st.tuples(st.sampled_from(WINDOWS), st.lists(st.integers(0, 3), max_size=3, unique=True)),
    max_size=8,
)
NUMBERS = st.sets(st.integers(0, 8))
"""After which steps something is done."""


def put(table: WindowTable, window: Window, names: list[int], token: int) -> None:
    rows = pa.table({"id": pa.array([1], pa.int64())})
    files = [write_parquet(table.path(window, f"a {name}%"), rows, {}) for name in names]
    table.commit(window, files, {}, token=token)


def as_a_whole(table: WindowTable) -> tuple[dict[str, list[str]], dict[str, int]]:
    """What delta-rs says that knows nothing yet."""
    delta = opened(table)
    actions = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    files: dict[str, list[str]] = {}
    for each in sorted(actions, key=lambda action: action["path"]):
        files.setdefault(each["partition.window"], []).append(unquote(each["path"]))
    return files, {w.key: delta.transaction_version(w.key) or 0 for w in WINDOWS}


def opened(table: WindowTable) -> DeltaTable:
    if isinstance(table.folder, S3Place):
        return DeltaTable(table.folder.url, storage_options=table.folder.storage_options())
    return DeltaTable(str(table.folder))


def as_followed(table: WindowTable) -> tuple[dict[str, list[str]], dict[str, int]]:
    found = {
        key: [path_within(path, table.folder) for path in paths]
        for key, paths in table.files().items()
    }
    return found, {window.key: table.token_of(window) for window in WINDOWS}


def forget() -> None:
    """Know of the logs what a new process knows."""
    room._KNOWN.clear()
    room._opened.cache_clear()
    commits_room._READ.clear()
    commits_room.tokens_at.cache_clear()


def follow(
    folder: Place,
    steps: list[tuple[Window, list[int]]],
    seen: set[int],
    summed: set[int],
    forgotten: set[int],
) -> None:
    table = WindowTable(folder, SCHEMA)
    put(table, WINDOWS[0], [0], 1)
    as_followed(table)
    for number, (window, names) in enumerate(steps):
        put(WindowTable(folder, SCHEMA), window, names, number + 2)
        if number in summed:
            opened(table).create_checkpoint()
        if number in forgotten:
            forget()
        if number in seen:
            as_followed(WindowTable(folder, SCHEMA))
    assert as_followed(WindowTable(folder, SCHEMA)) == as_a_whole(WindowTable(folder, SCHEMA))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(steps=STEPS, seen=NUMBERS, summed=NUMBERS, forgotten=NUMBERS)
def test_commits_are_followed_as_delta_reads_them(
    steps: list[tuple[Window, list[int]]], seen: set[int], summed: set[int], forgotten: set[int]
) -> None:
    with TemporaryDirectory() as root:
        follow(Path(root) / "a lake" / "predictions", steps, seen, summed, forgotten)


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, seen=NUMBERS, summed=NUMBERS, forgotten=NUMBERS)
def test_commits_on_s3_are_followed_as_delta_reads_them(
    s3_lake: S3Place,
    steps: list[tuple[Window, list[int]]],
    seen: set[int],
    summed: set[int],
    forgotten: set[int],
) -> None:
    follow(s3_lake / uuid4().hex / "predictions", steps, seen, summed, forgotten)


@pytest.fixture
def table(tmp_path: Path) -> WindowTable:
    made = WindowTable(tmp_path / "predictions", SCHEMA)
    put(made, WINDOWS[0], [0], 1)
    assert len(made.files()) == 1
    return made


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_is_new_is_not_asked_of_delta(
    where: str, tmp_path: Path, s3_lake: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "predictions" if where == "disk" else s3_lake / "predictions"
    table = WindowTable(folder, SCHEMA)
    put(table, WINDOWS[0], [0], 1)
    assert len(table.files()) == 1
    put(table, WINDOWS[1], [1, 2], 5)
    monkeypatch.delattr(room, "open_table")
    monkeypatch.delattr(room, "up_to_date")
    assert {key: len(files) for key, files in table.files().items()} == {
        WINDOWS[0].key: 1,
        WINDOWS[1].key: 2,
    }
    assert table.token_of(WINDOWS[1]) == 5


def test_where_much_was_committed_since_delta_reads_it_from_the_logs_sum(
    table: WindowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Place] = []
    up_to_date = room.up_to_date

    def noted(folder: Place, opened: Callable[[Place], DeltaTable]) -> DeltaTable:
        read.append(folder)
        return up_to_date(folder, opened)

    monkeypatch.setattr(room, "CHECKPOINT_COMMITS", 3)
    monkeypatch.setattr(room, "up_to_date", noted)
    commit_elsewhere(table, [2, 3, 4])
    assert as_followed(table) == as_a_whole(table)
    assert not read
    commit_elsewhere(table, [5, 6, 7, 8])
    assert as_followed(table) == as_a_whole(table)
    assert read == [table.folder]


def commit_elsewhere(table: WindowTable, versions: list[int]) -> None:
    """Put fences of a window into the log, as another process does."""
    for version in versions:
        txn = {"txn": {"appId": WINDOWS[2].key, "version": version}}
        commits_room.put_commit(table.folder, version, [{"commitInfo": {}}, txn])


def test_tokens_are_read_once_for_all_windows(
    table: WindowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, WINDOWS[1], [1], 4)
    opened(table).create_checkpoint()
    put(table, WINDOWS[2], [1], 6)
    forget()
    read: list[int] = []
    look = commits_room._read_commit

    def noted(folder: Place, version: int) -> commits_room.Commit:
        read.append(version)
        return look(folder, version)

    monkeypatch.setattr(commits_room, "_read_commit", noted)
    assert [table.token_of(window) for window in WINDOWS] == [1, 4, 6, 0]
    assert read == [3]


@pytest.mark.parametrize("what", ["in parts", "gone"])
def test_tokens_are_read_from_the_commits_where_the_sum_is_no_single_file(
    table: WindowTable, what: str
) -> None:
    put(table, WINDOWS[1], [1], 4)
    opened(table).create_checkpoint()
    log = Path(str(table.folder), LOG)
    (sum_,) = log.glob("*.checkpoint.parquet")
    if what == "gone":
        sum_.unlink()
    else:
        sum_.rename(log / f"{2:020d}.checkpoint.{1:010d}.{1:010d}.parquet")
        pointer = {"version": 2, "size": 4, "parts": 1}
        (log / "_last_checkpoint").write_text(json.dumps(pointer))
    forget()
    assert commits_room.tokens_at(table.folder, 2) == {WINDOWS[0].key: 1, WINDOWS[1].key: 4}


@pytest.mark.parametrize("name", ["_last_checkpoint", f"{2:020d}.checkpoint.parquet"])
def test_a_damaged_sum_of_a_log_is_named(table: WindowTable, name: str) -> None:
    put(table, WINDOWS[1], [1], 4)
    opened(table).create_checkpoint()
    Path(str(table.folder), LOG, name).write_bytes(b"{")
    with pytest.raises(ManifestInvalid, match=f"{name} .*cannot be read"):
        commits_room.tokens_at(table.folder, 2)


def test_a_window_that_was_emptied_is_no_window(table: WindowTable) -> None:
    put(table, WINDOWS[0], [], 2)
    assert table.files() == {}


@pytest.mark.parametrize("commits", [1, 2, 4])
def test_a_log_in_the_place_of_another_is_read_anew(
    table: WindowTable, tmp_path: Path, commits: int
) -> None:
    put(table, WINDOWS[1], [1], 3)
    assert as_followed(table) == as_a_whole(table)
    other = WindowTable(tmp_path / "others", SCHEMA)
    for window in WINDOWS[:commits]:
        put(other, window, [7], 2)
    Path(str(table.folder)).rename(tmp_path / "aside")
    Path(str(other.folder)).rename(Path(str(table.folder)))
    assert as_followed(table) == as_a_whole(table)


@pytest.mark.parametrize("reading", ["files", "row_counts"])
def test_of_a_log_that_was_replaced_no_commit_is_remembered(
    table: WindowTable, tmp_path: Path, reading: str
) -> None:
    shutil.copytree(str(table.folder), tmp_path / "backup")
    put(table, WINDOWS[0], [1, 2], 2)
    assert table.version_of(WINDOWS[0]) == 2
    shutil.rmtree(str(table.folder))
    shutil.copytree(tmp_path / "backup", str(table.folder))
    assert len(getattr(table, reading)()) == 1
    assert table.version_of(WINDOWS[0]) == 1
    put(table, WINDOWS[1], [3], 1)
    assert (table.version_of(WINDOWS[0]), table.version_of(WINDOWS[1])) == (1, 2)
    assert as_followed(table) == as_a_whole(table)


@pytest.mark.parametrize("look", ["open", "update"])
def test_a_list_of_the_log_that_lacks_a_commit_is_made_again(
    table: WindowTable, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    put(table, WINDOWS[1], [1], 1)
    put(table, WINDOWS[2], [1], 1)
    read = DeltaTable if look == "open" else DeltaTable.update_incremental
    lacking = [Path(str(table.folder), LOG, COMMIT.format(2))]

    def read_while_commits_come(*given: Any) -> Any:
        """Show the newest commit without the one before it, once."""
        if not lacking:
            return read(*given)
        commit = lacking.pop()
        aside = commit.rename(commit.with_suffix(".aside"))
        try:
            return read(*given)
        finally:
            aside.rename(commit)

    if look == "open":
        monkeypatch.setattr(log_room, "DeltaTable", read_while_commits_come)
        assert log_room.open_table(table.folder).version() == 3
    else:
        monkeypatch.setattr(DeltaTable, "update_incremental", read_while_commits_come)
        assert sum(table.row_counts().values()) == 3
    assert not lacking


@pytest.mark.parametrize("content", [b"{", b'{"add": {}}', b"[]"])
def test_a_damaged_commit_is_named(table: WindowTable, content: bytes) -> None:
    put(table, WINDOWS[1], [1], 2)
    Path(str(table.folder), LOG, COMMIT.format(2)).write_bytes(content)
    with pytest.raises(ManifestInvalid, match="_delta_log of table predictions cannot be read"):
        table.files()


def test_what_only_delta_understands_is_left_to_it(table: WindowTable) -> None:
    DeltaTable(str(table.folder)).alter.set_table_properties({"delta.appendOnly": "false"})
    newest = max(Path(str(table.folder), LOG).glob("*.json"))
    actions = [json.loads(line) for line in newest.read_text().splitlines()]
    newest.write_text(
        "\n".join(json.dumps(each) for each in [*actions, {"domainMetadata": {"domain": "a"}}])
    )
    assert len(table.files()) == 1
