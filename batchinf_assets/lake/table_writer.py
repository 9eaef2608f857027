"""The commit that replaces a window: one winner, fenced by tokens, its own work recognised.

A commit takes the version after the state that it was made from, so nothing comes between the two:
where that version is taken, what took it is read. Commits about other windows are stepped over, one
about the same window wins. What a table holds is read by `lake.table`; its log is made by
`lake.table_log`, and commits are put there by `lake.table_commits`.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
from deltalake import Field
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError

from batchinf_assets import __version__
from batchinf_assets.errors import (
    Fenced,
    InvalidSpec,
    LostRace,
    ManifestInvalid,
    StorageFailed,
    StorageUnavailable,
)
from batchinf_assets.lake.files import DataFile
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.table_commits import (
    LOG,
    Commit,
    now_milliseconds,
    put_commit,
    read_commits,
    sync_commits,
)
from batchinf_assets.lake.table_log import (
    CHECKPOINT_COMMITS,
    delta_features_asked,
    delta_features_needed,
    has_log,
    make_table,
    write_checkpoint,
)
from batchinf_assets.lake.table_state import PARTITION, TableState, table_state
from batchinf_assets.windows import Window

WINDOW_KEY, TOKEN_KEY, FENCE_KEY = "batchinf.window", "batchinf.token", "batchinf.fence"
COMMIT_KEY = "batchinf.commit"
"""Names one call, so that it knows its own commit where the answer was lost."""

FENCE_TRIES = 3
COMMIT_TRIES = 100
"""Each but the first is one that another window's commit came before."""

PLAIN = "/=+&';,@:()!$"
"""What delta-rs leaves as it is in a path; it knows a file by the path as the log writes it."""

COLUMN_FEATURES = frozenset({"timestampNtz", "timestampNanos"})
"""Features of Delta that stand for types of columns; readers are asked for them too."""

LEGACY_FEATURES = frozenset({"appendOnly", "invariants"})
"""Features that every table has that lists none, used or not."""

APPEND_ONLY = "delta.appendOnly"

Action = dict[str, Any]


class WindowWriter:
    """One writer of a table.

    Args:
        folder: The table's root.
        schema: Its columns without `window`.
    """

    def __init__(self, folder: Place, schema: pa.Schema) -> None:
        self._folder, self._name = folder, folder.name
        columns = (field.with_nullable(nullable=True) for field in schema)
        self._columns = pa.schema([pa.field(PARTITION, pa.string()), *columns])

    def replace(
        self, window: Window, files: Sequence[DataFile], metadata: Mapping[str, str], token: int
    ) -> int:
        """Make files the window's content and return the version; see `WindowTable.commit`."""
        return self._transact(window, token, files, {WINDOW_KEY: window.key, **metadata})

    def fence(self, window: Window, token: int) -> None:
        """Commit nothing but a token; one that is known already is left as it is.

        Raises:
            Fenced: The log knows a higher token for the window.
            LostRace: Other writers changed the window again and again.
        """
        for left in reversed(range(FENCE_TRIES)):
            try:
                if not self._knows(window, token):
                    self._transact(window, token, None, {FENCE_KEY: window.key})
            except Fenced:
                raise
            except LostRace:
                if not left:
                    raise
            else:
                return

    def _knows(self, window: Window, token: int) -> bool:
        return has_log(self._folder) and table_state(self._folder).token_of(window) == token

    def _transact(
        self,
        window: Window,
        token: int,
        files: Sequence[DataFile] | None,
        metadata: Mapping[str, str],
    ) -> int:
        """Commit, and look into the log for what became of it where no clear answer came."""
        if not has_log(self._folder):
            make_table(self._folder, self._columns, PARTITION)
        written = {**metadata, TOKEN_KEY: str(token), COMMIT_KEY: uuid4().hex}
        added = None if files is None else [_added(each, self._folder, window) for each in files]
        first = state = table_state(self._folder)
        failure: OSError | StorageUnavailable | None = None
        since: Sequence[Commit] = ()
        for _ in range(COMMIT_TRIES):
            made = state.version + 1
            try:
                put_commit(self._folder, made, self._actions(state, window, token, added, written))
            except (OSError, StorageUnavailable) as error:
                failure = error
            else:
                return self._kept(first, made)
            known, state = state.version, table_state(self._folder)
            since = read_commits(self._folder, range(known + 1, state.version + 1))
            own = [each for each in since if each.metadata.get(COMMIT_KEY) == written[COMMIT_KEY]]
            if own:
                return self._kept(first, own[0].version)
            self._require_unfenced(state, window, token)  # a fence may be what the commit met
            if not (isinstance(failure, FileExistsError) and _are_of_others(since, window)):
                break
        raise self._refusal(window, failure, since) from failure

    def _kept(self, first: TableState, made: int) -> int:
        sync_commits(self._folder, range(first.version + 1, made + 1))
        if made % CHECKPOINT_COMMITS == 0:
            with suppress(DeltaError, OSError):  # maintenance or the next hundred commits do it
                write_checkpoint(self._folder)
        return made

    def _actions(
        self,
        state: TableState,
        window: Window,
        token: int,
        added: Sequence[Action] | None,
        metadata: Mapping[str, str],
    ) -> list[Action]:
        """Return what a commit says, as Delta's protocol has it.

        Args:
            state: What it is made from.
            window: The window.
            token: Which attempt at it commits.
            added: The files that are its content from now on; None leaves it as it is.
            metadata: Kept in the commit, for the table's history.

        Raises:
            Fenced: The log knows a higher token for the window.
            InvalidSpec: A column's declared type differs from the table's.
            ManifestInvalid: The table asks its writers for what we do not do, or to remove nothing.
        """
        self._require_unfenced(state, window, token)
        self._require_understood(state)
        info = {
            **metadata,
            "timestamp": now_milliseconds(),
            "operation": "WRITE",
            "operationParameters": {"mode": "Append" if added is None else "Overwrite"},
            "engineInfo": f"batchinf/{__version__}",
        }
        staying = {each["add"]["path"] for each in added or ()}
        visible = {} if added is None else state.files.get(window.key, {})
        removed = [
            _removed(path, size, window) for path, size in visible.items() if path not in staying
        ]
        if removed:
            self._require_replaceable(state, window)
        return [
            {"commitInfo": info},
            *self._new_columns(state),
            *removed,
            *(added or ()),
            {"txn": {"appId": window.key, "version": token}},
        ]

    def _new_columns(self, state: TableState) -> Iterator[Action]:
        present = {field.name: field for field in state.read.schema().fields}
        for field in self._declared:
            if field.name in present and present[field.name].type != field.type:
                raise InvalidSpec(
                    f"Column '{field.name}' of table {self._name} is declared as {field.type}, "
                    f"but the table holds {present[field.name].type}.",
                    next_step="Give the changed column a new name.",
                )
        new = [field for field in self._declared if field.name not in present]
        if new:
            table, columns = state.read.metadata(), DeltaSchema([*present.values(), *new])
            yield {
                "metaData": {
                    "id": str(table.id),
                    "name": table.name,
                    "description": table.description,
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": columns.to_json(),
                    "partitionColumns": table.partition_columns,
                    "configuration": table.configuration,
                    "createdTime": table.created_time,
                }
            }
            yield from _protocol(delta_features_asked(state.read), delta_features_needed(columns))

    @cached_property
    def _declared(self) -> list[Field]:
        return DeltaSchema.from_arrow(self._columns).fields

    def _require_unfenced(self, state: TableState, window: Window, token: int) -> None:
        newest = state.token_of(window)
        if newest > token:
            raise Fenced(
                f"Attempt {token} at {window.key} may no longer change table {self._name}: "
                f"attempt {newest} has begun.",
                next_step="Nothing was changed by this run; the newer one goes on.",
            )

    def _require_understood(self, state: TableState) -> None:
        unknown = delta_features_asked(state.read) - {*COLUMN_FEATURES, *LEGACY_FEATURES}
        if unknown:
            raise ManifestInvalid(
                f"Table {self._name} asks of its writers what this version does not do: "
                f"{', '.join(sorted(unknown))}.",
                next_step="Restore the folder from a backup of before that was asked; nothing was "
                "changed.",
            )

    def _require_replaceable(self, state: TableState, window: Window) -> None:
        if state.read.metadata().configuration.get(APPEND_ONLY, "").lower() == "true":
            raise ManifestInvalid(
                f"Table {self._name} has the property {APPEND_ONLY}, so that nothing may take the "
                f"place of what it holds of {window.key}.",
                next_step="Nothing was changed; set the property to false where windows may be "
                "replaced again.",
            )

    def _refusal(
        self, window: Window, failure: Exception | None, since: Sequence[Commit]
    ) -> Exception:
        if isinstance(failure, StorageUnavailable):
            return failure
        if isinstance(failure, OSError) and not isinstance(failure, FileExistsError):
            mend = "Make room, or mend the disk,"
            if failure.errno == errno.EOPNOTSUPP:
                mend = "Move the lake to a file system that makes them, or to S3,"
            return StorageFailed(
                f"{self._folder / LOG} could not be written: {failure.strerror or failure}.",
                next_step=f"{mend} and run the window again; nothing was changed.",
            )
        return self._lost_race(window, since)

    def _lost_race(self, window: Window, since: Sequence[Commit]) -> LostRace:
        again = "run it again to work on the new state"
        if _are_of_others(since, window):
            what = (
                f"Table {self._name} got commits of other windows before that of {window.key}, "
                f"{COMMIT_TRIES} times in a row."
            )
            again = "run it again while fewer windows are worked on side by side"
        elif window.key in _windows_of(since):
            what = f"Another run changed {window.key} in table {self._name} while this one did."
        else:
            what = (
                f"Something else than a run changed table {self._name} while this one "
                f"committed {window.key}."
            )
        return LostRace(what, next_step=f"Nothing was changed by this run; {again}.")


def _are_of_others(commits: Sequence[Commit], window: Window) -> bool:
    """Say whether all that a commit met is about other windows."""
    about = _windows_of(commits)
    return bool(about) and about.isdisjoint({None, window.key})


def _windows_of(commits: Sequence[Commit]) -> set[str | None]:
    """Return the keys of the windows that commits are about, None for those about none."""
    return {each.metadata.get(WINDOW_KEY) or each.metadata.get(FENCE_KEY) for each in commits}


def _protocol(asked: frozenset[str], needed: frozenset[str]) -> Iterator[Action]:
    """Ask readers and writers for the features that new columns need."""
    if not needed <= asked:
        yield {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": sorted((asked | needed) - LEGACY_FEATURES),
                "writerFeatures": sorted(asked | needed),
            }
        }


def _added(file: DataFile, folder: Place, window: Window) -> Action:
    return {
        "add": {
            "path": quote(path_within(file.path, folder), safe=PLAIN),
            "partitionValues": {PARTITION: window.key},
            "size": file.bytes,
            "modificationTime": int(file.path.stat().st_mtime * 1000),
            "dataChange": True,
            "stats": json.dumps({"numRecords": file.rows}),
        }
    }


def _removed(path: str, size: int, window: Window) -> Action:
    return {
        "remove": {
            "path": path,
            "partitionValues": {PARTITION: window.key},
            "size": size,
            "deletionTimestamp": now_milliseconds(),
            "dataChange": True,
            "extendedFileMetadata": True,
        }
    }
