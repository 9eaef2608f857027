"""Days and hours side by side: two pipelines in one deployment, each with windows of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.orchestration.runs.refusals import standing_refusals
from batchinf_assets.project import Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.status.window_status import WindowStatus
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.training.register import train_and_register
from batchinf_demo.departures import land_departures

DAY = "2013-07-01"
NIGHT, DAWN, BAD, MORNING = (f"{DAY}-{hour:02}:00" for hour in (4, 5, 6, 7))
LEARNED = {"start": date(2013, 6, 27), "end": date(2013, 6, 30)}
"""Of the declared month, which would take a minute: what is learned is not what is tested."""


@pytest.fixture
def hourly(project: Project, registry: Registry, signing_key: SigningKey) -> Pipeline:
    """The second pipeline, with some days landed, and a champion."""
    land_departures(project.landing, first=date(2013, 6, 26), last=date(2013, 7, 1))
    pipeline, now = load_pipeline("departure_delays"), datetime.now(UTC)
    model = pipeline.spec.model
    training = model.training.model_copy(update=LEARNED)
    spec = pipeline.spec.model_copy(
        update={"model": model.model_copy(update={"training": training})}
    )
    trained = train_and_register(
        project,
        registry,
        replace(pipeline, spec=spec),
        signing_key,
        lambda _done, _all: None,
        now=now,
    )
    decision = Decision(alias="champion", reason="The first model", by="tests", at=now)
    promote(project, registry, [pipeline], signing_key, trained.version, decision)
    return pipeline


def ran(instance: dg.DagsterInstance, pipeline: Pipeline, first: str, last: str) -> RunReport:
    """Run windows by the job of the whole deployment."""
    job = defs().get_repository_def().get_job(pipeline.name)
    windows = pipeline.spec.window.between(first, last)
    return run_job(job, instance, windows, lambda _window, _asset: None)


def statuses(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> list[WindowStatus]:
    refused = standing_refusals(instance, pipeline.spec)
    return pipeline_status(project, pipeline.spec, refused, now=datetime.now(UTC))


def status(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> dict[str, tuple[str, int | None]]:
    found = statuses(project, instance, pipeline)
    return {each.window: (each.state, each.rows) for each in found}


def test_a_day_and_some_hours_are_published_and_a_bad_hour_stops_nobody_else(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, hourly: Pipeline
) -> None:
    landed = project.landing / "departures" / f"{BAD}.parquet"
    landed.write_bytes(landed.read_bytes()[:-100])
    of_day = ran(instance, pipeline, DAY, DAY)
    of_hours = ran(instance, hourly, NIGHT, MORNING)

    assert of_day.succeeded
    assert list(of_hours.refused) == [BAD]
    assert of_hours.done == [NIGHT, DAWN, MORNING]
    assert status(project, instance, pipeline) == {DAY: ("published", 966)}
    states = status(project, instance, hourly)
    assert states.pop(BAD)[0] != "published"
    assert states == {
        NIGHT: ("published", 0),
        DAWN: ("published", 7),
        MORNING: ("published", 68),
    }
    # One hour of one day is no season: it is measured, and nothing is said of it.
    judged = {each.window: each.drift for each in statuses(project, instance, hourly)}
    assert (judged[DAWN], judged[MORNING]) == ("too few windows", "too few windows")
    for declared, keys in ((pipeline, {DAY}), (hourly, {NIGHT, DAWN, MORNING})):
        published = dg.AssetKey([declared.name, "published"])
        assert instance.get_materialized_partitions(published) == keys
        for key in keys:
            window = declared.spec.window.window(key)
            registry = Registry.at(project, {})
            assert verify_window(project, registry, declared.spec, window).problems == ()
    window = hourly.spec.window.window(MORNING)
    again = replay_window(project, Registry.at(project, {}), hourly, window)
    assert (again.same_rows, again.same_bytes, again.features) == (True, True, "rebuilt")
