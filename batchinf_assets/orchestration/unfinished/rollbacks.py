"""Rollbacks that died before consumers and Dagster were told: a tick of a sensor finishes them."""

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from logging import Logger

import dagster as dg

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.worker import Worker
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback.roll_back import tell_dagster, untold_rollback
from batchinf_assets.orchestration.unfinished.leases import read_leases
from batchinf_assets.orchestration.unfinished.turns import Bounds, Outcome, take_turns
from batchinf_assets.project import Project
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.rollback.unfinished import finish_rollback, judged_lately
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

GRACE = timedelta(minutes=2)
"""How long a process that is not known to have ended may take to tell of its own rollback."""

PER_TICK = Bounds(finished=10, failed=5, seconds=20)
"""A tick has a minute, in which runs are relaunched too; files of each window are read again."""


def finish_rollbacks(
    instance: dg.DagsterInstance,
    workplace: Workplace,
    spec: PipelineSpec,
    now: datetime,
    log: Logger,
    after: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Finish rollbacks of recent days whose process died, and tell Dagster of them.

    Args:
        instance: Whose history tells of them.
        workplace: Where lake, registry and keys are.
        spec: The pipeline.
        now: The time.
        log: Hears what was finished, and what could not be; without tracebacks, as the chain of an
            error's causes may quote an address with a password in it.
        after: What the tick before returned.
        clock: Seconds that never go back.

    Returns:
        Where the next tick goes on; None where it begins anew.
    """

    def act(window: Window) -> Outcome:
        if not _is_left_alone(project, spec, window, now):
            return "nothing"
        return _outcome(instance, workplace, spec, window, now, log)

    try:
        project = workplace.project()
        return take_turns(judged_lately(project, spec, now), after, act, PER_TICK, clock)
    except (BatchinfError, OSError) as error:
        log.error("Rollbacks that died cannot be looked for: %s", error)  # noqa: TRY400
        return after


def _outcome(
    instance: dg.DagsterInstance,
    workplace: Workplace,
    spec: PipelineSpec,
    window: Window,
    now: datetime,
    log: Logger,
) -> Outcome:
    """Finish the rollback of a window, if one died; say whether there was anything to do."""
    try:
        done = _finished(instance, workplace, spec, window, now)
    except (BatchinfError, OSError) as error:
        sentence = "%s: a rollback that died could not be finished: %s"
        log.error(sentence, window, error)  # noqa: TRY400
        return "failed"
    if done is None:
        return "nothing"
    log.info("%s: a rollback that died was finished: %s", window, done.told or done.state)
    return "finished"


def _is_left_alone(project: Project, spec: PipelineSpec, window: Window, now: datetime) -> bool:
    """Whether nobody can be at work on a window any more."""
    here, leases = Worker.here(), read_leases(project, spec, [window])
    return not leases.damaged and all(
        lease.worker.has_died(here)
        or (not lease.is_live(now, here) and lease.beat_at + GRACE < now)
        for lease in leases.known
    )


def _finished(
    instance: dg.DagsterInstance,
    workplace: Workplace,
    spec: PipelineSpec,
    window: Window,
    now: datetime,
) -> Rollback | None:
    project, run_id = workplace.project(), str(uuid.uuid4())
    done = finish_rollback(project, workplace.registry(), spec, window, run_id=run_id, now=now)
    untold = untold_rollback(instance, project, spec, window)
    if untold is not None:
        tell_dagster(instance, spec, untold)
    return untold or done
