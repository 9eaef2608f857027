"""What was evaluated and realised, as Dagster metadata: figures to plot, tables to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from batchinf_assets.evaluation.evaluation_records import DRIFT_MEASURES
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.realised.measure import Realised
from batchinf_assets.evaluation.realised.performance import Performance
from batchinf_assets.evaluation.realised.performance_check import said
from batchinf_assets.evaluation.realised.trend import Trend
from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets.evaluation.records.metric_tables import MetricTable
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.orchestration.metadata.results import Metadata, figure
from batchinf_assets.windows import Window

HOUR = 3600.0


def metric_metadata(table: MetricTable, window: Window) -> Metadata:
    """Describe the window's figures as a table: row count, place, columns."""
    rows = table.read(window)
    columns = [dg.TableColumn(field.name, str(field.type)) for field in METRIC_SCHEMA]
    return {
        "dagster/row_count": dg.MetadataValue.int(rows.num_rows if rows is not None else 0),
        "dagster/uri": dg.MetadataValue.text(table.folder_of(window).as_uri()),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
    }


def evaluation_metadata(record: EvaluationRecord, table: MetricTable, window: Window) -> Metadata:
    """Show golden metrics and estimates as figures that Dagster plots, and drift as a table."""
    rows = table.read(window)
    kept = rows.to_pylist() if rows is not None else []
    return {
        **{f"golden/{name}": figure(value) for name, value in record.golden.items()},
        **{f"estimated/{name}": figure(value) for name, value in record.estimated.items()},
        **({} if record.estimated else {"estimated": dg.MetadataValue.text("not available")}),
        **_table("golden_intervals", _golden_intervals(record)),
        **_table("golden_by_segment", _golden_segments(kept)),
        "golden_set": dg.MetadataValue.text(_golden_set(record)),
        "drift": dg.MetadataValue.text(record.drift_verdict),
        **_table("drift_by_column", _drift(kept)),
    }


def performance_metadata(realised: Realised) -> Metadata:
    """Show the state, and once there are labels the figures beside what was expected of them."""
    performance = realised.performance
    figures = performance.metrics.figures if performance.metrics else {}
    return {
        "state": dg.MetadataValue.text(performance.state),
        "predictions": dg.MetadataValue.int(performance.rows),
        "labelled": dg.MetadataValue.int(performance.labelled),
        **_share(performance),
        **_delay(performance),
        **{name: figure(value) for name, value in figures.items()},
        **_table("metrics", _metrics(realised)),
        **_table("by_segment", _segments(performance.segments)),
    }


def report_metadata(place: Place) -> Metadata:
    """Link the report of a revision."""
    return {"report": dg.MetadataValue.path(str(place))}


def _golden_intervals(record: EvaluationRecord) -> Iterable[dict[str, str]]:
    for name, ends in record.golden_intervals.items():
        low, high = ends or (None, None)
        yield {"metric": name, "low": _number(low), "high": _number(high)}


def _golden_segments(rows: Sequence[Mapping[str, object]]) -> Iterable[dict[str, str]]:
    """Put the metrics of each segment of the golden set side by side."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        segment = row["segment"]
        if row["subject_kind"] == "golden" and segment is not None:
            about = {"segment": str(segment), "rows": str(row["rows"])}
            found.setdefault(str(segment), about)[str(row["subject"])] = _number(row["value"])
    return found.values()


def _drift(rows: Sequence[Mapping[str, object]]) -> Iterable[dict[str, str]]:
    """Put the measures of each subject and reference side by side."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["subject_kind"] == "drift":
            key = str(row["subject"]), str(row["reference"])
            about = {"column": key[0], "reference": key[1], "verdict": str(row["verdict"])}
            measures = found.setdefault(key, {**about, **dict.fromkeys(DRIFT_MEASURES, "")})
            measures[str(row["measure"])] = _number(row["value"])
    return found.values()


def _metrics(realised: Realised) -> Iterable[dict[str, str]]:
    metrics = realised.performance.metrics
    for name, found in metrics.measured_figures.items() if metrics else ():
        yield {
            "metric": name,
            "realised": said(found),
            "estimated": _number(realised.estimated.get(name)),
            **{each.name: said(each.metrics.measured_figures[name]) for each in realised.trailing},
            "change_per_window": _trend(name, realised.trends.get(name)),
        }


def _segments(segments: Iterable[SegmentMetrics]) -> Iterable[dict[str, str]]:
    for each in segments:
        figures = each.metrics.measured_figures
        yield {
            "segment": f"{each.column}={each.value}",
            "rows": str(each.metrics.rows),
            **{name: str(count) for name, count in each.metrics.counts.items()},
            **{name: said(found) for name, found in figures.items()},
        }


def _share(performance: Performance) -> Metadata:
    if not performance.rows:
        return {}
    share = performance.labelled / performance.rows
    return {"labelled_share": dg.MetadataValue.float(round(share, 6))}


def _delay(performance: Performance) -> Metadata:
    delay = performance.delay
    if delay is None:
        return {}
    return {
        "label_delay_hours/median": dg.MetadataValue.float(round(delay.median / HOUR, 3)),
        "label_delay_hours/95th": dg.MetadataValue.float(round(delay.percentile_95 / HOUR, 3)),
    }


def _trend(metric: str, trend: Trend | None) -> str:
    if trend is None:
        return "insufficient data"
    ends = f"{trend.interval.low:+.5f} to {trend.interval.high:+.5f}"
    return f"{trend.slope:+.5f} ({ends}), {trend.direction(metric)}"


def _golden_set(record: EvaluationRecord) -> str:
    known = record.golden_set
    if known is None:
        return "not known"
    return f"{known.version or 'version not known'} (sha256 {known.sha256[:16]})"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""


def _table(name: str, rows: Iterable[Mapping[str, str]]) -> Metadata:
    """Show rows as a table; one without rows is left out, as Dagster knows no such."""
    records = [dg.TableRecord({**row}) for row in rows]
    return {name: dg.MetadataValue.table(records)} if records else {}
