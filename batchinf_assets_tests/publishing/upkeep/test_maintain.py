"""Maintenance on a real window: what a manifest needs stays, whenever it is interrupted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.attempts import lease_place, recorder_of
from batchinf_assets.features.build import made_rows
from batchinf_assets.lake.digest import content_digest
from batchinf_assets.lake.files import read_parquet
from batchinf_assets.lake.lease import Lease, hold
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.worker import Worker
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.publishing.stored_files import all_files, remove_file
from batchinf_assets.publishing.upkeep.maintain import Plan, apply, plan_maintenance
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.scoring.predictions import changed_files, checkpoints_of, predictions_table
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec.pipeline import RetentionSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

STAGED, EXPIRED = timedelta(days=3), timedelta(days=91)


class Died(Exception):
    """Stands for the process dying: nothing after it runs."""


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def in_days(passed: timedelta = timedelta(0)) -> datetime:
    return datetime.now(UTC) + passed


def planned(desk: Desk, passed: timedelta = timedelta(0)) -> Plan:
    return plan_maintenance(desk.project, desk.spec, in_days(passed))


def maintained(
    desk: Desk,
    passed: timedelta = timedelta(0),
    remove: Callable[[Place, Place], None] = remove_file,
) -> Plan:
    plan, now = planned(desk, passed), in_days(passed)
    return apply(desk.project, desk.spec, plan, now, run_id="maintenance", remove=remove)


def names(plan: Plan) -> list[tuple[str, str]]:
    """What goes, by the folder of the pipeline that it lies in."""
    return sorted((each.what, each.place.parts[-4]) for each in plan.removals)


def kinds(plan: Plan) -> list[str]:
    return sorted(each.what for each in plan.removals)


def stored(desk: Desk) -> set[Path]:
    """Everything but leases, which maintenance takes itself."""
    folder = desk.project.lake / desk.spec.name
    return {Path(path) for path in all_files(folder) if "_leases" not in path.parts}


def replaced(desk: Desk) -> tuple[str, str]:
    """Publish, and publish a correction; return both revisions."""
    old = desk.publish().manifest.revision
    desk.correct(without_first)
    desk.prepare("the correction")
    return old, desk.publish().manifest.revision


def require_whole(desk: Desk) -> list[str]:
    """Hold every manifest that is there against everything that it names."""
    revisions = desk.store.revisions(desk.window)
    for revision in revisions:
        keyring = read_keyring(desk.project.keys)
        manifest = read_signed_manifest(desk.store, desk.window, revision, keyring).manifest
        folder = predictions_table(desk.project, desk.spec).folder
        assert list(changed_files(folder, manifest.outputs)) == []
        digest, key = manifest.snapshot.digest, desk.spec.source.key
        frozen = frozen_rows(desk.project, desk.spec, desk.window, manifest.snapshot)
        made = made_rows(desk.project, desk.spec, desk.window, manifest.features, digest)
        assert content_digest(read_parquet(frozen.place), key) == digest
        assert content_digest(read_parquet(made.place), key) == manifest.features.digest
    return revisions


def backdate(desk: Desk, days: int) -> None:
    """Let every file be as old as that."""
    then = datetime.now(UTC).timestamp() - days * 86_400
    for path in stored(desk):
        os.utime(path, (then, then))


def test_of_a_window_that_is_scored_and_not_published_nothing_goes(desk: Desk) -> None:
    before = stored(desk)
    plan = maintained(desk, STAGED)
    assert (plan.removals, plan.left_alone) == ((), ())
    assert stored(desk) == before
    assert desk.publish().changed


def test_of_a_published_revision_only_the_checkpoints_go_whatever_its_age(desk: Desk) -> None:
    revision = desk.publish().manifest.revision
    checkpoints = checkpoints_of(desk.project, desk.spec, desk.window, revision).folder
    assert [each.place.parent for each in planned(desk).removals] == [checkpoints]
    assert kinds(maintained(desk, timedelta(days=4000))) == ["checkpoint"]
    assert not checkpoints.exists()
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds
    assert planned(desk, timedelta(days=4000)).removals == ()


def test_planning_changes_nothing(desk: Desk) -> None:
    replaced(desk)
    before = {path: path.stat().st_mtime_ns for path in all_files(Path(str(desk.project.lake)))}
    assert planned(desk, EXPIRED).removals
    after = {path: path.stat().st_mtime_ns for path in all_files(Path(str(desk.project.lake)))}
    assert after == before


def test_a_replaced_revision_stays_with_its_inputs_for_as_long_as_declared(desk: Desk) -> None:
    # Both were published in 2013; what counts is that the first was replaced just now.
    old, new = replaced(desk)
    assert names(maintained(desk, STAGED)) == [
        ("checkpoint", "_checkpoints"),
        ("checkpoint", "_checkpoints"),
        ("file", "flight_delays"),
        ("file", "flight_delays"),
    ]
    assert require_whole(desk) == sorted([old, new])


def test_a_replaced_revision_goes_with_all_that_only_it_named(desk: Desk) -> None:
    old, new = replaced(desk)
    plan = maintained(desk, EXPIRED)
    gone = ["checkpoint"] * 2 + ["file"] * 5 + ["manifest", "signature"]
    assert kinds(plan) == gone
    assert {each.why for each in plan.removals if each.what == "manifest"} == {
        f"revision {old} was replaced on {datetime.now(UTC):%Y-%m-%d}"
    }
    assert require_whole(desk) == [new]
    assert not desk.output(old).parent.exists()
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds
    assert planned(desk, EXPIRED).removals == ()


def test_days_to_keep_decide_when_a_replaced_revision_goes(desk: Desk) -> None:
    replaced(desk)
    retention = RetentionSpec(superseded_days=2, staging_days=1)
    spec = desk.spec.model_copy(update={"retention": retention})
    hasty = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    assert "manifest" not in kinds(planned(hasty, timedelta(days=1, hours=23)))
    assert "manifest" in kinds(planned(hasty, timedelta(days=2, hours=1)))


def test_a_revision_that_is_published_again_stays(desk: Desk) -> None:
    source = desk.source.read_bytes()
    old, new = replaced(desk)
    desk.source.write_bytes(source)
    desk.prepare("taken back")
    assert desk.publish().manifest.revision == old
    maintained(desk, EXPIRED)
    assert require_whole(desk) == [old]
    assert not desk.output(new).exists()


def test_whenever_maintenance_dies_every_manifest_that_is_left_verifies(
    desk: Desk, tmp_path: Path
) -> None:
    replaced(desk)
    home, untouched = desk.project.lake, tmp_path / "untouched"
    shutil.copytree(home, untouched)
    total = len(maintained(desk, EXPIRED).removals)
    whole = stored(desk)
    assert total == 9
    for after in range(total):
        shutil.rmtree(home)
        shutil.copytree(untouched, home)
        left = iter(range(after))

        def remove(place: Place, lake: Place, left: object = left) -> None:
            if next(left, None) is None:  # pyright: ignore[reportArgumentType]
                raise Died
            remove_file(place, lake)

        with pytest.raises(Died):
            maintained(desk, EXPIRED, remove)
        require_whole(desk)
        assert len(maintained(desk, EXPIRED).removals) == total - after
        assert stored(desk) == whole
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds


def test_what_an_attempt_left_goes_as_a_whole_once_its_newest_file_is_old(desk: Desk) -> None:
    revision = desk.draft().revision
    desk.publish()
    shutil.copytree(desk.output(revision).parent, desk.output("0" * 16).parent)
    backdate(desk, days=3)
    begun = checkpoints_of(desk.project, desk.spec, desk.window, "0" * 16).folder
    begun.mkdir(parents=True)
    (begun / "00000.json").write_bytes(b"{}")
    assert [each.place.parent.name for each in planned(desk).removals] == [revision]
    backdate(desk, days=3)
    gone = [(each.what, each.place.parent.name) for each in maintained(desk).removals]
    assert sorted(gone) == sorted(
        [("checkpoint", revision), ("checkpoint", "0" * 16), ("file", "0" * 16)]
    )
    assert not desk.output("0" * 16).parent.exists()


def test_a_draft_that_nobody_published_goes_with_its_files(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    desk.correct(without_first)
    pending = desk.prepare("never published").revision
    assert "draft" not in kinds(maintained(desk, STAGED))
    assert desk.output(pending).exists()
    assert kinds(maintained(desk, EXPIRED)) == ["checkpoint", "draft", "file"]
    assert not desk.output(pending).exists()
    assert require_whole(desk) == [first]


def test_where_a_run_works_nothing_goes(desk: Desk) -> None:
    desk.publish()
    before, place = stored(desk), lease_place(desk.project, desk.spec, desk.window)
    before_it_came = planned(desk)
    with hold(
        place,
        window=desk.window.key,
        holder="a run",
        stage="predictions",
        on_takeover=lambda _dead, _token: None,
    ):
        plan = planned(desk)
        done = apply(desk.project, desk.spec, before_it_came, in_days(), run_id="maintenance")
    assert plan.removals == done.removals == ()
    assert [left.why for left in plan.left_alone] == ["Run a run works on it (predictions)."]
    (left,) = done.left_alone
    assert (left.what, left.damaged) == (desk.window.key, False)
    assert "being worked on (predictions) by run a run" in left.why
    assert stored(desk) == before


def test_while_maintenance_works_on_a_window_no_run_does(desk: Desk) -> None:
    desk.publish()
    seen: list[str] = []

    def remove(place: Place, lake: Place) -> None:
        lease = Lease.model_validate_json(
            lease_place(desk.project, desk.spec, desk.window).read_bytes()
        )
        seen.append(f"{lease.state} {lease.stage} {lease.holder}")
        remove_file(place, lake)

    maintained(desk, remove=remove)
    assert seen == ["held maintenance maintenance"]


def test_what_a_run_needs_again_after_the_plan_was_made_stays(desk: Desk) -> None:
    first = desk.publish().manifest.revision
    desk.correct(without_first)
    pending = desk.prepare("died before its draft")
    desk.store.drop_draft(desk.window)
    plan = planned(desk, STAGED)
    assert desk.output(pending.revision) in {each.place for each in plan.removals}
    desk.store.write_draft(desk.window, pending)  # went on, and took the shards over
    done = apply(desk.project, desk.spec, plan, in_days(STAGED), run_id="maintenance")
    assert desk.output(pending.revision).is_file()
    gone = [(each.what, each.place.parts[-4]) for each in done.removals]
    assert gone == [("checkpoint", "_checkpoints"), *[("file", "flight_delays")] * 2]
    assert done.removals[0].place.parent.name == first
    assert desk.publish().manifest.revision == pending.revision


def test_a_dead_attempt_that_maintenance_finds_is_recorded_as_killed(desk: Desk) -> None:
    desk.publish()
    place, then = lease_place(desk.project, desk.spec, desk.window), in_days(-STAGED)
    dead = Lease(
        window=desk.window.key,
        token=7,
        holder="a run that died",
        worker=Worker(host="elsewhere", pid=1),
        stage="predictions",
        hold="0",
        since=then,
        beat_at=then,
        ttl_seconds=60,
    )
    place.write_bytes(dead.to_json())
    assert kinds(maintained(desk)) == ["checkpoint"]
    assert recorder_of(desk.project).flush(10) == 0
    record = Ledger(desk.project.lake).latest(desk.spec.name)[desk.window.key]
    assert (record.state, record.attempt, record.run_id) == ("killed", 7, "a run that died")
    assert predictions_table(desk.project, desk.spec).token_of(desk.window) == 8


def test_a_manifest_that_cannot_be_read_keeps_everything_of_its_window(desk: Desk) -> None:
    old, _ = replaced(desk)
    desk.store.path(desk.window, old).write_bytes(b"{")
    before = stored(desk)
    plan = maintained(desk, EXPIRED)
    assert plan.removals == ()
    (left,) = plan.left_alone
    assert (left.what, left.damaged) == (desk.window.key, True)
    assert f"{old}.json is no manifest" in left.why
    assert stored(desk) == before


def test_a_window_that_is_no_longer_declared_is_left_alone(desk: Desk) -> None:
    replaced(desk)
    window = desk.spec.window.model_copy(update={"start": desk.window.end.date()})
    spec = desk.spec.model_copy(update={"window": window})
    plan = plan_maintenance(desk.project, spec, in_days(EXPIRED))
    assert plan.removals == ()
    assert [left.why for left in plan.left_alone] == ["defs.yaml no longer declares this window."]


def test_files_of_a_table_without_a_log_stay(desk: Desk) -> None:
    replaced(desk)
    shutil.rmtree(desk.project.lake / desk.spec.name / "predictions" / "_delta_log")
    plan = maintained(desk, EXPIRED)
    assert not {"manifest", "signature"} & set(kinds(plan))
    assert require_whole(desk)


def test_what_no_log_tells_of_stays_whoever_wrote_it(desk: Desk) -> None:
    desk.publish()
    stray = desk.output("0" * 16)
    shutil.copytree(desk.output(desk.visible() or "").parent, stray.parent)
    log = desk.project.lake / desk.spec.name / "predictions" / "_delta_log"
    log.rename(log.with_name("elsewhere"))
    assert "file" not in kinds(maintained(desk, EXPIRED))
    log.with_name("elsewhere").rename(log)
    assert [each.place for each in maintained(desk, EXPIRED).removals] == [stray]


def test_what_was_replaced_nobody_knows_when_stays(desk: Desk) -> None:
    old, new = replaced(desk)
    log = desk.project.lake / desk.spec.name / "predictions" / "_delta_log"
    for path in log.glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            action.get("commitInfo", {}).pop("timestamp", None)
        path.write_text("\n".join(map(json.dumps, actions)))
    maintained(desk, EXPIRED)
    assert require_whole(desk) == sorted([old, new])


def test_a_signature_of_no_manifest_goes_once_whoever_wrote_it_has_ended(desk: Desk) -> None:
    desk.publish()
    maintained(desk)
    stray = desk.signature().with_name(f"{'0' * 16}.{desk.key.id}.sig")
    shutil.copy(desk.signature(), stray)
    assert planned(desk).removals == ()
    assert [each.place for each in maintained(desk, STAGED).removals] == [stray]
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds


def test_what_writes_left_that_did_not_end_goes_and_lock_files_stay(desk: Desk) -> None:
    pipeline = desk.project.lake / desk.spec.name
    left = [
        desk.output(desk.draft().revision).with_name(".part-00001.parquet.17-18.tmp"),
        pipeline / "_leases" / ".2013-07-04.json.17-18.tmp",
        pipeline / "features" / ".abc_1234" / "_delta_log" / "00000000000000000000.json",
    ]
    kept = [
        pipeline / "_leases" / ".2013-07-04.json.lock",
        pipeline / "_manifests" / "2013-07-04" / ".0.json.lock",
        desk.output(desk.draft().revision).with_name("notes.txt"),
        pipeline / "features" / ".gitkeep",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert planned(desk).removals == ()
    assert {each.place for each in maintained(desk, STAGED).removals} == set(left)
    assert [path for path in kept if not path.is_file()] == []
    assert not (pipeline / "features" / ".abc_1234").exists()


def test_nothing_goes_that_lies_behind_a_link(desk: Desk, tmp_path: Path) -> None:
    replaced(desk)
    features, elsewhere = desk.project.lake / desk.spec.name / "features", tmp_path / "elsewhere"
    features.rename(elsewhere)
    features.symlink_to(elsewhere)
    before = set(elsewhere.rglob("*"))
    plan = maintained(desk, EXPIRED)
    assert plan.removals
    assert set(elsewhere.rglob("*")) == before


def test_a_file_that_a_link_leads_out_of_the_lake_to_is_refused(tmp_path: Path) -> None:
    lake, outside = tmp_path / "lake", tmp_path / "outside"
    (outside / "x.parquet").parent.mkdir()
    (outside / "x.parquet").touch()
    lake.mkdir()
    (lake / "folder").symlink_to(outside)
    (lake / "link").symlink_to(outside / "x.parquet")
    for place in (lake / "folder" / "x.parquet", lake / "link"):
        with pytest.raises(Exception, match="leads out of the lake"):
            remove_file(place, lake)
    assert (outside / "x.parquet").is_file()


def test_a_lake_on_s3_is_maintained_alike(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(desk)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with moto_server() as url:
        lake = place_at(url, new_bucket(url))
        for path in sorted(Path(str(desk.project.lake / desk.spec.name)).rglob("*")):
            if path.is_file():
                (lake / str(path.relative_to(str(desk.project.lake)))).write_bytes(
                    path.read_bytes()
                )
        remote = replace(desk, project=_with_lake(desk.project, lake))
        there, here = planned(remote, EXPIRED), planned(desk, EXPIRED)
        assert names(there) == names(here)
        done = maintained(remote, EXPIRED)
        assert len(done.removals) == len(there.removals) == 9
        assert planned(remote, EXPIRED).removals == ()


def _with_lake(project: Project, lake: Place) -> Project:
    return replace(project, lake=lake)
