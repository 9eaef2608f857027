"""The source rows of a window: read what landed, and judge it by the declared contract.

What passes is frozen by `snapshots.freeze`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa

from batchinf_assets.checks import CheckResult, merge_checks
from batchinf_assets.contracts.columns import check_columns, check_new_columns, conform
from batchinf_assets.contracts.in_window import IN_WINDOW, check_empty_window
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.nullability import Nullability
from batchinf_assets.contracts.passed import require_passed
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.table_rules import (
    check_freshness,
    check_table_rules,
    check_volume,
)
from batchinf_assets.contracts.validate import check_unique_key
from batchinf_assets.contracts.verdict import Judged
from batchinf_assets.lake.digest import json_sha256, sort_by
from batchinf_assets.lake.order import is_strictly_ascending
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.earlier import Earlier, EarlierWhenNeeded
from batchinf_assets.snapshots.known import known_values
from batchinf_assets.snapshots.landing import LandedFile, Landing
from batchinf_assets.snapshots.parts import is_folder_of_parts, newest_rows, source_record
from batchinf_assets.snapshots.quarantine import SetAside
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "snapshot"


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """What landed for a window, judged.

    Attributes:
        source: The landed file.
        landed: Its rows; of several files those that no later file replaces.
        required: Declared columns that the file calls required, of several files those that each
            does; None where their format cannot say.
        rows: Those that go on, as declared and sorted by key.
        set_aside: Those that do not.
        checks: What was checked; no blocking check failed.
    """

    source: FileRecord
    landed: int
    required: frozenset[str] | None
    rows: pa.Table
    set_aside: SetAside
    checks: tuple[CheckResult, ...]


def landing_of(project: Project) -> Landing:
    """Return the project's landing folder."""
    return Landing(project.landing, project.shown(project.landing))


def source_contract(spec: PipelineSpec) -> str:
    """Digest everything declared of the source that decides which of its rows are frozen.

    Limits, accepted changes, what an empty file means and which windows it is compared with decide
    whether a file is taken, not which of its rows count.
    """
    declared = spec.source.model_dump(
        mode="json",
        exclude={
            "files": True,
            "empty": True,
            "late": True,
            "complete": True,
            "limits": True,
            "volume": {"alike"},
            "accept": True,
            "columns": {"__all__": {"description"}},
            "rules": {"__all__": {"description"}},
        },
    )
    return json_sha256(declared)


def read_source(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    *,
    earlier: EarlierWhenNeeded | None = None,
) -> SourceRows:
    """Read and judge the landed rows of a window.

    Args:
        project: Where they landed.
        spec: The pipeline.
        window: The window.
        earlier: What earlier windows held; without it volume and nullability are not judged.

    Raises:
        LandedFileMissing: The source file, or a reference that it is held against, has not landed.
        LandedFileUnreadable: One of them is empty, truncated or corrupt.
        WindowRefused: Its columns or rows break the contract; carries every check.
    """
    parts = landing_of(project).read_parts(
        spec.source.files, window, limits=spec.source.limits, columns=spec.source.columns
    )
    known = earlier() if earlier else None
    return judge_source(project, spec, window, parts, earlier=known)


def judge_source(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    parts: Sequence[LandedFile],
    *,
    earlier: Earlier | None = None,
) -> SourceRows:
    """Judge the rows of landed files, wherever they lie, as the snapshot step does.

    Args:
        project: Where references landed.
        spec: The pipeline.
        window: The window that the rows are for.
        parts: The file, or the files that are read as one.
        earlier: What earlier windows held; without it volume and nullability are not judged.

    Raises:
        LandedFileMissing: A reference that rows are held against has not landed.
        WindowRefused: The rows break the contract; carries every check.
    """
    columns, key = spec.source.columns, spec.source.key
    layout = [check for part in parts for check in _check_layout(spec, window, part, earlier)]
    rows = newest_rows([conform(part.rows, columns) for part in parts], key)
    source = source_record(
        spec.source.files.replace("{window}", window.key), [part.record for part in parts]
    )
    judged = judge_rows(
        _in_order(rows, key),
        _row_contract(spec),
        known=known_values(landing_of(project), spec, columns, window, asset=ASSET),
        window=window,
    )
    checks = merge_checks(  # rows and table have their warnings in common
        (
            *layout,
            *_judged_as_declared(spec, judged, landed=rows.num_rows),
            check_unique_key(judged.accepted, key=key, asset=ASSET),
            *_check_table(spec, window, judged.accepted, earlier.rows if earlier else None),
        )
    )
    require_passed(checks, spec.name, window, source=source.path)
    return SourceRows(
        source=source,
        landed=rows.num_rows,
        required=_required_of_all(parts, columns),
        rows=judged.accepted,
        set_aside=SetAside.of(ASSET, judged.rejected),
        checks=tuple(checks),
    )


def _judged_as_declared(spec: PipelineSpec, judged: Judged, *, landed: int) -> list[CheckResult]:
    """Where a file landed without rows, that is judged by what is declared of it."""
    if landed:
        return list(judged.checks)
    empty = check_empty_window(ASSET, published=spec.source.empty == "publish")
    return [empty if check.name == IN_WINDOW else check for check in judged.checks]


def _required_of_all(parts: Sequence[LandedFile], columns: Container[str]) -> frozenset[str] | None:
    said = [part.required(columns) for part in parts]
    known = [each for each in said if each is not None]
    return frozenset.intersection(*known) if len(known) == len(said) else None


def _check_layout(
    spec: PipelineSpec, window: Window, part: LandedFile, earlier: Earlier | None
) -> list[CheckResult]:
    source, name = spec.source, part.record.path
    nullability = None
    if earlier is not None:
        required = part.required(source.columns)
        nullability = Nullability(required=required, before=earlier.required)
    layout = [
        check_columns(
            part.rows, source.columns, asset=ASSET, accept=source.accept, nullability=nullability
        ),
        check_new_columns(part.rows, source.columns, asset=ASSET),
    ]
    several = is_folder_of_parts(PurePath(source.files))
    require_passed(layout, spec.name, window, source=name, part=name if several else None)
    return layout


def _check_table(
    spec: PipelineSpec, window: Window, rows: pa.Table, before: Sequence[int] | None
) -> Iterator[CheckResult]:
    """Check what is about the whole table, as far as it is declared."""
    source = spec.source
    if source.volume is not None and before is not None:
        yield check_volume(rows.num_rows, before, source.volume, asset=ASSET)
    if source.freshness is not None:
        yield check_freshness(rows, source.freshness, window, asset=ASSET)
    yield from check_table_rules(rows, source.rules, asset=ASSET)


def _row_contract(spec: PipelineSpec) -> RowContract:
    source = spec.source
    return RowContract(
        asset=ASSET,
        columns=source.columns,
        key=source.key,
        rules=source.rules,
        quarantine=source.quarantine,
        time=source.time,
    )


def _in_order(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Sort by key; rows of equal or missing keys by all they hold, so that the file does not count.

    Where a row stands is how the quarantine names it.
    """
    ordered = sort_by(rows, key)
    if is_strictly_ascending(ordered.select(list(key))):
        return ordered
    return sort_by(ordered, [*key, *(name for name in rows.column_names if name not in key)])
