"""Publishing: one commit, idempotent, and the old revision stays until it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import (
    ManifestInvalid,
    SigningKeyUnavailable,
    WindowMissing,
    WindowRefused,
)
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.registry.keyring import init_keys, read_keyring, revoke_key
from batchinf_assets.scoring.predictions import manifests, prediction_rows, predictions_table
from batchinf_assets.snapshots.freeze import load_snapshot

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
LATER = datetime(2013, 7, 4, 6, tzinfo=UTC)
ROWS = 737


class Died(Exception):
    """Stands for the process dying: nothing after it runs."""


def die(*_arguments: object, **_named: object) -> None:
    raise Died


def versions(desk: Desk) -> int:
    return DeltaTable(predictions_table(desk.project, desk.spec).folder).version()


def store(desk: Desk) -> ManifestStore:
    return manifests(desk.project, desk.spec)


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def test_before_publishing_readers_see_nothing(desk: Desk) -> None:
    assert desk.visible() is None
    assert not (predictions_table(desk.project, desk.spec).folder / "_delta_log").exists()


def test_published_rows_are_the_scored_ones_and_their_keys_those_of_the_snapshot(
    desk: Desk,
) -> None:
    scored = prediction_rows(desk.project, desk.spec, desk.draft())
    publication = desk.publish()
    assert publication.changed
    seen = desk.rows()
    assert seen.select(scored.column_names).to_pylist() == scored.to_pylist()
    assert set(seen["window"].to_pylist()) == {"2013-07-04"}
    key = list(desk.spec.source.key)
    snapshot = load_snapshot(desk.project, desk.spec, desk.window).rows
    assert seen.select(key).to_pylist() == snapshot.select(key).to_pylist()
    assert seen.num_rows == ROWS


def test_the_manifest_is_finished_and_the_draft_gone(desk: Desk) -> None:
    draft = desk.draft()
    publication = desk.publish(LATER)
    kept = store(desk).read(desk.window, draft.revision)
    assert kept == publication.manifest
    assert publication.path == store(desk).path(desk.window, draft.revision)
    assert kept.published_at == LATER
    assert kept.checks == (*draft.checks, publication.gate)
    assert kept.model_copy(update={"published_at": None, "checks": draft.checks}) == draft
    assert store(desk).draft(desk.window) is None


def test_the_manifest_is_signed(desk: Desk) -> None:
    publication = desk.publish()
    keyring = read_keyring(desk.project.keys)
    found = read_signed_manifest(store(desk), desk.window, desk.visible() or "", keyring)
    assert found.manifest == publication.manifest
    assert (found.key_id, found.sha256) == (desk.key.id, publication.sha256)


def test_the_commit_names_its_revision_its_manifest_and_who_signed(desk: Desk) -> None:
    publication = desk.publish()
    table = DeltaTable(predictions_table(desk.project, desk.spec).folder)
    latest = table.history(1)[0]
    assert latest["batchinf.revision"] == publication.manifest.revision == desk.visible()
    assert latest["batchinf.manifest_sha256"] == publication.sha256 == file_sha256(publication.path)
    assert latest["batchinf.manifest_key"] == desk.key.id
    assert latest["batchinf.token"] == "1"


def test_publishing_again_changes_nothing(desk: Desk) -> None:
    first = desk.publish()
    before, content = versions(desk), first.path.read_bytes()
    again = desk.publish(LATER)
    assert not again.changed
    assert again.manifest == first.manifest
    assert (versions(desk), first.path.read_bytes()) == (before, content)


def test_running_the_whole_window_again_changes_nothing(desk: Desk) -> None:
    first = desk.publish()
    before, content = versions(desk), first.path.read_bytes()
    desk.prepare(run_id="another run")
    again = desk.publish(LATER)
    assert not again.changed
    assert again.manifest.run_id == "run"
    assert (versions(desk), first.path.read_bytes()) == (before, content)
    assert store(desk).draft(desk.window) is None


def test_a_window_that_was_not_scored_cannot_be_published(desk: Desk) -> None:
    store(desk).drop_draft(desk.window)
    with pytest.raises(WindowMissing, match="2013-07-04 of flight_delays was not scored"):
        desk.publish()


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the manifest": lambda patch: patch.setattr(ManifestStore, "write", die),
    "between manifest and commit": lambda patch: patch.setattr(WindowTable, "commit", die),
    "after the commit": lambda patch: patch.setattr(ManifestStore, "drop_draft", die),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_first_publication_that_dies_is_whole_or_absent_and_can_be_run_again(
    desk: Desk, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = desk.draft().revision
    with monkeypatch.context() as patch:
        STEPS[step](patch)
        with pytest.raises(Died):
            desk.publish()
    committed = step == "after the commit"
    assert desk.visible() == (revision if committed else None)
    publication = desk.publish(LATER)
    assert publication.changed == (not committed)
    assert (desk.visible(), desk.rows().num_rows) == (revision, ROWS)
    assert publication.manifest == store(desk).read(desk.window, revision)
    assert publication.manifest.published_at is not None
    assert store(desk).draft(desk.window) is None


@pytest.mark.parametrize("step", STEPS)
def test_readers_see_the_old_revision_until_the_commit_of_the_new_one(
    desk: Desk, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = desk.publish().manifest
    before = desk.rows()
    desk.correct(without_first)
    new = desk.prepare()
    assert new.revision != old.revision
    with monkeypatch.context() as patch:
        STEPS[step](patch)
        with pytest.raises(Died):
            desk.publish()
    if step == "after the commit":
        assert (desk.visible(), desk.rows().num_rows) == (new.revision, ROWS - 1)
    else:
        assert desk.visible() == old.revision
        assert desk.rows().equals(before)
    desk.publish()
    assert (desk.visible(), desk.rows().num_rows) == (new.revision, ROWS - 1)


def test_late_data_is_a_second_revision_and_the_first_stays_on_record(desk: Desk) -> None:
    first = desk.publish()
    content = first.path.read_bytes()
    files = {path: path.read_bytes() for path in first.path.parent.rglob("*.parquet")}
    desk.correct(without_first)
    desk.prepare()
    second = desk.publish(LATER)
    assert second.manifest.revision != first.manifest.revision
    assert store(desk).revisions(desk.window) == sorted(
        [first.manifest.revision, second.manifest.revision]
    )
    assert first.path.read_bytes() == content
    assert {path: path.read_bytes() for path in files} == files
    assert desk.output(first.manifest.revision).is_file()
    assert desk.rows().num_rows == ROWS - 1


def test_late_data_is_never_seen_beside_what_it_replaces(desk: Desk) -> None:
    desk.publish()
    desk.correct(without_first)
    desk.prepare()
    desk.publish()
    keys = desk.rows().select(list(desk.spec.source.key)).to_pylist()
    assert len({tuple(key.values()) for key in keys}) == len(keys) == ROWS - 1


def test_a_correction_taken_back_is_the_first_revision_again(desk: Desk) -> None:
    first = desk.publish().manifest
    rows, source = desk.rows(), desk.source.read_bytes()
    desk.correct(without_first)
    desk.prepare()
    desk.publish()
    desk.source.write_bytes(source)
    assert desk.prepare().revision == first.revision
    assert desk.publish(LATER).changed
    assert desk.visible() == first.revision
    assert desk.rows().equals(rows)
    assert len(store(desk).revisions(desk.window)) == 2


def test_a_refused_revision_leaves_the_published_one(desk: Desk) -> None:
    first = desk.publish().manifest
    desk.correct(without_first)
    new = desk.prepare()
    desk.output(new.revision).unlink()
    with pytest.raises(WindowRefused):
        desk.publish()
    assert desk.visible() == first.revision
    assert store(desk).revisions(desk.window) == [first.revision]


def test_a_published_file_that_was_lost_is_made_again_by_running_the_window(desk: Desk) -> None:
    revision = desk.publish().manifest.revision
    content = desk.output(revision).read_bytes()
    desk.output(revision).unlink()
    desk.prepare()
    desk.publish()
    assert desk.output(revision).read_bytes() == content


def test_a_revision_has_its_manifest_before_anybody_can_see_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    commit = WindowTable.commit

    def recording(table: WindowTable, *arguments: object, token: int) -> None:
        seen.append(store(desk).revisions(desk.window))
        commit(table, *arguments, token=token)

    monkeypatch.setattr(WindowTable, "commit", recording)
    revision = desk.publish().manifest.revision
    assert seen == [[revision]]


def test_what_a_try_that_died_signed_is_published_as_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = desk.draft().revision
    with monkeypatch.context() as patch:
        STEPS["between manifest and commit"](patch)
        with pytest.raises(Died):
            desk.publish()
    path = store(desk).path(desk.window, revision)
    signed = path.read_bytes()
    publication = desk.publish(LATER)
    assert path.read_bytes() == signed
    assert publication.manifest.published_at == NOW
    assert publication.sha256 == file_sha256(path)


@pytest.mark.parametrize("damage", ["document", "signature", "no signature"])
def test_what_a_try_that_died_left_in_pieces_is_signed_anew(
    desk: Desk, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = desk.draft().revision
    with monkeypatch.context() as patch:
        STEPS["between manifest and commit"](patch)
        with pytest.raises(Died):
            desk.publish()
    path = Path(store(desk).path(desk.window, revision))
    signature = path.with_name(f"{revision}.{desk.key.id}.sig")
    if damage == "no signature":
        signature.unlink()
    else:
        (path if damage == "document" else signature).write_bytes(b"x" * 64)
    assert desk.publish(LATER).manifest.published_at == LATER
    keyring = read_keyring(desk.project.keys)
    assert read_signed_manifest(store(desk), desk.window, revision, keyring)


def test_a_revision_that_is_published_again_keeps_its_first_manifest(desk: Desk) -> None:
    first, source = desk.publish(), desk.source.read_bytes()
    desk.correct(without_first)
    desk.prepare()
    desk.publish(LATER)
    desk.source.write_bytes(source)
    desk.prepare(run_id="later")
    again = desk.publish(LATER)
    assert again.changed
    assert (again.manifest, again.sha256) == (first.manifest, first.sha256)


def test_a_visible_manifest_that_was_changed_is_not_taken_for_a_publication(desk: Desk) -> None:
    desk.publish()
    before = versions(desk)
    desk.remanifest(owner="somebody@example.com")
    with pytest.raises(ManifestInvalid, match="is not of"):
        desk.publish(LATER)
    assert versions(desk) == before


def test_a_visible_manifest_that_was_signed_again_is_not_the_published_one(desk: Desk) -> None:
    desk.publish()
    desk.sign_again(owner="somebody@example.com")
    with pytest.raises(ManifestInvalid, match="is not the manifest that was published"):
        desk.publish(LATER)


def test_nothing_is_published_with_a_key_that_nobody_trusts(desk: Desk) -> None:
    """The model's own key is revoked in test_gate; here the one that publishes is another."""
    mine = desk.key
    (desk.project.keys / "signing-key.pem").unlink()
    publishing = init_keys(desk.project.keys, not_before=NOW, not_after=LATER)
    assert publishing.id != mine.id
    revoke_key(desk.project.keys, publishing.id, at=NOW, reason="Left the company")
    with pytest.raises(SigningKeyUnavailable, match="Left the company"):
        desk.publish()
    assert desk.visible() is None
    assert store(desk).revisions(desk.window) == []


def test_no_secret_and_no_place_of_this_machine_is_in_a_manifest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "BATCHINF_SIGNING_KEY_SECRET"):
        monkeypatch.setenv(name, f"canary-{name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://user:canary@s3.example.com")
    desk.prepare()
    content = desk.publish().path.read_bytes()
    planted = (b"canary", b"PRIVATE KEY", b"://", b'"/', str(desk.project.lake).encode())
    assert [text for text in planted if text in content] == []
