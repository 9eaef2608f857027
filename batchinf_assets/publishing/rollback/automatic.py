"""Automatic rollback: what a later check condemns is taken back, where the policy says so.

Three checks may: realised performance, an evaluation made again, and the verification of what is
published. What they ask is their own business, how a revision is taken back is that of `rollback`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import cast

from batchinf_assets.checks import CheckResult, as_written, summarize
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.values import LONGEST_TEXT
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.rollback.plan import (
    RollbackRequest,
    plan_rollback,
    seen_revision,
)
from batchinf_assets.publishing.rollback.roll_back import Rollback, attempt_rollback
from batchinf_assets.publishing.rollback.target import (
    NothingToGoBackTo,
    Objection,
    TargetUnjudged,
)
from batchinf_assets.publishing.tickets.tickets import open_cause
from batchinf_assets.publishing.verdicts_of_now import failed_evaluation
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.evaluation import RollbackCause
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

BY = "automatic rollback"

CHECK = "rollback"
"""What tickets say that is left to people."""

SAID = MappingProxyType[RollbackCause, str](
    {
        "performance": "Realised performance",
        "evaluation": "Evaluated again",
        "verification": "Verified again",
    }
)
"""How the reason of a rollback begins, by what asked for it."""


def cause_of(check: CheckResult) -> RollbackCause:
    """Return what a check that condemns is about: its asset has the same name.

    Raises:
        ValueError: No check of this asset condemns a published revision.
    """
    if check.asset not in SAID:
        raise ValueError(f"a check of '{check.asset}' condemns no published revision")
    return cast("RollbackCause", check.asset)


def roll_back_if_condemned(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    check: CheckResult,
    *,
    run_id: str,
    now: datetime,
    measured: str | None = None,
) -> Rollback | None:
    """Take the visible revision of a window back if a later check failed.

    An earlier revision that fails the same check is stepped over. Of realised performance that
    shows only once it is visible: whoever measures it goes further back then. Where nobody can tell
    of one, nothing is changed, and a ticket says so.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline, with its policy.
        window: The window.
        check: What was found; one that passed condemns nothing. Its asset names the cause.
        run_id: The run that found it; it must not hold the window's lease under another stage.
        now: The time.
        measured: The revision that the check is about, if it is known: another one that readers see
            by now is left alone.

    Returns:
        What was done; with the state `nothing_to_go_back_to` where nothing was changed because
        there is no earlier revision and the policy withdraws none. None where the policy, or the
        check, asks for nothing.

    Raises:
        TargetUnjudged: Whether an earlier revision is good cannot be told here and now.
        BatchinfError: What `attempt_rollback` raises, such as `LostRace` where somebody works on
            the window, or published another revision meanwhile.
        OSError: The lake cannot be written.
    """
    cause = cause_of(check)
    if check.passed or cause not in spec.rollback.causes:
        return None
    visible = published_revision(project, spec, window)
    if visible is None or measured not in (None, visible):
        return None
    request = RollbackRequest(
        by=BY,
        reason=f"{SAID[cause]}: {summarize([check])}."[:LONGEST_TEXT],
        at=now,
        seen=visible,
        check=as_written(check),
        objection=_objection(project, registry, spec, window, cause),
    )
    try:
        plan = plan_rollback(project, registry, spec, window, request)
    except NothingToGoBackTo as error:
        if not spec.rollback.withdraw:
            return _left(project, spec, window, visible, error)
        request = replace(request, withdraw=True)
        planned = plan_rollback(project, registry, spec, window, request)
        plan = replace(planned, stepped_over=error.stepped_over)
    except TargetUnjudged as error:
        open_cause(project, spec, CHECK, _left_open(spec, window, visible, error), now)
        raise
    return attempt_rollback(project, registry, spec, window, request, run_id=run_id, planned=plan)


def _objection(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    cause: RollbackCause,
) -> Objection:
    """Return what the check that condemned says of another revision that readers saw."""

    def fails_evaluation(manifest: Manifest) -> str | None:
        failed = failed_evaluation(project, registry, spec, window, manifest)
        return f"{summarize(failed)}." if failed else None

    def does_not_verify(manifest: Manifest) -> None:
        """Its files are whole, so what does not hold is about what they were made of."""
        found = verify_window(project, registry, spec, window, revision=manifest.revision)
        if found.problems:
            raise ManifestInvalid(found.problems[0], next_step="Restore it from a backup.")

    def is_not_measured(_manifest: Manifest) -> None:
        return None

    objections: dict[RollbackCause, Objection] = {
        "performance": is_not_measured,
        "evaluation": fails_evaluation,
        "verification": does_not_verify,
    }
    return objections[cause]


def _left_open(spec: PipelineSpec, window: Window, visible: str, error: TargetUnjudged) -> str:
    by_hand = f"batchinf rollback {spec.name} {window} --from {visible} --reason TEXT"
    what = f"revision {visible} of window {window} is bad and is seen still. {error.message}"
    return f"{one_line(what, LONGEST_TEXT - len(by_hand) - 4)} `{by_hand}`"


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
