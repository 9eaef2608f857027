import logging
import multiprocessing
import shutil
import socket
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from batchinf_assets.errors import ModelRefused, ModelUnavailable, UsageError
from batchinf_assets.registry.artifact import Training, open_artifact, write_artifact
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.registry.registry import DIGEST_TAG, Registry
from batchinf_assets.spec import FeatureSpec

COLUMNS = {"distance": FeatureSpec(type="float64")}
DISTANCE = np.arange(20.0)
LABELS = DISTANCE > 9


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("a lake") / "with space"


@pytest.fixture(scope="module")
def registry(lake):
    """One database for the module: MLflow takes seconds to make one."""
    return Registry.at(lake, {})


def write(registry, name, **metrics):
    return write_artifact(
        registry.artifact_root,
        estimator=LogisticRegression().fit(DISTANCE[:, None], LABELS),
        name=name,
        columns=COLUMNS,
        score_column="probability",
        training=Training(start=date(2013, 1, 1), end=date(2013, 2, 1), rows=20, positives=10),
        metrics=metrics,
        feature_definition="0" * 64,
        profile=build_profile(
            pa.table({"distance": DISTANCE}),
            np.full(20, 0.5),
            columns=COLUMNS,
            score_column="probability",
        ),
    )


def mlflow_client(registry):
    from mlflow import MlflowClient

    registry.versions("any")  # the client is made, its warnings over
    return MlflowClient(tracking_uri=registry.tracking_uri, registry_uri=registry.tracking_uri)


def test_a_registered_artifact_is_found_by_its_alias(registry):
    artifact = write(registry, "found", auroc=0.1 + 0.2, brier=0.25)
    version = registry.register(artifact, alias="champion")
    assert version == registry.resolve("found", "champion")
    assert (version.name, version.version, version.aliases) == ("found", "1", ("champion",))
    assert version.metrics == {"auroc": 0.1 + 0.2, "brier": 0.25}
    age = datetime.now(UTC) - version.created_at
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert open_artifact(version.source, digest=version.digest) == artifact


def test_the_alias_moves_to_the_latest_registration(registry):
    first = registry.register(write(registry, "moving"), alias="champion")
    second = registry.register(write(registry, "moving"), alias="champion")
    assert second.digest != first.digest
    assert registry.resolve("moving", "champion") == second
    assert [(v.version, v.aliases) for v in registry.versions("moving")] == [
        ("1", ()),
        ("2", ("champion",)),
    ]


def test_a_digest_keeps_its_version_and_the_alias_moves_back(registry):
    old, new = write(registry, "again"), write(registry, "again")
    first = registry.register(old, alias="champion")
    registry.register(new, alias="champion")
    assert registry.register(old, alias="champion") == first
    assert [v.digest for v in registry.versions("again")] == [old.digest, new.digest]


def test_a_version_carries_all_its_aliases(registry):
    artifact = write(registry, "twice")
    registry.register(artifact, alias="champion")
    version = registry.register(artifact, alias="challenger")
    assert version.aliases == ("challenger", "champion")
    assert registry.versions("twice") == [version]


def test_versions_are_listed_in_numerical_order(registry):
    for _ in range(11):
        registry.register(write(registry, "many"), alias="champion")
    assert [int(v.version) for v in registry.versions("many")] == list(range(1, 12))


def test_an_unknown_model_has_no_versions(registry):
    registry.register(write(registry, "known"), alias="champion")
    assert registry.versions("unknown") == []


@pytest.mark.parametrize(("name", "alias"), [("known", "challenger"), ("unknown", "champion")])
def test_an_unknown_model_or_alias_is_unavailable(registry, name, alias):
    registry.register(write(registry, "known"), alias="champion")
    with pytest.raises(
        ModelUnavailable, match=f"'{name}' with alias '{alias}'.*batchinf model register <pipeline>"
    ):
        registry.resolve(name, alias)


def test_asking_an_absent_registry_creates_nothing(tmp_path):
    registry = Registry.at(tmp_path / "no lake", {})
    with pytest.raises(ModelUnavailable, match="'toy' with alias 'champion'"):
        registry.resolve("toy", "champion")
    assert registry.versions("toy") == []
    assert list(tmp_path.iterdir()) == []


def test_a_moved_lake_still_resolves(registry, lake, tmp_path):
    artifact = write(registry, "moved")
    registry.register(artifact, alias="champion")
    shutil.copytree(lake, tmp_path / "clone")
    version = Registry.at(tmp_path / "clone", {}).resolve("moved", "champion")
    assert version.source == tmp_path / "clone" / "_models" / "moved" / artifact.digest[:16]
    assert open_artifact(version.source, digest=version.digest).card == artifact.card


def test_a_new_registry_says_nothing_and_writes_nothing_outside_the_lake(
    tmp_path, monkeypatch, caplog, capfd
):
    lake, elsewhere = tmp_path / "new lake", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    caplog.set_level(logging.INFO)
    registry = Registry.at(lake, {})
    registry.register(write(registry, "tidy"), alias="champion")
    registry.resolve("tidy", "champion")
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in lake.iterdir()) == ["_models", "_registry"]
    assert [path.name for path in (lake / "_registry").iterdir()] == ["registry.db"]
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_processes_that_register_at_once_share_one_new_registry(tmp_path):
    registry = Registry.at(tmp_path, {})
    artifacts = [write(registry, name) for name in ("one", "two", "three")]
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        registered = list(
            pool.map(partial(Registry.register, registry, alias="champion"), artifacts)
        )
    assert [v.version for v in registered] == ["1", "1", "1"]
    for name, version in zip(("one", "two", "three"), registered, strict=True):
        assert registry.resolve(name, "champion") == version


def test_a_damaged_artifact_is_not_registered(registry):
    artifact = write(registry, "damaged")
    (artifact.folder / "profile.json").write_text("{}")
    with pytest.raises(ModelRefused, match=r"profile\.json"):
        registry.register(artifact, alias="champion")
    assert registry.versions("damaged") == []


def test_an_artifact_of_another_lake_is_not_registered(registry, tmp_path):
    artifact = write(Registry.at(tmp_path, {}), "foreign")
    with pytest.raises(ModelRefused, match="is no folder"):
        registry.register(artifact, alias="champion")


def test_a_version_that_something_else_registered_is_refused(registry):
    client = mlflow_client(registry)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "s3://bucket/model")
    client.set_registered_model_alias("theirs", "champion", "1")
    with pytest.raises(ModelRefused, match=r"Version 1 of model 'theirs' has no tag"):
        registry.resolve("theirs", "champion")
    assert registry.versions("theirs") == []


def test_a_digest_that_is_a_path_is_refused(registry):
    registry.register(write(registry, "crafted"), alias="champion")
    mlflow_client(registry).set_model_version_tag("crafted", "1", DIGEST_TAG, "../../elsewhere")
    with pytest.raises(ModelRefused, match="is no SHA-256"):
        registry.resolve("crafted", "champion")


def test_a_damaged_database_is_named(tmp_path):
    registry = Registry.at(tmp_path, {})
    database = tmp_path / "_registry" / "registry.db"
    database.parent.mkdir()
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(ModelUnavailable, match=r"registry\.db failed: .*not a database"):
        registry.resolve("toy", "champion")


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    uri = f"http://someone:secret@127.0.0.1:{port}"
    registry = Registry.at(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    with pytest.raises(ModelUnavailable, match=rf"registry http://127\.0\.0\.1:{port} fail") as at:
        registry.resolve("toy", "champion")
    assert "secret" not in str(at.value)


def test_the_environment_names_another_registry(tmp_path):
    registry = Registry.at(tmp_path, {"MLFLOW_TRACKING_URI": "sqlite:////srv/models.db"})
    assert registry.tracking_uri == "sqlite:////srv/models.db"
    assert registry.artifact_root == tmp_path / "_models"


def test_an_empty_environment_variable_counts_as_unset(tmp_path):
    registry = Registry.at(tmp_path, {"MLFLOW_TRACKING_URI": ""})
    assert registry.tracking_uri == f"sqlite:///{tmp_path}/_registry/registry.db"


def test_a_relative_lake_means_the_same_registry_wherever_it_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Registry.at(Path("lake"), {}) == Registry.at(tmp_path / "lake", {})


@pytest.mark.parametrize("name", ["what?", "percent%41"])
def test_a_path_that_an_sqlite_uri_would_change_is_wrong_use(tmp_path, name):
    with pytest.raises(UsageError, match=r"contains '[?%]'"):
        Registry.at(tmp_path / name, {})
    elsewhere = {"MLFLOW_TRACKING_URI": "http://localhost:5000"}
    assert Registry.at(tmp_path / name, elsewhere).artifact_root == tmp_path / name / "_models"


def test_a_path_with_odd_characters_is_taken_as_it_is(registry, lake, tmp_path):
    first = registry.register(write(registry, "odd"), alias="champion")
    odd = Registry.at(shutil.copytree(lake, tmp_path / "a #1 ü"), {})
    second = odd.register(write(odd, "odd"), alias="champion")
    assert odd.resolve("odd", "champion") == second
    assert registry.resolve("odd", "champion") == first
    assert [path.name for path in tmp_path.iterdir()] == ["a #1 ü"]
