"""Rollbacks that died before consumers and Dagster were told: a tick of a sensor finishes them."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from logging import Logger

import dagster as dg

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.worker import Worker
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.rollback import tell_dagster, untold_rollback
from batchinf_assets.orchestration.window_leases import read_leases
from batchinf_assets.project import Project
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.rollback.unfinished import finish_rollback, judged_lately
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

GRACE = timedelta(minutes=2)
"""How long a process that is not known to have ended may take to tell of its own rollback."""

FINISHED_PER_TICK = 10
"""Rollbacks that a tick finishes, or fails to: it has a minute, and files are read again."""


def finish_rollbacks(
    instance: dg.DagsterInstance,
    workplace: Workplace,
    spec: PipelineSpec,
    now: datetime,
    log: Logger,
) -> None:
    """Finish rollbacks of recent days whose process died, and tell Dagster of them.

    Args:
        instance: Whose history tells of them.
        workplace: Where lake, registry and keys are.
        spec: The pipeline.
        now: The time.
        log: Hears what was finished, and what could not be; without tracebacks, as the chain of an
            error's causes may quote an address with a password in it.
    """
    try:
        tried = 0
        for window in _left_alone(workplace.project(), spec, now):
            tried += _is_finished(instance, workplace, spec, window, now, log)
            if tried == FINISHED_PER_TICK:
                break
    except (BatchinfError, OSError) as error:
        log.error("Rollbacks that died cannot be looked for: %s", error)  # noqa: TRY400


def _is_finished(
    instance: dg.DagsterInstance,
    workplace: Workplace,
    spec: PipelineSpec,
    window: Window,
    now: datetime,
    log: Logger,
) -> bool:
    """Finish the rollback of a window, if one died; say whether there was anything to do."""
    try:
        done = _finished(instance, workplace, spec, window, now)
    except (BatchinfError, OSError) as error:
        sentence = "%s: a rollback that died could not be finished: %s"
        log.error(sentence, window, error)  # noqa: TRY400
        return True
    if done is not None:
        log.info("%s: a rollback that died was finished: %s", window, done.told or done.state)
    return done is not None


def _left_alone(project: Project, spec: PipelineSpec, now: datetime) -> Iterator[Window]:
    """Yield windows that were judged lately and that nobody can be at work on any more."""
    here = Worker.here()
    for window in judged_lately(project, spec, now):
        leases = read_leases(project, spec, [window])
        if leases.damaged:
            continue
        if all(
            lease.worker.has_died(here)
            or (not lease.is_live(now, here) and lease.beat_at + GRACE < now)
            for lease in leases.known
        ):
            yield window


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
