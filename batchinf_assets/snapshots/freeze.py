"""Freeze the source rows of a window: read what landed, check it, commit it with its digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.checks import CheckResult, blocking_failures, summarize
from batchinf_assets.contracts.in_window import check_in_window
from batchinf_assets.contracts.validate import (
    check_columns,
    check_unique_key,
    check_values,
    conform,
)
from batchinf_assets.errors import WindowMissing, WindowRefused
from batchinf_assets.lake.digest import content_digest, sort_by
from batchinf_assets.lake.files import read_described, read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest import FileRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "snapshot"


class SnapshotFooter(BaseModel):
    """What a snapshot's file says of itself: its record and the checks it passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    record: SnapshotRecord
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A window's frozen source rows.

    Attributes:
        record: Digest, row count and the landed file.
        checks: What was checked before they were frozen.
        path: The file that holds them, sorted by key.
    """

    record: SnapshotRecord
    checks: tuple[CheckResult, ...]
    path: Place

    @property
    def rows(self) -> pa.Table:
        """The rows; the whole window is read."""
        return read_parquet(self.path)


def snapshot_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's snapshot table."""
    return WindowTable(project.lake / spec.name / ASSET, arrow_schema(spec.source.columns))


def landing_of(project: Project) -> Landing:
    """Return the project's landing folder."""
    return Landing(project.landing, project.shown(project.landing))


def freeze_snapshot(project: Project, spec: PipelineSpec, window: Window) -> Snapshot:
    """Freeze what landed for a window; a no-op where the same rows are frozen already.

    Raises:
        LandedFileMissing: The source file has not landed.
        LandedFileUnreadable: It is empty, truncated or corrupt.
        WindowRefused: Its columns or rows break the contract; nothing was written.
    """
    source, rows, checks = read_source(project, spec, window)
    digest = content_digest(rows, spec.source.key)
    record = SnapshotRecord(digest=digest, rows=rows.num_rows, source=source)
    table = snapshot_table(project, spec)
    footer = SnapshotFooter(record=record, checks=checks)
    path = table.keep(window, digest[:16], rows, footer.model_dump(mode="json"))
    return Snapshot(record=record, checks=checks, path=path)


def read_source(
    project: Project, spec: PipelineSpec, window: Window
) -> tuple[FileRecord, pa.Table, tuple[CheckResult, ...]]:
    """Read and check the landed rows of a window.

    Returns:
        The landed file, its rows as declared and sorted by key, and the checks they passed.

    Raises:
        LandedFileMissing: The source file has not landed.
        LandedFileUnreadable: It is empty, truncated or corrupt.
        WindowRefused: Its columns or rows break the contract.
    """
    landed = landing_of(project).read(spec.source.files, window)
    columns, key = spec.source.columns, spec.source.key
    schema = check_columns(landed.rows, columns, asset=ASSET)
    require_passed([schema], landed.record.path, window)
    rows = sort_by(conform(landed.rows, columns), key)
    checks = (
        schema,
        check_values(rows, columns, key=key, asset=ASSET),
        check_unique_key(rows, key=key, asset=ASSET),
        check_in_window(rows, time=spec.source.time, window=window, key=key, asset=ASSET),
    )
    require_passed(checks, landed.record.path, window)
    return landed.record, rows, checks


def load_snapshot(project: Project, spec: PipelineSpec, window: Window) -> Snapshot:
    """Read the frozen rows of a window.

    Raises:
        WindowMissing: The window was never frozen.
    """
    files = snapshot_table(project, spec).files_of(window)
    if not files:
        raise WindowMissing(
            f"Window {window} of {spec.name} has no snapshot.",
            next_step=f"Materialize {spec.name}/snapshot for {window} first.",
        )
    footer = read_described(files[0], SnapshotFooter)
    return Snapshot(record=footer.record, checks=footer.checks, path=files[0])


def frozen_rows(project: Project, spec: PipelineSpec, window: Window, digest: str) -> RowGroups:
    """Return the rows of a snapshot by its digest, also after a newer one took its place."""
    return RowGroups(snapshot_table(project, spec).path(window, digest[:16]))


def frozen_source(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the SHA-256 of the landed file behind a window's snapshot, if it has one."""
    files = snapshot_table(project, spec).files_of(window)
    if not files:
        return None
    return read_described(files[0], SnapshotFooter).record.source.sha256


def require_passed(checks: Iterable[CheckResult], name: str, window: Window) -> None:
    """Stop a window whose blocking checks failed.

    Raises:
        WindowRefused: At least one did; carries all checks.
    """
    every = tuple(checks)
    failures = blocking_failures(every)
    if failures:
        raise WindowRefused(
            f"{name} of window {window} is refused: {summarize(failures)}.",
            next_step="Correct the data or its declaration in defs.yaml and run the window again.",
            checks=every,
        )
