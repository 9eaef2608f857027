"""A Delta table whose windows are replaced one at a time, each by one atomic commit.

The Parquet files are written by us beside the table's log and stay invisible until `commit` adds
them; see `lake.files` for how a file is written and `lake.table_writer` for the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from batchinf_assets.lake.files import DataFile, is_readable, read_parquet, write_parquet
from batchinf_assets.lake.layout import ROW_GROUP_ROWS
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table_commits import Commit, latest_commit
from batchinf_assets.lake.table_log import has_log
from batchinf_assets.lake.table_state import PARTITION, read_table, table_state
from batchinf_assets.lake.table_writer import WINDOW_KEY, WindowWriter
from batchinf_assets.windows import Window


class VisibleFiles(Mapping[str, tuple[Place, ...]]):
    """The visible files of a table by window key, as of one version.

    A window's paths are made when they are asked for: who works on a window asks for a few, and a
    table has those of years.

    Args:
        folder: The table's root.
        paths: URLs below it, as the log writes them, by window key.
    """

    def __init__(self, folder: Place, paths: Mapping[str, Collection[str]]) -> None:
        self._folder, self._paths = folder, paths

    def __getitem__(self, key: str) -> tuple[Place, ...]:
        found = (self._folder / unquote(path) for path in self._paths[key])
        return tuple(sorted(found, key=str))

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class WindowTable:
    """One table of a pipeline, partitioned by `window`.

    Args:
        folder: The table's root.
        schema: Its columns without `window`.
    """

    def __init__(self, folder: Place, schema: pa.Schema) -> None:
        self.folder = folder
        self._schema = schema

    @property
    def name(self) -> str:
        """The table's name within its pipeline."""
        return self.folder.name

    def folder_of(self, window: Window) -> Place:
        """Return where the files of a window are written."""
        return self.folder / f"{PARTITION}={window.folder_name}"

    def files(self) -> Mapping[str, tuple[Place, ...]]:
        """Return the visible files by window key; empty where nothing was ever committed.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        paths = table_state(self.folder).files if has_log(self.folder) else {}
        return VisibleFiles(self.folder, paths)

    def row_counts(self) -> dict[str, int]:
        """Return the rows that the log counts, by window key; no file is opened.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        if not has_log(self.folder):
            return {}
        actions = pa.table(read_table(self.folder).get_add_actions(flatten=True))
        windows = actions.column(f"partition.{PARTITION}").to_pylist()
        counts: dict[str, int] = {}
        for key, rows in zip(windows, actions.column("num_records").to_pylist(), strict=True):
            counts[str(key)] = counts.get(str(key), 0) + int(rows)
        return counts

    def files_of(self, window: Window) -> tuple[Place, ...]:
        """Return the visible files of one window, in their order."""
        return self.files().get(window.key, ())

    def commit_metadata(self, window: Window) -> dict[str, str]:
        """Return the metadata of the commit that gave a window its content; empty without one.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        commit = self._commit_of(window)
        return dict(commit.metadata) if commit else {}

    def version_of(self, window: Window) -> int | None:
        """Return the table's version that gave a window its content, or None without one.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        commit = self._commit_of(window)
        return commit.version if commit else None

    def token_of(self, window: Window) -> int:
        """Return the highest token that the log knows for a window; 0 without one.

        Raises:
            ManifestInvalid: The table's log is damaged.
        """
        if not has_log(self.folder):
            return 0
        return table_state(self.folder).token_of(window)

    def read(self, window: Window) -> pa.Table | None:
        """Read the visible rows of a window, or None where it was never committed."""
        files = self.files_of(window)
        return pa.concat_tables([read_parquet(path) for path in files]) if files else None

    def keep(
        self,
        window: Window,
        name: str,
        rows: pa.Table,
        footer: Mapping[str, Any],
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
        scan: bool = False,
        token: int = 1,
    ) -> Place:
        """Make one file of these rows the window's content; a no-op where it is that already.

        The log knows the token afterwards also where nothing changed, so that no earlier attempt
        puts anything else in its place.

        Args:
            window: The window to replace.
            name: Identifies rows and footer: the same name means the same content.
            rows: The rows, in the order to keep.
            footer: What the file says of itself.
            row_group_rows: Rows per row group.
            scan: Whether the rows are read often: speed then comes before size.
            token: Which attempt at the window writes; see `lake.lease`.

        Raises:
            Fenced: The log knows a higher token for the window.
            LostRace: Another writer replaced the same window meanwhile.
            InvalidSpec: A column's declared type differs from the table's.
        """
        path = self.path(window, name)
        visible = self.files_of(window) == (path,)
        if not (visible and is_readable(path)):
            file = write_parquet(path, rows, footer, row_group_rows=row_group_rows, scan=scan)
            if not visible:
                self.commit(window, [file], {"batchinf.name": name}, token=token)
        if visible and token > 1:  # nobody comes before the first
            self.fence(window, token)
        return path

    def path(self, window: Window, name: str) -> Place:
        """Return where `keep` puts the rows of this name, visible or replaced since."""
        return self.folder_of(window) / f"{name}.parquet"

    def commit(
        self,
        window: Window,
        files: Sequence[DataFile],
        metadata: Mapping[str, str],
        *,
        token: int = 1,
    ) -> int:
        """Make exactly these files the window's content, or change nothing.

        Args:
            window: The window to replace.
            files: Files already written and durable below `folder`.
            metadata: Kept in the commit, for the table's history.
            token: Which attempt at the window commits; see `lake.lease`.

        Returns:
            The version that the commit made.

        Raises:
            Fenced: The log knows a higher token for the window.
            LostRace: Another writer replaced the same window meanwhile.
            InvalidSpec: A column's declared type differs from the table's.
            StorageUnavailable: The store did not answer; whether the commit landed shows in
                `commit_metadata` once it does.
        """
        return self._writer.replace(window, files, metadata, token)

    def fence(self, window: Window, token: int) -> None:
        """Keep every attempt at a window under a lower token from committing, from now on.

        Raises:
            Fenced: The log knows a higher token for the window.
            LostRace: Other writers changed the window again and again.
        """
        self._writer.fence(window, token)

    @cached_property
    def _writer(self) -> WindowWriter:
        return WindowWriter(self.folder, self._schema)

    def _commit_of(self, window: Window) -> Commit | None:
        if not has_log(self.folder):
            return None
        newest = table_state(self.folder).version
        return latest_commit(self.folder, WINDOW_KEY, window.key, newest)
