"""Dagster's own UI and daemon, driven through a real browser: what tests of the UI share."""

from __future__ import annotations

import os
import re
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

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from batchinf_assets.project import CHECKOUT

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
PATIENCE_SECONDS = 90
BACKFILL_SECONDS = 300  # Dagster looks for new backfills, and for their ends, every 30 seconds
# A new instance greets its first visitor with Dagster's sign-up form.
SIGN_UP_FORM_SEEN = """localStorage.setItem("communityNux", '"1"')"""

BACKFILL_ROW = r"/ (\w+)\n100% completed\n(\d+)\n(\d+)\n(\d+)\n(\d+)"
BACKFILL_COLUMNS = ("targeted", "in progress", "succeeded", "failed")
GRAPH = "/locations/batchinf_assets/asset-groups/flight_delays"

needs_chromium = pytest.mark.skipif(
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
    command = [Path(sys.executable).with_name("dg"), "dev", "--workspace", "workspace.yaml"]
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
    pytest.fail(f"Dagster did not serve (exit code {process.poll()})")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End Dagster politely, then whatever is left of its process group.

    Not by SIGINT, which who was started in the background does not hear.
    """
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def launch(
    page: Page, partitions: str, button: str, *, materialize: str = "Materialize all"
) -> None:
    """Materialize what the page shows for these partitions, click by click."""
    page.get_by_role("button", name=materialize).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder("ex: 2013-01-01").fill(partitions)
    page.keyboard.press("Tab")
    dialog.get_by_role("button", name=button).click()


def follow_launch(page: Page) -> None:
    page.get_by_role("link", name="View", exact=True).click()


def backfill_page(page: Page, *, assets: int) -> dict[str, dict[str, int]]:
    """Read how many windows of each asset came to which end, once all did."""
    ended = page.get_by_text("100% completed")
    expect(ended).to_have_count(assets, timeout=BACKFILL_SECONDS * 1000)
    rows = re.findall(BACKFILL_ROW, page.locator("body").inner_text())
    found = {row[0]: dict(zip(BACKFILL_COLUMNS, map(int, row[1:]), strict=True)) for row in rows}
    assert {row.pop("in progress") for row in found.values()} == {0}
    return found


def ask(page: Page, query: str, **variables: object) -> Any:
    """Ask the UI's GraphQL, the second witness."""
    answer = page.request.post("/graphql", data={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer
    return answer["data"]
