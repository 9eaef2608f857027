"""`approve`: a correction that landed late, seen and let in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline

DAY = "2013-07-01"

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo pipeline, taking corrections for twelve hours."""
    folder = tmp_path / "defs" / "flight_delays"
    folder.mkdir(parents=True)
    for path in (DEFS_FOLDER / "flight_delays").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    document = yaml.safe_load((folder / "defs.yaml").read_text())
    document["attributes"]["source"]["late"] = {"accept_for": "PT12H"}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    defaults = spec_module.load_pipeline.__defaults__
    assert defaults == (DEFS_FOLDER,)
    monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (folder.parent,))


@pytest.fixture
def correction(strict: None, fine: Told, project: Project) -> Path:  # noqa: ARG001
    """DAY is published, and then its file changes."""
    fine("run", "flight_delays", DAY)
    path = project.landing / "flights" / f"{DAY}.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    return path


def test_a_late_correction_is_refused_shown_approved_and_published(
    correction: Path, batchinf: Run, fine: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_ACTOR", "ann")
    before = json.loads(fine("manifest", "flight_delays", DAY))
    refused = batchinf("run", "flight_delays", DAY)
    assert refused.exit_code == 1
    assert f"Window {DAY} of flight_delays is held: flights/{DAY}.parquet changed" in refused.stderr
    assert json.loads(fine("manifest", "flight_delays", DAY)) == before
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["state"], window["last_failure"]["reason_code"]) == (
        "published",
        "held_for_approval",
    )
    assert "batchinf approve" in window["held_back"]
    assert "published, held" in fine("status", "flight_delays")

    left_out = batchinf("backfill", "run", "flight_delays", "--stale", "--to", DAY, "--from", DAY)
    assert left_out.exit_code == 0
    assert left_out.stderr == (f"batchinf: Stale and left out, as an approval is awaited: {DAY}.\n")

    seen = fine("approve", "flight_delays", DAY)
    sha256 = hashlib.sha256(correction.read_bytes()).hexdigest()
    assert f"\nSHA-256 {sha256}\n" in seen
    command = f"batchinf approve flight_delays {DAY} --sha256 {sha256[:16]} --reason TEXT"
    assert seen.endswith(f"Nothing was approved. Approve just these bytes: `{command}`.\n")
    told = fine(*command.split()[1:-1], "The airline sent it again")
    assert told.splitlines()[:-1] == seen.splitlines()[:-1]
    assert "0 rows added, 0 changed, 2 removed" in told
    assert told.count("\n  removed: ") == 2
    assert told.endswith(f"Approved by ann. Run it: `batchinf run flight_delays {DAY}`.\n")
    fine("run", "flight_delays", DAY)
    after = json.loads(fine("manifest", "flight_delays", DAY))
    assert after["revision"] != before["revision"]
    assert after["snapshot"]["approval"]["by"] == "ann"
    assert after["snapshot"]["approval"]["reason"] == "The airline sent it again"
    assert fine("verify", "flight_delays", DAY) == "1 of 1 windows verify.\n"
    again = batchinf("approve", "flight_delays", DAY, "--reason", "Once more")
    assert again.exit_code == 2
    assert "waits for no approval: ann approved it on " in again.stderr


def approvals(project: Project) -> list[Path]:
    return sorted(Path(str(project.lake)).glob("flight_delays/_approvals/*/*.json"))


def test_without_a_reason_nothing_is_written_and_the_window_stays_held(
    correction: Path, batchinf: Run, fine: Told, project: Project
) -> None:
    shown = json.loads(fine("approve", "flight_delays", DAY, "--json"))
    assert shown["file"]["sha256"] == hashlib.sha256(correction.read_bytes()).hexdigest()
    assert (shown["changes"]["removed"], len(shown["changes"]["removed_keys"])) == (2, 2)
    assert shown["approval"] is None
    assert fine("approve", "flight_delays", DAY) == fine("approve", "flight_delays", DAY)
    assert approvals(project) == []
    assert batchinf("run", "flight_delays", DAY).exit_code == 1


def test_other_bytes_than_those_that_were_shown_are_not_approved(
    correction: Path, refused: Told, fine: Told, project: Project
) -> None:
    arguments = ("approve", "flight_delays", DAY, "--json")
    shown = json.loads(fine(*arguments))["file"]["sha256"]
    pq.write_table(pq.read_table(correction).slice(2), correction)
    now = hashlib.sha256(correction.read_bytes()).hexdigest()
    told = refused(*arguments, "--sha256", shown, "--reason", "Sent again", code=2)
    assert f"flights/{DAY}.parquet has the SHA-256 {now}, and not {shown}" in told
    for wrong in (now[:11], f"{now}0", "g" * 12, ""):
        told = refused(*arguments, "--sha256", wrong, "--reason", "Sent again", code=2)
        assert "is no SHA-256" in told
    assert approvals(project) == []
    same = ("--sha256", now[:12].upper(), "--reason", "Sent again")
    assert json.loads(fine(*arguments, *same))["approval"]["reason"] == "Sent again"
    assert [path.stem for path in approvals(project)] == [now]


def test_where_every_correction_is_taken_there_is_nothing_to_approve(
    batchinf: Run, project: Project, pipeline: Pipeline
) -> None:
    assert pipeline.spec.source.late is None
    result = batchinf("approve", "flight_delays", DAY, "--reason", "Why not")
    assert result.exit_code == 2
    assert "declares no source.late" in result.stderr
    assert approvals(project) == []


def test_what_landed_first_needs_no_approval(
    strict: None,  # noqa: ARG001
    batchinf: Run,
) -> None:
    result = batchinf("approve", "flight_delays", DAY, "--reason", "Why not")
    assert result.exit_code == 2
    assert "what landed for it first, in time, or with the same rows" in result.stderr


def test_an_approval_without_a_reason_is_wrong_use(
    correction: Path, batchinf: Run, project: Project
) -> None:
    assert correction.is_file()
    result = batchinf("approve", "flight_delays", DAY, "--reason", " ")
    assert result.exit_code == 2
    assert approvals(project) == []
