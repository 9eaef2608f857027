import errno
import hashlib
import json
import os
import pickle
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from batchinf_assets.errors import ModelRefused
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.registry.artifact import (
    TRUSTED_TYPES,
    Artifact,
    Training,
    load_estimator,
    open_artifact,
    require_schema,
    write_artifact,
)
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.spec import FeatureSpec

COLUMNS = {
    "distance": FeatureSpec(type="float64"),
    "age": FeatureSpec(type="float64", nullable=True),
}
ROWS = 200
RANDOM = np.random.default_rng(20130101)
DISTANCE = RANDOM.uniform(100, 3000, ROWS)
AGE = np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.uniform(0, 30, ROWS))
LABELS = DISTANCE + RANDOM.normal(0, 500, ROWS) > 1500

HOSTILE_CANARY = "BATCHINF_TEST_CANARY"


class HostileClassifier(ClassifierMixin, BaseEstimator):
    """Leaves a file as soon as its state is restored."""

    def __init__(self, weight=1):
        self.weight = weight

    def __setstate__(self, state):
        Path(os.environ[HOSTILE_CANARY]).touch()
        self.__dict__.update(state)


class ExplosivePickle:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake of models"


def fitted():
    return HistGradientBoostingClassifier(max_iter=3, early_stopping=False).fit(
        np.column_stack([DISTANCE, AGE]), LABELS
    )


def write(root, estimator=None, **changed) -> Artifact:
    features = pa.table({"distance": DISTANCE, "age": pa.array(AGE, from_pandas=True)})
    described = {
        "name": "toy",
        "columns": COLUMNS,
        "score_column": "probability",
        "training": Training(
            start=date(2013, 1, 1), end=date(2013, 2, 1), rows=ROWS, positives=int(LABELS.sum())
        ),
        "metrics": {"auroc": 0.75, "rows": 200},
        "feature_definition": "0" * 64,
        "profile": build_profile(
            features, np.full(ROWS, 0.5), columns=COLUMNS, score_column="probability"
        ),
    }
    return write_artifact(root, estimator=estimator or fitted(), **{**described, **changed})


def forge(artifact: Artifact, model: bytes) -> Artifact:
    """Replace the model as someone would who can also write the registry: all digests hold."""
    card = json.loads((artifact.folder / "model.json").read_bytes())
    card["files"]["model.skops"] = {
        "sha256": hashlib.sha256(model).hexdigest(),
        "bytes": len(model),
    }
    content = canonical_json(card)
    (artifact.folder / "model.skops").write_bytes(model)
    (artifact.folder / "model.json").write_bytes(content)
    return open_artifact(artifact.folder, digest=hashlib.sha256(content).hexdigest())


def test_an_artifact_reads_back_as_it_was_written(root):
    written = write(root)
    opened = open_artifact(written.folder, digest=written.digest)
    assert opened == written
    assert opened.folder == root / "toy" / written.digest[:16]
    assert [column.name for column in opened.card.input_schema] == ["distance", "age"]
    assert [column.nullable for column in opened.card.input_schema] == [False, True]
    assert opened.card.training.positives == int(LABELS.sum())
    assert opened.card.metrics == {"auroc": 0.75, "rows": 200.0}
    assert opened.profile.rows == ROWS


def test_the_card_names_what_trained_and_binds_the_other_files(root):
    artifact = write(root)
    assert sorted(artifact.card.libraries) == ["numpy", "python", "scikit-learn", "skops"]
    for name, bound in artifact.card.files.items():
        data = (artifact.folder / name).read_bytes()
        assert (bound.sha256, bound.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    card = (artifact.folder / "model.json").read_bytes()
    assert artifact.digest == hashlib.sha256(card).hexdigest()
    assert card == canonical_json(json.loads(card))


def test_the_loaded_estimator_predicts_the_same_bits(root):
    estimator = fitted()
    loaded = load_estimator(write(root, estimator))
    rows = np.column_stack([DISTANCE, AGE])
    assert np.array_equal(loaded.predict_proba(rows), estimator.predict_proba(rows))


def test_a_folder_that_moved_still_opens(root, tmp_path):
    artifact = write(root)
    moved = shutil.move(root, tmp_path / "clone") / "toy" / artifact.digest[:16]
    assert open_artifact(moved, digest=artifact.digest).card == artifact.card


@pytest.fixture
def same_bytes(monkeypatch):
    """Fix what skops writes: it names parts by memory address and time."""
    once = skops.io.dumps(fitted())
    monkeypatch.setattr(skops.io, "dumps", lambda *_, **__: once)


@pytest.mark.usefixtures("same_bytes")
def test_the_same_bytes_again_are_the_same_artifact(root):
    first = write(root)
    inode = (first.folder / "model.skops").stat().st_ino
    assert write(root) == first
    assert (first.folder / "model.skops").stat().st_ino == inode
    assert list((root / "toy").iterdir()) == [first.folder]


@pytest.mark.usefixtures("same_bytes")
def test_a_damaged_artifact_is_not_reused(root):
    (write(root).folder / "profile.json").unlink()
    with pytest.raises(ModelRefused, match=r"profile\.json is missing"):
        write(root)


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_full_disk_leaves_a_whole_artifact_or_none(root, monkeypatch, nth):
    calls, real = [], os.fsync

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space"):
        write(root)
    for folder in (root / "toy").iterdir():
        card = (folder / "model.json").read_bytes()
        open_artifact(folder, digest=hashlib.sha256(card).hexdigest())
    assert nth > 4 or not list((root / "toy").iterdir())


@pytest.mark.parametrize("name", ["model.json", "model.skops", "profile.json"])
@pytest.mark.parametrize("place", [0, -1])
def test_one_changed_byte_is_refused(root, name, place):
    artifact = write(root)
    path = artifact.folder / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelRefused, match=f"{name} does not have the .*model register"):
        open_artifact(artifact.folder, digest=artifact.digest)


@pytest.mark.parametrize("name", ["model.json", "model.skops", "profile.json"])
def test_a_shortened_file_is_refused(root, name):
    artifact = write(root)
    path = artifact.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelRefused, match=name):
        open_artifact(artifact.folder, digest=artifact.digest)


@pytest.mark.parametrize("name", ["model.json", "model.skops", "profile.json"])
def test_a_removed_file_is_refused(root, name):
    artifact = write(root)
    (artifact.folder / name).unlink()
    with pytest.raises(ModelRefused, match=f"{name} is missing"):
        open_artifact(artifact.folder, digest=artifact.digest)


@pytest.mark.parametrize("name", ["model.pkl", ".hidden"])
def test_an_added_file_is_refused(root, name):
    artifact = write(root)
    (artifact.folder / name).write_bytes(b"")
    with pytest.raises(ModelRefused, match=f"{name} does not belong"):
        open_artifact(artifact.folder, digest=artifact.digest)


@pytest.mark.parametrize("name", ["model.json", "model.skops", "profile.json"])
def test_a_symlink_is_refused_though_its_target_is_right(root, tmp_path, name):
    artifact = write(root)
    target = shutil.move(artifact.folder / name, tmp_path / "elsewhere")
    (artifact.folder / name).symlink_to(target)
    with pytest.raises(ModelRefused, match=f"{name} is no plain file"):
        open_artifact(artifact.folder, digest=artifact.digest)


def test_a_linked_folder_is_refused(root, tmp_path):
    artifact = write(root)
    (tmp_path / "link").symlink_to(artifact.folder)
    with pytest.raises(ModelRefused, match="link is no folder"):
        open_artifact(tmp_path / "link", digest=artifact.digest)


def test_a_missing_folder_is_refused(root):
    with pytest.raises(ModelRefused, match="is no folder"):
        open_artifact(root / "toy" / "0123456789abcdef", digest="0" * 64)


def test_another_digest_is_refused(root):
    artifact = write(root)
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelRefused, match=r"model\.json does not have the registered digest"):
        open_artifact(artifact.folder, digest=other)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"surprise": 1},
        {"name": "../toy"},
        {"files": {}},
    ],
)
def test_a_card_of_an_unknown_format_is_refused(root, change):
    artifact = write(root)
    card = json.loads((artifact.folder / "model.json").read_bytes())
    content = canonical_json({**card, **change})
    (artifact.folder / "model.json").write_bytes(content)
    with pytest.raises(ModelRefused, match="no model card of a known format"):
        open_artifact(artifact.folder, digest=hashlib.sha256(content).hexdigest())


def test_a_model_that_changed_after_it_was_opened_is_not_parsed(root):
    artifact = write(root)
    path = artifact.folder / "model.skops"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelRefused, match=r"model\.skops does not have the sha256"):
        load_estimator(artifact)


def test_a_type_that_was_not_reviewed_is_refused_and_never_runs(root, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    monkeypatch.setenv(HOSTILE_CANARY, str(canary))
    hostile = skops.io.dumps(HostileClassifier())
    skops.io.loads(hostile, trusted=skops.io.get_untrusted_types(data=hostile))
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    artifact = forge(write(root), hostile)
    with pytest.raises(ModelRefused, match=r"not reviewed: .*HostileClassifier.*TRUSTED_TYPES"):
        load_estimator(artifact)
    assert not canary.exists()


def test_a_pickle_is_refused_and_never_runs(root, tmp_path):
    canary = tmp_path / "canary"
    hostile = pickle.dumps(ExplosivePickle(canary))
    pickle.loads(hostile)
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    artifact = forge(write(root), hostile)
    with pytest.raises(ModelRefused, match=r"model\.skops cannot be read by skops"):
        load_estimator(artifact)
    assert not canary.exists()


def test_the_trusted_types_are_the_reviewed_ones():
    assert sorted(TRUSTED_TYPES) == [
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    ]


def test_an_undefined_metric_is_refused_before_anything_is_written(root):
    with pytest.raises(ModelRefused, match=r"metrics\.auroc"):
        write(root, metrics={"auroc": float("nan")})
    assert not root.exists()


def test_a_name_that_leaves_the_folder_is_refused(root):
    with pytest.raises(ModelRefused, match="name"):
        write(root, name="../toy")
    assert not root.exists()


def test_the_declared_features_fit_their_own_model(root):
    require_schema(write(root), COLUMNS)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"distance": COLUMNS["distance"]}, "'age' is missing"),
        ({**COLUMNS, "speed": FeatureSpec(type="float64")}, "'speed' is extra"),
        (dict(reversed(COLUMNS.items())), "'distance', 'age' are reordered"),
        (
            {**COLUMNS, "distance": FeatureSpec(type="int32")},
            "'distance' is int32, the model learned float64",
        ),
        (
            {**COLUMNS, "age": FeatureSpec(type="float64")},
            "'age' is float64, the model learned nullable float64",
        ),
    ],
)
def test_features_that_the_model_did_not_learn_are_named(root, columns, problem):
    with pytest.raises(ModelRefused, match=problem):
        require_schema(write(root), columns)


def test_bounds_and_descriptions_of_features_may_change(root):
    described = FeatureSpec(type="float64", min=0, description="Miles", drift=False)
    require_schema(write(root), {**COLUMNS, "distance": described})
