"""Rollbacks that cannot be finished, beside others that wait for the same ticks."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import dagster as dg
import pytest

from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.unfinished import rollbacks
from batchinf_assets.orchestration.unfinished.rollbacks import PER_TICK, finish_rollbacks
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import Condemnation, say
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def condemn(project: Project, spec: PipelineSpec, window: Window, now: datetime) -> None:
    said = Condemnation(
        pipeline=spec.name,
        window=window.key,
        revision="0" * 16,
        verdict="condemned",
        by="tests",
        reason="Wrong weather",
        at=now,
    )
    say(project, spec, window, said)


def test_windows_whose_rollback_fails_at_every_tick_keep_no_other_waiting(
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, now, tried = pipeline.spec, datetime.now(UTC), list[str]()
    windows = spec.window.between("2013-06-01", f"2013-06-{2 * PER_TICK.failed + 2:02}")
    for window in windows:
        condemn(project, spec, window, now)

    def fails(_project: object, _registry: object, _spec: object, window: Window, **_: object):
        tried.append(window.key)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rollbacks, "finish_rollback", fails)
    after, log = None, logging.getLogger("batchinf")
    for _ in range(3):
        after = finish_rollbacks(instance, Workplace(), spec, now, log, after)
    assert len(tried) == 3 * PER_TICK.failed
    assert tried[: len(windows)] == [window.key for window in windows]
    assert tried[len(windows) :] == tried[: len(tried) - len(windows)]
