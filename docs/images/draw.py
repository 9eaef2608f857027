"""Take the README's picture of the asset graph: `.venv/bin/python docs/images/draw.py`.

Shows what `make demo` left under `data/`, so run that first. Needs Debian's package chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from playwright.sync_api import FloatRect, Page, ViewportSize, expect, sync_playwright

from batchinf_assets.project import CHECKOUT, Project

PICTURE = Path(__file__).with_name("asset-graph.png")
GRAPH = "/locations/batchinf_assets/asset-groups/flight_delays"
CHECKED = ("snapshot", "features", "predictions", "evaluation", "published")
PATIENCE_SECONDS = 60
MARGIN = 24

# The graph fills this window beside the UI's panels, which the picture leaves out.
WINDOW: ViewportSize = {"width": 2180, "height": 1560}
# What the UI keeps in the browser. No times are shown: they would be old at once.
SETTINGS = {
    "communityNux": "1",
    "dagster-nav-collapsed": True,
    "asset-graph-direction": "vertical",
    "asset-node-facets": ["description", "checks", "partitions", "kind-tag"],
}


@click.command()
def main() -> None:
    """Start the UI, wait until the graph shows its state, write the picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("This needs Debian's package chromium.")
    with serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        page = browser.new_page(base_url=url, viewport=WINDOW)
        page.add_init_script(remembering(SETTINGS))
        page.goto(GRAPH)
        wait_for_state(page)
        page.screenshot(path=PICTURE, clip=frame(page))
        browser.close()
    click.echo(f"Wrote {PICTURE.relative_to(CHECKOUT)}: {PICTURE.stat().st_size // 1000} kB.")


@contextmanager
def serving() -> Generator[str]:
    """Serve the UI over the demo's data, without the daemon: nothing is run."""
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "--workspace", "workspace.yaml"]
    home = str(Project.here(os.environ).dagster_home)
    process = subprocess.Popen(  # noqa: S603 - this very interpreter
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=CHECKOUT,
        env={**os.environ, "DAGSTER_HOME": home},
        start_new_session=True,
    )
    try:
        wait_until_served(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_served(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once the UI accepts connections.

    Raises:
        ClickException: It ended instead.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.2)
    raise click.ClickException("Dagster's webserver did not start; see its output above.")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the webserver politely, then whatever is left of its process group."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def remembering(settings: Mapping[str, object]) -> str:
    """Return a script that makes a fresh browser one that was here before."""
    stored = json.dumps({name: json.dumps(value) for name, value in settings.items()})
    return f"for (const [k, v] of Object.entries({stored})) localStorage.setItem(k, v)"


def wait_for_state(page: Page) -> None:
    """Return once every asset shows its checks and partitions."""
    nodes = page.locator("svg foreignObject")
    for name in CHECKED:
        node = nodes.filter(has=page.get_by_text(name, exact=True))
        expect(node).to_contain_text("Passed", timeout=PATIENCE_SECONDS * 1000)
        expect(node).to_contain_text("filled", timeout=PATIENCE_SECONDS * 1000)


def frame(page: Page) -> FloatRect:
    """Return the rectangle around all nodes, in pixels."""
    boxes = [node.bounding_box() for node in page.locator("svg foreignObject").all()]
    shown = [box for box in boxes if box is not None]
    left = min(box["x"] for box in shown) - MARGIN
    top = min(box["y"] for box in shown) - MARGIN
    right = max(box["x"] + box["width"] for box in shown) + MARGIN
    bottom = max(box["y"] + box["height"] for box in shown) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


if __name__ == "__main__":
    main()
