"""The platform as people meet it: Dagster's own UI and daemon, driven through a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.gate import blocking_checks
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec import Pipeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = "needs Debian's package chromium"
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
PATIENCE_SECONDS = 90  # Dagster looks for new backfills every 30 seconds
# A new instance greets its first visitor with Dagster's sign-up form.
SIGN_UP_FORM_SEEN = """localStorage.setItem("communityNux", '"1"')"""

GRAPH = "/locations/batchinf_assets/asset-groups/flight_delays"
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

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason=NEEDS_CHROMIUM
)


@pytest.fixture
def chromium() -> str:
    assert CHROMIUM is not None, NEEDS_CHROMIUM
    return CHROMIUM


@pytest.fixture
def url(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Address of the running UI; what its processes printed shows when a test fails."""
    port, output = free_port(), tmp_path / "dagster-dev.log"
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml"]
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=CHECKOUT,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_served(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)
        print(output.read_text())


@pytest.fixture
def page(chromium: str, url: str, tmp_path: Path) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "chromium",
            executable_path=chromium,
            args=CHROMIUM_FLAGS,
            env={**os.environ, "HOME": str(tmp_path)},  # where it also writes, whatever its profile
            base_url=url,
            viewport={"width": 1600, "height": 1000},
        )
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        page = context.pages[0]
        page.add_init_script(SIGN_UP_FORM_SEEN)
        yield page
        page.screenshot(path=tmp_path / "last-page.png")
        context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_served(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.2)
    pytest.fail(f"dagster dev did not serve (exit code {process.poll()})")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End dagster dev politely, then whatever is left of its process group."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def launch(page: Page, partitions: str, button: str) -> None:
    """Materialize every asset of the graph for these partitions, click by click."""
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder("ex: 2013-01-01").fill(partitions)
    page.keyboard.press("Tab")
    dialog.get_by_role("button", name=button).click()


def follow_launch(page: Page) -> None:
    page.get_by_role("link", name="View", exact=True).click()


def ask(page: Page, query: str, **variables: object) -> Any:
    """Ask the UI's GraphQL, the second witness."""
    answer = page.request.post("/graphql", data={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer
    return answer["data"]


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
