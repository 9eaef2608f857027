"""Quality on the golden set: a fixed labelled sample that every revision's code scores again.

`evaluation.performance` holds the same metrics over outcomes that arrived later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.evaluation_spec import GoldenSpec
from batchinf_assets.lake.query import query, sql_beside
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec import PipelineSpec

BINARY_METRICS_SQL = sql_beside(__file__, "binary_metrics.sql")

LOG_LOSS_EPSILON = float(np.finfo(np.float64).eps)
"""What scikit-learn's `log_loss` keeps between a float64 probability and 0 or 1."""


@dataclass(frozen=True, kw_only=True)
class BinaryMetrics:
    """Quality of the scores of a binary label; an undefined figure is None, never 0.

    Attributes:
        rows: Scored rows.
        positives: Rows whose label is true.
        precision: Share of positives among rows with score >= decision; None if there are none.
        recall: Share of positives with score >= decision; None without positives.
        auroc: Chance that a positive scores above a negative, ties half; None with one class only.
        log_loss: Mean negative log likelihood in nats; None if a score is outside 0 to 1.
        brier: Mean squared distance of score and label; None if a score is outside 0 to 1.
    """

    rows: int
    positives: int
    precision: float | None
    recall: float | None
    auroc: float | None
    log_loss: float | None
    brier: float | None

    @property
    def figures(self) -> dict[str, float | None]:
        """The five quality figures by name."""
        counts = ("rows", "positives")
        return {name: value for name, value in asdict(self).items() if name not in counts}


def binary_metrics(
    labels: pa.Array | pa.ChunkedArray, scores: pa.Array | pa.ChunkedArray, *, decision: float
) -> BinaryMetrics:
    """Measure scores against labels, equal to scikit-learn's metrics to 1e-9.

    AUROC is the Mann-Whitney statistic with average ranks for ties (Hanley and McNeil 1982), the
    Brier score is Brier's (1950) for one class. A missing or NaN label or score leaves every figure
    undefined.

    Args:
        labels: Booleans, n.
        scores: Probabilities of true, n.
        decision: The score that counts as positive, itself included.

    Raises:
        pa.ArrowInvalid: Labels and scores differ in length.
    """
    scored = pa.table(
        {"label": labels.cast(pa.bool_()), "score": scores.cast(pa.float64(), safe=False)}
    )
    parameters: dict[str, object] = {"decision": decision, "epsilon": LOG_LOSS_EPSILON}
    return BinaryMetrics(**query(BINARY_METRICS_SQL, {"scored": scored}, parameters).to_pylist()[0])


def judge_golden(metrics: BinaryMetrics, spec: GoldenSpec) -> CheckResult:
    """Hold the golden metrics against the declared bounds; an undefined figure breaks its bound."""
    violations = tuple(_broken_bounds(metrics, spec))
    figures = {
        name: "undefined" if value is None else value for name, value in metrics.figures.items()
    }
    return CheckResult(
        name="golden_quality",
        asset="evaluation",
        passed=not violations,
        blocking=True,
        violations=violations,
        measured={"rows": metrics.rows, "positives": metrics.positives, **figures},
    )


def _broken_bounds(metrics: BinaryMetrics, spec: GoldenSpec) -> Iterator[Violation]:
    for name, low in spec.at_least.items():
        found = metrics.figures[name]
        if found is None or not found >= low:
            yield Violation(column=None, rule=f"{name} at least {low:g} ({_said(found)})")
    for name, high in spec.at_most.items():
        found = metrics.figures[name]
        if found is None or not found <= high:
            yield Violation(column=None, rule=f"{name} at most {high:g} ({_said(found)})")


def _said(found: float | None) -> str:
    return "undefined" if found is None else f"found {found:.4f}"


def read_golden_set(path: Path, spec: PipelineSpec) -> pa.Table:
    """Read the golden set: the declared features in their order, then the label.

    Every page is held against its checksum, if the file has any: DuckDB would not notice a damaged
    page. Strings may be encoded in any way; the other types must be the declared ones, because a
    narrower number is scored differently.

    Raises:
        GoldenSetInvalid: The file is missing, damaged or empty, or a column is missing, has
            another type than declared, or lacks values that it must have.
    """
    table = _read_verified(path)
    declared = arrow_schema(spec.features.columns)
    label = pa.field(spec.golden.label, pa.bool_(), nullable=False)
    schema = pa.schema([*declared, label])
    return pa.table([_column(path, table, field) for field in schema], schema=schema)


def read_golden_keys(path: Path, spec: PipelineSpec) -> pa.Table:
    """Read the key columns of the golden set: what tells its rows apart from training rows.

    Raises:
        GoldenSetInvalid: The file is missing, damaged or empty, or a key column is missing, has
            another type than declared, or lacks values.
    """
    table = _read_verified(path)
    missing = [name for name in spec.source.key if name not in table.column_names]
    if missing:
        raise GoldenSetInvalid(
            f"Golden set {path} lacks the key column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}: its rows cannot be kept out of training.",
            next_step="Add them, with the values of the source rows that the golden rows are.",
        )
    schema = arrow_schema(spec.key_columns)
    return pa.table([_column(path, table, field) for field in schema], schema=schema)


def _read_verified(path: Path) -> pa.Table:
    if not path.is_file():
        raise GoldenSetInvalid(
            f"Golden set {path} is missing.",
            next_step="Restore it from version control or correct golden.file in defs.yaml.",
        )
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise _invalid(path, f"cannot be read: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise _invalid(path, "has no rows")
    return table


def _column(path: Path, table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if table.column_names.count(field.name) != 1:
        raise _invalid(path, f"must have one column '{field.name}'")
    values = table.column(field.name)
    if values.type != field.type and not (_is_text(values.type) and _is_text(field.type)):
        raise _invalid(path, f"has {values.type} in column '{field.name}', not {field.type}")
    if values.null_count and not field.nullable:
        raise _invalid(path, f"lacks {values.null_count} values in column '{field.name}'")
    return values.cast(field.type)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _invalid(path: Path, what: str) -> GoldenSetInvalid:
    return GoldenSetInvalid(
        f"Golden set {path} {what}.",
        next_step="Restore it from version control, or build it again with the declared features "
        "and a bool label.",
    )
