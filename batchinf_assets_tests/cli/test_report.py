"""`batchinf report`: where it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.load import Pipeline

WINDOW = "2013-07-01"

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def revision(fine: Told, project: Project, pipeline: Pipeline) -> str:
    """The published revision of WINDOW."""
    fine("run", "flight_delays", WINDOW)
    found = published_revision(project, pipeline.spec, pipeline.spec.window.window(WINDOW))
    assert found is not None
    return found


def test_reports_of_a_window_and_a_range_are_written_and_named(
    fine: Told, refused: Told, revision: str, project: Project, tmp_path: Path
) -> None:
    reports = project.lake / "flight_delays" / "_reports"
    written = Path(str(reports / WINDOW / f"{revision}.html"))
    assert "✓ published" in written.read_text()  # by the run itself
    content = written.read_bytes()
    assert fine("report", "flight_delays", WINDOW) == f"{written}\n"
    assert written.read_bytes() == content
    told = fine("report", "flight_delays", WINDOW, "--revision", revision, "--json")
    assert json.loads(told) == {"report": str(written)}

    told = fine("report", "flight_delays", "--from", "2013-06-30", "--to", WINDOW)
    whole = Path(str(reports / f"2013-06-30_{WINDOW}.html"))
    assert told == f"{whole}\n"
    assert f'href="{WINDOW}/{revision}.html"' in whole.read_text()

    mine = tmp_path / "mine.html"
    assert fine("report", "flight_delays", WINDOW, "-o", str(mine)) == f"{mine}\n"
    assert "href=" not in mine.read_text()

    assert "has no revision" in refused("report", "flight_delays", WINDOW, "--revision", "../x")
    assert "was never scored" in refused("report", "flight_delays", "2013-07-02")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--from", WINDOW),
        ("--to", WINDOW),
        (WINDOW, "--from", WINDOW, "--to", WINDOW),
        ("--from", "2013-07-02", "--to", WINDOW),
        ("../../etc",),
    ],
)
def test_what_is_neither_a_window_nor_a_range_is_wrong_use(
    refused: Told, arguments: tuple[str, ...]
) -> None:
    refused("report", "flight_delays", *arguments, code=2)
