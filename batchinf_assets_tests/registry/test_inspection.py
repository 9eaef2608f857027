import io
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from onnx import helper
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, TweedieRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry import inspection
from batchinf_assets.registry.inspection import (
    REVIEWED_TYPES,
    ArchiveLimits,
    inspect_skops,
    recognize,
)

HOSTILE_CANARY = "BATCHINF_TEST_CANARY"
RANDOM = np.random.default_rng(20130101)
ROWS = pd.DataFrame(
    {
        "distance": RANDOM.uniform(100, 3000, 60),
        "age": RANDOM.integers(0, 5, 60).astype(float),
        "carrier": RANDOM.choice(["AA", "B6", "UA"], 60),
    }
)
NUMBERS = ROWS[["distance", "age"]]
LABELS = np.arange(60) % 3 == 0
CLASSES = np.arange(60) % 3
TARGET = ROWS["distance"].to_numpy() / 10


def encoded(encoder, estimator):
    columns = ColumnTransformer(
        [("encode", encoder, ["carrier"]), ("scale", StandardScaler(), ["distance", "age"])]
    )
    return make_pipeline(columns, estimator).fit(ROWS, LABELS)


COVERED = {
    "hist gradient boosting": HistGradientBoostingClassifier(max_iter=3).fit(NUMBERS, LABELS),
    "hist gradient boosting with categories": HistGradientBoostingClassifier(
        max_iter=3, categorical_features=["age"]
    ).fit(NUMBERS, CLASSES),
    "hist gradient boosting regression": HistGradientBoostingRegressor(
        max_iter=3, loss="poisson"
    ).fit(NUMBERS, TARGET),
    "gradient boosting": GradientBoostingClassifier(n_estimators=3).fit(NUMBERS, CLASSES),
    "gradient boosting from a random state": GradientBoostingClassifier(
        n_estimators=3, random_state=np.random.RandomState(1)
    ).fit(NUMBERS, LABELS),
    "gradient boosting regression": GradientBoostingRegressor(n_estimators=3, loss="huber").fit(
        NUMBERS, TARGET
    ),
    "random forest": RandomForestClassifier(n_estimators=3).fit(NUMBERS, CLASSES),
    "random forest regression": RandomForestRegressor(n_estimators=3).fit(NUMBERS, TARGET),
    "extra trees": ExtraTreesClassifier(n_estimators=3).fit(NUMBERS, LABELS),
    "decision tree": DecisionTreeClassifier().fit(NUMBERS, np.where(LABELS, "late", "fine")),
    "decision tree regression": DecisionTreeRegressor().fit(NUMBERS, TARGET),
    "linear": LinearRegression().fit(NUMBERS, TARGET),
    "ridge": Ridge().fit(NUMBERS, TARGET),
    "tweedie": TweedieRegressor().fit(NUMBERS, TARGET),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, CLASSES),
    "one-hot": encoded(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    "ordinal": encoded(OrdinalEncoder(), HistGradientBoostingClassifier(max_iter=3)),
    "target": encoded(TargetEncoder(), RandomForestClassifier(n_estimators=3)),
    "imputed": make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression(max_iter=9999))
    .set_params(logisticregression__tol=1)
    .fit(NUMBERS, LABELS),
    "selected by type": make_pipeline(
        ColumnTransformer([("n", StandardScaler(), make_column_selector(dtype_include=np.number))]),
        LogisticRegression(),
    ).fit(ROWS, LABELS),
}


class HostileClassifier(ClassifierMixin, BaseEstimator):
    """Leaves a file as soon as its state is restored."""

    def __setstate__(self, state):
        Path(state["canary"]).touch()

    def __getstate__(self):
        return self.__dict__


class ExplosivePickle:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def kill(canary):
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()


def refused(data, reason, match, call=recognize):
    with pytest.raises(ModelRefused, match=match) as caught:
        call(data)
    assert caught.value.reason is reason


def small_onnx():
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_every_protocol_is_refused_and_never_runs(canary, protocol):
    hostile = pickle.dumps(ExplosivePickle(canary), protocol=protocol)
    pickle.loads(hostile)
    kill(canary)
    refused(hostile, Refusal.PICKLE, r"a pickle.*skops or ONNX")
    refused(hostile, Refusal.PICKLE, r"a pickle.*skops or ONNX", inspect_skops)
    assert not canary.exists()


@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "lzma", "xz"])
def test_a_joblib_file_is_refused_and_never_runs(tmp_path, canary, compress):
    path = tmp_path / "model.skops"
    joblib.dump(ExplosivePickle(canary), path, compress=compress)
    joblib.load(path)
    kill(canary)
    refused(path, Refusal.PICKLE, "pickle")
    assert not canary.exists()


def test_an_lz4_file_is_refused_by_its_first_bytes():
    refused(b"\x04\x22\x4d\x18" + bytes(20), Refusal.PICKLE, "compressed by lz4")


@pytest.mark.parametrize("name", ["archive/data.pkl", "weights", "schema.json.pkl"])
def test_an_archive_with_a_pickle_inside_is_refused_and_never_runs(canary, name):
    hostile = pickle.dumps(ExplosivePickle(canary))
    skops_file = io.BytesIO(skops.io.dumps(COVERED["linear"]))
    with zipfile.ZipFile(skops_file, "a") as archive:
        archive.writestr(name, hostile)
        pickle.loads(archive.read(name))
    kill(canary)
    refused(skops_file.getvalue(), Refusal.PICKLE, "zip archive")
    assert not canary.exists()


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_an_array_of_objects_is_refused_and_never_runs(canary, save):
    buffer = io.BytesIO()
    save(buffer, np.array([ExplosivePickle(canary)], dtype=object))
    buffer.seek(0)
    loaded = np.load(buffer, allow_pickle=True)
    assert save is np.save or loaded["arr_0"] is not None
    kill(canary)
    refused(buffer.getvalue(), Refusal.PICKLE, "Python objects")
    assert not canary.exists()


def test_a_pickle_before_a_skops_archive_is_a_pickle(canary):
    both = pickle.dumps(ExplosivePickle(canary)) + skops.io.dumps(COVERED["linear"])
    assert skops.io.loads(both) is not None
    pickle.loads(both)
    kill(canary)
    refused(both, Refusal.PICKLE, "pickle of protocol", inspect_skops)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "neither skops nor ONNX"),
        (b"PAR1 and more", "neither skops nor ONNX"),
        (b"<!doctype html><title>Sign in</title>", "neither skops nor ONNX"),
        (bytes(1000), "neither skops nor ONNX"),
        (b"PK\x03\x04 and nothing", "broken zip archive"),
        (b"\x08\x07" + b"\x3a\xff\x01", "neither skops nor ONNX"),
    ],
)
def test_other_files_are_refused(data, match):
    refused(data, Refusal.UNREADABLE, match)


def test_a_zip_archive_that_is_no_model_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, np.arange(3))
    refused(buffer.getvalue(), Refusal.UNREADABLE, r"without schema\.json")


def test_the_format_is_told_from_the_content_and_not_from_the_name(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(skops.io.dumps(COVERED["random forest"]))
    assert recognize(path) == "skops"
    path.write_bytes(small_onnx())
    assert recognize(path) == "onnx"
    refused(path.read_bytes(), Refusal.UNREADABLE, "is ONNX and not skops", inspect_skops)


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(bytes(1001))
    with pytest.raises(ModelRefused, match="more than 1000 bytes") as caught:
        recognize(path, limits=ArchiveLimits(archive_bytes=1000))
    assert caught.value.reason is Refusal.OVERSIZED_MEMBER


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", COVERED)
def test_every_covered_model_passes_and_loads_by_the_reviewed_types(name, compression):
    data = skops.io.dumps(COVERED[name], compression=compression)
    types = inspect_skops(data)
    assert {*types} <= {*REVIEWED_TYPES}
    assert types == tuple(skops.io.get_untrusted_types(data=data))
    rows = NUMBERS if "carrier" not in COVERED[name].feature_names_in_ else ROWS
    loaded = skops.io.loads(data, trusted=[*REVIEWED_TYPES])
    assert np.array_equal(loaded.predict(rows), COVERED[name].predict(rows))


def test_every_reviewed_type_is_needed_by_a_covered_model():
    found = {name for model in COVERED.values() for name in inspect_skops(skops.io.dumps(model))}
    assert sorted(found) == sorted(REVIEWED_TYPES)


def test_every_reviewed_type_has_a_reviewed_loader():
    assert {*inspection._LOADERS} == {*REVIEWED_TYPES}


def test_a_type_that_was_not_reviewed_is_refused_and_never_runs(canary):
    estimator = HostileClassifier()
    estimator.canary = str(canary)
    hostile = skops.io.dumps(estimator)
    skops.io.loads(hostile, trusted=skops.io.get_untrusted_types(data=hostile))
    kill(canary)
    refused(
        hostile,
        Refusal.UNREVIEWED_TYPE,
        r"not reviewed: .*HostileClassifier.*REVIEWED_TYPES",
        inspect_skops,
    )
    assert not canary.exists()


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "two\nlines", "\u202egnorw"])
def test_a_type_cannot_write_to_the_terminal(name):
    data = rewritten(COVERED["linear"], lambda schema: schema.replace("LinearRegression", name))
    with pytest.raises(ModelRefused) as caught:
        inspect_skops(data)
    assert str(caught.value).isprintable()


def rewritten(model, edit):
    written, buffer = io.BytesIO(skops.io.dumps(model)), io.BytesIO()
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, edit(content.decode()) if name == "schema.json" else content)
    return buffer.getvalue()


def test_support_vectors_are_refused_though_skops_trusts_them():
    data = skops.io.dumps(SVC().fit(NUMBERS, LABELS))
    assert skops.io.get_untrusted_types(data=data) == []
    refused(data, Refusal.UNREVIEWED_TYPE, "SVC", inspect_skops)
