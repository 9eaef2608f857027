"""What was condemned stays so when other code is deployed, and not when what was wrong changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.code_version import running_code
from batchinf_assets.publishing.backfill import stale
from batchinf_assets.publishing.backfill.stale import plan_backfill
from batchinf_assets.publishing.backfill.stale_reasons import ModelNow, Reason
from batchinf_assets.scoring import score
from batchinf_assets.scoring.condemnations import RevisionCondemned, condemned_inputs
from batchinf_assets_tests.publishing.two_revisions import Shown, without_first

if TYPE_CHECKING:
    from batchinf_assets.publishing.backfill.plan import WindowPlan


@pytest.fixture
def deployed(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other code runs than the one that made what readers see."""
    assert shown.desk.visible() == shown.bad
    other = running_code().model_copy(update={"source": "0" * 64})
    for module in (score, stale):
        monkeypatch.setattr(module, "running_code", lambda: other)


def plan(shown: Shown) -> WindowPlan:
    version = shown.desk.model.version
    champion = ModelNow(version=version.version, digest=version.digest)
    (only,) = plan_backfill(shown.desk.project, shown.desk.pipeline, champion).windows
    return only


@pytest.mark.usefixtures("deployed")
def test_other_code_makes_no_withdrawn_window_again_and_the_refusal_names_what_was_condemned(
    shown: Shown,
) -> None:
    shown.roll_back(withdraw=True)
    with pytest.raises(RevisionCondemned) as refused:
        shown.desk.prepare("after a deployment")
    assert f"as revision {shown.bad}, which was condemned, tests condemned" in str(refused.value)
    assert f"--to {shown.bad} --reinstate" in refused.value.next_step
    assert shown.desk.visible() is None


def test_the_gate_refuses_a_candidate_that_other_code_made_of_condemned_inputs(
    shown: Shown, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("deployed")
    made = shown.desk.prepare("after a deployment")
    assert made.revision != shown.bad
    shown.roll_back(withdraw=True)
    shown.desk.store.write_draft(shown.desk.window, made)
    with pytest.raises(RevisionCondemned) as refused:
        shown.desk.publish()
    (gate,) = refused.value.checks
    assert gate.measured == {"revision": made.revision, "condemned": shown.bad}
    assert shown.desk.visible() is None


@pytest.mark.usefixtures("deployed")
def test_a_backfill_plan_shows_a_withdrawn_window_as_condemned_after_a_deployment(
    shown: Shown,
) -> None:
    shown.roll_back(withdraw=True)
    found = plan(shown)
    assert found.reasons == (Reason.CONDEMNED, Reason.MISSING)
    assert found.why[0].detail == f"a run would make revision {shown.bad} again, by other code"
    assert not found.runs


def test_a_backfill_plan_shows_a_withdrawn_window_as_condemned(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    found = plan(shown)
    assert found.reasons == (Reason.CONDEMNED, Reason.MISSING)
    assert found.why[0].detail == f"a run would make revision {shown.bad} again"
    assert not found.runs


@pytest.mark.usefixtures("deployed")
def test_corrected_data_is_published_after_a_deployment(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    shown.desk.correct(without_first)
    assert plan(shown).runs
    new = shown.desk.prepare("with corrected data")
    assert shown.desk.publish().changed
    assert shown.desk.visible() == new.revision


@pytest.mark.usefixtures("deployed")
def test_a_reinstated_revision_lets_other_code_score_its_inputs(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    shown.roll_back(shown.bad, reinstate=True)
    new = shown.desk.prepare("after a deployment")
    assert shown.desk.publish().changed
    assert shown.desk.visible() == new.revision != shown.bad


def test_another_model_settings_or_features_are_judged_for_themselves(shown: Shown) -> None:
    made = shown.desk.published()
    shown.roll_back(withdraw=True)
    changes = {
        "model": made.model.model_copy(update={"digest": "1" * 64}),
        "settings": made.settings.model_copy(update={"postprocess": "1" * 64}),
        "features": made.features.model_copy(update={"digest": "1" * 64}),
    }
    desk = shown.desk
    for name, changed in changes.items():
        other = made.model_copy(update={"revision": "1" * 16, name: changed})
        assert condemned_inputs(desk.project, desk.spec, desk.window, other) is None
    shards = made.settings.model_copy(update={"shard_rows": made.settings.shard_rows + 1})
    cut = made.model_copy(update={"revision": "1" * 16, "settings": shards})
    assert condemned_inputs(desk.project, desk.spec, desk.window, cut) is not None


def test_what_readers_went_back_to_from_what_other_code_made_can_be_run_again(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        other = running_code().model_copy(update={"source": "0" * 64})
        patch.setattr(score, "running_code", lambda: other)
        worse = shown.desk.prepare("after a deployment").revision
        assert shown.desk.publish().changed
    after = replace(shown, old=shown.bad, bad=worse)
    after.roll_back(after.old)
    assert after.desk.prepare("the deployment was taken back").revision == after.old
    assert not after.desk.publish().changed
