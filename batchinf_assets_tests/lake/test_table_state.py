"""What is read of a log commit by commit is what delta-rs reads of it as a whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake import table_log as log_room
from batchinf_assets.lake import table_state as room
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_log import COMMIT, LOG
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


def put(table: WindowTable, window: Window, names: list[int], token: int) -> None:
    rows = pa.table({"id": pa.array([1], pa.int64())})
    files = [write_parquet(table.path(window, f"a {name}%"), rows, {}) for name in names]
    table.commit(window, files, {}, token=token)


def as_a_whole(table: WindowTable) -> tuple[dict[str, list[str]], dict[str, int]]:
    """What delta-rs says that knows nothing yet."""
    delta = DeltaTable(str(table.folder))
    actions = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    files: dict[str, list[str]] = {}
    for each in sorted(actions, key=lambda action: action["path"]):
        files.setdefault(each["partition.window"], []).append(unquote(each["path"]))
    return files, {w.key: delta.transaction_version(w.key) or 0 for w in WINDOWS}


def as_followed(table: WindowTable) -> tuple[dict[str, list[str]], dict[str, int]]:
    folder = Path(str(table.folder))
    found = {
        key: [str(Path(str(path)).relative_to(folder)) for path in paths]
        for key, paths in table.files().items()
    }
    return found, {window.key: table.token_of(window) for window in WINDOWS}


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(steps=STEPS, seen=st.sets(st.integers(0, 8)))
def test_commits_are_followed_as_delta_reads_them(
    steps: list[tuple[Window, list[int]]], seen: set[int]
) -> None:
    with TemporaryDirectory() as root:
        folder = Path(root) / "a lake" / "predictions"
        put(WindowTable(folder, SCHEMA), WINDOWS[0], [0], 1)
        as_followed(WindowTable(folder, SCHEMA))
        for number, (window, names) in enumerate(steps):
            put(WindowTable(folder, SCHEMA), window, names, number + 2)
            if number in seen:
                as_followed(WindowTable(folder, SCHEMA))
        assert as_followed(WindowTable(folder, SCHEMA)) == as_a_whole(WindowTable(folder, SCHEMA))


@pytest.fixture
def table(tmp_path: Path) -> WindowTable:
    made = WindowTable(tmp_path / "predictions", SCHEMA)
    put(made, WINDOWS[0], [0], 1)
    assert len(made.files()) == 1
    return made


def test_what_is_new_is_not_asked_of_delta(
    table: WindowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, WINDOWS[1], [1, 2], 5)
    monkeypatch.delattr(room, "open_table")
    monkeypatch.delattr(room, "up_to_date")
    assert {key: len(files) for key, files in table.files().items()} == {
        WINDOWS[0].key: 1,
        WINDOWS[1].key: 2,
    }
    assert table.token_of(WINDOWS[1]) == 5


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
