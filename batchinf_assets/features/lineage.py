"""Which columns each feature comes from, read off the SQL itself by sqlglot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


@dataclass(frozen=True, kw_only=True, order=True)
class Origin:
    """A column of one of the views that feature SQL reads."""

    view: str
    column: str


def column_lineage(pipeline: Pipeline) -> dict[str, tuple[Origin, ...]]:
    """Trace every column of the features table to the view columns it is computed from.

    Raises:
        FeatureSqlFailed: The SQL cannot be parsed or lacks a declared column.
    """
    name = f"{pipeline.name}/{pipeline.spec.features.sql}"
    views = view_columns(pipeline.spec)
    try:
        roots = _roots(
            pipeline.features_sql, tuple((view, tuple(own.items())) for view, own in views.items())
        )
    except (SqlglotError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise FeatureSqlFailed(
            f"{name}: no lineage of its columns: {reason}.",
            next_step="Correct it there; it is one SELECT with a name for every column, over "
            f"{', '.join(sorted(views))}.",
        ) from error
    for column in pipeline.spec.feature_table:
        if column not in roots:
            raise FeatureSqlFailed(
                f"{name}: no lineage of '{column}': the SELECT names no such column.",
                next_step="Name every declared column in the SELECT.",
            )
    return {column: _origins(roots[column]) for column in pipeline.spec.feature_table}


@lru_cache(maxsize=64)
def _roots(sql: str, views: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]) -> dict[str, Node]:
    schema = {view: dict(columns) for view, columns in views}
    return dict(lineage(None, sql, schema=schema, dialect="duckdb"))


def view_columns(spec: PipelineSpec) -> dict[str, dict[str, str]]:
    """Return the column types of every view, by view name."""
    views = {"snapshot": {name: column.type for name, column in spec.source.columns.items()}}
    for name, reference in spec.references.items():
        key = spec.key_columns if reference.as_of else {}
        columns = {**key, **reference.columns}
        views[name] = {column: declared.type for column, declared in columns.items()}
    if spec.outcomes:
        views["outcomes"] = {name: column.type for name, column in spec.outcomes.columns.items()}
    return views


def _origins(root: Node) -> tuple[Origin, ...]:
    leaves = (node for node in root.walk() if isinstance(node.expression, exp.Table))
    origins = {Origin(view=leaf.expression.name, column=_column(leaf.name)) for leaf in leaves}
    return tuple(sorted(origins))


def _column(qualified: str) -> str:
    return qualified.split(".")[-1].strip('"')
