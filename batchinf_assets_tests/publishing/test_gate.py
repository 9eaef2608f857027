"""The gate: each of its clauses refuses once, and nothing else does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow.parquet as pq
import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ModelRefused, Refusal, WindowMissing, WindowRefused
from batchinf_assets.evaluation.consequences import VERDICTS
from batchinf_assets.features.build import build_features, features_table
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.steps.checks import check_specs
from batchinf_assets.publishing.gate import (
    REQUIRED_CHECKS,
    blocking_checks,
    changed_files,
    judge_revision,
    required_checks,
)
from batchinf_assets.registry.keyring import read_keyring, write_keyring
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.contract import RuleSpec
from batchinf_assets.spec.evaluation import GateSpec

if TYPE_CHECKING:
    from pathlib import Path

    from batchinf_assets_tests.publishing.desk import Desk

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
BLOCK = GateSpec(golden_quality="block", golden_set="block", drift="block")
INFORM = GateSpec(golden_quality="inform", golden_set="inform", drift="inform")
REQUIRED = [(asset, name) for asset, names in REQUIRED_CHECKS.items() for name in names]


def judge(desk: Desk, now: datetime = NOW) -> CheckResult:
    gate = judge_revision(
        desk.project, desk.registry, desk.pipeline, desk.window, desk.draft(), now=now
    )
    assert gate.passed == (not gate.violations)
    return gate


def under(desk: Desk, gate: GateSpec) -> Desk:
    spec = desk.spec.model_copy(update={"gate": gate})
    return replace(desk, pipeline=replace(desk.pipeline, spec=spec))


def with_sound_verdicts(desk: Desk) -> Desk:
    """The same window, as if its distributions had not moved."""
    draft = desk.draft()
    assert draft.evaluation is not None
    stable = dict.fromkeys(draft.evaluation.drift, "stable")
    still = {
        "drift": stable,
        "drift_verdict": "stable",
        "drift_by_reference": {"training": stable},
    }
    passed = tuple(
        replace(check, passed=True, violations=()) if check.asset == "evaluation" else check
        for check in draft.checks
    )
    desk.redraft(checks=passed, evaluation=draft.evaluation.model_copy(update=still))
    return desk


def rules(desk: Desk) -> list[str]:
    return [violation.rule for violation in judge(desk).violations]


def test_a_sound_revision_passes(desk: Desk) -> None:
    gate = judge(desk)
    assert (gate.passed, gate.name, gate.asset, gate.blocking) == (True, "gate", "published", True)
    assert gate.measured["revision"] == desk.draft().revision


def test_thirteen_checks_are_required() -> None:
    assert len(REQUIRED) == 13
    assert ("evaluation", "golden_quality") in REQUIRED


@pytest.mark.parametrize(("asset", "name"), REQUIRED)
def test_a_check_that_is_not_on_record_refuses(desk: Desk, asset: str, name: str) -> None:
    checks = desk.draft().checks
    kept = tuple(check for check in checks if (check.asset, check.name) != (asset, name))
    assert len(kept) == len(checks) - 1
    desk.redraft(checks=kept)
    assert rules(desk) == [f"checked by {asset}/{name} (not on record)"]


@pytest.mark.parametrize(("asset", "name"), REQUIRED)
def test_a_failed_check_refuses_with_what_it_found(desk: Desk, asset: str, name: str) -> None:
    found = Violation(column="distance", rule="at least 1", count=2)
    desk.redraft(
        checks=tuple(
            replace(check, passed=False, violations=(found,))
            if (check.asset, check.name) == (asset, name)
            else check
            for check in desk.draft().checks
        )
    )
    assert judge(desk).violations == (found,)


def test_a_failed_check_that_found_no_words_refuses_by_its_name(desk: Desk) -> None:
    failed = CheckResult(name="extra", asset="predictions", passed=False)
    desk.redraft(checks=(*desk.draft().checks, failed))
    assert rules(desk) == ["within predictions/extra"]


@pytest.mark.parametrize("name", VERDICTS)
def test_a_verdict_that_is_not_on_record_refuses_whatever_it_leads_to(
    desk: Desk, name: str
) -> None:
    for declared in (GateSpec(), INFORM):
        own = under(desk, declared)
        kept = tuple(check for check in own.draft().checks if check.name != name)
        draft = own.draft()
        own.redraft(checks=kept)
        assert rules(own) == [f"checked by evaluation/{name} (not on record)"]
        manifests(own.project, own.spec).write_draft(own.window, draft)


@pytest.mark.parametrize("name", VERDICTS)
@pytest.mark.parametrize("blocks", [True, False])
def test_a_failed_verdict_refuses_if_and_only_if_it_is_declared_to_block(
    desk: Desk, name: str, *, blocks: bool
) -> None:
    own = under(with_sound_verdicts(desk), BLOCK if blocks else INFORM)
    found = Violation(column=None, rule="better than this")
    own.redraft(
        checks=tuple(
            replace(check, passed=False, violations=(found,)) if check.name == name else check
            for check in own.draft().checks
        )
    )
    assert judge(own).violations == ((found,) if blocks else ())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"golden": {"auroc": 0.1}}, "auroc at least 0.6 (found 0.1000)"),
        ({"golden": {"positives": 0}}, "share of the rarer class at least 0.05 (found 0.0000)"),
        ({"drift": {"distance_miles": "major"}}, "no major drift against training"),
    ],
    ids=VERDICTS,
)
def test_a_verdict_that_claims_to_have_passed_beside_figures_that_deny_it_refuses(
    desk: Desk, changes: dict[str, dict[str, object]], rule: str
) -> None:
    own = under(with_sound_verdicts(desk), BLOCK)
    record = own.draft().evaluation
    assert record is not None
    assert judge(own).passed
    forged = {name: {**getattr(record, name), **values} for name, values in changes.items()}
    own.redraft(evaluation=record.model_copy(update=forged))
    assert rules(own) == [rule]
    with pytest.raises(WindowRefused):
        own.publish()
    assert own.visible() is None


def test_passed_verdicts_without_any_figures_refuse(desk: Desk) -> None:
    desk.redraft(evaluation=None)
    assert [rule.split(" (")[-1] for rule in rules(desk)] == ["undefined)", "undefined)"]


def test_the_signed_manifest_tells_what_the_figures_say(desk: Desk) -> None:
    own = under(with_sound_verdicts(desk), INFORM)
    record = own.draft().evaluation
    assert record is not None
    own.redraft(evaluation=record.model_copy(update={"drift": {"distance_miles": "major"}}))
    own.publish()
    (drift,) = [check for check in own.published().checks if check.name == "drift"]
    assert (drift.passed, drift.blocking) == (False, False)


def test_a_bound_that_was_tightened_since_refuses(desk: Desk) -> None:
    golden = desk.spec.golden.model_copy(update={"at_least": {"auroc": 0.99}})
    spec = desk.spec.model_copy(update={"golden": golden})
    own = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    (rule,) = rules(own)
    assert rule.startswith("auroc at least 0.99 (found 0.")


@pytest.mark.parametrize(
    ("failed", "lost"),
    [(("predictions", "contract"), False), (("evaluation", "golden_quality"), True)],
    ids=["contract", "verdict and file"],
)
def test_what_no_override_lets_pass_is_to_be_corrected(
    desk: Desk, failed: tuple[str, str], *, lost: bool
) -> None:
    found = Violation(column="distance", rule="at least 1", count=2)
    desk.redraft(
        checks=tuple(
            replace(check, passed=False, violations=(found,))
            if (check.asset, check.name) == failed
            else check
            for check in desk.draft().checks
        )
    )
    if lost:
        desk.output(desk.draft().revision).unlink()
    with pytest.raises(WindowRefused) as refusal:
        desk.publish()
    assert refusal.value.next_step == (
        "Correct the data or its declaration in defs.yaml, then run the window again."
    )


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("evaluation/golden_quality", "within evaluation/golden_quality"),
        ("predictions/contract", "checked by predictions/contract (not on record)"),
    ],
)
def test_a_required_check_cannot_be_made_a_warning(desk: Desk, name: str, rule: str) -> None:
    desk.redraft(
        checks=tuple(
            replace(check, passed=False, blocking=False)
            if f"{check.asset}/{check.name}" == name
            else check
            for check in desk.draft().checks
        )
    )
    assert rules(desk) == [rule]


def test_a_failed_warning_does_not_refuse(desk: Desk) -> None:
    desk.redraft(
        checks=tuple(
            replace(check, passed=False) if check.name == "drift" else check
            for check in desk.draft().checks
        )
    )
    assert judge(desk).passed


def test_a_changed_file_refuses(desk: Desk) -> None:
    path = desk.output(desk.draft().revision)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (rule,) = rules(desk)
    assert rule.startswith("in file window=2013-07-04/")
    assert rule.endswith("part-00000.parquet as scored (bytes changed)")


def test_other_valid_rows_in_the_file_refuse(desk: Desk) -> None:
    path = desk.output(desk.draft().revision)
    pq.write_table(pq.read_table(path).slice(0, 700), path)
    assert [rule.split("(")[-1] for rule in rules(desk)] == ["bytes changed)"]


def test_a_missing_file_refuses(desk: Desk) -> None:
    desk.output(desk.draft().revision).unlink()
    (rule,) = rules(desk)
    assert rule.endswith("part-00000.parquet (it is missing)")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"rows_in": 738}, ["all accounted for"]),
        ({"quarantined": 1}, ["all accounted for"]),
        ({"scored": 736}, ["all accounted for", "736 in the files (737 found)"]),
        (
            {"scored": 736, "quarantined": 1},
            ["all accounted for", "736 in the files (737 found)"],
        ),
    ],
)
def test_counts_that_do_not_add_up_refuse(
    desk: Desk, counts: dict[str, int], expected: list[str]
) -> None:
    sound = desk.draft().counts
    assert sound == CountsRecord(rows_in=737, scored=737, quarantined=0)
    desk.redraft(counts=sound.model_copy(update=counts))
    found = rules(desk)
    assert len(found) == len(expected)
    assert all(rule.startswith(start) for rule, start in zip(found, expected, strict=True))


def test_a_snapshot_of_other_rows_than_were_scored_refuses(desk: Desk) -> None:
    draft = desk.draft()
    desk.redraft(snapshot=draft.snapshot.model_copy(update={"rows": 736, "landed": 736}))
    assert [rule[:17] for rule in rules(desk)] == ["all accounted for"]


def test_a_newer_snapshot_refuses(desk: Desk) -> None:
    desk.correct(lambda rows: rows.slice(1))
    freeze_snapshot(desk.project, desk.spec, desk.window)
    assert rules(desk) == ["scored from the current snapshot (it is newer)"]


def test_newer_features_refuse(desk: Desk) -> None:
    path = desk.project.landing / "planes.parquet"
    pq.write_table(pq.read_table(path).slice(0, 10), path)
    build_features(desk.project, desk.pipeline, desk.window)
    assert rules(desk) == ["scored from the current features (they are newer)"]


def test_everything_wrong_is_named_at_once(desk: Desk) -> None:
    desk.output(desk.draft().revision).unlink()
    desk.redraft(counts=CountsRecord(rows_in=1, scored=1, quarantined=0), checks=())
    required = required_checks(desk.spec)
    assert len(rules(desk)) == sum(map(len, required.values())) + 3


def test_lost_features_are_no_reason_to_publish(desk: Desk) -> None:
    window = desk.spec.window.window("2013-07-05")
    with pytest.raises(WindowMissing, match="no snapshot"):
        judge_revision(desk.project, desk.registry, desk.pipeline, window, desk.draft(), now=NOW)
    assert features_table(desk.project, desk.spec).files_of(window) == ()


def test_a_refused_revision_is_not_published_and_says_why(desk: Desk) -> None:
    revision = desk.draft().revision
    desk.output(revision).unlink()
    with pytest.raises(WindowRefused) as refusal:
        desk.publish()
    assert refusal.value.message.startswith(
        f"flight_delays 2013-07-04 published: revision {revision}: expected "
    )
    assert "it is missing" in refusal.value.message
    assert [check.name for check in refusal.value.checks] == ["gate"]
    assert desk.visible() is None


def test_files_are_held_against_their_records(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abd")
    digest = file_sha256(tmp_path / "a")

    def record(path: str, size: int = 3) -> OutputRecord:
        return OutputRecord(path=path, sha256=digest, bytes=size, rows=1)

    assert list(changed_files(tmp_path, (record("a"),))) == []
    assert list(changed_files(tmp_path, ())) == []
    outputs = (record("a"), record("b"), record("c"), record("a", size=4))
    assert [violation.rule for violation in changed_files(tmp_path, outputs)] == [
        "in file b as scored (bytes changed)",
        "in file c (it is missing)",
        "in file a as scored (bytes changed)",
    ]


@pytest.mark.parametrize(
    ("gate", "verdicts"),
    [(GateSpec(), ("golden_quality",)), (BLOCK, VERDICTS), (INFORM, ())],
    ids=["default", "block", "inform"],
)
def test_every_required_check_is_shown_in_dagster_and_blocks_as_declared(
    desk: Desk, gate: GateSpec, verdicts: tuple[str, ...]
) -> None:
    own = under(desk, gate)
    assert blocking_checks(own.spec)["evaluation"] == verdicts
    partitions, blocking = partitions_of(own.spec.window), blocking_checks(own.spec)
    for asset, names in required_checks(own.spec).items():
        specs = check_specs(dg.AssetKey(["flight_delays", asset]), partitions, own.spec)
        assert set(names) <= {spec.name for spec in specs}, asset
        assert {spec.name for spec in specs if spec.blocking} == set(blocking[asset]), asset


def test_a_draft_under_an_older_declaration_is_refused(desk: Desk) -> None:
    spec = desk.spec.model_copy(update={"shard_rows": 17})
    edited = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    assert "scored under the current declaration (it changed since)" in rules(edited)


def test_a_draft_of_another_model_than_the_one_of_now_is_refused(desk: Desk) -> None:
    model = desk.draft().model.model_copy(update={"digest": "0" * 64, "version": "7"})
    desk.redraft(model=model)
    assert "scored by flight_delays v1 (found v7)" in rules(desk)


def test_a_key_that_is_revoked_between_scoring_and_publishing_stops_publishing(desk: Desk) -> None:
    keyring = read_keyring(desk.project.keys)
    revoked = keyring.without_trust_in(keyring.keys[0].id, at=NOW, reason="Laptop stolen")
    write_keyring(desk.project.keys, revoked)
    with pytest.raises(ModelRefused) as refusal:
        desk.publish()
    assert refusal.value.reason is Refusal.KEY_REVOKED
    assert desk.visible() is None


def test_a_key_that_expires_between_scoring_and_publishing_stops_publishing(desk: Desk) -> None:
    (key,) = read_keyring(desk.project.keys).keys
    with pytest.raises(ModelRefused) as refusal:
        judge(desk, key.not_after + timedelta(seconds=1))
    assert refusal.value.reason is Refusal.KEY_EXPIRED


def test_a_model_that_was_changed_after_scoring_stops_publishing(desk: Desk) -> None:
    (path,) = (desk.project.lake / "_models").rglob("profile.json")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelRefused, match=r"profile\.json") as refusal:
        desk.publish()
    assert refusal.value.reason is Refusal.CHANGED_FILE
    assert desk.visible() is None


def lose_the_promotions(desk: Desk) -> None:
    log = desk.project.lake / "_models" / "flight_delays" / "_promotions" / "champion"
    shutil.rmtree(log)


def test_an_alias_that_nobody_promoted_stops_publishing(desk: Desk) -> None:
    lose_the_promotions(desk)
    with pytest.raises(ModelRefused) as refusal:
        desk.publish()
    assert refusal.value.reason is Refusal.NOT_PROMOTED
    assert desk.visible() is None


def test_promotions_that_were_seen_here_and_are_gone_stop_publishing(desk: Desk) -> None:
    assert judge(desk).passed
    lose_the_promotions(desk)
    with pytest.raises(ModelRefused) as refusal:
        desk.publish()
    assert refusal.value.reason is Refusal.OLDER_VERSION
    assert desk.visible() is None


def test_a_draft_whose_contents_are_of_another_revision_is_refused(desk: Desk) -> None:
    revision = desk.draft().revision
    desk.redraft(revision="0" * 16)
    assert f"of revision {revision}" in rules(desk)


def test_a_draft_about_another_pipeline_is_refused(desk: Desk) -> None:
    desk.redraft(pipeline="other")
    assert "of flight_delays 2013-07-04 (found other 2013-07-04)" in rules(desk)


@pytest.mark.parametrize(
    "place",
    [
        "window=2013-07-05/{revision}/part-00000.parquet",
        "window=2013-07-04/0123456789abcdef/part-00000.parquet",
        "window=2013-07-04/part-00000.parquet",
        "window=2013-07-04/{revision}/part-00001.parquet",
        "window=2013-07-04/{revision}/part 0%200.parquet",
    ],
    ids=["another window", "another revision", "no revision", "another shard", "an odd name"],
)
def test_a_draft_whose_file_lies_anywhere_but_in_its_own_place_is_refused(
    desk: Desk, place: str
) -> None:
    draft = desk.draft()
    own, found = draft.outputs[0].path, place.format(revision=draft.revision)
    table = desk.output(draft.revision).parents[2]
    (table / found).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(table / own, table / found)  # the very bytes that were scored
    desk.redraft(outputs=(draft.outputs[0].model_copy(update={"path": found}),))
    assert rules(desk) == [f"in file {own} (found {found})"]
    with pytest.raises(WindowRefused, match=r"expected in file window=2013-07-04/"):
        desk.publish()
    assert desk.visible() is None


def test_files_in_another_order_than_their_shards_are_refused(desk: Desk) -> None:
    spec = desk.spec.model_copy(update={"shard_rows": 300})
    cut = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    first, second, third = cut.prepare().outputs
    cut.redraft(outputs=(second, first, third))
    assert rules(cut) == [
        f"in file {first.path} (found {second.path})",
        f"in file {second.path} (found {first.path})",
    ]


def test_rows_that_a_rule_of_now_never_judged_are_refused(desk: Desk) -> None:
    rule = RuleSpec(name="far", sql="distance > 0", on_break="warn")
    source = desk.spec.source.model_copy(update={"rules": (rule,)})
    spec = desk.spec.model_copy(update={"source": source})
    edited = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    assert "scored under the current declaration (it changed since)" in rules(edited)
