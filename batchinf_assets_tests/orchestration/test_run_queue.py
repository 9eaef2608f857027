from __future__ import annotations

import dagster as dg
import pytest

from batchinf_assets.orchestration.run_queue import queue_tags

OWNERS = {
    "arrivals": ["a@b.example", "team:red"],
    "departures": ["team:red"],
    "fares": ["team:blue"],
}


def run(*assets: str, **tags: str) -> dg.DagsterRun:
    keys = {dg.AssetKey(asset.split("/")) for asset in assets}
    return dg.DagsterRun(job_name="any", asset_selection=keys or None, tags=tags)


def added(*assets: str, **tags: str) -> dict[str, str]:
    return queue_tags(run(*assets, **tags), lambda key: OWNERS[key.path[0]])


def test_assets_of_one_pipeline_name_pipeline_team_and_window() -> None:
    assert added("arrivals/snapshot", "arrivals/features", **{"dagster/partition": "2013"}) == {
        "batchinf/pipeline": "arrivals",
        "batchinf/window": "arrivals/2013",
        "team": "red",
    }


def test_assets_of_two_pipelines_of_a_team_count_for_the_team_alone() -> None:
    two = ("arrivals/published", "departures/published")
    assert added(*two, **{"dagster/partition": "2013"}) == {"team": "red"}


def test_assets_of_two_teams_count_for_none() -> None:
    assert added("arrivals/published", "fares/published") == {}


def test_a_run_of_a_job_keeps_its_tags_and_gets_the_window() -> None:
    tags = {"batchinf/pipeline": "fares", "team": "blue", "dagster/partition": "2013"}
    assert added(**tags) == {"batchinf/window": "fares/2013"}


@pytest.mark.parametrize(("last", "window"), [("2013-07-01", True), ("2013-07-02", False)])
def test_a_range_names_its_window_if_it_has_only_one(last: str, window: bool) -> None:
    tags = {
        "dagster/asset_partition_range_start": "2013-07-01",
        "dagster/asset_partition_range_end": last,
    }
    assert ("batchinf/window" in added("fares/published", **tags)) == window


def test_a_backfill_ranks_behind_unless_its_launcher_ranked_it() -> None:
    backfill = {"dagster/backfill": "abc"}
    assert added("fares/published", **backfill)["dagster/priority"] == "-10"
    assert "dagster/priority" not in added(
        "fares/published", **backfill, **{"dagster/priority": "3"}
    )


def test_what_the_launcher_tagged_is_left_alone() -> None:
    tags = {"batchinf/window": "mine", "team": "green", "dagster/partition": "2013"}
    assert added("fares/published", **tags) == {"batchinf/pipeline": "fares"}
