"""Upkeep of Delta tables: the ledger's many small files, and checkpoints of every log.

Only the ledger is compacted. A manifest names the files of the other tables by their bytes, so
those are never written anew. The commits of a log stay, too: they say what was published when.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError

from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3_access import failed_on_the_way, storage_failure
from batchinf_assets.lake.table_commits import LAST_CHECKPOINT, LOG
from batchinf_assets.lake.table_log import CHECKPOINT_COMMITS, has_log, open_table, write_checkpoint
from batchinf_assets.project import Project
from batchinf_assets.publishing.stored_files import TABLES, all_files, is_temporary, pipeline_folder
from batchinf_assets.publishing.upkeep.unneeded import Removal, removal
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import PARTITION, Ledger

SMALL_FILES = 8
"""Small files of a month from which on they are put together."""

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class TableTask:
    """Something to do to a Delta table that changes none of its rows.

    Attributes:
        what: `compact` puts small files together, `checkpoint` sums up the log.
        table: The table's folder.
        partition: Which files to compact: those of this partition value.
        why: Why.
    """

    what: Literal["compact", "checkpoint"]
    table: Place
    partition: str | None = None
    why: str


def plan_tables(project: Project, spec: PipelineSpec) -> Iterator[TableTask]:
    """Yield what the tables of a pipeline and the ledger need.

    Raises:
        ManifestInvalid: A log is damaged.
        StorageUnavailable: The store does not answer.
    """
    ledger = Ledger(project.lake).place
    yield from _compactions(ledger, spec.retention.compact_below_mb * MEGABYTE)
    for table in (*(pipeline_folder(project, spec) / name for name in TABLES), ledger):
        commits = _commits_since_checkpoint(table)
        if commits >= CHECKPOINT_COMMITS:
            why = f"{commits} commits since the last checkpoint"
            yield TableTask(what="checkpoint", table=table, why=why)


def run_task(spec: PipelineSpec, task: TableTask) -> None:
    """Do something to a table.

    Raises:
        LostRace: Another process changed the table meanwhile.
        ManifestInvalid: The table is damaged.
        StorageUnavailable: The store does not answer.
    """
    with _named(task.table):
        if task.what == "checkpoint":
            write_checkpoint(task.table)
        else:
            open_table(task.table).optimize.compact(
                partition_filters=[(PARTITION, "=", str(task.partition))],
                target_size=spec.retention.compact_below_mb * MEGABYTE,
            )


def unused_files(project: Project, spec: PipelineSpec, now: datetime) -> Iterator[Removal]:
    """Yield the files of the ledger's folder that the ledger has not named for `staging_days`.

    A file that was put together with others stays that long for whoever reads it.

    Raises:
        ManifestInvalid: The log is damaged.
        StorageUnavailable: The store does not answer.
    """
    folder, days = Ledger(project.lake).place, spec.retention.staging_days
    for place in all_files(folder):
        if is_temporary(place, folder):
            for found in removal("temporary file", place, "its write did not end"):
                if (now - found.written_at).days >= days:
                    yield found
    if not _is_made(folder):
        return
    with _named(folder):
        unused = open_table(folder).vacuum(
            retention_hours=24 * days, dry_run=True, enforce_retention_duration=False, full=True
        )
    for path in sorted(unused):
        if not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts:
            yield from removal("file", folder / path, "the ledger no longer names it")


def _compactions(ledger: Place, below: int) -> Iterator[TableTask]:
    if not _is_made(ledger):
        return
    with _named(ledger):
        actions = pa.table(open_table(ledger).get_add_actions(flatten=True))
    small: dict[str, int] = {}
    sizes = actions.column("size_bytes").to_pylist()
    for month, size in zip(
        actions.column(f"partition.{PARTITION}").to_pylist(), sizes, strict=True
    ):
        small[month] = small.get(month, 0) + (size < below)
    for month, files in sorted(small.items()):
        if files >= SMALL_FILES:
            why = f"{files} files below {below // MEGABYTE} MB"
            yield TableTask(what="compact", table=ledger, partition=month, why=why)


def _commits_since_checkpoint(table: Place) -> int:
    if not _is_made(table):
        return 0
    with _named(table):
        version = open_table(table).version()
    try:
        last = json.loads((table / LOG / LAST_CHECKPOINT).read_bytes())["version"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return version + 1
    return version - int(last)


def _is_made(table: Place) -> bool:
    """Who makes a table may die before the first commit."""
    return has_log(table) and next(entries(table / LOG, "*.json"), None) is not None


@contextmanager
def _named(table: Place) -> Generator[None]:
    try:
        yield
    except CommitFailedError as error:
        raise LostRace(
            f"Another process changed table {table.name} meanwhile.",
            next_step="Nothing was changed; the next maintenance tries again.",
        ) from error
    except (DeltaError, OSError) as error:
        if not isinstance(table, Path) and failed_on_the_way(error):
            raise storage_failure(table, error) from error
        if isinstance(error, OSError):
            raise
        raise ManifestInvalid(
            f"Table {table} cannot be kept up: {str(error).splitlines()[0].rstrip('.')}.",
            next_step="Restore the folder from a backup; no file was touched.",
        ) from error
