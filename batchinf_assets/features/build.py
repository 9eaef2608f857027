"""Make the feature rows of a window: run the pipeline's SQL over its views, check, commit."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.checks import SAMPLE_KEYS, CheckResult, Violation
from batchinf_assets.contracts.validate import (
    check_columns,
    check_same_keys,
    check_unique_key,
    check_values,
    conform,
)
from batchinf_assets.errors import FeatureSqlFailed, WindowMissing
from batchinf_assets.features.views import Views, build_views
from batchinf_assets.lake.digest import (
    canonical_json,
    content_digest,
    json_sha256,
    sort_by,
)
from batchinf_assets.lake.files import read_described, read_parquet, write_bytes
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.query import query
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest import FeaturesRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import landing_of, load_snapshot, require_passed
from batchinf_assets.spec import Pipeline, PipelineSpec
from batchinf_assets.windows import Window

ASSET = "features"


class FeaturesFooter(BaseModel):
    """What a features file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    record: FeaturesRecord
    snapshot: str
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True)
class Features:
    """A window's feature rows.

    Attributes:
        record: Digest, row count, definition and reference files.
        snapshot: Content digest of the snapshot that they were made from.
        checks: What was checked before they were committed.
        path: The file that holds them, sorted by key.
    """

    record: FeaturesRecord
    snapshot: str
    checks: tuple[CheckResult, ...]
    path: Place

    @property
    def rows(self) -> pa.Table:
        """Key and features; the whole window is read."""
        return read_parquet(self.path)

    @property
    def groups(self) -> RowGroups:
        """Key and features, row group by row group."""
        return RowGroups(self.path)


def features_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's features table."""
    return WindowTable(project.lake / spec.name / ASSET, arrow_schema(spec.feature_table))


def feature_definition(pipeline: Pipeline) -> str:
    """Digest everything declared that decides the features: SQL, columns, views."""
    return json_sha256(_definition(pipeline))


def definition_place(project: Project, spec: PipelineSpec, digest: str) -> Place:
    """Return where the definition of this digest is kept, for whoever asks what made a feature."""
    return project.lake / spec.name / "_definitions" / f"{digest}.json"


def _keep_definition(project: Project, pipeline: Pipeline, digest: str) -> None:
    place = definition_place(project, pipeline.spec, digest)
    if not place.is_file():
        write_bytes(place, canonical_json(_definition(pipeline)))


def _definition(pipeline: Pipeline) -> dict[str, object]:
    declared = pipeline.spec.model_dump(
        mode="json",
        include={"source": {"key", "time", "columns"}, "outcomes": True, "references": True},
    )
    columns = {name: column.type for name, column in pipeline.spec.features.columns.items()}
    return {"sql": pipeline.features_sql, "columns": columns, **declared}


def build_features(project: Project, pipeline: Pipeline, window: Window) -> Features:
    """Make and commit the feature rows of a window; a no-op where they are there already.

    Raises:
        WindowMissing: The window has no snapshot.
        LandedFileMissing: A reference has not landed.
        FeatureSqlFailed: DuckDB refused the SQL.
        WindowRefused: The rows break the contract; nothing was written.
    """
    spec = pipeline.spec
    snapshot = load_snapshot(project, spec, window)
    views = build_views(landing_of(project), spec, window, snapshot.rows)
    rows, checks = compute_features(pipeline, window, views)
    record = FeaturesRecord(
        digest=content_digest(rows, spec.source.key),
        rows=rows.num_rows,
        definition=feature_definition(pipeline),
        row_group_rows=row_group_rows(spec.shard_rows),
        references=views.files,
        absent=views.absent,
    )
    _keep_definition(project, pipeline, record.definition)
    footer = FeaturesFooter(record=record, snapshot=snapshot.record.digest, checks=checks)
    path = features_table(project, spec).keep(
        window,
        _file_name(record, footer.snapshot),
        rows,
        footer.model_dump(mode="json"),
        row_group_rows=row_group_rows(spec.shard_rows),
        scan=True,
    )
    return _described(footer, path)


def compute_features(
    pipeline: Pipeline, window: Window, views: Views
) -> tuple[pa.Table, tuple[CheckResult, ...]]:
    """Run the feature SQL and check what comes out.

    Returns:
        Key and features, sorted by key, and the checks they passed.

    Raises:
        FeatureSqlFailed: DuckDB refused the SQL.
        WindowRefused: A declared column is missing or mistyped, or a row breaks the contract.
    """
    spec, key = pipeline.spec, pipeline.spec.source.key
    name = f"{spec.name}/{spec.features.sql}"
    try:
        found = query(pipeline.features_sql, views.tables)
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"{name} of window {window}: {' '.join(str(error).split())}.",
            next_step=f"It may read only {', '.join(sorted(views.tables))}.",
        ) from error
    schema = check_columns(found, spec.feature_table, asset=ASSET)
    require_passed([schema], name, window)
    rows = sort_by(conform(found, spec.feature_table), key)
    checks = (
        schema,
        check_values(rows, spec.feature_table, key=key, asset=ASSET),
        check_unique_key(rows, key=key, asset=ASSET),
        check_same_keys(views.tables["snapshot"], rows, key=key, asset=ASSET),
        _check_inputs(views),
    )
    require_passed(checks, name, window)
    return rows, checks


def _check_inputs(views: Views) -> CheckResult:
    """Warn of outcomes that have not landed: features are made without them, and say so."""
    rule = f"made with every declared outcome file ({len(views.absent)} have not landed)"
    violation = Violation(column=None, rule=rule, samples=views.absent[:SAMPLE_KEYS])
    return CheckResult(
        name="inputs_present",
        asset=ASSET,
        passed=not views.absent,
        blocking=False,
        violations=(violation,) if views.absent else (),
        measured={"files": len(views.files), "absent": len(views.absent)},
    )


def load_features(project: Project, spec: PipelineSpec, window: Window) -> Features:
    """Read the feature rows of a window.

    Raises:
        WindowMissing: The window has none.
    """
    files = features_table(project, spec).files_of(window)
    if not files:
        raise WindowMissing(
            f"Window {window} of {spec.name} has no features.",
            next_step=f"Materialize {spec.name}/features for {window} first.",
        )
    footer = read_described(files[0], FeaturesFooter)
    return _described(footer, files[0])


def made_rows(
    project: Project, spec: PipelineSpec, window: Window, record: FeaturesRecord, snapshot: str
) -> RowGroups:
    """Return the feature rows that a manifest names, also after newer ones took their place.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        record: The features.
        snapshot: Digest of the snapshot that they were made from.
    """
    return RowGroups(features_table(project, spec).path(window, _file_name(record, snapshot)))


def _file_name(record: FeaturesRecord, snapshot: str) -> str:
    return json_sha256([record.model_dump(mode="json"), snapshot])[:16]


def _described(footer: FeaturesFooter, path: Place) -> Features:
    return Features(record=footer.record, snapshot=footer.snapshot, checks=footer.checks, path=path)
