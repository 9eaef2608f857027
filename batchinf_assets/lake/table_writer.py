"""The commit that replaces a window: one winner, fenced by tokens, its own work recognised.

What a table holds is read by `lake.table`; its log is made and read by `lake.table_log`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from batchinf_assets.errors import (
    Fenced,
    InvalidSpec,
    LostRace,
    ManifestInvalid,
    StorageFailed,
    StorageUnavailable,
)
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import failed_on_the_way, storage_failure
from batchinf_assets.lake.table_log import (
    LOG,
    Commit,
    commits_after,
    has_log,
    make_table,
    newest_token,
    open_table,
    sync_commits,
    up_to_date,
)
from batchinf_assets.windows import Window

PARTITION = "window"
WINDOW_KEY, TOKEN_KEY, FENCE_KEY = "batchinf.window", "batchinf.token", "batchinf.fence"
COMMIT_KEY = "batchinf.commit"
"""Names one call, so that it knows its own commit where the answer was lost."""

FENCE_TRIES = 3
COMMIT_TRIES = 100
"""Each but the first is one that another window's commit came before."""

IDLE_TABLES = 4

_IDLE: dict[Path, deque[DeltaTable]] = {}
"""Open logs that no writer uses; each belongs to one writer at a time."""

_SYSTEM_ERROR = re.compile(r"\(os error (?P<errno>\d+)\)")


class WindowWriter:
    """One writer of a table; it opens the log for itself.

    What its commit is based on must not move with somebody else's reading.

    Args:
        folder: The table's root.
        schema: Its columns without `window`.
    """

    def __init__(self, folder: Place, schema: pa.Schema) -> None:
        self._folder, self._name = folder, folder.name
        self._schema = schema

    def replace(
        self, window: Window, files: list[AddAction], metadata: Mapping[str, str], token: int
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

    def _transact(
        self,
        window: Window,
        token: int,
        replacement: list[AddAction] | None,
        metadata: Mapping[str, str],
    ) -> int:
        """Commit, and look into the log for what became of it, whatever the answer was."""
        if not has_log(self._folder):
            columns = [pa.field(PARTITION, pa.string()), *map(_nullable, self._schema)]
            make_table(self._folder, pa.schema(columns), PARTITION)
        written = {**metadata, TOKEN_KEY: str(token), COMMIT_KEY: uuid4().hex}
        known = based_on = self._refresh().version()
        failure: DeltaError | OSError | None = None
        for _ in range(COMMIT_TRIES):
            try:
                self._write(window, token, replacement, written)
            except (DeltaError, OSError) as error:
                failure = _plain(error)
            else:
                failure = None
            since = [*commits_after(self._folder, based_on)]
            own = [each for each in since if each.metadata.get(COMMIT_KEY) == written[COMMIT_KEY]]
            if own:
                sync_commits(self._folder, range(known + 1, own[0].version + 1))
                self._put_back()
                return own[0].version
            self._refresh()
            self._require_unfenced(window, token)  # a fence may be what the commit met
            if not (isinstance(failure, CommitFailedError) and _are_of_others(since, window)):
                break
            based_on = since[-1].version
        raise self._refusal(window, failure, based_on) from failure

    def _write(
        self,
        window: Window,
        token: int,
        replacement: list[AddAction] | None,
        metadata: Mapping[str, str],
    ) -> None:
        self._add_new_columns()
        # Asked of the very state that the commit is based on: a later fence conflicts with it.
        self._require_unfenced(window, token)
        replaces = replacement is not None
        self._delta.create_write_transaction(
            [*(replacement or [])],
            mode="overwrite" if replaces else "append",
            schema=self._delta.schema(),
            partition_by=[PARTITION],
            partition_filters=[(PARTITION, "=", window.key)] if replaces else None,
            commit_properties=CommitProperties(
                custom_metadata=dict(metadata),
                # Delta sees no conflict between two first commits of a window, as neither removes
                # a file, nor between a commit and a fence; one application's name makes it see one.
                app_transactions=[Transaction(window.key, token)],
            ),
        )

    def _refusal(self, window: Window, failure: Exception | None, known: int) -> Exception:
        if failure is None:
            return ManifestInvalid(
                f"The log {self._folder / LOG} does not hold a commit that it took.",
                next_step="Find out what else writes into that folder, then run the window again.",
            )
        if isinstance(self._folder, S3Place) and failed_on_the_way(failure):
            return storage_failure(self._folder / LOG, failure)
        if isinstance(self._folder, S3Place) and self._delta.version() == known:
            return StorageUnavailable(  # S3 may answer 409 to two requests at once, not for ever
                f"The store took no commit into {self._folder / LOG}, though nobody else made one.",
                next_step="Check that it knows If-None-Match; then run the window again.",
            )
        if not isinstance(failure, CommitFailedError):
            return StorageFailed(
                f"{self._folder / LOG} could not be written: {_reason(failure)}.",
                next_step="Make room, or mend the disk, and run the window again; nothing was "
                "changed.",
            )
        return LostRace(
            f"Another run changed table {self._name} while this one committed {window.key}.",
            next_step="Nothing was changed by this run; run it again to work on the new state.",
        )

    def _knows(self, window: Window, token: int) -> bool:
        return (
            has_log(self._folder) and newest_token(self._folder, self._refresh(), window) == token
        )

    def _require_unfenced(self, window: Window, token: int) -> None:
        newest = newest_token(self._folder, self._delta, window)
        if newest > token:
            raise Fenced(
                f"Attempt {token} at {window.key} may no longer change table {self._name}: "
                f"attempt {newest} has begun.",
                next_step="Nothing was changed by this run; the newer one goes on.",
            )

    def _refresh(self) -> DeltaTable:
        return up_to_date(self._folder, lambda _folder: self._delta)

    @cached_property
    def _delta(self) -> DeltaTable:
        idle = _IDLE.get(self._folder) if isinstance(self._folder, Path) else None
        try:
            return idle.pop() if idle else open_table(self._folder)
        except IndexError:  # another thread was faster
            return open_table(self._folder)

    def _put_back(self) -> None:
        """Let the next writer go on from here: reading a log of years again takes a moment."""
        if isinstance(self._folder, Path):  # on S3 the credentials would grow old
            _IDLE.setdefault(self._folder, deque(maxlen=IDLE_TABLES)).append(self._delta)
            del self._delta

    def _add_new_columns(self) -> None:
        present = {field.name: field for field in self._refresh().schema().fields}
        declared = DeltaSchema.from_arrow(pa.schema(list(map(_nullable, self._schema)))).fields
        for field in declared:
            if field.name in present and present[field.name].type != field.type:
                raise InvalidSpec(
                    f"Column '{field.name}' of table {self._name} is declared as {field.type}, "
                    f"but the table holds {present[field.name].type}.",
                    next_step="Give the changed column a new name.",
                )
        new: list[Field] = [field for field in declared if field.name not in present]
        if new:
            self._delta.alter.add_columns(new)


def _are_of_others(commits: Sequence[Commit], window: Window) -> bool:
    """Say whether all that a commit met is about other windows: Delta sees a conflict there too."""
    about = {each.metadata.get(WINDOW_KEY) or each.metadata.get(FENCE_KEY) for each in commits}
    return bool(about) and about.isdisjoint({None, window.key})


def _nullable(field: pa.Field) -> pa.Field:
    return field.with_nullable(nullable=True)


def _plain(error: DeltaError | OSError) -> DeltaError | OSError:
    """Return the operating system's error that delta-rs writes into a text, with its number."""
    number = _SYSTEM_ERROR.search(str(error))
    if number is None or isinstance(error, CommitFailedError):
        return error
    return OSError(int(number["errno"]), os.strerror(int(number["errno"])))


def _reason(failure: Exception) -> str:
    said = failure.strerror if isinstance(failure, OSError) else None
    return said or str(failure).splitlines()[0].rstrip(".")
