"""A range launched from an asset's own page, and what the backfill's page then says of it."""

from __future__ import annotations

import pyarrow.parquet as pq
from playwright.sync_api import Page, expect

from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.end_to_end.browser import (
    backfill_page,
    follow_launch,
    launch,
    needs_chromium,
)

RANGE = ("2013-07-02", "2013-07-03", "2013-07-04")
BAD = "2013-07-03"

pytestmark = needs_chromium


def test_a_range_of_one_asset_shows_each_window_as_it_is_on_the_backfill_page_and_on_its_own(
    page: Page, project: Project, pipeline: Pipeline
) -> None:
    landed = project.landing / "flights" / f"{BAD}.parquet"
    pq.write_table(pq.read_table(landed).drop_columns(["carrier"]), landed)
    page.goto("/assets/flight_delays/snapshot")
    launch(page, f"[{RANGE[0]}...{RANGE[-1]}]", "Launch backfill", materialize="Materialize…")
    follow_launch(page)
    expect(page.get_by_text(f"{RANGE[0]}...{RANGE[-1]}")).to_be_visible()
    assert backfill_page(page, assets=1) == {
        "snapshot": {"targeted": 3, "succeeded": 2, "failed": 1}
    }
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()

    page.get_by_role("link", name="flight_delays / snapshot").click()
    for window in RANGE:
        page.goto(f"/assets/flight_delays/snapshot?view=partitions&partition={window}")
        failed = page.get_by_text("failed, and did not materialize this asset")
        expect(failed).to_have_count(1 if window == BAD else 0)
        expect(page.get_by_text(window, exact=True).first).to_be_visible()
    frozen = snapshot_table(project, pipeline.spec).files()
    assert sorted(frozen) == [window for window in RANGE if window != BAD]
