"""`verify` on what is damaged: it names the command, or takes back where the policy says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.cli.test_rollback import DAY, revisions

Run = Callable[..., Result]
Told = Callable[..., str]

__all__ = ["revisions"]


@pytest.fixture
def acting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Declare that what does not verify is taken back."""
    folder = tmp_path / "defs" / "flight_delays"

    def declare() -> None:
        folder.mkdir(parents=True)
        for path in (DEFS_FOLDER / "flight_delays").iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        document = yaml.safe_load((folder / "defs.yaml").read_text())
        document["attributes"]["rollback"] = {"automatic": ["verification"], "withdraw": True}
        (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (folder.parent,))

    return declare


def damage(project: Project, revision: str) -> None:
    (path,) = Path(str(project.lake)).glob(f"flight_delays/predictions/*/{revision}/*.parquet")
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")


def test_what_verify_finds_damaged_is_taken_back_once_and_then_withdrawn(
    revisions: tuple[str, str],
    acting: Callable[[], None],
    batchinf: Run,
    fine: Told,
    project: Project,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
) -> None:
    old, bad = revisions
    spec, window = pipeline.spec, pipeline.spec.window.window(DAY)
    damage(project, bad)
    only_named = batchinf("verify", "flight_delays", DAY)
    assert only_named.exit_code == 1
    assert only_named.stderr.splitlines()[-1] == (
        f"batchinf: {DAY}: Take it back: `batchinf rollback flight_delays {DAY} --from {bad} "
        "--reason TEXT`."
    )
    assert json.loads(fine("manifest", "flight_delays", DAY))["revision"] == bad
    assert not [kept for kept in read_tickets(project, spec) if kept.ticket.check == "verification"]

    acting()
    done = batchinf("verify", "flight_delays", "--all")
    assert done.exit_code == 1
    assert f"Rolled back by itself: readers see revision {old} now." in done.stderr
    assert fine("verify", "flight_delays", DAY) == "1 of 1 windows verify.\n"
    attempt = Ledger(project.lake).latest("flight_delays")[DAY]
    assert (attempt.state, attempt.reason_code) == ("rolled_back", "rolled_back/verification")
    key = dg.AssetKey(["flight_delays", "published"])
    (told,) = instance.fetch_materializations(key, limit=1).records
    assert told.asset_materialization is not None
    assert (told.asset_materialization.tags or {})["dagster/data_version"] == old
    (ticket,) = [k for k in read_tickets(project, spec) if k.ticket.check == "verification"]
    assert ticket.windows == (DAY,)
    assert len(announcements(project, spec, window)) == 1

    damage(project, old)
    (found,) = json.loads(batchinf("verify", "flight_delays", DAY, "--json").stdout)
    assert (found["holds"], found["rollback"]["state"]) == (False, "withdrawn")
    assert (found["rollback"]["before"]["revision"], found["rollback"]["after"]) == (old, None)
    failed = dg.RunsFilter(job_name="flight_delays_withdrawn")
    assert instance.get_runs_count(failed) == 1
    assert "had it withdrawn" in batchinf("verify", "flight_delays", DAY).stderr
    assert [each.event for each in announcements(project, spec, window)] == [
        "rolled_back",
        "withdrawn",
    ]
