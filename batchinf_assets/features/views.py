"""The views that feature SQL sees: cut so that nothing known later than its time is in them.

Outcomes end at the window's start. An `as_of` reference holds, per source row, the one row that was
known at that row's time. What is not in a view cannot leak: the SQL reaches nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.query import query, quoted, refusal_text
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.snapshots.freeze import require_passed
from batchinf_assets.snapshots.known import known_values
from batchinf_assets.snapshots.landing import LandedFile, Landing
from batchinf_assets.spec.contract import LimitsSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.source import AsOfSpec, OutcomesSpec, ReferenceSpec
from batchinf_assets.windows import Window

SHOWN_COLUMNS = 3
"""So many columns name a reference or outcome row in a check's samples."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """What feature SQL may read for one window.

    Attributes:
        tables: Rows by view name: `snapshot`, `outcomes`, and each reference.
        files: The landed files behind them, the snapshot's apart.
        absent: Outcome files that had not landed; their rows are simply not known yet.
        known: What references hold, by the feature that must be in it.
    """

    tables: dict[str, pa.Table]
    files: tuple[FileRecord, ...]
    absent: tuple[str, ...]
    known: dict[str, pa.Array] = field(default_factory=dict[str, pa.Array])


def build_views(landing: Landing, spec: PipelineSpec, window: Window, rows: pa.Table) -> Views:
    """Build the views of one window.

    Args:
        landing: Where reference data and outcomes land.
        spec: The pipeline.
        window: The window to make features for.
        rows: Its frozen source rows.

    Raises:
        LandedFileMissing: A reference has not landed.
        WindowRefused: A reference or outcome file breaks its declared columns.
    """
    tables = {"snapshot": rows}
    files: list[FileRecord] = []
    absent: list[str] = []
    for name, reference in spec.references.items():
        landed = landing.read(reference.file, limits=spec.source.limits, columns=reference.columns)
        files.append(landed.record)
        known = _declared(spec, landed, reference, window)
        _require_values(spec, known, reference, reference.file, window)
        tables[name] = _reference_view(spec, reference, known, rows)
    if spec.outcomes:
        history = spec.window.before(window, spec.outcomes.history)
        found = list(_outcome_files(landing, spec.outcomes, history, spec.source.limits))
        files.extend(file.record for file in found)
        absent.extend(_not_landed(landing, spec.outcomes, history))
        tables["outcomes"] = _known_before(spec, spec.outcomes, found, window)
    known = known_values(landing, spec, spec.features.columns, window, asset="features")
    return Views(tables=tables, files=tuple(files), absent=tuple(absent), known=known)


def _outcome_files(
    landing: Landing, outcomes: OutcomesSpec, history: list[Window], limits: LimitsSpec
) -> Iterator[LandedFile]:
    for earlier in history:
        if exists(landing.path(outcomes.files, earlier)):
            yield landing.read(outcomes.files, earlier, limits=limits, columns=outcomes.columns)


def _not_landed(landing: Landing, outcomes: OutcomesSpec, history: list[Window]) -> Iterator[str]:
    for earlier in history:
        if not exists(landing.path(outcomes.files, earlier)):
            yield outcomes.files.replace("{window}", earlier.key)


def _known_before(
    spec: PipelineSpec, outcomes: OutcomesSpec, found: list[LandedFile], window: Window
) -> pa.Table:
    empty = arrow_schema(outcomes.columns).empty_table()
    rows = pa.concat_tables([empty, *(_declared(spec, file, outcomes, window) for file in found)])
    _require_values(spec, rows, outcomes, "outcomes", window)
    start = pa.scalar(window.start, pa.timestamp("us", tz="UTC"))
    return rows.filter(pc.less(rows.column(outcomes.known_at), start))


def _declared(
    spec: PipelineSpec, landed: LandedFile, declared: OutcomesSpec | ReferenceSpec, window: Window
) -> pa.Table:
    name = landed.record.path
    schema = check_columns(landed.rows, declared.columns, asset="features", accept=ANY_LAYOUT)
    require_passed([schema], spec.name, window, part=name, source=name)
    return conform(landed.rows, declared.columns)


def _require_values(
    spec: PipelineSpec,
    rows: pa.Table,
    declared: OutcomesSpec | ReferenceSpec,
    name: str,
    window: Window,
) -> None:
    key = list(declared.columns)[:SHOWN_COLUMNS]
    values = check_values(rows, declared.columns, key=key, asset="features")
    require_passed([values], spec.name, window, part=name, source=name)


def _reference_view(
    spec: PipelineSpec, reference: ReferenceSpec, rows: pa.Table, snapshot: pa.Table
) -> pa.Table:
    if reference.as_of is None:
        return rows
    try:
        return query(
            as_of_sql(spec, reference, reference.as_of),
            {"snapshot": snapshot, "reference": rows},
            {"lag": reference.as_of.lag, "max_age": reference.as_of.max_age},
        )
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"{spec.name}, as_of of {reference.file}: {refusal_text(error)}.",
            next_step="Correct `as_of` in defs.yaml: matched columns must have equal types.",
        ) from error


def as_of_sql(spec: PipelineSpec, reference: ReferenceSpec, as_of: AsOfSpec) -> str:
    """Write the query that gives each source row the last reference row known at its time."""
    key = ", ".join(f"s.{quoted(name)}" for name in spec.source.key)
    own = [name for name in reference.columns if name not in spec.source.key]
    columns = ", ".join(f"r.{quoted(name)}" for name in own)
    matched = [f"s.{quoted(name)} = r.{quoted(name)}" for name in as_of.match]
    time = f"s.{quoted(spec.source.time)}"
    known = f"{time} - CAST($lag AS INTERVAL) >= r.{quoted(as_of.time)}"
    return f"""
        SELECT {key}, {columns}
        FROM snapshot AS s
        ASOF JOIN reference AS r ON {" AND ".join([*matched, known])}
        WHERE $max_age IS NULL OR {time} - r.{quoted(as_of.time)} <= CAST($max_age AS INTERVAL)
    """  # noqa: S608 - every name is quoted
