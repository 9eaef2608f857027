"""The golden set itself: read against its digest, and doubted where it is old, skewed or thin.

What the scores of its rows say of a model is judged in `golden.judge`; what is known of how it
was made is in `golden.golden_provenance`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.evaluation.consequences import consequence
from batchinf_assets.evaluation.golden.golden_provenance import (
    RESTORE,
    Provenance,
    provenance_path,
    read_provenance,
)
from batchinf_assets.evaluation.metrics.segments import segment_rows
from batchinf_assets.features.labels import undeclared_classes
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.judgement import GoldenSetRecord
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

CHECK = "golden_set"

GoldenSetState = Literal["in force", "other", "unknown"]
"""By which golden set a window was evaluated, beside the one that others are evaluated by now."""

SMALLEST_SEGMENT = 30
"""Rows of a segment below which its figures say little: an interval of a share of one half is then
wider than a third."""

NO_CLASSES = "does not apply: the labels are not of two classes"

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """A verified golden set.

    Attributes:
        rows: The declared features in their order, then the label.
        record: Which set it is, for manifests.
        provenance: How it was made; None where no document says so.
    """

    rows: pa.Table
    record: GoldenSetRecord
    provenance: Provenance | None


def read_golden_set(project: Project, spec: PipelineSpec) -> GoldenSet:
    """Read the golden set and hold it against its provenance, if it has any.

    Every page is held against its checksum too: DuckDB would not notice a damaged one. Strings may
    be encoded in any way; the other types must be the declared ones, because a narrower number is
    scored differently.

    Raises:
        GoldenSetInvalid: The file is missing, damaged, empty or another than its provenance names;
            or a column is missing, has another type than declared, or lacks values that it must
            have.
    """
    found = _verified(project.root / spec.golden.file)
    label = ColumnSpec(type=spec.prediction.of.label)
    schema = arrow_schema({**spec.features.columns, spec.golden.label: label})
    rows = pa.table([_column(found, field) for field in schema], schema=schema)
    _require_labels(found, rows.column(spec.golden.label), spec)
    return GoldenSet(rows=rows, record=found.record, provenance=found.provenance)


def golden_set_in_force(project: Project, spec: PipelineSpec) -> GoldenSetRecord:
    """Return which golden set windows are evaluated by now.

    Raises:
        GoldenSetInvalid: The file is missing, damaged, empty or another than its provenance names.
    """
    return _verified(project.root / spec.golden.file).record


def compared(evaluated_by: GoldenSetRecord | None, in_force: GoldenSetRecord) -> GoldenSetState:
    """Say whether a window was evaluated by the golden set in force; None is not known."""
    if evaluated_by is None:
        return "unknown"
    return "in force" if evaluated_by.sha256 == in_force.sha256 else "other"


def read_golden_keys(project: Project, spec: PipelineSpec) -> pa.Table:
    """Read the key columns of the golden set: what tells its rows apart from training rows.

    Raises:
        GoldenSetInvalid: The file is missing, damaged, empty or another than its provenance names;
            or a key column is missing, has another type than declared, or lacks values.
    """
    found = _verified(project.root / spec.golden.file)
    missing = [name for name in spec.source.key if name not in found.table.column_names]
    if missing:
        raise GoldenSetInvalid(
            f"Golden set {found.path} lacks the key column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}: its rows cannot be kept out of training.",
            next_step="Add them, with the values of the source rows that the golden rows are.",
        )
    schema = arrow_schema(spec.key_columns)
    return pa.table([_column(found, field) for field in schema], schema=schema)


def judge_golden_set(golden: GoldenSet, spec: PipelineSpec, window: Window) -> CheckResult:
    """Say what makes a golden set a doubtful measure for a window.

    It is stale where the last window that it was drawn from ended more than `golden.max_age_days`
    before this window's end. Both times are the data's own, so that a year that is scored later, or
    once more, is judged as it would have been then; `drawn_at` is on record and not judged.

    Args:
        golden: The set.
        spec: Declares its bounds, its segments and what a failure leads to.
        window: The window that is evaluated with it.
    """
    violations = (
        *_age(golden.provenance, spec, window),
        *_balance(golden.rows, spec),
        *_thin_segments(golden.rows, spec),
    )
    return CheckResult(
        name=CHECK,
        asset="evaluation",
        passed=not violations,
        blocking=consequence(CHECK, spec) == "block",
        violations=violations,
        measured=_measured(golden, spec, window),
    )


def positives_among(labels: pa.ChunkedArray) -> int | None:
    """Return how many labels are true; None where labels are numbers, or of several classes."""
    if not pa.types.is_boolean(labels.type):
        return None
    return int(pc.sum(labels.cast(pa.int64())).as_py() or 0)


def segment_counts(values: pa.ChunkedArray) -> dict[str | None, int]:
    """Return the rows of each value, as text and in its order; None is missing."""
    texts = pc.value_counts(values.cast(pa.string())).to_pylist()
    counts = {each["values"]: int(each["counts"]) for each in texts}
    return {text: counts[text] for text in sorted(counts, key=lambda text: (text is None, text))}


def _measured(
    golden: GoldenSet, spec: PipelineSpec, window: Window
) -> dict[str, int | float | str]:
    rows, positives = golden.rows.num_rows, positives_among(golden.rows.column(spec.golden.label))
    known = golden.provenance
    return {
        "rows": rows,
        "positives": NO_CLASSES if positives is None else positives,
        "rarer_class": NO_CLASSES if positives is None else min(positives, rows - positives) / rows,
        "sha256": golden.record.sha256,
        "version": known.version if known else "unknown",
        "drawn_from": f"{known.first.key} to {known.last.key}" if known else "unknown",
        "age_days": max(_age_of(known, window).days, 0) if known else "unknown",
    }


def _age(provenance: Provenance | None, spec: PipelineSpec, window: Window) -> Iterator[Violation]:
    if provenance is None:
        path = provenance_path(Path(spec.golden.file)).as_posix()
        yield Violation(
            column=None, rule=f"the golden set's provenance in {path}", found="no such file"
        )
        return
    age = _age_of(provenance, window)
    if age > timedelta(days=spec.golden.max_age_days):
        yield Violation(
            column=None,
            rule=f"a golden set at most {spec.golden.max_age_days} days older than the window",
            found=f"{age.days}: it was drawn from windows up to {provenance.last.key}",
        )


def _age_of(provenance: Provenance, window: Window) -> timedelta:
    return window.end - provenance.last.end


def _balance(rows: pa.Table, spec: PipelineSpec) -> Iterator[Violation]:
    total, positives = rows.num_rows, positives_among(rows.column(spec.golden.label))
    if positives is None:
        return
    rarer = min(positives, total - positives)
    if rarer / total < spec.golden.min_class_share:
        yield Violation(
            column=spec.golden.label,
            rule=f"share of the rarer class at least {spec.golden.min_class_share:g}",
            found=f"{rarer / total:.4f} ({rarer} of {total} rows)",
        )


def _thin_segments(rows: pa.Table, spec: PipelineSpec) -> Iterator[Violation]:
    for column in spec.golden.segments:
        counts = segment_rows(rows.column(column))
        thin = [name for name, count in counts.items() if count < SMALLEST_SEGMENT]
        thin.sort(key=lambda name: counts[name])
        if thin:
            named = ", ".join(f"{name}: {counts[name]}" for name in thin[:_NAMED])
            rest = f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
            yield Violation(
                column=column,
                rule=f"at least {SMALLEST_SEGMENT} golden rows in each segment",
                found=f"{named}{rest}",
            )


@dataclass(frozen=True, kw_only=True)
class _Verified:
    """A golden file that is the one its provenance names, all its columns as they are."""

    path: Path
    table: pa.Table
    sha256: str
    provenance: Provenance | None

    @property
    def record(self) -> GoldenSetRecord:
        known = self.provenance
        return GoldenSetRecord(
            sha256=self.sha256,
            version=known.version if known else None,
            drawn_at=known.drawn_at if known else None,
        )


def _verified(path: Path) -> _Verified:
    if not is_file(path):
        raise GoldenSetInvalid(
            f"Golden set {path} is missing.",
            next_step="Restore it from version control or correct golden.file in defs.yaml.",
        )
    try:
        content = path.read_bytes()  # once: what is digested is what is parsed
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise _invalid(path, f"cannot be read: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise _invalid(path, "has no rows")
    found = _Verified(
        path=path,
        table=table,
        sha256=hashlib.sha256(content).hexdigest(),
        provenance=read_provenance(path),
    )
    _require_described(found)
    return found


def _require_described(found: _Verified) -> None:
    known = found.provenance
    if known is not None and (known.sha256, known.rows) != (found.sha256, found.table.num_rows):
        raise GoldenSetInvalid(
            f"Golden set {found.path} is not the one that its provenance names: "
            f"{found.sha256[:16]} with {found.table.num_rows} rows, not {known.sha256[:16]} with "
            f"{known.rows}.",
            next_step=RESTORE,
        )


def _require_labels(found: _Verified, labels: pa.ChunkedArray, spec: PipelineSpec) -> None:
    known, positives = found.provenance, positives_among(labels)
    unknown = undeclared_classes(labels, spec)
    if unknown:
        raise _invalid(found.path, f"has labels that are none of the declared classes: {unknown}")
    if pa.types.is_floating(labels.type) and not pc.all(pc.is_finite(labels)).as_py():
        raise _invalid(found.path, "has labels that are no finite numbers")
    if known is not None and known.positives != positives:
        raise GoldenSetInvalid(
            f"Golden set {found.path} has {_said(positives)}; its provenance says "
            f"{_said(known.positives)}.",
            next_step=RESTORE,
        )


def _said(positives: int | None) -> str:
    return "no two classes of labels" if positives is None else f"{positives} positives"


def _column(found: _Verified, field: pa.Field) -> pa.ChunkedArray:
    path, table = found.path, found.table
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
        next_step="Restore it from version control, correct `golden` in defs.yaml, or build it "
        "again with the declared features and a label of the declared kind.",
    )
