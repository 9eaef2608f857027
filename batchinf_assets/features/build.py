"""Make the feature rows of a window: run the pipeline's SQL over its views, check, commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.checks import SAMPLE_KEYS, CheckResult, Violation, merge_checks
from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.table_rules import check_table_rules
from batchinf_assets.contracts.validate import check_same_keys, check_unique_key
from batchinf_assets.errors import FeatureSqlFailed, WindowMissing
from batchinf_assets.features.views import Views, build_views
from batchinf_assets.lake.digest import (
    canonical_json,
    content_digest,
    json_sha256,
    sort_by,
)
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import read_described, read_parquet, write_bytes
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.query import query, refusal_text
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest.inputs import FeaturesRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import landing_of, load_snapshot, require_passed
from batchinf_assets.snapshots.quarantine import SetAside, keep_features_lines
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
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


@dataclass(frozen=True, kw_only=True)
class JudgedFeatures:
    """What the feature SQL gave, judged.

    Attributes:
        rows: Key and features of the rows that go on, sorted by key.
        set_aside: Those that do not; their places are those in the snapshot.
        checks: What was checked; no blocking check failed.
    """

    rows: pa.Table
    set_aside: SetAside
    checks: tuple[CheckResult, ...]


def features_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's features table."""
    return WindowTable(project.lake / spec.name / ASSET, arrow_schema(spec.feature_table))


def feature_definition(pipeline: Pipeline) -> str:
    """Digest everything declared that decides the features: SQL, columns, views."""
    return json_sha256(_definition(pipeline))


def features_contract(spec: PipelineSpec) -> str:
    """Digest everything declared of the features that decides which rows are scored."""
    declared = spec.features.model_dump(
        mode="json",
        exclude={
            "sql": True,
            "columns": {"__all__": {"description", "drift"}},
            "rules": {"__all__": {"description"}},
        },
    )
    return json_sha256(declared)


def definition_place(project: Project, spec: PipelineSpec, digest: str) -> Place:
    """Return where the definition of this digest is kept, for whoever asks what made a feature."""
    return project.lake / spec.name / "_definitions" / f"{digest}.json"


def _keep_definition(project: Project, pipeline: Pipeline, digest: str) -> None:
    place = definition_place(project, pipeline.spec, digest)
    if not is_file(place):
        write_bytes(place, canonical_json(_definition(pipeline)))


def _definition(pipeline: Pipeline) -> dict[str, object]:
    """Of the source only what SQL can see of it: rules about its values are its contract's."""
    declared = pipeline.spec.model_dump(
        mode="json",
        include={
            "source": {"key": True, "time": True, "columns": {"__all__": {"type", "nullable"}}},
            "outcomes": True,
            "references": True,
        },
    )
    columns = {name: column.type for name, column in pipeline.spec.features.columns.items()}
    return {"sql": pipeline.features_sql, "columns": columns, **declared}


def build_features(project: Project, pipeline: Pipeline, window: Window) -> Features:
    """Make and commit the feature rows of a window; a no-op where they are there already.

    Raises:
        WindowMissing: The window has no snapshot, or the quarantine lacks what that set aside.
        LandedFileMissing: A reference has not landed.
        FeatureSqlFailed: DuckDB refused the SQL.
        WindowRefused: The rows break the contract; nothing was written.
    """
    spec = pipeline.spec
    snapshot = load_snapshot(project, spec, window)
    views = build_views(landing_of(project), spec, window, snapshot.rows)
    made = compute_features(pipeline, window, views)
    record = FeaturesRecord(
        digest=content_digest(made.rows, spec.source.key),
        rows=made.rows.num_rows,
        definition=feature_definition(pipeline),
        contract=features_contract(spec),
        quarantined=made.set_aside.count,
        rejected=made.set_aside.digest,
        row_group_rows=row_group_rows(spec.shard_rows),
        references=views.files,
        absent=views.absent,
    )
    _keep_definition(project, pipeline, record.definition)
    footer = FeaturesFooter(record=record, snapshot=snapshot.record.digest, checks=made.checks)
    keep_features_lines(project, spec, window, snapshot.record, made.set_aside, record.digest)
    path = features_table(project, spec).keep(
        window,
        _file_name(record, footer.snapshot),
        made.rows,
        footer.model_dump(mode="json"),
        row_group_rows=row_group_rows(spec.shard_rows),
        scan=True,
    )
    return _described(footer, path)


def compute_features(pipeline: Pipeline, window: Window, views: Views) -> JudgedFeatures:
    """Run the feature SQL and judge what comes out.

    Raises:
        FeatureSqlFailed: DuckDB refused the SQL.
        WindowRefused: A declared column is missing or mistyped, or rows break the contract.
    """
    spec, key = pipeline.spec, pipeline.spec.source.key
    rows, schema = feature_rows(pipeline, window, views)
    judged = judge_rows(rows, _row_contract(spec), known=views.known)
    set_aside = SetAside.of(ASSET, judged.rejected)
    counts = {"rows_out": judged.accepted.num_rows, "quarantined": set_aside.count}
    checks = merge_checks(  # rows and table have their warnings in common
        (
            schema,
            *judged.checks,
            check_unique_key(judged.accepted, key=key, asset=ASSET),
            _check_conservation(views.tables["snapshot"], rows, counts, key),
            *check_table_rules(judged.accepted, spec.features.rules, asset=ASSET),
            _check_inputs(views),
        )
    )
    require_passed(checks, spec.name, window, source=_sql_name(spec))
    return JudgedFeatures(rows=judged.accepted, set_aside=set_aside, checks=tuple(checks))


def feature_rows(pipeline: Pipeline, window: Window, views: Views) -> tuple[pa.Table, CheckResult]:
    """Run the feature SQL; what the rows hold is not judged.

    Returns:
        Key and features, sorted by key, and the check of their columns.

    Raises:
        FeatureSqlFailed: DuckDB refused the SQL.
        WindowRefused: A declared column is missing or mistyped.
    """
    spec = pipeline.spec
    try:
        found = query(pipeline.features_sql, views.tables)
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"{_sql_name(spec)} of window {window}: {refusal_text(error)}.",
            next_step=f"It may read only {', '.join(sorted(views.tables))}.",
        ) from error
    schema = check_columns(found, spec.feature_table, asset=ASSET, accept=ANY_LAYOUT)
    require_passed([schema], spec.name, window, source=_sql_name(spec))
    return sort_by(conform(found, spec.feature_table), spec.source.key), schema


def _sql_name(spec: PipelineSpec) -> str:
    return f"{spec.name}/{spec.features.sql}"


def _row_contract(spec: PipelineSpec) -> RowContract:
    return RowContract(
        asset=ASSET,
        columns=spec.feature_table,
        key=spec.source.key,
        rules=spec.features.rules,
        quarantine=spec.features.quarantine,
    )


def _check_conservation(
    snapshot: pa.Table, made: pa.Table, counts: Mapping[str, int], key: Sequence[str]
) -> CheckResult:
    """Check that each row of the snapshot has features, those included that were set aside."""
    check = check_same_keys(snapshot, made, key=key, asset=ASSET)
    return replace(check, measured={"rows_in": snapshot.num_rows, **counts})


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
    # What a record did not know in earlier versions is left out: so their files keep their names.
    return json_sha256([record.model_dump(mode="json", exclude_defaults=True), snapshot])[:16]


def _described(footer: FeaturesFooter, path: Place) -> Features:
    return Features(record=footer.record, snapshot=footer.snapshot, checks=footer.checks, path=path)
