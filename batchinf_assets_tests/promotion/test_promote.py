"""Moves of an alias, judged with real models on real flights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.errors import ModelRefused, Refusal, UnknownPipeline, UsageError
from batchinf_assets.features.build import build_features
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.promotion.promote import (
    Decision,
    Promoted,
    PromotionRefused,
    demote,
    pipelines_of,
    promote,
)
from batchinf_assets.registry.keyring import read_keyring, revoke_key, trust_key
from batchinf_assets.registry.keys import SigningKey, create_signing_key, load_signing_key
from batchinf_assets.registry.registry import DIGEST_TAG, Registry
from batchinf_assets.registry.trust import promoted_model, promotion_log
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.register import renew_model

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

DAY = "2013-07-04"
CHAMPION, GOOD, NOISE = "1", "2", "3"


@dataclass(frozen=True)
class Stage:
    """A registry with a champion, a rival about as good, and one that learned noise."""

    project: Project
    pipeline: Pipeline
    key: SigningKey

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    def promote(
        self, version: str, key: SigningKey | None = None, *, force: bool = False
    ) -> Promoted:
        registry = self.registry
        candidate = registry.version("flight_delays", version)
        pipelines = [self.pipeline]
        return promote(
            self.project, registry, pipelines, key or self.key, candidate, decided(force)
        )

    def demote(self) -> Promoted:
        return demote(self.registry, self.key, "flight_delays", decided())

    def champion(self) -> str:
        now = datetime.now(UTC)
        return promoted_model(self.registry, "flight_delays", "champion", now).version.version

    def records(self) -> list[str]:
        log = promotion_log(self.registry, "flight_delays", "champion")
        history = log.history(read_keyring(self.project.keys))
        return [f"{record.action} {record.version}" for record in history]


def decided(force: bool = False, reason: str = "A test") -> Decision:
    return Decision(alias="champion", reason=reason, by="tests", at=datetime.now(UTC), force=force)


@pytest.fixture(scope="module")
def scored_day(rivals: World, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rivals' lake with the features of one day: what a canary needs."""
    root = tmp_path_factory.mktemp("stage")
    shutil.copytree(rivals.lake, root / "lake")
    project = rivals.with_lake(root / "lake")
    window = pipeline.spec.window.window(DAY)
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)
    return root / "lake"


@pytest.fixture
def stage(scored_day: Path, rivals: World, pipeline: Pipeline, tmp_path: Path) -> Stage:
    shutil.copytree(scored_day, tmp_path / "lake")
    shutil.copytree(rivals.keys, tmp_path / "keys")
    project = Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=rivals.landing,
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )
    return Stage(project, pipeline, load_signing_key(project.keys, {}))


def refusal_of(ask: Callable[[], object]) -> ModelRefused:
    with pytest.raises(ModelRefused) as refused:
        ask()
    return refused.value


def test_a_rival_as_good_is_promoted_with_every_clause_on_record(stage: Stage) -> None:
    promoted = stage.promote(GOOD)
    assert stage.champion() == GOOD
    assert (promoted.moved, promoted.record.forced) == (True, False)
    assert [clause.name for clause in promoted.record.clauses] == [
        "schema",
        "parity",
        "golden_auroc",
        "golden_brier",
        "margin_auroc",
        "margin_brier",
        "canary_shift",
        "canary_flips",
    ]
    (verdict,) = promoted.verdicts
    assert verdict.canary_window == DAY
    assert verdict.canary is not None
    assert 100 < verdict.canary.rows < 400  # a fifth of the day's flights
    assert {segment.column for segment in verdict.canary.segments} == {
        "carrier_code",
        "origin_airport",
    }


def test_a_model_that_learned_noise_is_refused_by_the_clauses_that_failed(stage: Stage) -> None:
    with pytest.raises(PromotionRefused, match=r"v3 was not promoted to champion: .*AUROC") as it:
        stage.promote(NOISE)
    assert it.value.reason is Refusal.GATE
    failed = {clause.name for verdict in it.value.verdicts for clause in verdict.failed}
    assert {"golden_auroc", "margin_auroc"} <= failed
    assert "schema" not in failed
    assert (stage.champion(), stage.records()) == (CHAMPION, ["promote 1"])


def test_force_overrides_the_gate_and_stays_on_record(stage: Stage) -> None:
    record = stage.promote(NOISE, force=True).record
    assert stage.champion() == NOISE
    assert record.forced
    assert [clause.passed for clause in record.clauses].count(False) > 0
    assert (record.by, record.reason) == ("tests", "A test")


def test_without_a_window_to_compare_on_nothing_passes(stage: Stage) -> None:
    shutil.rmtree(stage.project.lake / "flight_delays")
    with pytest.raises(
        PromotionRefused, match=r"No window of flight_delays has features .*: run one"
    ):
        stage.promote(GOOD)


def test_promoting_the_champion_again_adds_no_record(stage: Stage) -> None:
    assert not stage.promote(CHAMPION).moved
    assert stage.records() == ["promote 1"]


def test_promoting_it_again_sets_an_alias_right_that_was_lost_on_the_way(stage: Stage) -> None:
    stage.registry.point("flight_delays", "champion", GOOD)
    assert refusal_of(stage.champion).reason is Refusal.NOT_PROMOTED
    stage.promote(CHAMPION)
    assert stage.champion() == CHAMPION


def test_demotion_goes_back_one_champion_at_a_time(stage: Stage) -> None:
    stage.promote(GOOD)
    stage.promote(NOISE, force=True)
    assert (stage.demote().version.version, stage.champion()) == (GOOD, GOOD)
    assert (stage.demote().version.version, stage.champion()) == (CHAMPION, CHAMPION)
    with pytest.raises(UsageError, match="has no earlier champion to go back to"):
        stage.demote()
    assert stage.records() == ["promote 1", "promote 2", "promote 3", "demote 2", "demote 1"]


def test_a_demotion_that_did_not_reach_the_registry_is_completed(stage: Stage) -> None:
    stage.promote(GOOD)
    stage.demote()
    stage.registry.point("flight_delays", "champion", GOOD)  # as if the server had failed then
    assert refusal_of(stage.champion).reason is Refusal.NOT_PROMOTED
    assert not stage.demote().moved
    assert stage.champion() == CHAMPION
    assert stage.records() == ["promote 1", "promote 2", "demote 1"]


def test_demotion_crowns_no_other_artifact_under_the_same_number(stage: Stage) -> None:
    from mlflow import MlflowClient

    stage.promote(GOOD)
    uri = stage.registry.tracking_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    other = stage.registry.version("flight_delays", NOISE).digest
    client.set_model_version_tag("flight_delays", CHAMPION, DIGEST_TAG, other)
    assert refusal_of(stage.demote).reason is Refusal.OTHER_MODEL
    assert stage.records() == ["promote 1", "promote 2"]


def test_a_key_that_nobody_trusts_promotes_nothing(stage: Stage, tmp_path: Path) -> None:
    stranger = create_signing_key(tmp_path / "stranger.pem")
    assert refusal_of(lambda: stage.promote(GOOD, stranger)).reason is Refusal.WRONG_KEY
    assert stage.records() == ["promote 1"]


def test_after_a_revocation_nothing_scores_until_another_key_signs(
    stage: Stage, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    fresh = create_signing_key(tmp_path / "fresh.pem")
    trust_key(stage.project.keys, fresh.public, not_before=now, not_after=now + timedelta(days=9))
    good = stage.registry.version("flight_delays", GOOD)
    renewed = renew_model(stage.registry, good, fresh, days=9, now=datetime.now(UTC))
    revoke_key(stage.project.keys, stage.key.id, at=now, reason="Laptop stolen")
    assert refusal_of(stage.champion).reason is Refusal.KEY_REVOKED
    with pytest.raises(PromotionRefused, match=r"No comparison: .*revoked"):
        stage.promote(renewed.version, fresh)
    stage.promote(renewed.version, fresh, force=True)
    assert stage.champion() == renewed.version


def test_a_renewed_champion_passes_as_the_same_model(stage: Stage) -> None:
    champion = stage.registry.version("flight_delays", CHAMPION)
    renewed = renew_model(stage.registry, champion, stage.key, days=9, now=datetime.now(UTC))
    record = stage.promote(renewed.version).record
    assert record.clauses[-1].name == "same_model"
    model = scoring_model(stage.registry, stage.pipeline, datetime.now(UTC))
    assert model.version.digest == champion.digest


def test_a_move_without_a_reason_is_wrong_use(stage: Stage) -> None:
    registry = stage.registry
    candidate = registry.version("flight_delays", GOOD)
    silent = decided(reason=" ")
    with pytest.raises(UsageError, match="needs a reason"):
        promote(stage.project, registry, [stage.pipeline], stage.key, candidate, silent)
    with pytest.raises(UsageError, match="needs a reason"):
        demote(registry, stage.key, "flight_delays", silent)


def test_the_pipelines_of_a_model_are_those_that_declare_it() -> None:
    assert [pipeline.name for pipeline in pipelines_of("flight_delays", "champion")] == [
        "flight_delays"
    ]
    with pytest.raises(UnknownPipeline, match="No pipeline declares a model 'nonsense'"):
        pipelines_of("nonsense")
    with pytest.raises(UnknownPipeline, match="No pipeline scores with flight_delays@champoin"):
        pipelines_of("flight_delays", "champoin")
