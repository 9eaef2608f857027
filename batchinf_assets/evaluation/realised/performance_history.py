"""What is on record of realised performance, window by window; nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from batchinf_assets.evaluation.consequences import PERFORMANCE
from batchinf_assets.evaluation.realised.performance import State
from batchinf_assets.evaluation.realised.performance_records import DELAY, LABELLED, TREND
from batchinf_assets.evaluation.realised.trailing_state import TrailingState, trailing_states
from batchinf_assets.evaluation.records.confusion import Confusion, confusion_of
from batchinf_assets.evaluation.records.metric_tables import metric_table, read_figures
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Standing = State | Literal["not measured", "not published"]


@dataclass(frozen=True, kw_only=True)
class RecordedFigure:
    """A figure as it stands in the table; None is undefined or not known.

    Attributes:
        value: The figure.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: `undefined`, or of a trend its direction.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None


@dataclass(frozen=True, kw_only=True)
class WindowPerformance:
    """What is known of one window.

    Attributes:
        window: The window's key.
        state: `not measured` where readers see a revision that nobody measured yet.
        revision: What readers see; None for nothing.
        rows: Its predictions; None where it was not measured.
        labelled: Those with a label.
        label_delay: Seconds from the window's end to its labels, by `median` and `percentile_95`.
        realised: By metric.
        estimated: By metric, what was expected before any outcome was known.
        trailing: By measure (`trailing_7`), then by metric.
        trailing_state: Whether these, and the trend, are those of what is on record of the windows
            before by now; None where there are none.
        trend: By metric, the change per window.
        segments: By segment (`column=value`), then by metric.
        confusion: Of several classes the labelled rows by class; None of other kinds, and where
            nothing was measured.
    """

    window: str
    state: Standing
    revision: str | None = None
    rows: int | None = None
    labelled: int | None = None
    label_delay: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    realised: Mapping[str, RecordedFigure] = field(default_factory=dict[str, RecordedFigure])
    estimated: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    trailing: Mapping[str, Mapping[str, RecordedFigure]] = field(
        default_factory=dict[str, Mapping[str, RecordedFigure]]
    )
    trailing_state: TrailingState | None = None
    trend: Mapping[str, RecordedFigure] = field(default_factory=dict[str, RecordedFigure])
    segments: Mapping[str, Mapping[str, RecordedFigure]] = field(
        default_factory=dict[str, Mapping[str, RecordedFigure]]
    )
    confusion: Confusion | None = None


def performance_history(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], published: Mapping[str, str]
) -> list[WindowPerformance]:
    """Return what is on record of some windows, in their order.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        windows: The windows.
        published: The revision that readers see, by window key.

    Raises:
        ManifestInvalid: A table's log or a file is damaged.
    """
    files = metric_table(project, spec, PERFORMANCE).files()
    states = trailing_states(project, spec, windows)
    return [
        _of(window, published[window.key], files.get(window.key, ()), states.get(window.key))
        if window.key in published
        else WindowPerformance(window=window.key, state=_unseen(project, spec, window))
        for window in windows
    ]


def _unseen(project: Project, spec: PipelineSpec, window: Window) -> Standing:
    was_seen = predictions_table(project, spec).version_of(window) is not None
    return "withdrawn" if was_seen else "not published"


def _of(
    window: Window, revision: str, files: Sequence[Place], trailing_state: TrailingState | None
) -> WindowPerformance:
    """Put a window's rows together; those of a revision that was replaced since say nothing."""
    kept = [row for path in files for row in read_figures(path).to_pylist()]
    rows = [row for row in kept if row["revision"] == revision]
    coverage = next((r for r in rows if r["subject"] == LABELLED and r["measure"] is None), None)
    if coverage is None:
        return WindowPerformance(window=window.key, state="not measured", revision=revision)
    found = [row for row in rows if row["subject_kind"] == PERFORMANCE]
    by_measure = _grouped(found, "measure")
    delays = by_measure.keys() & {"median", "percentile_95"}
    trailing = {name: each for name, each in by_measure.items() if name.startswith("trailing_")}
    return WindowPerformance(
        window=window.key,
        state=coverage["verdict"],
        revision=revision,
        rows=coverage["rows"],
        labelled=int(coverage["value"]),
        label_delay={measure: by_measure[measure][DELAY].value for measure in sorted(delays)},
        realised=_figures(r for r in found if r["measure"] is None and r["segment"] is None),
        estimated={r["subject"]: r["value"] for r in rows if r["subject_kind"] == "estimate"},
        trailing=trailing,
        trailing_state=(trailing_state or "not known") if trailing else None,
        trend=by_measure.get(TREND, {}),
        segments=_grouped(found, "segment"),
        confusion=confusion_of(rows),
    )


def _grouped(
    rows: Iterable[Mapping[str, Any]], column: str
) -> dict[str, dict[str, RecordedFigure]]:
    named = [row for row in rows if row[column] is not None]
    names = dict.fromkeys(row[column] for row in named)
    return {name: _figures(row for row in named if row[column] == name) for name in names}


def _figures(rows: Iterable[Mapping[str, Any]]) -> dict[str, RecordedFigure]:
    return {
        row["subject"]: RecordedFigure(
            value=row["value"], low=row["low"], high=row["high"], verdict=row["verdict"]
        )
        for row in rows
        if row["subject"] != LABELLED
    }
