"""What is judged of an earlier revision: good, bad, or that nobody can tell here and now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import BatchinfError, ManifestInvalid, StorageUnavailable
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.publishing.publish import show_revision
from batchinf_assets.publishing.rollback import automatic
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.damage import check_damage
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.rollback.target import (
    NothingToGoBackTo,
    TargetUnjudged,
    earlier_revision,
    whole_revision,
)
from batchinf_assets.publishing.signed import (
    VerifiedManifest,
    read_signed_manifest,
    sign_manifest,
)
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.registry.keyring import (
    Keyring,
    read_keyring,
    revoke_key,
    trust_key,
    write_keyring,
)
from batchinf_assets.registry.keys import create_signing_key
from batchinf_assets.spec.evaluation import RollbackCause, RollbackSpec
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody
from batchinf_assets_tests.publishing.desk import Desk, Held
from batchinf_assets_tests.publishing.proof.test_verify import (
    flip_a_bit,
    lose_the_model,
    revoke_the_key,
)
from batchinf_assets_tests.publishing.rollback.test_damage import lost_permissions
from batchinf_assets_tests.publishing.rollback.test_damaged_signatures import (
    publish_with_a_newer_version,
)
from batchinf_assets_tests.publishing.two_revisions import NOW, Shown, without_first

FAILED = CheckResult(
    name="golden_quality",
    asset="evaluation",
    passed=False,
    violations=(Violation(column=None, rule="auroc at least 0.9", found="0.7"),),
)


def taken_back(desk: Desk, cause: RollbackCause, check: CheckResult) -> Rollback | None:
    """Act on a check under a policy that withdraws where nothing earlier is good."""
    policy = RollbackSpec(automatic=(cause,), withdraw=True)
    spec = desk.spec.model_copy(update={"rollback": policy})
    return roll_back_if_condemned(
        desk.project,
        desk.registry,
        spec,
        desk.window,
        check,
        run_id="verify",
        now=datetime.now(UTC),
    )


def damage_of(desk: Desk) -> CheckResult:
    return check_damage(desk.project, desk.registry, desk.spec, desk.window, desk.visible() or "")


def damage_what_was_seen(desk: Desk) -> None:
    (desk.project.keys / "promotions-seen.json").write_text("{")


def know_another_key(desk: Desk) -> None:
    stranger = create_signing_key(Path(str(desk.project.lake)).parent / "stranger.key")
    ring = Keyring().with_key(stranger.public, not_before=NOW, not_after=NOW + timedelta(days=1))
    write_keyring(desk.project.keys, ring)


def trust_the_key_from_now_on(desk: Desk) -> None:
    (key,) = read_keyring(desk.project.keys).keys
    now = datetime.now(UTC)
    ring = Keyring().with_key(key.raw, not_before=now, not_after=now + timedelta(days=1))
    write_keyring(desk.project.keys, ring)


@pytest.mark.parametrize(
    "happen", [lose_the_model, damage_what_was_seen, know_another_key, trust_the_key_from_now_on]
)
def test_what_this_machine_lacks_withdraws_nothing_and_opens_a_ticket(
    shown: Shown, happen: Callable[[Desk], None]
) -> None:
    desk = shown.desk
    flip_a_bit(desk)
    check = damage_of(desk)
    happen(desk)
    for _ in range(2):
        with pytest.raises(TargetUnjudged, match=f"Whether revision {shown.old} of window"):
            taken_back(desk, "verification", check)
    assert (desk.visible(), shown.verdict(shown.bad)) == (shown.bad, None)
    (kept,) = read_tickets(desk.project, desk.spec)
    assert kept.ticket.check == "rollback"
    assert kept.ticket.cause.endswith(
        f"`batchinf rollback flight_delays 2013-07-04 --from {shown.bad} --reason TEXT`"
    )


def test_an_earlier_revision_of_a_newer_format_is_neither_shown_nor_stepped_over(
    desk: Desk,
) -> None:
    desk.publish()
    publish_with_a_newer_version(desk)
    old = desk.visible()
    desk.correct(without_first)
    desk.prepare()
    desk.publish()
    bad = desk.visible()
    flip_a_bit(desk)
    with pytest.raises(TargetUnjudged, match=f"Whether revision {old} of .* format_version"):
        taken_back(desk, "verification", damage_of(desk))
    assert desk.visible() == bad


def test_once_it_can_be_told_the_same_is_done(shown: Shown) -> None:
    desk = shown.desk
    flip_a_bit(desk)
    seen = desk.project.keys / "promotions-seen.json"
    before = seen.read_bytes()
    damage_what_was_seen(desk)
    with pytest.raises(TargetUnjudged):
        taken_back(desk, "verification", damage_of(desk))
    seen.write_bytes(before)
    done = taken_back(desk, "verification", damage_of(desk))
    assert done is not None
    assert (done.state, desk.visible()) == ("rolled_back", shown.old)


def test_an_evaluation_that_cannot_be_made_of_the_earlier_one_withdraws_nothing(
    shown: Shown, tmp_path: Path
) -> None:
    desk = replace(shown.desk, project=replace(shown.desk.project, root=tmp_path))
    with pytest.raises(TargetUnjudged, match=r"Golden set .* is missing"):
        taken_back(desk, "evaluation", FAILED)
    assert (desk.visible(), shown.verdict(shown.bad)) == (shown.bad, None)


def test_a_store_that_does_not_answer_is_told_as_such_and_nothing_is_changed(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_given: object) -> list[CheckResult]:
        raise StorageUnavailable("The store does not answer.", next_step="Try again.")

    monkeypatch.setattr(automatic, "failed_evaluation", away)
    with pytest.raises(StorageUnavailable):
        taken_back(shown.desk, "evaluation", FAILED)
    assert (shown.desk.visible(), shown.verdict(shown.bad)) == (shown.bad, None)
    assert read_tickets(shown.desk.project, shown.desk.spec) == []


def test_no_lost_permission_makes_the_earlier_revision_bad(shown: Shown) -> None:
    desk, root = shown.desk, Path(str(shown.desk.project.lake)).parent
    give_to_nobody(root)
    refused: list[str] = []
    for lost in lost_permissions(root):
        with as_nobody(), suppress(OSError):
            try:
                earlier_revision(desk.project, desk.registry, desk.spec, desk.window, shown.bad)
            except NothingToGoBackTo as error:
                pytest.fail(f"{lost}: {error.stepped_over}")
            except BatchinfError:
                refused.append(lost)
    assert any("/_models/" in lost for lost in refused)


def test_a_revoked_key_and_damaged_files_are_no_doubt(shown: Shown) -> None:
    """Both are known of the earlier revision itself, whatever else this machine lacks."""
    desk = shown.desk
    flip_a_bit(desk)
    path = desk.output(shown.old)
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")
    check = damage_of(desk)
    lose_the_model(desk)
    revoke_the_key(desk)
    done = taken_back(desk, "verification", check)
    assert done is not None
    assert (done.state, desk.visible()) == ("withdrawn", None)
    (why,) = done.stepped_over
    assert f"{shown.old}.json is signed with key" in why
    assert "revoked" in why


def test_a_revision_of_a_model_whose_key_was_revoked_is_stepped_over(shown: Shown) -> None:
    """Its manifest is signed by another key, which counts."""
    desk = shown.desk
    colleague = create_signing_key(Path(str(desk.project.lake)).parent / "colleague.key")
    since, until = NOW - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    trust_key(desk.project.keys, colleague.public, not_before=since, not_after=until)
    signed = sign_manifest(
        desk.store.read(desk.window, shown.old), colleague, read_keyring(desk.project.keys)
    )
    desk.store.write(desk.window, signed, require_held=Held().require_held)
    assert whole(shown)
    revoke_key(desk.project.keys, desk.key.id, at=datetime.now(UTC), reason="Laptop stolen")
    with pytest.raises(NothingToGoBackTo, match=rf"{shown.old} of window .* Laptop stolen"):
        shown.roll_back()
    assert desk.visible() == shown.bad


def whole(shown: Shown) -> VerifiedManifest:
    desk = shown.desk
    return whole_revision(desk.project, desk.registry, desk.spec, desk.window, shown.old)


def show_with(shown: Shown, **changes: object) -> None:
    """Let readers have seen the earlier revision with another manifest, signed and committed."""
    desk, keyring = shown.desk, read_keyring(shown.desk.project.keys)
    changed = desk.store.read(desk.window, shown.old).model_copy(update=changes)
    signed = sign_manifest(changed, desk.key, keyring)
    desk.store.write(desk.window, signed, require_held=Held().require_held)
    for revision in (shown.old, shown.bad):
        found = read_signed_manifest(desk.store, desk.window, revision, keyring)
        show_revision(desk.project, desk.spec, desk.window, found, 1)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "counts": (
        {"counts": CountsRecord(rows_in=738, scored=737, quarantined=0)},
        "Rows must be all accounted for",
    ),
    "checks": ({"checks": ()}, r"Rows must be checked by snapshot/schema \(not on record\)"),
    "pipeline": ({"pipeline": "other"}, "The manifest is about pipeline other"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_was_published_with_a_manifest_that_contradicts_itself_is_stepped_over(
    shown: Shown, case: str
) -> None:
    changes, why = WRONG[case]
    show_with(shown)
    assert whole(shown)
    show_with(shown, **changes)
    with pytest.raises(NothingToGoBackTo, match=why):
        shown.roll_back()
    with pytest.raises(ManifestInvalid, match=why):
        shown.roll_back(shown.old)
    assert (shown.desk.visible(), shown.told()) == (shown.bad, [])


def test_a_manifest_that_was_signed_again_is_not_the_one_that_readers_saw(shown: Shown) -> None:
    desk = shown.desk
    changed = desk.store.read(desk.window, shown.old).model_copy(update={"owner": "mallory"})
    signed = sign_manifest(changed, desk.key, read_keyring(desk.project.keys))
    desk.store.write(desk.window, signed, require_held=Held().require_held)
    with pytest.raises(ManifestInvalid, match="Its manifest is not the one that was published"):
        shown.roll_back(shown.old)
    assert desk.visible() == shown.bad


def test_asked_for_by_name_it_is_said_that_nobody_can_tell(shown: Shown) -> None:
    lose_the_model(shown.desk)
    with pytest.raises(BatchinfError, match="cannot be told") as refused:
        shown.roll_back(shown.old)
    assert isinstance(refused.value, TargetUnjudged)
    assert "--withdraw" not in refused.value.next_step
