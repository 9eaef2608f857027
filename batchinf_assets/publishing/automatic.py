"""Automatic rollback: what realised performance condemns is taken back, where the policy says so.

What performance must be is judged in `evaluation`; how a revision is taken back is `rollback`'s
business.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from batchinf_assets.checks import CheckResult, summarize
from batchinf_assets.manifest import LONGEST_TEXT
from batchinf_assets.project import Project
from batchinf_assets.publishing.recorded_figures import writable
from batchinf_assets.publishing.rollback import Rollback, attempt_rollback
from batchinf_assets.publishing.rollback_plan import (
    RollbackRequest,
    plan_rollback,
    seen_revision,
)
from batchinf_assets.publishing.rollback_target import NothingToGoBackTo
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

BY = "automatic rollback"


def roll_back_if_condemned(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    performance_check: CheckResult,
    *,
    run_id: str,
    now: datetime,
    measured: str | None = None,
) -> Rollback | None:
    """Take the visible revision of a window back if its realised performance failed.

    Args:
        project: Where the tables are.
        registry: Whose keys count.
        spec: The pipeline, with its policy.
        window: The window.
        performance_check: What realised performance came to; one that passed condemns nothing.
        run_id: The run that measured; it must not hold the window's lease under another stage.
        now: The time.
        measured: The revision that the check is about, if it is known: another one that readers see
            by now is left alone.

    Returns:
        What was done; with the state `nothing_to_go_back_to` where nothing was changed because
        there is no earlier revision and the policy withdraws none. None where the policy, or the
        check, asks for nothing.

    Raises:
        BatchinfError: What `attempt_rollback` raises, such as `LostRace` where somebody works on
            the window, or published another revision meanwhile.
        OSError: The lake cannot be written.
    """
    if performance_check.passed or not spec.rollback.automatic:
        return None
    visible = published_revision(project, spec, window)
    if visible is None or measured not in (None, visible):
        return None
    request = RollbackRequest(
        by=BY,
        reason=f"Realised performance: {summarize([performance_check])}."[:LONGEST_TEXT],
        at=now,
        seen=visible,
        check=_as_found(performance_check),
    )
    plan = None
    try:
        plan = plan_rollback(project, registry, spec, window, request)
    except NothingToGoBackTo as error:
        if not spec.rollback.withdraw:
            return _left(project, spec, window, visible, error)
        request = replace(request, withdraw=True)
    return attempt_rollback(project, registry, spec, window, request, run_id=run_id, planned=plan)


def _left(
    project: Project, spec: PipelineSpec, window: Window, visible: str, error: NothingToGoBackTo
) -> Rollback:
    seen = seen_revision(project, spec, window, visible)
    return Rollback(
        state="nothing_to_go_back_to",
        window=window.key,
        before=seen,
        after=seen,
        told=None,
        stepped_over=error.stepped_over,
    )


def _as_found(check: CheckResult) -> CheckResult:
    """Return the check for a document."""
    return replace(check, measured={name: writable(v) for name, v in check.measured.items()})
