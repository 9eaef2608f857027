"""The model that an alias names: verified each time it is asked for, its scorer made once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.errors import KeyringInvalid, ModelRefused, ModelUnavailable, Refusal
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import artifact_folder
from batchinf_assets.registry.keyring import read_keyring, write_keyring
from batchinf_assets.registry.registry import CHALLENGER, Registry
from batchinf_assets.scoring.fast import TREES
from batchinf_assets.scoring.model import ScoringModel, candidate_model, scoring_model
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)


@pytest.fixture
def project(world: World, tmp_path: Path) -> Project:
    shutil.copytree(world.lake, tmp_path / "lake")
    shutil.copytree(world.keys, tmp_path / "keys")
    return replace(world.with_lake(tmp_path / "lake"), keys=tmp_path / "keys")


@pytest.fixture
def model(registry: Registry, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(registry, pipeline, NOW)


def with_alias(pipeline: Pipeline, alias: str) -> Pipeline:
    declared = pipeline.spec.model.model_copy(update={"alias": alias})
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"model": declared}))


def refusal(registry: Registry, pipeline: Pipeline, at: datetime = NOW) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        scoring_model(registry, pipeline, at)
    return caught.value


def test_the_champion_scores_by_trees_and_names_who_vouches_for_it(
    model: ScoringModel, project: Project
) -> None:
    (key,) = read_keyring(project.keys).keys
    assert model.scorer.name == TREES
    assert model.promotion is not None
    assert (model.promotion.sequence, model.promotion.version) == (1, "1")
    (parity,) = (each for each in model.artifact.card.parity if each.scorer == TREES)
    assert model.record("champion").model_dump() == {
        "name": "flight_delays",
        "version": "1",
        "alias": "champion",
        "digest": model.version.digest,
        "scorer": TREES,
        "key_id": key.id,
        "promotion": 1,
        "parity": {"rows": parity.rows, "largest_difference": 0.0, "label_flips": 0},
    }
    assert parity.rows > 0


def test_the_scorer_of_the_same_bytes_is_made_once(
    model: ScoringModel, registry: Registry, pipeline: Pipeline
) -> None:
    again = scoring_model(registry, pipeline, NOW + timedelta(hours=1))
    assert again.scorer is model.scorer


def test_other_declared_features_are_not_served_from_memory(
    model: ScoringModel, registry: Registry, pipeline: Pipeline
) -> None:
    features = pipeline.spec.features
    fewer = {name: spec for name, spec in features.columns.items() if name != "pressure"}
    changed = features.model_copy(update={"columns": fewer})
    edited = replace(pipeline, spec=pipeline.spec.model_copy(update={"features": changed}))
    found = refusal(registry, edited)
    assert found.reason is Refusal.SCHEMA
    assert "'pressure' is missing" in found.message
    assert model.artifact.card.input_schema[-1].name == "route_delay_rate"


def test_the_files_of_a_model_are_not_kept_in_memory(model: ScoringModel) -> None:
    assert model.artifact.contents == {}
    assert set(model.artifact.profile.subjects) > {"delay_probability", "pressure"}


def test_an_alias_that_names_nothing_is_no_model(registry: Registry, pipeline: Pipeline) -> None:
    with pytest.raises(ModelUnavailable, match="'flight_delays' with alias 'shadow'"):
        scoring_model(registry, with_alias(pipeline, "shadow"), NOW)


def test_a_challenger_does_not_score_though_it_is_signed(
    registry: Registry, pipeline: Pipeline
) -> None:
    found = refusal(registry, with_alias(pipeline, CHALLENGER))
    assert found.reason is Refusal.NOT_PROMOTED
    assert "batchinf model promote" in found.next_step


def test_a_candidate_is_verified_but_promoted_by_nobody(
    model: ScoringModel, registry: Registry, pipeline: Pipeline
) -> None:
    found = candidate_model(registry, model.version, pipeline, NOW)
    assert (found.promotion, found.record("champion").promotion) == (None, None)
    assert found.scorer is model.scorer


@pytest.mark.usefixtures("model")
def test_a_revoked_key_is_noticed_though_the_scorer_is_in_memory(
    project: Project, registry: Registry, pipeline: Pipeline
) -> None:
    keyring = read_keyring(project.keys)
    revoked = keyring.without_trust_in(keyring.keys[0].id, at=NOW, reason="Laptop stolen")
    write_keyring(project.keys, revoked)
    assert refusal(registry, pipeline).reason is Refusal.KEY_REVOKED


@pytest.mark.usefixtures("model")
def test_a_changed_byte_is_noticed_though_the_scorer_is_in_memory(
    registry: Registry, pipeline: Pipeline
) -> None:
    version = registry.resolve("flight_delays", "champion")
    folder = artifact_folder(registry.artifact_root, version.name, "1", version.digest)
    content = bytearray((folder / "trees.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "trees.parquet").write_bytes(content)
    found = refusal(registry, pipeline)
    assert found.reason is Refusal.CHANGED_FILE
    assert "trees.parquet" in found.message


@pytest.mark.usefixtures("model")
def test_an_expired_signature_is_noticed_though_the_scorer_is_in_memory(
    model: ScoringModel, registry: Registry, pipeline: Pipeline, project: Project
) -> None:
    expires_at = model.artifact.statement.expires_at
    (key,) = read_keyring(project.keys).keys
    longer = key.model_copy(update={"not_after": expires_at + timedelta(days=9)})
    write_keyring(project.keys, read_keyring(project.keys).model_copy(update={"keys": (longer,)}))
    assert refusal(registry, pipeline, expires_at).reason is Refusal.SIGNATURE_EXPIRED
    just_before = scoring_model(registry, pipeline, expires_at - timedelta(seconds=1))
    assert just_before.version == model.version


def test_without_a_keyring_no_model_is_trusted(
    project: Project, registry: Registry, pipeline: Pipeline
) -> None:
    (project.keys / "keyring.json").unlink()
    with pytest.raises(KeyringInvalid, match="no model can be trusted"):
        scoring_model(registry, pipeline, NOW)
