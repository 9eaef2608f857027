"""When a challenger should be trained without being asked: sustained drift, or lost performance.

What is trained, and that it is never promoted by that, is in `promotion.challenger`; who asks for
it, in `orchestration.sensors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow.compute as pc

from batchinf_assets.errors import WindowMissing
from batchinf_assets.evaluation.consequences import EVALUATION, MAJOR, PERFORMANCE
from batchinf_assets.evaluation.drift.measure import WORST_FIRST
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.task import Task
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.realised.performance import Performance
from batchinf_assets.evaluation.realised.performance_check import INSUFFICIENT, judge_performance
from batchinf_assets.evaluation.realised.performance_records import LABELLED
from batchinf_assets.evaluation.records.metric_tables import metric_table, read_figures
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

LOOKBACK = 100
"""Windows that are read at most: a tick must end, however many of them tell nothing."""

COUNTED = ("positives",)
"""Subjects that are counts of rows, and no figures."""

JUDGED = ("stable", "moderate", MAJOR)
"""Verdicts that say something; `insufficient data`, `too few windows` and `not judged` do not."""


@dataclass(frozen=True, kw_only=True)
class WindowVerdict:
    """What is known of one window.

    Attributes:
        window: Its key.
        drift: Its worst verdict against the leading reference; None where it was not evaluated.
        performance: Whether its realised metrics keep their bounds; None while nothing or too
            little is measured.
    """

    window: str
    drift: str | None
    performance: bool | None


@dataclass(frozen=True, kw_only=True)
class RetrainingDue:
    """Why a challenger should be trained now.

    Attributes:
        reason: In one sentence.
        windows: Keys of the windows that say so, the newest first.
    """

    reason: str
    windows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Streak:
    """Bad windows that follow one another.

    Attributes:
        windows: Their keys, the newest first.
        silent: How many windows between them, or newer than all of them, tell nothing.
    """

    windows: tuple[str, ...]
    silent: int


def retraining_due(
    history: Sequence[WindowVerdict],
    spec: PipelineSpec,
    last_request: datetime | None,
    now: datetime,
) -> RetrainingDue | None:
    """Decide whether a challenger should be trained.

    It should if the newest windows in a row have major drift against the leading reference, or
    realised metrics below their bounds, as many of them as declared. A window without enough data
    neither counts nor breaks the row; the sentence says how many there were.

    Args:
        history: The windows, the newest first.
        spec: Declares how many windows, and the time between two requests.
        last_request: When the last challenger was asked for.
        now: The time.

    Returns:
        None also where no retraining is declared, and before the cool-down is over.
    """
    declared = spec.retraining
    if declared is None or (last_request is not None and now - last_request < declared.cooldown):
        return None
    drifted = _streak((each.window, _has_drifted(each)) for each in history)
    failed = _streak((each.window, _has_failed(each)) for each in history)
    reasons = [
        *_sentence(drifted, declared.drift_windows, f"major drift against {spec.drift.leading}"),
        *_sentence(failed, declared.performance_windows, "performance below its bounds"),
    ]
    if not reasons:
        return None
    windows = sorted({*drifted.windows, *failed.windows}, reverse=True)
    return RetrainingDue(reason=" ".join(reasons), windows=tuple(windows))


def window_verdicts(project: Project, spec: PipelineSpec) -> list[WindowVerdict]:
    """Read what is known of the newest windows, the newest first.

    Only windows that the same model scored as the newest one are read, and at most `LOOKBACK`: what
    an earlier model did is no reason to train again.

    Raises:
        ManifestInvalid: A manifest, or a table's log or file, is damaged.
    """
    keys = sorted(metric_table(project, spec, EVALUATION).files(), reverse=True)
    windows = (spec.window.window(key) for key in keys if spec.window.has(key))
    realised = metric_table(project, spec, PERFORMANCE).files()
    return list(_verdicts(project, spec, islice(windows, LOOKBACK), realised))


def _verdicts(
    project: Project,
    spec: PipelineSpec,
    windows: Iterable[Window],
    realised: Mapping[str, Sequence[Place]],
) -> Iterator[WindowVerdict]:
    model: str | None = None
    for window in windows:
        manifest = _candidate(project, spec, window)
        if manifest is None:
            continue
        model = model or manifest.model.digest
        if manifest.model.digest != model:
            return
        record = manifest.evaluation
        yield WindowVerdict(
            window=window.key,
            drift=_drift(record, spec) if record else None,
            performance=_performance(spec, realised.get(window.key, ()), manifest.revision),
        )


def _drift(record: EvaluationRecord, spec: PipelineSpec) -> str:
    """Return what one reference says: the worst of all is no verdict on that one."""
    leading = spec.drift.leading
    if not record.drift_by_reference:  # manifests before it: all there was is training
        return record.drift_verdict
    verdicts = record.drift_by_reference.get(leading, {}).values()
    return next((each for each in WORST_FIRST if each in verdicts), "not judged")


def _candidate(project: Project, spec: PipelineSpec, window: Window) -> Manifest | None:
    """Return a window's manifest, or None where nothing of it is there any more: withdrawn."""
    try:
        return candidate(project, spec, window)
    except WindowMissing:
        return None


def _performance(spec: PipelineSpec, files: Sequence[Place], revision: str) -> bool | None:
    """Judge the kept figures by the bounds of now; None where they are too few to say anything."""
    figures = _own_figures(files, revision)
    if LABELLED not in figures:
        return None
    check = judge_performance(_read_back(figures, task_of(spec)), (), spec.performance)
    return None if check.measured["verdict"] == INSUFFICIENT else check.passed


def _own_figures(files: Sequence[Place], revision: str) -> dict[str, dict[str, Any]]:
    """Return the figures over the whole window, without segments and trailing windows."""
    own = (
        (pc.field("revision") == revision)
        & (pc.field("subject_kind") == PERFORMANCE)
        & pc.field("measure").is_null()
        & pc.field("segment").is_null()
    )
    found = (row for path in files for row in read_figures(path).filter(own).to_pylist())
    return {row["subject"]: row for row in found}


def _read_back(figures: Mapping[str, dict[str, Any]], task: Task) -> Performance:
    labelled = figures[LABELLED]
    rows = int(labelled["value"] or 0)
    values = {name: row["value"] for name, row in figures.items()}
    metrics = task.restored(
        rows,
        counts={name: int(value or 0) for name, value in values.items() if name in COUNTED},
        figures=values,
        intervals={name: _interval(row["low"], row["high"]) for name, row in figures.items()},
    )
    return Performance(state="measured", rows=labelled["rows"], labelled=rows, metrics=metrics)


def _interval(low: float | None, high: float | None) -> Interval | None:
    return None if low is None or high is None else Interval(low=low, high=high)


def _has_drifted(verdict: WindowVerdict) -> bool | None:
    return verdict.drift == MAJOR if verdict.drift in JUDGED else None


def _has_failed(verdict: WindowVerdict) -> bool | None:
    return None if verdict.performance is None else not verdict.performance


def _streak(states: Iterable[tuple[str, bool | None]]) -> _Streak:
    """Collect the newest bad windows up to the first good one; None tells nothing."""
    bad: list[str] = []
    silent = passed_over = 0
    for window, state in states:
        if state is None:
            passed_over += 1
        elif state:
            bad.append(window)
            silent, passed_over = silent + passed_over, 0
        else:
            break
    return _Streak(windows=tuple(bad), silent=silent)


def _sentence(streak: _Streak, needed: int, what: str) -> Iterator[str]:
    count = len(streak.windows)
    if count < needed:
        return
    span = f"{streak.windows[-1]} to {streak.windows[0]}" if count > 1 else streak.windows[0]
    silent = f"; {streak.silent} without enough data do not count" if streak.silent else ""
    yield f"{count} window{'s in a row' if count > 1 else ''}, {span}, with {what}{silent}."
