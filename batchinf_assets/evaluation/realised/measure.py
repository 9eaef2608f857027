"""Measure a published window against the outcomes landed since, alone and with those before it.

What is judged before publishing is in `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import LandedFileMissing, LostRace, WindowMissing
from batchinf_assets.evaluation.consequences import judges_performance
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.realised.labelled_scores import (
    LabelledScores,
    keep_labelled_scores,
    read_labelled_scores,
)
from batchinf_assets.evaluation.realised.measured import Measured, keep_measured
from batchinf_assets.evaluation.realised.performance import (
    DELAY,
    Performance,
    label_predictions,
    realised_performance,
)
from batchinf_assets.evaluation.realised.performance_check import judge_performance
from batchinf_assets.evaluation.realised.performance_records import performance_rows
from batchinf_assets.evaluation.realised.trailing import Trailing, metric_trends, trailing_metrics
from batchinf_assets.evaluation.realised.trailing_state import contributions, history_digest
from batchinf_assets.evaluation.realised.trend import Trend
from batchinf_assets.features.build import made_rows
from batchinf_assets.features.labels import landed_outcomes
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import (
    manifests,
    prediction_rows,
    predictions_table,
    published_revision,
)
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Realised:
    """What outcomes say of a published window, and of it together with those before it.

    Attributes:
        manifest: Of the published revision; None where it was withdrawn.
        performance: Of the window alone.
        trailing: Over the declared numbers of windows, the window the last of each; empty unless
            measured.
        trends: Of each metric over the longest of these; None where too few windows have it.
        estimated: Metrics that were expected before any outcome was known; empty where the revision
            was evaluated without.
        check: `performance`; None where no bound is declared or nothing was measured.
        own_check: The same of the window alone: what may condemn its revision.
        known_after: From the window's end to the newest label: without end where every prediction
            has its outcome, and none can follow; None where nobody knows.
        made_of: What the trailing figures were made of, as `trailing_state` names it.
    """

    manifest: Manifest | None
    performance: Performance
    trailing: tuple[Trailing, ...] = ()
    trends: Mapping[str, Trend | None] = field(default_factory=dict[str, Trend | None])
    estimated: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    check: CheckResult | None = None
    own_check: CheckResult | None = None
    known_after: timedelta | None = None
    made_of: str | None = None

    @property
    def failed(self) -> bool:
        """Whether something is to be done."""
        checks = (self.check, self.own_check)
        return any(check is not None and not check.passed for check in checks)


def measure_performance(
    project: Project, spec: PipelineSpec, window: Window, *, order: Order | None = None
) -> Realised:
    """Hold the published predictions of a window against its outcomes, once they have landed.

    The figures are those of the window and of the windows up to it as they stand now: what is
    measured of an earlier window afterwards shows in the figures of the next one measured. Of a
    window that was withdrawn nothing is measured, and what was stays on record.

    Nothing holds the window meanwhile. What orders two who measure it is the newest attempt that
    the log of predictions knew when they began: figures from before it replace none from after it.

    Figures that fail their check count as not followed up until `followed_up` is told.

    Args:
        project: Where the tables and the outcomes are.
        spec: The pipeline.
        window: The window.
        order: Its place among those that are measured at the same time.

    Raises:
        WindowMissing: Nothing was ever published for the window.
        WindowRefused: The outcomes lack a declared column.
        ManifestInvalid: The revision's manifest or a file is gone or damaged.
        LostRace: Readers see another revision by now; nothing was kept of this one.
        Fenced: A later attempt changed the window, and what it showed was measured already.
    """
    order = order or OneByOne()
    token = predictions_table(project, spec).token_of(window)
    manifest = _published(project, spec, window)
    if manifest is None:
        nothing = Performance(state="withdrawn", rows=0, labelled=0, metrics=None)
        return Realised(manifest=None, performance=nothing)
    source, labelled, awaited = _labelled(project, spec, window, manifest)
    performance = realised_performance(labelled, manifest.counts.scored, spec=spec)
    _require_visible(project, spec, window, manifest)
    if source is not None and labelled is not None and performance.metrics is not None:
        scores = keep_labelled_scores(
            project,
            spec,
            window,
            labelled,
            performance,
            revision=manifest.revision,
            outcomes=source.sha256,
            token=token,
        )
        own = _own_check(spec, performance)
        if own is None or own.passed:  # else it may be taken back, and count for no later one
            order.release_later()
        order.await_earlier()
        judged = _with_history(project, spec, window, manifest, performance, scores)
        realised = replace(judged, known_after=_known_after(labelled, awaited))
    else:
        realised = Realised(
            manifest=manifest, performance=performance, estimated=_estimated(manifest)
        )
    figures = performance_rows(
        manifest.revision,
        performance,
        trailing=realised.trailing,
        trends=realised.trends,
        estimated=realised.estimated,
    )
    about = Measured(
        revision=manifest.revision,
        outcomes=source.sha256 if source else None,
        followed_up=not realised.failed,
    )
    keep_measured(project, spec, window, figures, about, made_of=realised.made_of, token=token)
    return realised


def measured_history(
    project: Project, spec: PipelineSpec, windows: Sequence[Window]
) -> list[LabelledScores]:
    """Return the measured ones among some windows; what readers no longer see does not count."""
    visible = predictions_table(project, spec).files()
    return [
        each
        for each in read_labelled_scores(project, spec, windows)
        if {path.parent.name for path in visible.get(each.window.key, ())}
        == {each.measured.revision}
    ]


def _published(project: Project, spec: PipelineSpec, window: Window) -> Manifest | None:
    revision = published_revision(project, spec, window)
    if revision is not None:
        return manifests(project, spec).read(window, revision)
    if predictions_table(project, spec).version_of(window) is not None:
        return None
    raise WindowMissing(
        f"Window {window} of {spec.name} is not published.",
        next_step=f"Materialize {spec.name}/published for {window} first.",
    )


def _require_visible(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> None:
    """Nothing holds the window while it is measured: a run may publish, or take back."""
    visible = published_revision(project, spec, window)
    if visible != manifest.revision:
        raise LostRace(
            f"Revision {manifest.revision} of {spec.name} {window} was measured, and readers see "
            f"{visible or 'nothing'} by now.",
            next_step=f"Materialize {spec.name}/performance for {window} again.",
        )


def _known_after(labelled: pa.Table, awaited: int) -> timedelta | None:
    if not awaited:
        return timedelta.max
    newest = pc.max(labelled.column(DELAY)).as_py()
    return None if newest is None else timedelta(seconds=newest)


def _labelled(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> tuple[FileRecord | None, pa.Table | None, int]:
    """Return what landed, the predictions that it labels, and how many it says nothing of."""
    predictions = prediction_rows(project, spec, manifest)
    try:
        source, outcomes = landed_outcomes(project, spec, window)
    except LandedFileMissing:
        return None, None, predictions.num_rows
    labelled = label_predictions(
        predictions,
        outcomes,
        spec=spec,
        window_end=window.end,
        segments=_segments(project, spec, window, manifest),
    )
    key = ", ".join(quoted(name) for name in spec.source.key)
    awaited = query(
        f"SELECT count(*) AS rows FROM predictions ANTI JOIN outcomes USING ({key})",  # noqa: S608
        {"predictions": predictions, "outcomes": outcomes},
    )
    return source, labelled, awaited.column("rows")[0].as_py()


def _segments(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> pa.Table | None:
    """Read the declared segments of the very rows that the revision scored."""
    if not spec.performance.segments:
        return None
    columns = [*spec.source.key, *spec.performance.segments]
    features = made_rows(project, spec, window, manifest.features, manifest.snapshot.digest)
    return pa.concat_tables(features.all(columns))


def _with_history(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    performance: Performance,
    measured: LabelledScores,
) -> Realised:
    counts = sorted(set(spec.performance.trailing))
    grid = [*spec.window.before(window, counts[-1] - 1), window]
    # Named before it is read: what changes in between makes the figures stale, not unnoticed.
    made_of = history_digest(grid, contributions(project, spec, grid))
    history = [*measured_history(project, spec, grid[:-1]), measured]
    trailing = trailing_metrics(
        {count: _within(history, grid[-count:]) for count in counts}, task_of(spec)
    )
    judged = judges_performance(spec)
    return Realised(
        manifest=manifest,
        performance=performance,
        trailing=trailing,
        trends=metric_trends(history, grid, task_of(spec)),
        estimated=_estimated(manifest),
        check=judge_performance(performance, trailing, spec.performance) if judged else None,
        own_check=_own_check(spec, performance),
        made_of=made_of,
    )


def _within(history: Sequence[LabelledScores], windows: Sequence[Window]) -> list[LabelledScores]:
    return [each for each in history if each.window.start >= windows[0].start]


def _own_check(spec: PipelineSpec, performance: Performance) -> CheckResult | None:
    """Judge a window by itself, without those before it."""
    judged = judges_performance(spec)
    return judge_performance(performance, (), spec.performance) if judged else None


def _estimated(manifest: Manifest) -> Mapping[str, float | None]:
    return manifest.evaluation.estimated if manifest.evaluation else {}
