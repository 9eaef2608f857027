"""Where reports lie, and where their links lead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.evaluation.report.places import (
    link_to,
    manifest_link,
    range_report_place,
    window_report_place,
)
from batchinf_assets.lake.place import Place, parse_place
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.test_manifest import MANIFEST

S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1"}


@pytest.fixture(params=["folder", "s3"])
def lakes(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    lake: Place = tmp_path / "lake"
    if request.param == "s3":
        lake = parse_place("s3://bucket/some/lake", tmp_path, S3, variable="BATCHINF_LAKE")
    home = Project(
        root=tmp_path, lake=tmp_path, landing=tmp_path, dagster_home=tmp_path, keys=tmp_path
    )
    return replace(home, lake=lake)


def test_a_link_leads_from_the_page_to_the_manifest(lakes: Project, pipeline: Pipeline) -> None:
    spec = pipeline.spec
    window = spec.window.window("2013-07-01")
    page = window_report_place(lakes, spec, window, MANIFEST.revision)
    assert str(page).endswith(f"flight_delays/_reports/2013-07-01/{MANIFEST.revision}.html")
    draft = manifest_link(lakes, spec, window, MANIFEST, page)
    assert draft.href == "../../_manifests/2013-07-01/draft.json"
    signed = MANIFEST.model_copy(update={"published_at": MANIFEST.scored_at})
    link = manifest_link(lakes, spec, window, signed, page)
    assert link.href == f"../../_manifests/2013-07-01/{MANIFEST.revision}.json"
    assert link.name == f"flight_delays/_manifests/2013-07-01/{MANIFEST.revision}.json"


def test_a_range_is_named_by_its_ends(lakes: Project, pipeline: Pipeline) -> None:
    first, last = (pipeline.spec.window.window(key) for key in ("2013-07-01", "2013-07-31"))
    page = range_report_place(lakes, pipeline.spec, first, last)
    assert str(page).endswith("flight_delays/_reports/2013-07-01_2013-07-31.html")
    target = window_report_place(lakes, pipeline.spec, first, MANIFEST.revision)
    assert link_to(lakes, target, page).href == f"2013-07-01/{MANIFEST.revision}.html"


def test_a_page_outside_the_lake_has_no_links_that_name_this_machine(
    lakes: Project, pipeline: Pipeline, tmp_path: Path
) -> None:
    window = pipeline.spec.window.window("2013-07-01")
    link = manifest_link(lakes, pipeline.spec, window, MANIFEST, tmp_path / "mine.html")
    assert link.href is None
    assert link.name == "flight_delays/_manifests/2013-07-01/draft.json"
