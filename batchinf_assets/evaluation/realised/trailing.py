"""What a window and those before it show together: pooled metrics, and where they are going."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.task import Task
from batchinf_assets.evaluation.realised.labelled_scores import LabelledScores
from batchinf_assets.evaluation.realised.trend import Point, Trend, weighted_trend
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Trailing:
    """Metrics over the labelled rows of several windows, as if they were one.

    Attributes:
        windows: How many windows were asked for, the measured one included.
        measured: How many of them have labels.
        rows: Predictions of these.
        metrics: Over their labelled rows.
    """

    windows: int
    measured: int
    rows: int
    metrics: Metrics

    @property
    def name(self) -> str:
        """What metric rows call it: `trailing_7`."""
        return f"trailing_{self.windows}"


def trailing_metrics(
    histories: Mapping[int, Sequence[LabelledScores]], task: Task
) -> tuple[Trailing, ...]:
    """Measure the labelled rows of several windows together.

    Args:
        histories: The measured windows among those asked for, by how many were asked for.
        task: What they are measured by.
    """
    found = task.pooled([[each.kept.rows for each in history] for history in histories.values()])
    return tuple(
        Trailing(
            windows=windows,
            measured=len(history),
            rows=sum(each.measured.rows for each in history),
            metrics=metrics,
        )
        for (windows, history), metrics in zip(histories.items(), found, strict=True)
    )


def metric_trends(
    history: Sequence[LabelledScores], grid: Sequence[Window], task: Task
) -> Mapping[str, Trend | None]:
    """Fit a line through each metric of some windows; None where too few have the metric.

    Args:
        history: The measured windows.
        grid: All windows in question, in order: the places on it are what a slope counts.
        task: What they are measured by.
    """
    places = {window.key: place for place, window in enumerate(grid)}
    return {
        metric: weighted_trend(
            [
                Point(
                    place=places[each.window.key],
                    value=value,
                    rows=each.measured.labelled,
                )
                for each in history
                if (value := each.measured.figures.get(metric)) is not None
            ]
        )
        for metric in task.metrics
    }
