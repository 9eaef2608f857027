"""A drafted pipeline scores and publishes as it was written, from landed files to a proof."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.golden.golden_provenance import LearnedFrom
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scaffold.draft import Draft, draft
from batchinf_assets.scaffold.drop import Drop
from batchinf_assets.scaffold.texts import Said, pipeline_texts
from batchinf_assets.scaffold.write import write_pipeline
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.golden_draw import GoldenDraw, draw_golden_set, write_golden_set
from batchinf_assets.training.register import train_and_register
from batchinf_assets_tests.end_to_end.arrival_delay import Airline, project_in
from batchinf_demo.landing import land

KEY = ("scheduled_departure", "carrier", "flight")
SINCE = datetime(2013, 1, 1, tzinfo=UTC)


def drafted(project: Project) -> tuple[Pipeline, Draft]:
    landing = project.root / "landing"
    source, outcomes = (
        Drop.around(landing / drop / "2013-06-01.parquet", landing)
        for drop in ("flights", "outcomes")
    )
    found = draft(source, outcomes, key=KEY, time="scheduled_departure")
    said = Said(
        name="late",
        label="arrival_delay >= 15",
        owner="flights@airline.example",
        team="flights",
        timezone="America/New_York",
    )
    (project.root / "defs").mkdir()
    texts = pipeline_texts(said, source, outcomes, found)
    return write_pipeline("late", texts, project.root / "defs"), found


def draw_golden(project: Project, pipeline: Pipeline, found: Draft) -> None:
    assert found.golden is not None
    start, end = found.training
    draw = GoldenDraw(
        windows=pipeline.spec.window.between(*found.golden),
        rows=400,
        segments=(),
        version="1",
        at=SINCE,
        apart_from=(LearnedFrom(what="declared training", start=start, end=end),),
    )
    drawn = draw_golden_set(project, pipeline, draw, lambda *_: None)
    write_golden_set(project.root / pipeline.spec.golden.file, drawn, pipeline.spec)


def test_a_drafted_pipeline_publishes_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, now = project_in(tmp_path), datetime.now(UTC)
    project.dagster_home.mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", project.dagster_home)
    land(tmp_path / "landing", first=date(2013, 6, 1), last=date(2013, 6, 10))
    pipeline, found = drafted(project)
    draw_golden(project, pipeline, found)
    key = init_keys(project.keys, not_before=SINCE, not_after=now + timedelta(days=2))
    registry = Registry.at(project, {})
    registered = train_and_register(project, registry, pipeline, key, lambda *_: None, now=now)
    decision = Decision(alias="champion", reason="The first model", by="tests", at=now)
    promoted = promote(project, registry, [pipeline], key, registered.version, decision)
    airline = Airline(project, pipeline, key, registered, promoted)

    monkeypatch.setenv("DAGSTER_HOME", str(project.dagster_home))
    windows = airline.windows("2013-06-09", "2013-06-10")
    with dg.DagsterInstance.get() as instance:
        report = airline.run(instance, windows)

    assert report.succeeded, report.failure
    for window in windows:
        verified = verify_window(project, registry, pipeline.spec, window)
        assert (verified.revision is not None, verified.problems) == (True, ())
        landed = pq.read_metadata(tmp_path / "landing" / "flights" / f"{window.key}.parquet")
        manifest = manifests(project, pipeline.spec).read(window, str(verified.revision))
        assert manifest.counts.scored == landed.num_rows > 700
