"""The ledger: an append-only Delta table with what every attempt at a window came to.

`attempt` says what a record holds, `recorder` writes without making scoring wait. Format:
`docs/formats/ledger.md`.

An append that reads nothing conflicts with nothing, so the next free version of the log will do.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError

from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.lake.entries import entries, is_file
from batchinf_assets.lake.files import aside, fsync
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3_access import failed_on_the_way, storage_failure
from batchinf_assets.lake.table_commits import (
    COMMIT,
    LOG,
    now_milliseconds,
    put_commit,
    sync_commits,
)
from batchinf_assets.lake.table_log import open_table
from batchinf_assets.telemetry.attempt import FIELDS, AttemptRecord, merged, storable

FOLDER = "_ledger"
FORMAT_VERSION = 1
PARTITION = "month"
CONFIGURATION = {"delta.appendOnly": "true", "delta.enableExpiredLogCleanup": "false"}
COMMITS_TRIED = 100
COMMITS_FOLLOWED = 16
"""Commits of others up to which the next free version is looked for one by one."""

_TIME = pa.timestamp("us", tz="UTC")
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("format_version", pa.int32()),
        pa.field(PARTITION, pa.string()),
        pa.field("attempt_id", pa.string()),
        pa.field("pipeline", pa.string()),
        pa.field("window", pa.string()),
        pa.field("revision", pa.string()),
        pa.field("attempt", pa.int64()),
        pa.field("run_id", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("state", pa.string()),
        pa.field("reason_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("stage_seconds", pa.map_(pa.string(), pa.float64())),
        pa.field("rows", pa.int64()),
        pa.field("bytes_written", pa.int64()),
        pa.field("shards_total", pa.int64()),
        pa.field("shards_computed", pa.int64()),
        pa.field("shards_reused", pa.int64()),
        pa.field("cpu_seconds", pa.float64()),
        pa.field("io_read_bytes", pa.int64()),
        pa.field("io_write_bytes", pa.int64()),
        pa.field("io_seconds", pa.float64()),
        pa.field("peak_memory_bytes", pa.int64()),
        pa.field("retries", pa.int64()),
        pa.field("worker", pa.string()),
        pa.field("manifest_sha256", pa.string()),
        pa.field("started_at", _TIME),
        pa.field("ended_at", _TIME),
    ]
)
"""Every column; all are nullable to Delta, `docs/formats/ledger.md` says which ever are null."""


class Ledger:
    """The ledger of a lake.

    Args:
        lake: The lake's root; the table is `<lake>/_ledger`.
    """

    def __init__(self, lake: Place) -> None:
        self.place = lake / FOLDER
        self._last_seen: int | None = None

    def append(self, records: Sequence[AttemptRecord]) -> None:
        """Add records; on a local disk they have reached it when this returns.

        One commit for all of them. The same records again do no harm: readers see them once.

        Raises:
            LostRace: Others kept changing the table at the same time.
            StorageRefused: The store lets us not write.
            StorageUnavailable: The store does not answer.
            OSError: The disk is full or the folder cannot be written.
            DeltaError: The folder for temporary files cannot be written.
        """
        if not records:
            return
        added = [self._written(month, rows) for month, rows in _by_month(records).items()]
        self._commit(added)

    def read(self, pipeline: str | None = None, window: str | None = None) -> pa.Table:
        """Return one row per attempt, ordered by pipeline, window, attempt and end.

        Args:
            pipeline: Only this pipeline's attempts.
            window: Only attempts at windows with this key.

        Returns:
            The columns of `LEDGER_SCHEMA`; no rows where nothing was ever recorded.

        Raises:
            ManifestInvalid: The table, or a file of it, is damaged.
            StorageRefused: The store lets us not read.
            StorageUnavailable: The store does not answer.
        """
        rows = self._rows({"pipeline": pipeline, "window": window})
        order = ("pipeline", "window", "attempt", "ended_at")
        return _one_per_attempt(rows).sort_by([(name, "ascending") for name in order])

    def latest(self, pipeline: str) -> dict[str, AttemptRecord]:
        """Return what `latest_attempts` finds of a pipeline.

        Raises:
            ManifestInvalid: The table, or a file of it, is damaged.
        """
        return latest_attempts(self.read(pipeline))

    def _rows(self, equal: Mapping[str, str | None]) -> pa.Table:
        # On S3 an object of the folder's name hides nothing, and asking for it is one more right.
        hidden = isinstance(self.place, Path) and is_file(self.place)
        if not hidden and not self._versions():
            return LEDGER_SCHEMA.empty_table()
        wanted = [(name, "=", value) for name, value in equal.items() if value is not None]
        try:
            table = open_table(self.place).to_pyarrow_table(filters=wanted or None)
            return table.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)
        except (DeltaError, OSError, KeyError, pa.ArrowException) as error:
            if not isinstance(self.place, Path) and failed_on_the_way(error):
                raise storage_failure(self.place, error) from error
            raise ManifestInvalid(
                f"The ledger {self.place} cannot be read ({type(error).__name__}).",
                next_step="Restore the folder from a backup, or move it away to begin a new one.",
            ) from error

    def _versions(self) -> list[int]:
        """The log's folder alone is no table: who makes it may die before the first commit."""
        commits = entries(self.place / LOG, "*.json")
        return [int(commit.stem) for commit in commits if commit.stem.isdigit()]

    def _create(self) -> int:
        with tempfile.TemporaryDirectory() as made:
            schema = DeltaSchema.from_arrow(LEDGER_SCHEMA)
            DeltaTable.create(
                made, schema=schema, partition_by=[PARTITION], configuration=CONFIGURATION
            )
            first = (Path(made) / LOG / COMMIT.format(0)).read_text()
        (self.place / LOG).mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another writer was faster
            put_commit(self.place, 0, map(json.loads, first.splitlines()))
        if isinstance(self.place, Path):
            fsync(self.place.parent)
        return 0

    def _written(self, month: str, records: Iterable[AttemptRecord]) -> dict[str, Any]:
        """Write a file and return the action that adds it.

        The file stays if its commit fails: that may have come through unheard. Vacuum takes it.
        """
        rows = _table(records).drop_columns([PARTITION])
        path = f"{PARTITION}={month}/{uuid4().hex}.parquet"
        with aside(self.place / path) as temporary:
            pq.write_table(rows, temporary, compression="zstd", write_page_checksum=True)
            size = temporary.stat().st_size
        return {
            "path": path,
            "partitionValues": {PARTITION: month},
            "size": size,
            "modificationTime": now_milliseconds(),
            "dataChange": True,
            "stats": json.dumps({"numRecords": rows.num_rows}),
        }

    def _commit(self, added: Iterable[Mapping[str, Any]]) -> None:
        info = {"timestamp": now_milliseconds(), "operation": "WRITE", "isBlindAppend": True}
        actions = [{"commitInfo": info}, *({"add": each} for each in added)]
        for version in self._free_versions():
            try:
                put_commit(self.place, version, actions)
            except FileExistsError:
                continue  # another writer's commit
            sync_commits(self.place, [])
            if isinstance(self.place, Path):
                fsync(self.place)  # a month's folder may be new
            self._last_seen = version
            return
        raise LostRace(
            f"Other writers took {COMMITS_TRIED} versions of the ledger {self.place} in a row.",
            next_step="Nothing was added; write the records again.",
        )

    def _free_versions(self) -> Iterator[int]:
        """Yield versions to try: a log is listed only where others have added many meanwhile.

        The version seen last is looked for, because the whole folder may have been moved away.
        """
        seen = self._last_seen
        if seen is not None and is_file(self._commit_place(seen)):
            yield from range(seen + 1, seen + 1 + COMMITS_FOLLOWED)
        newest = max(self._versions() or [self._create()])
        yield from range(newest + 1, newest + 1 + COMMITS_TRIED)

    def _commit_place(self, version: int) -> Place:
        return self.place / LOG / COMMIT.format(version)


def latest_attempts(attempts: pa.Table) -> dict[str, AttemptRecord]:
    """Return the last attempt that tells what became of each window, by window key.

    Args:
        attempts: Those of one pipeline, as `Ledger.read` returns them.

    Raises:
        ManifestInvalid: One of them is nothing that an attempt leaves.
    """
    records = map(_record, attempts.to_pylist())
    return {record.window: record for record in records if record.tells_of_window}


def _by_month(records: Iterable[AttemptRecord]) -> dict[str, list[AttemptRecord]]:
    months: dict[str, list[AttemptRecord]] = {}
    for record in records:
        months.setdefault(record.month, []).append(record)
    return months


def _table(records: Iterable[AttemptRecord]) -> pa.Table:
    return pa.Table.from_pylist([_row(record) for record in records], schema=LEDGER_SCHEMA)


def _row(record: AttemptRecord) -> dict[str, Any]:
    values = {name: storable(getattr(record, name)) for name in FIELDS}
    values["stage_seconds"] = list(record.stage_seconds.items())
    identity = {"attempt_id": record.attempt_id, PARTITION: record.month}
    return {"format_version": FORMAT_VERSION, **identity, **values}


def _record(row: Mapping[str, Any]) -> AttemptRecord:
    values: dict[str, Any] = {name: row[name] for name in FIELDS}
    values["stage_seconds"] = dict(row["stage_seconds"])
    try:
        return AttemptRecord(**values)
    except ValueError as error:
        raise ManifestInvalid(
            f"The ledger has a record of window {str(row['window'])[:40]!r} that no attempt "
            f"leaves: {error}.",
            next_step="Restore the folder from a backup, or move it away to begin a new one.",
        ) from error


def _one_per_attempt(rows: pa.Table) -> pa.Table:
    counts = rows.group_by("attempt_id").aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))["attempt_id"]
    several = pc.is_in(rows["attempt_id"], value_set=repeated.combine_chunks())
    records: dict[str, list[AttemptRecord]] = {}
    for record in map(_record, rows.filter(several).to_pylist()):
        records.setdefault(record.attempt_id, []).append(record)
    once = _table(merged(each) for each in records.values())
    return pa.concat_tables([rows.filter(pc.invert(several)), once])
