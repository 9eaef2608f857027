"""What follows from failed performance is tried for a day, and then a ticket asks for a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.evaluation.realised.measured import keep_measured, measured
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.orchestration.sensors.repeated_requests import FOLLOW_UP, FOLLOW_UP_RUNS
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import close_ticket, read_tickets
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.orchestration.sensors.test_landed import OLD, Ticking, run


def tickets(project: Project, pipeline: Pipeline) -> list[tuple[str, str]]:
    found = [kept for kept in read_tickets(project, pipeline.spec) if kept.closing is None]
    return [(kept.id, kept.ticket.cause) for kept in found if kept.ticket.check == "follow_up"]


def test_runs_that_keep_failing_end_in_a_ticket_that_names_the_command(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(OLD)
    outcomes = Ticking("flight_delays_outcomes", instance)
    assert run(instance, pipeline, OLD)
    assert outcomes.tick() == []
    about = measured(project, spec, window)
    figures = metric_table(project, spec, "performance").read(window)
    assert about is not None
    assert figures is not None
    keep_measured(project, spec, window, figures, replace(about, followed_up=False))

    for asked in range(FOLLOW_UP_RUNS):
        (request,) = outcomes.tick()
        assert (request.partition_key, tickets(project, pipeline)) == (OLD, []), asked
        failed = dg.DagsterRun(
            job_name="flight_delays_performance",
            tags=request.tags,
            status=dg.DagsterRunStatus.FAILURE,
        )
        instance.add_run(failed)
    for _ in range(2):
        assert outcomes.tick() == []
        ((ticket, cause),) = tickets(project, pipeline)
    assert f"{FOLLOW_UP_RUNS} runs failed to do what follows from the performance of " in cause
    assert f"`batchinf rollback flight_delays {OLD} --from {about.revision} --reason TEXT`" in cause

    now = datetime.now(UTC)
    close_ticket(project, spec, ticket, by="ann", reason="Taken back by hand", at=now)
    assert outcomes.tick() == []
    assert tickets(project, pipeline) == []

    other = replace(about, followed_up=False, outcomes="0" * 64)
    keep_measured(project, spec, window, figures, other)
    (request,) = outcomes.tick()  # other outcomes are another matter
    assert request.tags[FOLLOW_UP].startswith(f"{OLD}:0000")
