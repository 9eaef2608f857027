"""A Delta table whose windows are replaced one at a time, each by one atomic commit.

The Parquet files are written by us beside the table's log and stay invisible until `commit` adds
them; see `lake.files` for how a file is written.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from batchinf_assets.errors import InvalidSpec, LostRace, ManifestInvalid
from batchinf_assets.lake.files import DataFile, fsync, is_whole, read_parquet, write_parquet
from batchinf_assets.windows import Window

PARTITION = "window"
LOG = "_delta_log"
WINDOW_KEY = "batchinf.window"
KEEP_THE_LOG = {"delta.enableExpiredLogCleanup": "false"}
"""Which manifest a window was published with is asked of the log, also years later."""
COMMIT = "{:020d}.json"


class WindowTable:
    """One table of a pipeline, partitioned by `window`.

    Args:
        folder: The table's root.
        schema: Its columns without `window`.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self._schema = schema

    @property
    def name(self) -> str:
        """The table's name within its pipeline."""
        return self.folder.name

    def folder_of(self, window: Window) -> Path:
        """Return where the files of a window are written."""
        return self.folder / f"{PARTITION}={window.key.replace(':', '')}"

    def files(self) -> dict[str, tuple[Path, ...]]:
        """Return the visible files by window key; empty where nothing was ever committed.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        if not (self.folder / LOG).is_dir():
            return {}
        actions = pa.table(self._current(_opened).get_add_actions(flatten=True))
        windows = actions.column(f"partition.{PARTITION}").to_pylist()
        visible: dict[str, list[Path]] = {}
        for key, path in zip(windows, actions.column("path").to_pylist(), strict=True):
            visible.setdefault(str(key), []).append(self.folder / str(path))
        return {key: tuple(sorted(paths)) for key, paths in visible.items()}

    def files_of(self, window: Window) -> tuple[Path, ...]:
        """Return the visible files of one window, in their order."""
        return self.files().get(window.key, ())

    def commit_metadata(self, window: Window) -> dict[str, str]:
        """Return the metadata of the commit that gave a window its content; empty without one.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        if not (self.folder / LOG).is_dir():
            return {}
        return _latest_metadata(self.folder, self._current(_opened).version()).get(window.key, {})

    def read(self, window: Window) -> pa.Table | None:
        """Read the visible rows of a window, or None where it was never committed."""
        files = self.files_of(window)
        return pa.concat_tables([read_parquet(path) for path in files]) if files else None

    def keep(self, window: Window, name: str, rows: pa.Table, footer: Mapping[str, Any]) -> Path:
        """Make one file of these rows the window's content; a no-op where it is that already.

        Args:
            window: The window to replace.
            name: Identifies rows and footer: the same name means the same content.
            rows: The rows, in the order to keep.
            footer: What the file says of itself.

        Raises:
            LostRace: Another writer replaced the same window meanwhile.
            InvalidSpec: A column's declared type differs from the table's.
        """
        path = self.path(window, name)
        visible = self.files_of(window) == (path,)
        if not (visible and is_whole(path)):
            file = write_parquet(path, rows, footer)
            if not visible:
                self.commit(window, [file], {"batchinf.name": name})
        return path

    def path(self, window: Window, name: str) -> Path:
        """Return where `keep` puts the rows of this name, visible or replaced since."""
        return self.folder_of(window) / f"{name}.parquet"

    def commit(
        self, window: Window, files: Sequence[DataFile], metadata: Mapping[str, str]
    ) -> None:
        """Make exactly these files the window's content, or change nothing.

        Args:
            window: The window to replace.
            files: Files already written and fsynced below `folder`.
            metadata: Kept in the commit, for the table's history.

        Raises:
            LostRace: Another writer replaced the same window, or added columns, meanwhile.
            InvalidSpec: A column's declared type differs from the table's.
        """
        self._create()
        known = self._current(self._writer).version()
        try:
            self._add_new_columns()
            self._delta.create_write_transaction(
                [self._add(window, file) for file in files],
                mode="overwrite",
                schema=self._delta.schema(),
                partition_by=[PARTITION],
                partition_filters=[(PARTITION, "=", window.key)],
                commit_properties=CommitProperties(
                    custom_metadata={WINDOW_KEY: window.key, **metadata},
                    # Delta sees no conflict between two first commits of a window, as neither
                    # removes a file; that both name one application makes it see one.
                    app_transactions=[Transaction(window.key, 1)],
                ),
            )
        except CommitFailedError as error:
            raise LostRace(
                f"Another run changed table {self.name} while this one committed {window.key}.",
                next_step="Nothing was changed by this run; run it again to work on the new state.",
            ) from error
        self._delta.update_incremental()
        for version in range(known + 1, self._delta.version() + 1):
            fsync(self.folder / LOG / COMMIT.format(version))
        fsync(self.folder / LOG)

    @cached_property
    def _delta(self) -> DeltaTable:
        return DeltaTable(self.folder)

    def _writer(self, _folder: Path) -> DeltaTable:
        return self._delta

    def _current(self, opened: Callable[[Path], DeltaTable]) -> DeltaTable:
        try:
            table = opened(self.folder)
            table.update_incremental()
        except DeltaError as error:
            raise ManifestInvalid(
                f"The log {self.folder / LOG} of table {self.name} cannot be read: "
                f"{str(error).splitlines()[0].rstrip('.')}.",
                next_step="Restore the folder from a backup; no file beside it was touched.",
            ) from error
        return table

    def _create(self) -> None:
        if (self.folder / LOG).is_dir():
            return
        columns = pa.schema([pa.field(PARTITION, pa.string()), *map(_nullable, self._schema)])
        self.folder.mkdir(parents=True, exist_ok=True)
        # Made aside and renamed: Delta lets two runs create a table twice over, and a run that dies
        # inside leaves a log without a table.
        with TemporaryDirectory(dir=self.folder, prefix=".") as staging:
            schema = DeltaSchema.from_arrow(columns)
            DeltaTable.create(
                staging, schema=schema, partition_by=[PARTITION], configuration=KEEP_THE_LOG
            )
            made = Path(staging) / LOG
            fsync(made / COMMIT.format(0))
            if _renamed(made, self.folder / LOG):  # else another run was first
                fsync(self.folder)

    def _add_new_columns(self) -> None:
        present = {field.name: field for field in self._current(self._writer).schema().fields}
        declared = DeltaSchema.from_arrow(pa.schema(list(map(_nullable, self._schema)))).fields
        for field in declared:
            if field.name in present and present[field.name].type != field.type:
                raise InvalidSpec(
                    f"Column '{field.name}' of table {self.name} is declared as {field.type}, "
                    f"but the table holds {present[field.name].type}.",
                    next_step="Give the changed column a new name.",
                )
        new: list[Field] = [field for field in declared if field.name not in present]
        if new:
            self._delta.alter.add_columns(new)

    def _add(self, window: Window, file: DataFile) -> AddAction:
        return AddAction(
            path=file.path.relative_to(self.folder).as_posix(),
            size=file.bytes,
            partition_values={PARTITION: window.key},
            modification_time=int(file.path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )


def _renamed(folder: Path, target: Path) -> bool:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _nullable(field: pa.Field) -> pa.Field:
    return field.with_nullable(nullable=True)


@lru_cache(maxsize=8)
def _latest_metadata(folder: Path, _version: int) -> dict[str, dict[str, str]]:
    latest: dict[str, dict[str, str]] = {}
    for commit in _opened(folder).history():  # newest first
        if WINDOW_KEY in commit:
            found = {name: str(value) for name, value in commit.items()}
            latest.setdefault(found[WINDOW_KEY], found)
    return latest


@lru_cache(maxsize=64)
def _opened(folder: Path) -> DeltaTable:
    """Open a table for reading once per process; who reads brings it up to date first.

    Writers open their own: what a commit is based on must not move with somebody else's reading.
    """
    return DeltaTable(folder)
