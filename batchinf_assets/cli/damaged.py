"""What `verify` does about published revisions that are damaged or revoked, as the policy says."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchinf_assets.cli.workplace import open_instance
from batchinf_assets.errors import BatchinfError, KeyringInvalid

if TYPE_CHECKING:
    from batchinf_assets.checks import CheckResult
    from batchinf_assets.project import Project
    from batchinf_assets.publishing.proof.verify import Verification
    from batchinf_assets.publishing.rollback.roll_back import Rollback
    from batchinf_assets.registry.registry import Registry
    from batchinf_assets.spec.pipeline import PipelineSpec
    from batchinf_assets.windows import Window


MOST_AT_ONCE = 10
"""Most windows that one command takes back: a wrong keyring or mount harms all of them at once."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What was done about it, and what is left to do.

    Attributes:
        damage: The failed check; None where nothing is damaged, or that is not known.
        rollback: What was taken back; None where nothing was tried.
        next_step: What a person can do; None where nothing is to be done, or nothing is known.
    """

    damage: CheckResult | None = None
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


def judge_damage(
    project: Project, registry: Registry, spec: PipelineSpec, failed: Sequence[Verification]
) -> dict[str, Remedy]:
    """Say of windows that do not verify, by key, whether they are damaged and what mends it.

    Nothing is changed. Those of which nothing is damaged are left out.
    """
    judged = {
        found.window: _judged(project, registry, spec, found.window, found.revision)
        for found in failed
        if found.revision is not None
    }
    return {key: remedy for key, remedy in judged.items() if str(remedy)}


def take_all_back(
    project: Project, registry: Registry, spec: PipelineSpec, judged: Mapping[str, Remedy]
) -> dict[str, Remedy]:
    """Take damaged windows back where the policy says so, and say what was done.

    Where more than `MOST_AT_ONCE` are damaged nothing is done.
    """
    if "verification" not in spec.rollback.causes:
        return dict(judged)
    damaged = [key for key, remedy in judged.items() if remedy.damage is not None]
    if len(damaged) > MOST_AT_ONCE:
        left = Remedy(
            next_step=f"Nothing was taken back, as {len(damaged)} windows are damaged at once, "
            f"more than {MOST_AT_ONCE}: a wrong keyring or mount looks like this. Find out what "
            "they have in common; where it is damage, name windows one by one: "
            f"`batchinf verify {spec.name} WINDOW --take-back`."
        )
        return {**judged, **dict.fromkeys(damaged, left)}
    return {
        key: _act(project, registry, spec, key, remedy.damage) if remedy.damage else remedy
        for key, remedy in judged.items()
    }


def _judged(
    project: Project, registry: Registry, spec: PipelineSpec, key: str, revision: str
) -> Remedy:
    from batchinf_assets.publishing.rollback.damage import check_damage

    try:
        check = check_damage(project, registry, spec, spec.window.window(key), revision)
    except KeyringInvalid:
        return Remedy()  # which `verify` has said
    except (BatchinfError, OSError) as error:
        return Remedy(next_step=f"Whether it is damaged is not known: {error}")
    if check.passed:
        return Remedy()
    by_hand = _by_hand(spec, key, check)
    if "verification" not in spec.rollback.causes:
        return Remedy(damage=check, next_step=f"Take it back: `{by_hand}`.")
    repeated = f"batchinf verify {spec.name} {key} --take-back"
    return Remedy(damage=check, next_step=f"Take it back: `{repeated}`, or `{by_hand}`.")


def _act(
    project: Project, registry: Registry, spec: PipelineSpec, key: str, check: CheckResult
) -> Remedy:
    by_hand = _by_hand(spec, key, check)
    try:
        done = _taken_back(project, registry, spec, spec.window.window(key), check)
    except (BatchinfError, OSError) as error:
        return Remedy(next_step=f"It was not taken back: {error} Then repeat this, or `{by_hand}`.")
    if done is None:
        return Remedy(next_step="It was not taken back: readers see another revision by now.")
    if done.told is not None:
        return Remedy(rollback=done)
    nothing = f"No earlier revision is good. Let readers see nothing: `{by_hand} --withdraw`."
    return Remedy(rollback=done, next_step=nothing)


def _by_hand(spec: PipelineSpec, key: str, check: CheckResult) -> str:
    revision = check.measured["revision"]
    return f"batchinf rollback {spec.name} {key} --from {revision} --reason TEXT"


def _taken_back(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    check: CheckResult,
) -> Rollback | None:
    from batchinf_assets.orchestration.rollback.roll_back import tell_dagster
    from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
    from batchinf_assets.publishing.tickets.tickets import open_ticket

    now, revision = datetime.now(UTC), str(check.measured["revision"])
    open_ticket(project, spec, window, revision, check, now)
    run_id = str(uuid.uuid4())
    with open_instance(project) as instance:
        done = roll_back_if_condemned(
            project, registry, spec, window, check, run_id=run_id, now=now, measured=revision
        )
        if done is not None and done.told is not None:
            tell_dagster(instance, spec, done)
    return done
