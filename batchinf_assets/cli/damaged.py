"""What `verify` does about a published revision that is damaged or revoked, as the policy says."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchinf_assets.cli.workplace import open_instance
from batchinf_assets.errors import BatchinfError, KeyringInvalid

if TYPE_CHECKING:
    from batchinf_assets.checks import CheckResult
    from batchinf_assets.project import Project
    from batchinf_assets.publishing.rollback.roll_back import Rollback
    from batchinf_assets.registry.registry import Registry
    from batchinf_assets.spec.pipeline import PipelineSpec
    from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What was done about it, and what is left to do.

    Attributes:
        rollback: What was taken back; None where nothing was tried.
        next_step: What a person can do; None where nothing is to be done, or nothing is known.
    """

    rollback: Rollback | None = None
    next_step: str | None = None

    def document(self) -> dict[str, object]:
        """Return it for `--json`."""
        done = self.rollback
        if done is None:
            return {"rollback": None, "next_step": self.next_step}
        shown = {
            "state": done.state,
            "before": asdict(done.before) if done.before else None,
            "after": asdict(done.after) if done.after else None,
            "stepped_over": list(done.stepped_over),
        }
        return {"rollback": shown, "next_step": self.next_step}

    def __str__(self) -> str:
        """Return it as a sentence; empty where there is nothing to say."""
        done = self.rollback
        if done is None or done.told is None:
            return self.next_step or ""
        now = f"revision {done.after.revision}" if done.after else "nothing"
        return f"{done.state.replace('_', ' ').capitalize()} by itself: readers see {now} now."


def remedy(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> Remedy:
    """Take a revision that readers see back if it is damaged and the policy says so.

    Without the policy nothing is changed, and the command is named that would do it.
    """
    from batchinf_assets.publishing.rollback.damage import check_damage

    try:
        check = check_damage(project, registry, spec, window, revision)
    except KeyringInvalid:
        return Remedy()  # which `verify` has said
    if check.passed:
        return Remedy()
    by_hand = f"batchinf rollback {spec.name} {window} --from {revision} --reason TEXT"
    if "verification" not in spec.rollback.causes:
        return Remedy(next_step=f"Take it back: `{by_hand}`.")
    try:
        done = _taken_back(project, registry, spec, window, revision, check)
    except BatchinfError as error:
        return Remedy(next_step=f"It was not taken back: {error} Then repeat this, or `{by_hand}`.")
    if done is None or done.told is not None:
        return Remedy(rollback=done)
    nothing = f"No earlier revision is good. Let readers see nothing: `{by_hand} --withdraw`."
    return Remedy(rollback=done, next_step=nothing)


def _taken_back(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    check: CheckResult,
) -> Rollback | None:
    from batchinf_assets.orchestration.rollback import tell_dagster
    from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
    from batchinf_assets.publishing.tickets.tickets import open_ticket

    now = datetime.now(UTC)
    open_ticket(project, spec, window, revision, check, now)
    run_id = str(uuid.uuid4())
    with open_instance(project) as instance:
        done = roll_back_if_condemned(
            project, registry, spec, window, check, run_id=run_id, now=now, measured=revision
        )
        if done is not None and done.told is not None:
            tell_dagster(instance, spec, done)
    return done
