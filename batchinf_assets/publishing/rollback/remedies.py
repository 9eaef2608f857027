"""What follows where published revisions do not verify: by hand, or by itself as the policy says.

What condemns one is `damage`'s business, how it is taken back that of `automatic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import BatchinfError, KeyringInvalid
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import last_announcement
from batchinf_assets.publishing.proof.verify import Verification
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.damage import VERIFICATION, check_damage
from batchinf_assets.publishing.rollback.roll_back import Rollback, as_announced
from batchinf_assets.publishing.tickets.tickets import open_ticket
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.pipeline import PipelineSpec

MOST_AT_ONCE = 10
"""Most windows that are taken back at once: a wrong keyring or mount harms all of them."""

Telling = Callable[[], AbstractContextManager[Callable[[Rollback], object]]]
"""Opened before a window is taken back, and called with what was done."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What was done about it, and what is left to do.

    Attributes:
        damage: The failed check; None where nothing is damaged, or that is not known.
        rollback: What was taken back; None where nothing was tried, or that failed.
        next_step: What is left to do; None where nothing is to be done, or nothing is known.
    """

    damage: CheckResult | None = None
    rollback: Rollback | None = None
    next_step: str | None = None

    def __str__(self) -> str:
        """Return it as a sentence; empty where there is nothing to say."""
        done = self.rollback
        if done is None or done.told is None:
            return self.next_step or ""
        now = f"revision {done.after.revision}" if done.after else "nothing"
        said = f"{done.state.replace('_', ' ').capitalize()} by itself: readers see {now} now."
        return f"{said} {self.next_step or ''}".rstrip()


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
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    judged: Mapping[str, Remedy],
    *,
    run_id: str,
    now: datetime,
    telling: Telling,
) -> dict[str, Remedy]:
    """Take damaged windows back where the policy says so, and say what was done.

    Where more than `MOST_AT_ONCE` are damaged nothing is done.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline, with its policy.
        judged: What `judge_damage` found.
        run_id: The run, or what stands for one.
        now: The time.
        telling: Tells Dagster; where that cannot be opened the window stays as it is.
    """
    if VERIFICATION not in spec.rollback.causes:
        return dict(judged)
    damaged = {key: remedy.damage for key, remedy in judged.items() if remedy.damage is not None}
    if len(damaged) > MOST_AT_ONCE:
        return {**judged, **dict.fromkeys(damaged, _left(spec, len(damaged)))}

    def act(key: str, check: CheckResult) -> Rollback | None:
        window, revision = spec.window.window(key), str(check.measured["revision"])
        open_ticket(project, spec, window, revision, check, now)
        with telling() as tell:
            done = roll_back_if_condemned(
                project, registry, spec, window, check, run_id=run_id, now=now, measured=revision
            )
            if done is not None and done.told is not None:
                tell(done)
        return done

    done = {key: _remedy(project, spec, key, check, act, now=now) for key, check in damaged.items()}
    return {**judged, **done}


def _judged(
    project: Project, registry: Registry, spec: PipelineSpec, key: str, revision: str
) -> Remedy:
    try:
        check = check_damage(project, registry, spec, spec.window.window(key), revision)
    except KeyringInvalid:
        return Remedy()  # which `verify` has said
    except (BatchinfError, OSError) as error:
        return Remedy(next_step=f"Whether it is damaged is not known: {error}")
    if check.passed:
        return Remedy()
    by_hand = _by_hand(spec, key, check)
    if VERIFICATION not in spec.rollback.causes:
        return Remedy(damage=check, next_step=f"Take it back: `{by_hand}`.")
    repeated = f"batchinf verify {spec.name} {key} --take-back"
    return Remedy(damage=check, next_step=f"Take it back: `{repeated}`, or `{by_hand}`.")


def _left(spec: PipelineSpec, damaged: int) -> Remedy:
    return Remedy(
        next_step=f"Nothing was taken back, as {damaged} windows are damaged at once, "
        f"more than {MOST_AT_ONCE}: a wrong keyring or mount looks like this. Find out what "
        "they have in common; where it is damage, name windows one by one: "
        f"`batchinf verify {spec.name} WINDOW --take-back`."
    )


def _remedy(
    project: Project,
    spec: PipelineSpec,
    key: str,
    check: CheckResult,
    act: Callable[[str, CheckResult], Rollback | None],
    *,
    now: datetime,
) -> Remedy:
    by_hand = _by_hand(spec, key, check)
    try:
        done = act(key, check)
    except (BatchinfError, OSError) as error:
        return _failed(project, spec, key, error, by_hand, now=now)
    if done is None:
        return Remedy(next_step="It was not taken back: readers see another revision by now.")
    if done.told is not None:
        return Remedy(rollback=done)
    nothing = f"No earlier revision is good. Let readers see nothing: `{by_hand} --withdraw`."
    return Remedy(rollback=done, next_step=nothing)


def _failed(
    project: Project,
    spec: PipelineSpec,
    key: str,
    error: Exception,
    by_hand: str,
    *,
    now: datetime,
) -> Remedy:
    """Say what an error left behind, which may have come after the commit."""
    again, window = f"Then repeat this, or `{by_hand}`.", spec.window.window(key)
    try:
        said = last_announcement(project, spec, window)
        if said is None or said.at != now:
            return Remedy(next_step=f"It was not taken back: {error} {again}")
        done = as_announced(project, spec, window, said)
    except (BatchinfError, OSError):
        return Remedy(next_step=f"Whether it was taken back is not known: {error} {again}")
    left = f"Not everybody was told: {error} The sensor `{spec.name}_unfinished` does that then."
    return Remedy(rollback=done, next_step=left)


def _by_hand(spec: PipelineSpec, key: str, check: CheckResult) -> str:
    revision = check.measured["revision"]
    return f"batchinf rollback {spec.name} {key} --from {revision} --reason TEXT"
