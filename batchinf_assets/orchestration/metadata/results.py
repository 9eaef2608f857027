"""Results of the layers below as Dagster metadata, under the names that its UI knows.

What was evaluated is in `evaluations`, models are in `models`.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from batchinf_assets.checks import CheckResult
from batchinf_assets.features.lineage import column_lineage
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.snapshots.quarantine import quarantine_table
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Metadata = dict[str, dg.MetadataValue]


def table_metadata(rows: int, folder: Place, columns: Mapping[str, ColumnSpec]) -> Metadata:
    """Describe a window of a table: row count, place, columns."""
    return {
        "dagster/row_count": dg.MetadataValue.int(rows),
        "dagster/uri": dg.MetadataValue.text(folder.as_uri()),
        "dagster/column_schema": dg.MetadataValue.table_schema(column_schema(columns)),
    }


def quarantine_metadata(
    project: Project, spec: PipelineSpec, window: Window, quarantined: int
) -> Metadata:
    """Say how many rows an asset set aside and where the reasons lie; nothing if none can be."""
    if spec.source.quarantine is None and spec.features.quarantine is None:
        return {}
    folder = quarantine_table(project, spec).folder_of(window)
    return {
        "quarantined": dg.MetadataValue.int(quarantined),
        "quarantine": dg.MetadataValue.path(str(folder)),
    }


def column_schema(columns: Mapping[str, ColumnSpec]) -> dg.TableSchema:
    """Show declared columns with their rules."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, other=_rules(column)
                ),
            )
            for name, column in columns.items()
        ]
    )


def lineage_metadata(pipeline: Pipeline) -> Metadata:
    """Show which landed or frozen columns each feature comes from."""
    deps = {
        column: [
            dg.TableColumnDep(asset_key=view_key(pipeline, origin.view), column_name=origin.column)
            for origin in origins
        ]
        for column, origins in column_lineage(pipeline).items()
    }
    lineage = dg.TableColumnLineage(deps_by_column=deps)
    return {"dagster/column_lineage": dg.MetadataValue.column_lineage(lineage)}


def view_key(pipeline: Pipeline, view: str) -> dg.AssetKey:
    """Return the asset behind a view of the feature SQL."""
    folder = [] if view == "snapshot" else ["landing"]
    return dg.AssetKey([pipeline.name, *folder, view])


def check_metadata(check: CheckResult) -> Metadata:
    """Show what a check measured and, rule by rule, what it found broken.

    Everything is text to Dagster's UI, so markup in a key or value is shown as it is written.
    """
    shown: Metadata = {
        name: dg.MetadataValue.text(value) if isinstance(value, str) else figure(value)
        for name, value in check.measured.items()
    }
    if check.violations:
        shown["violations"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "column": violation.column or "(rows)",
                        "rule": violation.rule,
                        "found": violation.found or "",
                        "count": violation.count,
                        "samples": "\n".join(violation.samples),
                    }
                )
                for violation in check.violations
            ]
        )
    return shown


def figure(value: float | int | None) -> dg.MetadataValue:
    """Show a number so that Dagster plots it over windows."""
    if value is None:
        return dg.MetadataValue.text("undefined")
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _rules(column: ColumnSpec) -> list[str]:
    bounds = {"at least": column.min, "at most": column.max}
    rules = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
    return [*rules, f"one of {', '.join(column.allowed)}"] if column.allowed else rules
