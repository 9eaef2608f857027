"""A capped range run through Dagster: stopped, named, approved, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from batchinf_assets.attempts import recorder_of
from batchinf_assets.cli import main
from batchinf_assets.project import Project
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER
from batchinf_assets.telemetry.ledger import Ledger

RANGE = ("--from", "2013-07-01", "--to", "2013-07-02")
DAYS = ("2013-07-01", "2013-07-02")


@pytest.fixture
def batchinf(environ: dict[str, str]) -> Callable[..., Result]:  # noqa: ARG001
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo pipeline, with a cap that every run exceeds as soon as it runs."""
    folder = tmp_path / "defs" / "flight_delays"
    folder.mkdir(parents=True)
    for path in (DEFS_FOLDER / "flight_delays").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    document = yaml.safe_load((folder / "defs.yaml").read_text())
    document["attributes"]["caps"] = {"seconds": 0.000001}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (folder.parent,))


def ended(project: Project) -> dict[str, tuple[str, str, str | None]]:
    assert recorder_of(project).flush(60.0) == 0
    latest = Ledger(project.lake).latest("flight_delays")
    return {key: (found.state, found.stage, found.reason_code) for key, found in latest.items()}


@pytest.mark.usefixtures("capped")
def test_a_run_above_its_cap_stops_is_named_and_goes_on_after_an_approval(
    batchinf: Callable[..., Result], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_ACTOR", "ann")
    stopped = batchinf("backfill", "run", "flight_delays", *RANGE)
    assert stopped.exit_code == 1
    assert "its cap is 0.0 s: what is finished stays." in stopped.stderr
    spent = ("refused", "snapshot", "run_over_cap/spent")
    assert ended(project) == dict.fromkeys(DAYS, spent)

    told = batchinf("status", "flight_delays").stdout
    assert told.count("refused, over its cap") == 2

    again = batchinf("run", "flight_delays", DAYS[1])
    assert again.exit_code == 1
    assert "was stopped at its cap in window 2013-07-02" in again.stderr
    shown = batchinf("caps", "flight_delays", *RANGE)
    assert shown.exit_code == 0
    assert "Nothing was approved." in shown.stdout

    given = ("--reason", "Quarter end", "--seconds", "3600")
    approved = json.loads(batchinf("caps", "flight_delays", *RANGE, *given, "--json").stdout)
    assert approved["approval"]["caps"] == {"seconds": 3600.0, "cost": None}
    assert approved["approval"]["approval"]["by"] == "ann"
    assert batchinf("backfill", "run", "flight_delays", *RANGE).exit_code == 0
    assert {state for state, _, _ in ended(project).values()} == {"published"}
    assert batchinf("caps", "flight_delays", *RANGE, *given).exit_code == 2
