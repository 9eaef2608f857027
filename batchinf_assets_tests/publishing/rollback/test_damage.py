"""What of a fault condemns a published revision, and what only says that something is amiss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.errors import BatchinfError, KeyringInvalid, StorageUnavailable
from batchinf_assets.lake.s3_access import S3Limits
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.damage import check_damage
from batchinf_assets.publishing.rollback.target import TargetUnjudged
from batchinf_assets.registry.keyring import Keyring, read_keyring, write_keyring
from batchinf_assets.registry.keys import create_signing_key
from batchinf_assets.scoring.condemnations import condemned
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody
from batchinf_assets_tests.publishing.desk import Desk
from batchinf_assets_tests.publishing.proof.test_verify import (
    add_a_file_to_the_model,
    change_the_model,
    change_the_owner,
    cut_the_manifest,
    damage_the_signature,
    damage_the_snapshot,
    flip_a_bit,
    lose_the_features,
    lose_the_file,
    lose_the_keyring,
    lose_the_manifest,
    lose_the_model,
    lose_the_signature,
    publish_a_stranger,
    revoke_the_key,
    sign_another_manifest,
    write_other_rows,
)
from batchinf_assets_tests.publishing.two_revisions import NOW, Shown
from batchinf_assets_tests.s3_server import ENVIRON, free_port, place_at


def broken(desk: Desk) -> list[str]:
    check = check_damage(desk.project, desk.registry, desk.spec, desk.window, desk.visible() or "")
    assert check.passed == (not check.violations)
    return [str(violation) for violation in check.violations]


def know_another_key(desk: Desk) -> None:
    """The keyring of another team: it neither trusts nor revoked who signed here."""
    stranger = create_signing_key(Path(str(desk.project.lake)).parent / "stranger.key")
    ring = Keyring().with_key(stranger.public, not_before=NOW, not_after=NOW + timedelta(days=1))
    write_keyring(desk.project.keys, ring)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (flip_a_bit, "part-00000.parquet as scored (bytes changed)"),
        (write_other_rows, "part-00000.parquet as scored (bytes changed)"),
        (lose_the_file, "part-00000.parquet (it is missing)"),
        (publish_a_stranger, "no rows beside those of its manifest, found window=2013-07-04/"),
        (lose_the_manifest, "a manifest that can be read"),
        (cut_the_manifest, "a manifest that can be read"),
        (change_the_owner, "the manifest that was published, found other bytes"),
        (sign_another_manifest, "the manifest that was published, found other bytes"),
        (lose_the_signature, "a signature that counts, found none"),
        (damage_the_signature, "a signature that counts, found one of other bytes"),
        (revoke_the_key, "which was revoked"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_what_was_damaged_lost_or_revoked_condemns(
    desk: Desk, harm: Callable[[Desk], None], found: str
) -> None:
    desk.publish()
    assert broken(desk) == []
    harm(desk)
    assert any(found in sentence for sentence in broken(desk))


@pytest.mark.parametrize(
    "happen",
    [
        damage_the_snapshot,
        lose_the_features,
        lose_the_model,
        change_the_model,
        add_a_file_to_the_model,
        know_another_key,
    ],
)
def test_what_says_nothing_of_the_rows_condemns_nothing_though_it_does_not_verify(
    desk: Desk, happen: Callable[[Desk], None]
) -> None:
    desk.publish()
    happen(desk)
    assert not verify_window(desk.project, desk.registry, desk.spec, desk.window).holds
    assert broken(desk) == []


PERMISSIONS = (0, 0o311, 0o644)
"""None, no listing, no entering."""


def lost_permissions(root: Path) -> Iterator[str]:
    """Take one permission on one folder or file away at a time, and give it back."""
    for folder, _, files in list(os.walk(root)):
        places = [(Path(folder), mode) for mode in PERMISSIONS]
        for place, mode in (*places, *((Path(folder) / name, 0) for name in files)):
            before = place.stat().st_mode
            place.chmod(mode)
            yield f"{place.relative_to(root)} at {mode:o}"
            place.chmod(before)


def test_no_lost_permission_condemns_anything(desk: Desk) -> None:
    desk.publish()
    revision, root = desk.visible() or "", Path(str(desk.project.lake)).parent
    give_to_nobody(root)
    refused: list[str] = []
    for lost in lost_permissions(root):
        with as_nobody(), suppress(BatchinfError, OSError):
            check = check_damage(desk.project, desk.registry, desk.spec, desk.window, revision)
            assert check.passed, f"{lost}: {check.violations}"
            continue
        refused.append(lost)
    assert f"lake/flight_delays/_manifests/{desk.window.folder_name} at 311" in refused


def test_a_store_that_does_not_answer_condemns_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    limits = S3Limits(connect_seconds=1, retries=0, total_seconds=1)
    lake = place_at(f"http://127.0.0.1:{free_port()}", "lakes", limits=limits)
    desk.publish()
    project, revision = replace(desk.project, lake=lake), desk.visible() or ""
    with pytest.raises(StorageUnavailable, match="s3://lakes"):
        check_damage(project, desk.registry, desk.spec, desk.window, revision)


def test_without_a_keyring_nobody_can_tell(desk: Desk) -> None:
    desk.publish()
    lose_the_keyring(desk)
    with pytest.raises(KeyringInvalid, match="no keyring"):
        broken(desk)


def taken_back(shown: Shown, **policy: bool) -> str | None:
    desk = shown.desk
    rollback = RollbackSpec(automatic=("verification",), **policy)
    spec = desk.spec.model_copy(update={"rollback": rollback})
    check = check_damage(desk.project, desk.registry, spec, desk.window, shown.bad)
    done = roll_back_if_condemned(
        desk.project,
        desk.registry,
        spec,
        desk.window,
        check,
        run_id="verify",
        now=datetime.now(UTC),
        measured=shown.bad,
    )
    return done.state if done else None


def test_a_damaged_revision_goes_back_to_one_that_verifies(shown: Shown) -> None:
    flip_a_bit(shown.desk)
    assert taken_back(shown) == "rolled_back"
    desk = shown.desk
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds
    assert desk.visible() == shown.old
    found = condemned(desk.project, desk.spec, desk.window, shown.bad)
    assert found is not None
    assert found.reason.startswith("Verified again: expected in file window=2013-07-04/")
    assert found.check is not None
    assert found.check.asset == "verification"


def test_even_a_lost_manifest_is_gone_back_from(shown: Shown) -> None:
    lose_the_manifest(shown.desk)
    assert taken_back(shown) == "rolled_back"
    assert shown.desk.visible() == shown.old


@pytest.mark.parametrize("withdraw", [False, True])
def test_where_no_revision_verifies_nothing_is_shown_if_the_policy_withdraws(
    shown: Shown, withdraw: bool
) -> None:
    revoke_the_key(shown.desk)
    state = taken_back(shown, withdraw=withdraw)
    assert state == ("withdrawn" if withdraw else "nothing_to_go_back_to")
    assert shown.desk.visible() == (None if withdraw else shown.bad)


def test_a_revision_whose_rows_do_not_verify_is_neither_shown_nor_stepped_over(
    shown: Shown,
) -> None:
    """Its files are whole, and what they were made of is lost: `verify` would say so at once."""
    desk = shown.desk
    old = desk.store.read(desk.window, shown.old)
    frozen_rows(desk.project, desk.spec, desk.window, old.snapshot).place.unlink()
    problems = verify_window(
        desk.project, desk.registry, desk.spec, desk.window, revision=shown.old
    ).problems
    flip_a_bit(desk)
    assert problems
    with pytest.raises(TargetUnjudged, match=shown.old):
        taken_back(shown, withdraw=True)
    assert desk.visible() == shown.bad


def test_a_key_that_expired_since_condemns_nothing(desk: Desk) -> None:
    desk.publish()
    keyring = read_keyring(desk.project.keys)
    (key,) = keyring.keys
    past = key.model_copy(update={"not_after": NOW, "not_before": NOW - timedelta(days=1)})
    write_keyring(desk.project.keys, keyring.model_copy(update={"keys": (past,)}))
    assert broken(desk) == []
