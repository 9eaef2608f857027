"""Reports as people meet them: opened from a file by a real browser, on screen and in print."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from batchinf_assets.evaluation.report.write import write_range_report, write_window_report
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.end_to_end.browser import CHROMIUM, CHROMIUM_FLAGS, NEEDS_CHROMIUM
from batchinf_assets_tests.evaluation.real_days import DAYS, copied

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

WIDE, NARROW = {"width": 1200, "height": 900}, {"width": 400, "height": 800}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason=NEEDS_CHROMIUM
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    assert CHROMIUM is not None, NEEDS_CHROMIUM
    home = tmp_path_factory.mktemp("chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=CHROMIUM,
            args=CHROMIUM_FLAGS,
            env={**os.environ, "HOME": str(home)},
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def reports(
    measured_lake: Path, world: World, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The pages of a window and of the range that it lies in."""
    project = copied(measured_lake, world, tmp_path_factory.mktemp("reports"), ())
    window = pipeline.spec.window.between(DAYS[0], DAYS[-1])
    return {
        "window": window_report(project, pipeline, DAYS[-1]),
        "range": local(write_range_report(project, pipeline.spec, window)),
    }


def window_report(project: Project, pipeline: Pipeline, day: str) -> Path:
    spec, window = pipeline.spec, pipeline.spec.window.window(day)
    revision = published_revision(project, spec, window)
    assert revision is not None
    manifest = manifests(project, spec).read(window, revision)
    return local(write_window_report(project, spec, window, manifest))


def local(place: object) -> Path:
    assert isinstance(place, Path)
    return place


@pytest.fixture(params=["window", "range"])
def path(request: pytest.FixtureRequest, reports: dict[str, Path]) -> Path:
    return reports[request.param]


@pytest.fixture
def said() -> list[str]:
    """What the browser complains of, and every address that it asks for."""
    return []


@pytest.fixture
def page(browser: BrowserContext, path: Path, said: list[str]) -> Iterator[Page]:
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.set_viewport_size(WIDE)
    page.goto(path.as_uri())
    yield page
    page.close()


def test_the_browser_asks_for_the_file_alone_and_complains_of_nothing(
    page: Page, path: Path, said: list[str]
) -> None:
    page.wait_for_load_state("networkidle")
    assert said == [path.as_uri()]


def test_every_chart_is_seen_whole_and_its_text_is_text(page: Page) -> None:
    charts = page.locator("svg")
    assert charts.count() >= 2
    for chart in charts.all():
        box = chart.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 80
        assert chart.locator("text").count() >= 3
        for text in chart.locator("text").all():
            inside = text.bounding_box()
            assert inside is not None
            assert inside["x"] >= box["x"] - 1
            assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1, text.text_content()


def test_nothing_is_cut_off_at_the_side(page: Page) -> None:
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_it_prints_on_pages_that_no_table_runs_out_of(page: Page) -> None:
    printed = page.pdf(prefer_css_page_size=True)
    pages = re.findall(rb"/Type\s*/Page\b", printed)
    assert 2 <= len(pages) <= 8
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 695, "height": 1000})  # A4 less its margins, in CSS pixels
    assert page.evaluate("document.documentElement.scrollWidth") <= 695


def test_links_lead_to_files_that_are_there(page: Page, path: Path) -> None:
    links = [link.get_attribute("href") or "" for link in page.locator("a").all()]
    assert links
    for link in links:
        assert (path.parent / link).is_file(), link
