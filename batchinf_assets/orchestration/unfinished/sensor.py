"""The sensor that finds windows whose run died, and requests a run for each of them.

A worker that is killed tells nobody. It is found by its lease, which nobody renews, or by Dagster:
its code server sees a process end, its run monitoring one that takes too long. What such a run
refused stays refused and what came through stays so; the rest is run again, window by window. So
Dagster's own `run_retries` stays off: it would run the whole range again, and both would multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from batchinf_assets.lake.lease import Lease
from batchinf_assets.lake.worker import Worker
from batchinf_assets.orchestration.jobs.materialize import performance_job_name
from batchinf_assets.orchestration.keys import WINDOWED, asset_key
from batchinf_assets.orchestration.metadata.names import PREEMPTED, REFUSED
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.unfinished.cursor import UnfinishedCursor
from batchinf_assets.orchestration.unfinished.given_up import clear_given_up, tell_given_up
from batchinf_assets.orchestration.unfinished.leases import read_leases
from batchinf_assets.orchestration.unfinished.relaunches import (
    DeadRun,
    Relaunch,
    Relaunches,
    plan_relaunches,
)
from batchinf_assets.orchestration.unfinished.rollbacks import finish_rollbacks
from batchinf_assets.orchestration.unfinished.run_life import RunLife
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window

RELAUNCH = "batchinf/relaunch"
RELAUNCH_OF = "batchinf/relaunch_of"
HERE = "batchinf/here"
"""Tag of runs inside a command: whoever interrupts one, or has it told to leave, knows of it."""

TICK_SECONDS = 30
RUNS_PER_TICK = 20
PAGE = 200
HORIZON = timedelta(days=2)
Attempts = Callable[[], Mapping[str, AttemptRecord]]
"""Asks for the last attempt at each window, once it matters."""

INTERRUPTED = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")


def unfinished_sensor(spec: PipelineSpec) -> dg.SensorDefinition:
    """Request a run for every window whose run died, a bounded number of times."""

    @dg.sensor(
        name=f"{spec.name}_unfinished",
        job_name=spec.name,
        minimum_interval_seconds=TICK_SECONDS,
        description="One run for each window that a dead run left unfinished, a few times at most; "
        "rollbacks that died are finished.",
    )
    def unfinished(context: dg.SensorEvaluationContext, workplace: Workplace) -> dg.SensorResult:
        now, place = datetime.now(UTC), (context.instance, workplace.project(), spec)
        # First: a window that was taken back needs no other run.
        after = UnfinishedCursor.read(context.cursor).rollbacks_after
        after = finish_rollbacks(context.instance, workplace, spec, now, context.log, after)
        found = look(*place, context.cursor, now)
        for sentence in tell_given_up(*place, found.given_up, now):
            context.log.error(sentence)
        for sentence in clear_given_up(*place, now):
            context.log.info(sentence)
        for problem in found.damaged.values():
            context.log.error(problem)
        requests = [request(spec, each) for each in found.requests]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else " ".join(found.damaged.values()) or None,
            cursor=UnfinishedCursor(
                settled=tuple(sorted(found.settled)), rollbacks_after=after
            ).write(),
        )

    return unfinished


def look(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    cursor: str | None,
    now: datetime,
) -> Relaunches:
    """Find dead runs and plan what to do about them.

    Args:
        instance: Where runs are recorded; runs whose worker is found dead are failed there.
        project: Where leases and the ledger are.
        spec: The pipeline.
        cursor: As `UnfinishedCursor` writes it: which runs were settled at earlier ticks.
        now: The time.
    """
    started = fail_dead_runs(instance, project, spec, now)
    before = frozenset(UnfinishedCursor.read(cursor).settled)
    ended = _ended(instance, spec, now)
    attempts = cache(partial(Ledger(project.lake).latest, spec.name))
    new = [record for record in ended if record.dagster_run.run_id not in before]
    dead = [_dead(instance, project, attempts, spec, record) for record in new]
    found = _plan(instance, project, spec, dead, now)
    listed = {record.dagster_run.run_id for record in ended}
    return replace(
        found,
        settled=(before & listed) | found.settled,
        damaged={**started, **found.damaged},
    )


def fail_dead_runs(
    instance: dg.DagsterInstance, project: Project, spec: PipelineSpec, now: datetime
) -> Mapping[str, str]:
    """Report runs as failed whose worker let a lease expire and has logged nothing since.

    Dagster would leave them started, where each takes one of the places for runs, until
    `dagster/max_runtime` has passed.

    Returns:
        Windows of started runs whose lease is damaged, each with what is wrong.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    damaged: dict[str, str] = {}
    for run in (run for run in instance.get_runs(started) if _is_ours(run, spec)):
        leases = read_leases(project, spec, _windows(run, spec))
        damaged |= leases.damaged
        for lease in leases.known:
            if lease.holder == run.run_id and _is_dead(instance, lease, now):
                instance.report_run_failed(
                    run,
                    f"Worker {lease.worker} died in {lease.stage} of window {lease.window}: "
                    f"its last sign of life was at {lease.beat_at:%Y-%m-%d %H:%M:%S} UTC.",
                )
                break
    return damaged


def _is_dead(instance: dg.DagsterInstance, lease: Lease, now: datetime) -> bool:
    here = Worker.here()
    if lease.state != "held" or lease.is_live(now, here):
        return False
    if lease.worker.has_died(here):
        return True
    # Of another machine no more is known than its silence: its store may be away, not itself.
    last = instance.get_records_for_run(lease.holder, limit=1, ascending=False).records
    silent = timedelta(seconds=2 * lease.ttl_seconds)
    return not last or datetime.fromtimestamp(last[0].timestamp, UTC) + silent < now


def _ended(
    instance: dg.DagsterInstance, spec: PipelineSpec, now: datetime
) -> Sequence[dg.RunRecord]:
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - HORIZON)
    found = _pages(partial(instance.get_run_records, failed, PAGE))
    return [record for record in found if _is_ours(record.dagster_run, spec)]


def _pages(read: Callable[..., Sequence[dg.RunRecord]]) -> Iterator[dg.RunRecord]:
    """Yield all records: other pipelines' failures must not crowd out ours."""
    page = read()
    while page:
        yield from page
        page = read(cursor=page[-1].dagster_run.run_id)


def _plan(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    dead: Sequence[DeadRun],
    now: datetime,
) -> Relaunches:
    windows = sorted({window for run in dead for window in run.unfinished})
    here = Worker.here()
    leases = read_leases(project, spec, map(spec.window.window, windows))
    live = {lease.window for lease in leases.known if lease.is_live(now, here)}
    found = plan_relaunches(
        dead,
        frozenset(_asked(instance, dead)),
        live | leases.damaged.keys(),
        now,
        allowed=spec.retries.relaunches,
        limit=RUNS_PER_TICK,
    )
    return replace(found, damaged=leases.damaged)


def _dead(
    instance: dg.DagsterInstance,
    project: Project,
    attempts: Attempts,
    spec: PipelineSpec,
    record: dg.RunRecord,
) -> DeadRun:
    run = record.dagster_run
    return DeadRun(
        run_id=run.run_id,
        died_at=record.update_timestamp.replace(tzinfo=UTC),
        relaunches=int(run.tags.get(RELAUNCH, "0")),
        assets=_assets(run, spec),
        unfinished=tuple(_unfinished(instance, project, attempts, spec, record)),
    )


def _unfinished(
    instance: dg.DagsterInstance,
    project: Project,
    attempts: Attempts,
    spec: PipelineSpec,
    record: dg.RunRecord,
) -> Iterator[str]:
    run = record.dagster_run
    if _failed_by_itself(instance, run):
        return
    over = _over(instance, spec, run)
    left = [window for window in _windows(run, spec) if window.key not in over]
    leases = read_leases(project, spec, left)
    beats = {each.window: each.beat_at for each in leases.known if each.holder == run.run_id}
    life = RunLife.of(instance, record)
    for window in left:
        last = attempts().get(window.key)
        if not life.is_settled_by(last, beats.get(window.key)):
            yield window.key


def _failed_by_itself(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a step ended it: windows were refused, or the model was, and a run would be again."""
    failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    events = [entry.dagster_event for entry in failures if entry.dagster_event]
    left_alone = HERE in run.tags
    return any(left_alone or not _was_told_to_leave(event) for event in events)


def _was_told_to_leave(event: dg.DagsterEvent) -> bool:
    data = event.step_failure_data
    said = data.user_failure_data
    if said is not None:
        return PREEMPTED in said.metadata
    return data.error is not None and data.error.cls_name in INTERRUPTED


def _over(instance: dg.DagsterInstance, spec: PipelineSpec, run: dg.DagsterRun) -> set[str]:
    """Return the windows that a run refused, or brought through the last of its assets."""
    kinds = {dg.DagsterEventType.ASSET_OBSERVATION, dg.DagsterEventType.ASSET_MATERIALIZATION}
    last = asset_key(spec.name, (_assets(run, spec) or WINDOWED)[-1])
    found: set[str] = set()
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        record = entry.asset_materialization or entry.asset_observation
        if record is None or record.partition is None:
            continue
        if REFUSED in record.metadata or record.asset_key == last:
            found.add(str(record.partition))
    return found


def _asked(instance: dg.DagsterInstance, dead: Iterable[DeadRun]) -> Iterator[tuple[str, str]]:
    for run in dead:
        for again in instance.get_runs(dg.RunsFilter(tags={RELAUNCH_OF: run.run_id})):
            yield run.run_id, again.tags.get(PARTITION_NAME_TAG, "")


def request(spec: PipelineSpec, relaunch: Relaunch) -> dg.RunRequest:
    """Ask for the assets that the dead run was to make, of one window."""
    dead = relaunch.dead
    return dg.RunRequest(
        partition_key=relaunch.window,
        run_key=relaunch.run_key,
        asset_selection=[asset_key(spec.name, name) for name in dead.assets] or None,
        tags={RELAUNCH: str(dead.relaunches + 1), RELAUNCH_OF: dead.run_id},
    )


def _is_ours(run: dg.DagsterRun, spec: PipelineSpec) -> bool:
    return run.job_name in (spec.name, performance_job_name(spec)) or bool(_selected(run, spec))


def _assets(run: dg.DagsterRun, spec: PipelineSpec) -> tuple[str, ...]:
    """Return the assets of a run, in the order of the data's way; empty for all."""
    if run.job_name == performance_job_name(spec):
        return ("performance",)
    selected = _selected(run, spec)
    return tuple(name for name in WINDOWED if name in selected)


def _selected(run: dg.DagsterRun, spec: PipelineSpec) -> set[str]:
    keys = run.asset_selection or frozenset[dg.AssetKey]()
    return {key.path[-1] for key in keys if key.path[0] == spec.name}


def _windows(run: dg.DagsterRun, spec: PipelineSpec) -> list[Window]:
    """Return the windows of a run; none for one of another declaration."""
    only = run.tags.get(PARTITION_NAME_TAG)
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, only)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, only)
    if first is None or last is None or not (spec.window.has(first) and spec.window.has(last)):
        return []
    return spec.window.between(first, last)
