"""Overrides: who lets a failed verdict of one revision pass, and that nothing else can be."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult, Violation, blocking_failures
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError, WindowRefused
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import OverrideRecord
from batchinf_assets.publishing.overrides import (
    held_verdicts,
    new_override,
    write_override,
)
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.signed import sign_manifest
from batchinf_assets.publishing.verdicts_of_now import with_verdicts_of_now
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.spec.evaluation import Consequence, GateSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

AT = datetime(2013, 7, 4, 6, tzinfo=UTC)
LOW = Violation(column=None, rule="auroc at least 0.9 (found 0.7000)")


def fail(desk: Desk, *names: str, asset: str = "evaluation") -> Manifest:
    """Let checks of the draft have failed."""
    checks = desk.draft().checks
    assert set(names) <= {check.name for check in checks if check.asset == asset}
    return desk.redraft(
        checks=tuple(
            replace(check, passed=False, violations=(LOW,))
            if check.asset == asset and check.name in names
            else check
            for check in checks
        )
    )


def override(desk: Desk, check: str = "golden_quality", by: str = "ann") -> OverrideRecord:
    held = held_verdicts(desk.project, desk.spec, desk.window)
    record = new_override(held, check, by=by, reason="Looked at it", at=AT)
    write_override(desk.project, desk.spec, held, record)
    return record


def under(desk: Desk, gate: GateSpec) -> Desk:
    spec = desk.spec.model_copy(update={"gate": gate})
    return replace(desk, pipeline=replace(desk.pipeline, spec=spec))


def documents(desk: Desk) -> list[Path]:
    return sorted(Path(str(desk.project.lake)).glob("flight_delays/_overrides/*/*.json"))


def problems(desk: Desk) -> tuple[str, ...]:
    return verify_window(desk.project, desk.registry, desk.spec, desk.window).problems


def test_a_failed_verdict_is_published_once_it_is_overridden_and_the_manifest_tells_who(
    desk: Desk,
) -> None:
    revision = fail(desk, "golden_quality").revision
    with pytest.raises(WindowRefused) as refusal:
        desk.publish()
    assert "auroc at least 0.9 (found 0.7000)" in refusal.value.message
    assert refusal.value.next_step == (
        "Score it with a better model, or look at it and let this revision pass: "
        "`batchinf override flight_delays 2013-07-04 --check golden_quality --reason TEXT`."
    )
    assert desk.visible() is None

    record = override(desk)
    publication = desk.publish()
    assert desk.visible() == revision
    assert desk.published().overrides == (record,)
    assert publication.gate.measured["overridden/golden_quality"] == "ann: Looked at it"
    assert [c.name for c in blocking_failures(desk.published().checks)] == ["golden_quality"]
    assert problems(desk) == ()


def test_publishing_again_changes_nothing(desk: Desk) -> None:
    fail(desk, "golden_quality")
    override(desk)
    first = desk.publish()
    again = desk.publish()
    assert (again.changed, again.sha256) == (False, first.sha256)


def test_a_published_override_counts_without_its_document(desk: Desk) -> None:
    fail(desk, "golden_quality")
    override(desk)
    desk.publish()
    for path in documents(desk):
        path.unlink()
    assert not desk.publish().changed
    assert problems(desk) == ()


def test_an_override_is_kept_as_one_document(desk: Desk) -> None:
    revision = fail(desk, "golden_quality").revision
    override(desk)
    (path,) = documents(desk)
    assert path.parent.name == "2013-07-04"
    failure = held_verdicts(desk.project, desk.spec, desk.window).digests["golden_quality"]
    assert path.name == f"{revision}-golden_quality-{failure[:16]}.json"
    assert json.loads(path.read_bytes()) == {
        "format_version": 1,
        "pipeline": "flight_delays",
        "window": "2013-07-04",
        "revision": revision,
        "failure": failure,
        "override": {
            "check": "golden_quality",
            "by": "ann",
            "reason": "Looked at it",
            "at": "2013-07-04T06:00:00Z",
        },
    }


def test_another_revision_needs_another_override(desk: Desk) -> None:
    fail(desk, "golden_quality")
    override(desk)
    desk.correct(lambda rows: rows.slice(1))
    desk.prepare()
    fail(desk, "golden_quality")
    with pytest.raises(WindowRefused):
        desk.publish()
    assert desk.visible() is None


def measured(desk: Desk, **golden: float) -> None:
    """Let the golden metrics of the draft be others, and every verdict claim to have passed."""
    draft = desk.draft()
    assert draft.evaluation is not None
    record = draft.evaluation.model_copy(update={"golden": {**draft.evaluation.golden, **golden}})
    checks = tuple(
        replace(check, passed=True, violations=()) if check.asset == "evaluation" else check
        for check in draft.checks
    )
    desk.redraft(evaluation=record, checks=checks)


def test_worse_figures_of_the_same_revision_need_another_override(desk: Desk) -> None:
    measured(desk, auroc=0.599)
    override(desk)
    for worse in (0.05, 0.598_99):
        measured(desk, auroc=worse)
        with pytest.raises(WindowRefused, match=r"auroc at least 0\.6 \(found"):
            desk.publish()
    assert held_verdicts(desk.project, desk.spec, desk.window).overrides == ()
    second = override(desk, by="bob")
    desk.publish()
    assert desk.published().overrides == (second,)
    assert len(documents(desk)) == 2


def test_a_last_digit_and_a_figure_without_a_bound_leave_an_override(desk: Desk) -> None:
    measured(desk, auroc=0.599)
    first = override(desk)
    measured(desk, auroc=math.nextafter(0.599, 0), log_loss=0.7)
    desk.publish()
    assert desk.published().overrides == (first,)


def test_worse_figures_behind_the_words_of_an_earlier_failure_need_another_override(
    desk: Desk,
) -> None:
    """A verdict that says itself that it failed is not written anew from its figures."""
    failed = fail(desk, "golden_quality")
    override(desk)
    measured(desk, auroc=0.05)
    desk.redraft(checks=failed.checks)
    with pytest.raises(WindowRefused, match=r"auroc at least 0\.9 \(found 0\.7000\)"):
        desk.publish()


def test_an_override_that_only_the_draft_names_lets_nothing_pass(desk: Desk) -> None:
    measured(desk, auroc=0.05)
    forged = OverrideRecord(check="golden_quality", by="eve", reason="Please", at=AT)
    desk.redraft(overrides=(forged,), published_at=AT)
    with pytest.raises(WindowRefused, match=r"auroc at least 0\.6 \(found 0\.0500\)"):
        desk.publish()
    assert desk.visible() is None


def test_overriding_one_verdict_leaves_the_other(desk: Desk) -> None:
    strict = under(desk, GateSpec(drift="block"))
    fail(strict, "golden_quality", "drift")
    override(strict, "drift")
    with pytest.raises(WindowRefused, match="auroc at least") as refusal:
        strict.publish()
    assert "--check golden_quality" in refusal.value.next_step
    override(strict, "golden_quality", by="bob")
    strict.publish()
    assert [(o.check, o.by) for o in strict.published().overrides] == [
        ("golden_quality", "bob"),
        ("drift", "ann"),
    ]
    assert problems(strict) == ()


@pytest.mark.parametrize("consequence", ["ticket", "inform"])
def test_what_does_not_block_is_published_without_an_override_and_verifies(
    desk: Desk, consequence: Consequence
) -> None:
    lenient = under(desk, GateSpec(golden_quality=consequence))
    fail(lenient, "golden_quality")
    lenient.publish()
    published = lenient.published()
    (check,) = [check for check in published.checks if check.name == "golden_quality"]
    assert (check.passed, check.blocking, published.overrides) == (False, False, ())
    assert problems(lenient) == ()


def test_an_override_that_nothing_needs_is_not_put_into_the_manifest(desk: Desk) -> None:
    held = fail(desk, "golden_quality")
    override(desk)
    desk.redraft(
        checks=tuple(
            replace(check, passed=True, violations=()) if check.asset == "evaluation" else check
            for check in held.checks
        )
    )
    desk.publish()
    assert desk.published().overrides == ()


def sign_draft(desk: Desk) -> str:
    """Leave what a try left behind that died after signing; returns the document's digest."""
    judged = with_verdicts_of_now(desk.project, desk.spec, desk.window, desk.draft())
    finished = judged.model_copy(update={"published_at": AT})
    signed = sign_manifest(finished, desk.key, read_keyring(desk.project.keys))
    desk.store.write(desk.window, signed, require_held=lambda: None)
    return hashlib.sha256(signed.body).hexdigest()


def test_a_manifest_signed_before_the_override_is_not_taken_for_one_that_names_it(
    desk: Desk,
) -> None:
    lenient = under(desk, GateSpec(golden_quality="inform"))
    fail(lenient, "golden_quality")
    earlier = sign_draft(lenient)
    record = override(desk)
    assert desk.publish().sha256 != earlier
    assert desk.published().overrides == (record,)
    assert problems(desk) == ()


def test_a_manifest_signed_by_a_try_that_died_is_taken_if_it_names_the_override(
    desk: Desk,
) -> None:
    fail(desk, "golden_quality")
    override(desk)
    earlier = sign_draft(desk)
    assert desk.publish().sha256 == earlier


@pytest.mark.parametrize(
    "check", ["contract", "schema", "gate", "unique_key", "signature", "performance", "../x", ""]
)
def test_contracts_keys_signatures_and_models_cannot_be_overridden(desk: Desk, check: str) -> None:
    fail(desk, "contract", asset="snapshot")
    held = held_verdicts(desk.project, desk.spec, desk.window)
    assert held.failures == ()
    with pytest.raises(UsageError, match="contracts, keys, signatures and models hold"):
        new_override(held, check, by="ann", reason="Please", at=AT)


def test_a_forged_override_of_a_contract_opens_no_gate(desk: Desk) -> None:
    forged = OverrideRecord(check="contract", by="eve", reason="Please", at=AT)
    fail(desk, "contract", asset="snapshot")
    desk.redraft(overrides=(forged,))
    with pytest.raises(WindowRefused):
        desk.publish()


def test_a_verdict_that_holds_nothing_back_cannot_be_overridden(desk: Desk) -> None:
    fail(desk, "drift")  # informs
    held = held_verdicts(desk.project, desk.spec, desk.window)
    for check in ("golden_quality", "drift"):
        with pytest.raises(UsageError, match=f"{check} does not hold revision {held.revision}"):
            new_override(held, check, by="ann", reason="Please", at=AT)


@pytest.mark.parametrize(
    ("by", "reason"), [("ann", " "), ("", "Seen"), ("ann", "two\nlines"), ("ann", "s3://secret")]
)
def test_an_override_needs_a_reason_in_words(desk: Desk, by: str, reason: str) -> None:
    fail(desk, "golden_quality")
    held = held_verdicts(desk.project, desk.spec, desk.window)
    with pytest.raises(UsageError, match="override"):
        new_override(held, "golden_quality", by=by, reason=reason, at=AT)


def test_who_overrides_second_is_told_who_was_first(desk: Desk) -> None:
    fail(desk, "golden_quality")
    first = override(desk)
    assert override(desk) == first
    with pytest.raises(LostRace, match=r"ann did so first \(Looked at it\)"):
        override(desk, by="bob")
    assert held_verdicts(desk.project, desk.spec, desk.window).overrides == (first,)


def test_a_damaged_override_is_named_and_lets_nothing_pass(desk: Desk) -> None:
    fail(desk, "golden_quality")
    override(desk)
    (path,) = documents(desk)
    whole = path.read_bytes()
    other = whole.replace(b'"check":"golden_quality"', b'"check":"drift"')
    moved = whole.replace(b'"window":"2013-07-04"', b'"window":"2013-07-05"')
    assert len({whole, other, moved}) == 3
    for content in (b"", whole[:-9], other, moved):
        path.write_bytes(content)
        with pytest.raises(ManifestInvalid, match=path.name):
            desk.publish()
    assert desk.visible() is None


def test_a_failed_check_without_its_override_in_the_signed_manifest_does_not_verify(
    desk: Desk,
) -> None:
    fail(desk, "golden_quality")
    override(desk)
    desk.publish()
    desk.sign_again(overrides=())
    assert "Check evaluation/golden_quality is on record as failed." in problems(desk)


def test_an_override_of_a_contract_in_a_signed_manifest_does_not_verify(desk: Desk) -> None:
    desk.publish()
    checks = tuple(
        replace(check, passed=False) if check.name == "contract" else check
        for check in desk.published().checks
    )
    record = OverrideRecord(check="contract", by="eve", reason="Please", at=AT)
    desk.sign_again(checks=checks, overrides=(record,))
    assert "Check snapshot/contract is on record as failed." in problems(desk)


def test_a_namesake_of_a_verdict_cannot_be_let_pass(desk: Desk) -> None:
    namesake = CheckResult(name="drift", asset="features", passed=False)
    record = OverrideRecord(check="drift", by="eve", reason="Please", at=AT)
    desk.redraft(checks=(*desk.draft().checks, namesake), overrides=(record,))
    with pytest.raises(WindowRefused, match="within features/drift"):
        desk.publish()
