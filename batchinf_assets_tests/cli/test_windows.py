"""Commands on windows: once where all is well, and once for all that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from deltalake import DeltaTable

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec import load as spec_module
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline

WINDOW, NEXT = "2013-07-01", "2013-07-02"
RANGE = ("--from", WINDOW, "--to", NEXT)
HEX_DIGITS = 16

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def revision(fine: Told, project: Project, pipeline: Pipeline) -> str:
    """The published revision of WINDOW."""
    assert fine("run", "flight_delays", WINDOW).startswith("1 of 1 windows published. Run ")
    found = published_revision(project, pipeline.spec, pipeline.spec.window.window(WINDOW))
    assert found is not None
    return found


@pytest.fixture
def published_file(revision: str, project: Project, pipeline: Pipeline) -> Path:
    (path,) = predictions_table(project, pipeline.spec).files()[WINDOW]
    assert path.parent.name == revision
    return path


def manifest_path(project: Project, pipeline: Pipeline, revision: str) -> Path:
    window = pipeline.spec.window.window(WINDOW)
    return manifests(project, pipeline.spec).path(window, revision)


def flip_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_running_a_window_again_changes_nothing(
    fine: Told, revision: str, published_file: Path, project: Project
) -> None:
    table = DeltaTable(project.lake / "flight_delays" / "predictions")
    before, content = table.version(), published_file.read_bytes()
    report = json.loads(fine("run", "flight_delays", WINDOW, "--json"))
    assert report["succeeded"]
    assert report["refused"] == {}
    table.update_incremental()
    assert table.version() == before
    assert published_file.read_bytes() == content
    with dg.DagsterInstance.get() as instance:
        key = dg.AssetKey(["flight_delays", "published"])
        event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.run_id == report["run_id"]
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["changed"].value is False
    assert metadata["revision"].value == revision


def test_a_backfill_runs_exactly_its_windows(
    fine: Told, project: Project, pipeline: Pipeline
) -> None:
    first_to_last = ("--from", WINDOW, "--to", NEXT)
    told = fine("backfill", "run", "flight_delays", *first_to_last)
    assert told.startswith("2 of 2 windows published. Run ")
    assert sorted(predictions_table(project, pipeline.spec).files()) == [WINDOW, NEXT]
    again = json.loads(fine("backfill", "run", "flight_delays", *first_to_last, "--json"))
    assert [sorted(run["seconds"]) for run in again["runs"]] == [[WINDOW, NEXT]]
    assert again["left_out"] == {}


@pytest.fixture
def noon_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """WINDOW is over, NEXT has begun."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
            return datetime(2013, 7, 2, 16, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr("batchinf_assets.cli.windows.datetime", Noon)
    monkeypatch.setattr("batchinf_assets.cli.backfill_run.datetime", Noon)


def test_a_run_tells_what_failed_and_kept_nothing_back(batchinf: Run, project: Project) -> None:
    for day in (WINDOW, NEXT):
        landed = project.landing / "flights" / f"{day}.parquet"
        rows = pq.read_table(landed)
        pq.write_table(rows.append_column("gate", rows.column("origin")), landed)
    told = batchinf("backfill", "run", "flight_delays", *RANGE)
    assert told.exit_code == 0
    found = "expected only the declared columns, found 1 more: gate string"
    assert told.stdout.endswith(f"\nsnapshot/new_columns warns of {WINDOW}, {NEXT}: {found}.\n")
    assert told.stderr == ""
    again = json.loads(batchinf("backfill", "run", "flight_delays", *RANGE, "--json").stdout)
    (report,) = again["runs"]
    assert report["warned"] == {"snapshot/new_columns": {WINDOW: found, NEXT: found}}


@pytest.mark.usefixtures("noon_of_the_next")
@pytest.mark.parametrize(
    "command", [("run", "flight_delays", NEXT), ("backfill", "run", "flight_delays", *RANGE)]
)
def test_a_window_that_is_not_over_is_not_run(
    batchinf: Run, project: Project, command: tuple[str, ...]
) -> None:
    result = batchinf(*command)
    assert result.exit_code == 2
    assert result.stderr == (
        "batchinf: Window 2013-07-02 is not over: it is due at 2013-07-03 00:00 America/New_York, "
        "and the clock says 2013-07-02 12:00. Run it then, or set the clock right if it is wrong.\n"
    )
    assert not (project.lake / "flight_delays" / "snapshot").exists()


@pytest.mark.usefixtures("noon_of_the_next")
def test_what_is_stale_and_not_over_is_left_out_and_named(batchinf: Run) -> None:
    result = batchinf("backfill", "run", "flight_delays", "--stale", *RANGE)
    assert result.exit_code == 0, result.output
    assert "Stale and left out, as they are not due yet: 2013-07-02." in result.stderr
    assert "1 of 1 windows published" in result.stdout


@pytest.mark.usefixtures("noon_of_the_next")
def test_of_a_kept_plan_what_is_not_over_is_left_out_and_named(
    batchinf: Run, fine: Told, tmp_path: Path
) -> None:
    kept = tmp_path / "plan.json"
    kept.write_text(fine("backfill", "plan", "flight_delays", *RANGE, "--json"))
    result = batchinf("backfill", "run", "flight_delays", "--plan", str(kept))
    assert result.exit_code == 0, result.output
    assert "left out, as they are not due yet: 2013-07-02." in result.stderr
    assert "1 of 1 windows published" in result.stdout


def test_a_range_in_the_wrong_order_is_wrong_use(batchinf: Run) -> None:
    result = batchinf("backfill", "run", "flight_delays", "--from", NEXT, "--to", WINDOW)
    assert result.exit_code == 2
    assert result.stderr == (
        f"batchinf: The range {NEXT} to {WINDOW} is empty. Name the earlier window first.\n"
    )


def test_status_shows_windows_with_revision_and_model(fine: Told, revision: str) -> None:
    told = fine("status", "flight_delays")
    assert "1 of 1 published" in told
    for cell in (WINDOW, "published", revision, "flight_delays v1"):
        assert cell in told
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["window"], window["state"], window["revision"]) == (
        WINDOW,
        "published",
        revision,
    )
    assert window["held_back"] is None


def test_status_names_a_landed_file_that_was_removed_after_it_was_frozen(
    batchinf: Run, fine: Told, revision: str, project: Project
) -> None:
    (project.landing / "flights" / f"{WINDOW}.parquet").unlink()
    sentence = f"flights/{WINDOW}.parquet was removed after it was frozen."
    assert sentence in fine("status", "flight_delays", WINDOW)
    assert "was removed" in fine("status", "flight_delays")
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["state"], window["revision"]) == ("published", revision)
    assert window["source_gone"] == f"flights/{WINDOW}.parquet"
    shutil.rmtree(project.landing)
    unknown = batchinf("status", "flight_delays", WINDOW, "--json")
    assert unknown.exit_code == 0
    assert "is not there: which landed files are gone is unknown." in unknown.stderr
    assert json.loads(unknown.stdout)["source_gone"] is None


def test_status_counts_windows_of_another_golden_set_and_says_how_to_evaluate_them_again(
    batchinf: Run, fine: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine("backfill", "run", "flight_delays", *RANGE)
    assert "golden set" not in fine("status", "flight_delays")
    declaring(tmp_path, monkeypatch, {"golden": {"file": "data/golden/departure_delays.parquet"}})
    told = fine("status", "flight_delays")
    assert told.endswith(
        "\nEvaluated by another golden set than the one in force, so that figures of the two do "
        f"not compare: 2 of 2 windows, {WINDOW} to {NEXT}. To evaluate them again, which scores "
        "nothing, materialize flight_delays/evaluation (docs/golden-set.md).\n"
    )
    assert told.count("published, other golden set") == 2
    one = fine("status", "flight_delays", WINDOW)
    assert one.startswith(f"flight_delays {WINDOW}: published, other golden set.")
    windows = json.loads(fine("status", "flight_delays", "--json"))
    assert [window["golden_set"] for window in windows] == ["other", "other"]

    declaring(tmp_path, monkeypatch, {"rollback": {"automatic": ["evaluation"]}})
    assert fine("status", "flight_delays").endswith(
        "(docs/golden-set.md). `rollback.automatic` takes back what fails by it.\n"
    )
    declaring(tmp_path, monkeypatch, {"golden": {"file": "data/golden/none.parquet"}})
    unknown = batchinf("status", "flight_delays", "--json")
    assert unknown.exit_code == 0
    assert "none.parquet is missing." in unknown.stderr
    assert [window["golden_set"] for window in json.loads(unknown.stdout)] == [None, None]


def declaring(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, object]]
) -> None:
    """Change sections of the demo pipeline's declaration, beside what was changed before."""
    own = folder / "defs" / "flight_delays"
    if not own.exists():
        shutil.copytree(DEFS_FOLDER / "flight_delays", own)
        monkeypatch.setattr(spec_module.load_pipeline, "__defaults__", (own.parent,))
    document = yaml.safe_load((own / "defs.yaml").read_text())
    for section, changed in changes.items():
        document["attributes"].setdefault(section, {}).update(changed)
    (own / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def test_status_of_an_empty_lake_names_it_and_says_what_to_do(fine: Told, project: Project) -> None:
    assert fine("status", "flight_delays") == (
        f"No window of flight_delays was run yet in the lake {project.lake}. "
        "Run one: `batchinf run flight_delays WINDOW`.\n"
    )
    assert json.loads(fine("status", "flight_delays", "--json")) == []


def test_manifest_prints_the_document_as_it_lies_in_the_lake(
    fine: Told, revision: str, project: Project, pipeline: Pipeline
) -> None:
    told = fine("manifest", "flight_delays", WINDOW)
    assert told.encode() == manifest_path(project, pipeline, revision).read_bytes()
    assert json.loads(told)["revision"] == revision
    assert fine("manifest", "flight_delays", WINDOW, "--revision", revision) == told


def test_manifest_of_a_window_that_is_not_published_says_how_to_publish_it(batchinf: Run) -> None:
    result = batchinf("manifest", "flight_delays", WINDOW)
    assert result.exit_code == 1
    assert result.stderr == (
        f"batchinf: Window {WINDOW} of flight_delays is not published. "
        f"Run it: `batchinf run flight_delays {WINDOW}`.\n"
    )


@pytest.mark.parametrize("name", ["../../../x", "x" * 300, "draft", "A" * HEX_DIGITS, "a\0", ""])
def test_manifest_reads_no_file_but_that_of_a_revision(batchinf: Run, name: str) -> None:
    result = batchinf("manifest", "flight_delays", WINDOW, "--revision", name)
    assert result.exit_code == 2
    assert "is no revision. Revisions have 16 hex digits" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_verify_holds_for_one_window_and_for_all(fine: Told, revision: str) -> None:
    assert fine("verify", "flight_delays", WINDOW) == "1 of 1 windows verify.\n"
    assert fine("verify", "flight_delays", "--all") == "1 of 1 windows verify.\n"
    (verified,) = json.loads(fine("verify", "flight_delays", "--all", "--json"))
    holding = {"revision": revision, "problems": [], "known": True, "holds": True}
    assert verified == {"window": WINDOW, **holding}


def test_verify_names_a_published_file_of_which_one_byte_changed(
    batchinf: Run, published_file: Path
) -> None:
    flip_one_byte(published_file)
    result = batchinf("verify", "flight_delays", "--all")
    assert result.exit_code == 1
    line, next_step = result.stderr.splitlines()
    assert line.startswith(f"batchinf: {WINDOW}: ")
    assert f"`batchinf rollback flight_delays {WINDOW} --from " in next_step
    assert f"window={WINDOW}/{published_file.parent.name}/{published_file.name}" in line
    assert "bytes changed" in line
    assert result.stdout == "0 of 1 windows verify.\n"
    told = batchinf("verify", "flight_delays", WINDOW, "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)[0]["holds"] is False


def test_a_published_file_that_changed_is_not_passed_off_as_published_again(
    batchinf: Run,
    published_file: Path,
) -> None:
    flip_one_byte(published_file)
    result = batchinf("run", "flight_delays", WINDOW)
    healed = result.exit_code == 0
    assert healed == (batchinf("verify", "flight_delays", WINDOW).exit_code == 0)


def test_a_missing_manifest_fails_verification_and_hides_no_window_from_status(
    fine: Told, batchinf: Run, revision: str, project: Project, pipeline: Pipeline
) -> None:
    manifest_path(project, pipeline, revision).unlink()
    result = batchinf("verify", "flight_delays", "--all")
    assert result.exit_code == 1
    assert f"Revision {revision} of window {WINDOW} has no manifest" in result.stderr
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["state"], window["revision"]) == ("published", revision)
    assert "has no manifest" in window["held_back"]


def test_a_file_that_was_added_to_a_revision_does_not_matter(
    fine: Told, published_file: Path
) -> None:
    published_file.with_name("part-99999.parquet").write_bytes(published_file.read_bytes())
    published_file.with_name("notes.txt").write_text("not ours")
    assert fine("verify", "flight_delays", "--all") == "1 of 1 windows verify.\n"


def test_there_is_nothing_to_verify_where_nothing_is_published(batchinf: Run) -> None:
    result = batchinf("verify", "flight_delays", "--all")
    assert result.exit_code == 2
    assert "Nothing of flight_delays is published" in result.stderr
    one = batchinf("verify", "flight_delays", WINDOW)
    assert one.exit_code == 1
    assert f"{WINDOW}: Nothing is published. Run it: " in one.stderr


@pytest.mark.parametrize("arguments", [[], [WINDOW, "--all"]])
def test_verify_takes_either_a_window_or_all(batchinf: Run, arguments: list[str]) -> None:
    result = batchinf("verify", "flight_delays", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("batchinf: verify needs one window or --all.")


def test_status_says_why_no_model_may_score(batchinf: Run, fine: Told) -> None:
    (key,) = json.loads(fine("keys", "list", "--json"))
    fine("keys", "revoke", key["id"], "--reason", "Laptop stolen")
    run = batchinf("run", "flight_delays", "2013-07-02")
    assert run.exit_code == 1
    assert "[key_revoked]" in run.stderr
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["window"], window["state"]) == ("2013-07-02", "features ready")
    assert "Laptop stolen" in window["held_back"]
