"""The platform as people meet it: Dagster's own UI and daemon, driven through a real browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Page, expect

from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.gate import blocking_checks
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.end_to_end.browser import (
    GRAPH,
    ask,
    backfill_page,
    follow_launch,
    launch,
    needs_chromium,
)

ASSETS = (
    "snapshot",
    "features",
    "model",
    "predictions",
    "evaluation",
    "published",
    "performance",
)
WINDOW = "2013-07-04"
RANGE = ("2013-07-02", "2013-07-03", "2013-07-04")
BAD = "2013-07-03"

CHECK_STATUSES = """
query CheckStatuses($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            blocking
            partitionStatuses {
              ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } }
            }
          }
        }
      }
    }
  }
}
"""
RUN_STATUSES = "{ runsOrError { ... on Runs { results { status } } } }"

pytestmark = needs_chromium


def blocking_check_statuses(page: Page, asset: str) -> dict[str, list[tuple[str, str, str]]]:
    data = ask(page, CHECK_STATUSES, key={"path": ["flight_delays", asset]})
    return {
        check["name"]: [
            (found["startKey"], found["endKey"], found["status"])
            for found in check["partitionStatuses"]["ranges"]
        ]
        for check in data["assetNodeOrError"]["assetChecksOrError"]["checks"]
        if check["blocking"]
    }


def test_a_window_materialized_by_clicking_is_published_with_its_checks_passed(
    page: Page, project: Project, pipeline: Pipeline
) -> None:
    page.goto(GRAPH)
    for name in ASSETS:
        node = page.locator("svg foreignObject").get_by_text(name, exact=True)
        expect(node).to_be_visible()
    launch(page, WINDOW, "Launch 1 run")
    follow_launch(page)
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    assert published_revision(project, pipeline.spec, pipeline.spec.window.window(WINDOW))

    page.goto("/assets/flight_delays/published?view=partitions")
    expect(page.get_by_text("Materialized (1)")).to_be_visible()
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    page.goto("/assets/flight_delays/published?view=checks&checkDetail=gate")
    tabs = page.get_by_role("tablist").filter(has_text="Execution history")
    tabs.get_by_role("tab", name="Partitions").click()
    expect(page.get_by_text("Passed (1)")).to_be_visible()
    blocking = {**blocking_checks(pipeline.spec), "published": ("gate",)}
    for asset, names in blocking.items():
        passed = [(WINDOW, WINDOW, "SUCCEEDED")]
        assert blocking_check_statuses(page, asset) == dict.fromkeys(names, passed), asset


def test_a_range_launched_by_clicking_publishes_its_good_windows_and_fails_the_bad_one(
    page: Page, project: Project, pipeline: Pipeline
) -> None:
    landed = project.landing / "flights" / f"{BAD}.parquet"
    pq.write_table(pq.read_table(landed).drop_columns(["carrier"]), landed)
    page.goto(GRAPH)
    launch(page, f"[{RANGE[0]}...{RANGE[-1]}]", "Launch backfill")
    follow_launch(page)
    expect(page.get_by_text(f"{RANGE[0]}...{RANGE[-1]}")).to_be_visible()
    ends = {"targeted": 3, "succeeded": 2, "failed": 1}
    assert backfill_page(page, assets=len(WINDOWED)) == dict.fromkeys(WINDOWED, ends)
    page.goto("/assets/flight_delays/published?view=partitions")
    expect(page.get_by_text("Failed (1)")).to_be_visible()
    expect(page.get_by_text("Materialized (2)")).to_be_visible()
    page.goto(f"/assets/flight_delays/published?view=partitions&partition={BAD}")
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    assert ask(page, RUN_STATUSES)["runsOrError"]["results"] == [{"status": "FAILURE"}]
    for window in pipeline.spec.window.between(RANGE[0], RANGE[-1]):
        published = published_revision(project, pipeline.spec, window)
        assert (published is None) == (window.key == BAD)


def test_the_page_of_a_failing_check_shows_column_rule_count_and_keys(
    page: Page, project: Project, environ: dict[str, str]
) -> None:
    landed = project.landing / "flights" / f"{BAD}.parquet"
    rows = pq.read_table(landed)
    wrong = pa.array([-1] * 14 + rows["distance"].to_pylist()[14:], pa.int32())
    at = rows.column_names.index("distance")
    pq.write_table(rows.set_column(at, rows.schema.field(at), wrong), landed)
    command = [str(Path(sys.executable).with_name("batchinf")), "run", "flight_delays", BAD]
    told = subprocess.run(
        command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1, told.stderr
    sentence = (
        f"flight_delays {BAD} snapshot: column distance: "
        "expected int32 in [1, 12000], found 14 rows"
    )
    assert sentence in told.stderr
    page.goto("/assets/flight_delays/snapshot?view=checks&checkDetail=contract")
    tabs = page.get_by_role("tablist").filter(has_text="Execution history")
    tabs.get_by_role("tab", name="Execution history").click()
    expect(page.get_by_text("column distance: expected int32 in [1, 12000]")).to_be_visible()
    page.get_by_role("row").filter(has_text=BAD).get_by_role("button").last.click()
    dialog = page.get_by_role("dialog")
    row = dialog.get_by_role("row").filter(has_text="int32 in [1, 12000]").last
    for text in ("distance", "int32 in [1, 12000]", "14", f"scheduled_departure={BAD}"):
        expect(row).to_contain_text(text)
