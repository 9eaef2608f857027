"""What is not registered: hostile files, which never run, and models that cannot score."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from batchinf_assets.errors import (
    GoldenSetInvalid,
    LandedFileMissing,
    ModelRefused,
    ModelUnavailable,
    Refusal,
    UnknownWindow,
)
from batchinf_assets.registry.registry import CHALLENGER
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.register import register_file, train_and_register

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

Quick = Callable[..., Pipeline]


def refuse(
    school: School, path: Path, reason: Refusal, error: type[Exception] = ModelRefused
) -> Exception:
    """Give a file to register, and require that nothing was registered."""
    with pytest.raises(error) as refusal:
        register_file(
            school.project,
            school.registry,
            school.pipeline,
            school.key,
            path,
            lambda *_: None,
            open_sandbox=True,  # a kernel without Landlock refuses these files as well
            now=school.now,
        )
    assert getattr(refusal.value, "reason", reason) is reason, str(refusal.value)
    assert school.registry.versions("flight_delays") == []
    assert not school.registry.artifact_root.exists()
    return refusal.value


@pytest.fixture
def empty(school: School, tmp_path: Path) -> School:
    return school.with_lake(tmp_path / "lake")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


class Explosive:
    """A pickle of it touches a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class HostileClassifier(ClassifierMixin, BaseEstimator):
    """Touches a file as soon as its state is restored."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(state["canary"]).touch()


def write_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Explosive(canary)))
    pickle.loads(path.read_bytes())


def write_joblib(path: Path, canary: Path) -> None:
    joblib.dump(Explosive(canary), path, compress="zlib")
    joblib.load(path)


def write_hostile_skops(path: Path, canary: Path) -> None:
    estimator = HostileClassifier()
    estimator.canary = str(canary)
    path.write_bytes(skops.io.dumps(estimator))
    skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def write_external_onnx(path: Path, canary: Path) -> None:
    """Weights in another file, whose reading anybody notices: ONNX gives what stands there."""
    secret = path.with_name("secret.bin")
    secret.write_bytes(b"a secret")
    tensor = TensorProto(name="weights", data_type=TensorProto.UINT8, dims=[8])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=secret.name)
    result = helper.make_tensor_value_info("weights", TensorProto.UINT8, [8])
    made = helper.make_model(helper.make_graph([], "stolen", [], [result], [tensor]))
    path.write_bytes(made.SerializeToString())
    if onnx.load(path).graph.initializer[0].raw_data == b"a secret":
        canary.touch()


HOSTILE: dict[str, tuple[Callable[[Path, Path], None], Refusal]] = {
    "pickle": (write_pickle, Refusal.PICKLE),
    "joblib": (write_joblib, Refusal.PICKLE),
    "skops": (write_hostile_skops, Refusal.UNREVIEWED_TYPE),
    "onnx": (write_external_onnx, Refusal.EXTERNAL_DATA),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_and_never_runs(
    empty: School, tmp_path: Path, canary: Path, kind: str
) -> None:
    write, reason = HOSTILE[kind]
    path = tmp_path / "model.skops"
    write(path, canary)
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    refuse(empty, path, reason)
    assert not canary.exists()


def test_a_file_that_is_no_model_is_refused(empty: School, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    refuse(empty, path, Refusal.UNREADABLE)


def test_a_file_that_does_not_exist_is_named(empty: School, tmp_path: Path) -> None:
    error = refuse(empty, tmp_path / "gone.skops", Refusal.UNREADABLE, LandedFileMissing)
    assert "gone.skops" in str(error)


def test_a_model_that_refuses_the_golden_rows_is_refused(empty: School, tmp_path: Path) -> None:
    frame = model_frame(empty.labelled.rows, empty.pipeline.spec.features.columns)
    strict = make_pipeline(
        ColumnTransformer([("words", OneHotEncoder(), ["carrier_code"])]), LogisticRegression()
    ).fit(
        frame[frame["carrier_code"] == "UA"], np.arange((frame["carrier_code"] == "UA").sum()) % 2
    )
    path = tmp_path / "model.skops"
    skops.io.dump(strict, path)
    error = refuse(empty, path, Refusal.ROWS)
    assert "unknown categor" in str(error)


def classifier_of(school: School, path: Path, labels: np.ndarray[Any, Any]) -> Path:
    frame = model_frame(school.labelled.rows, school.pipeline.spec.features.columns)
    columns = ColumnTransformer([("as_is", "passthrough", ["departure_minute"])])
    skops.io.dump(make_pipeline(columns, LogisticRegression()).fit(frame, labels), path)
    return path


def test_a_classifier_of_two_words_is_refused_as_nobody_knows_which_of_them_is_meant(
    empty: School, tmp_path: Path
) -> None:
    late = empty.labelled.rows.column("label").to_numpy()
    path = classifier_of(empty, tmp_path / "model.skops", np.where(late, "late", "on time"))
    error = refuse(empty, path, Refusal.SCHEMA)
    assert "tells late, on time apart" in str(error)
    assert "False from True (or 0 from 1)" in str(error)


@pytest.mark.parametrize("type_", [np.bool_, np.int64, np.float64])
def test_a_classifier_of_false_and_true_or_nought_and_one_is_taken(
    empty: School, tmp_path: Path, type_: type
) -> None:
    late = empty.labelled.rows.column("label").to_numpy()
    path = classifier_of(empty, tmp_path / "model.skops", late.astype(type_))
    assert empty.register(path.read_bytes()).card.golden.rows > 0


OWN_CLASS = """
from sklearn.base import BaseEstimator, ClassifierMixin

class Own(ClassifierMixin, BaseEstimator):
    classes_ = (False, True)
    def predict_proba(self, rows):
        import numpy
        return numpy.full((len(rows), 2), 0.5)

def train(features, labels):
    return Own()
"""


def test_a_trained_model_that_cannot_be_loaded_safely_is_not_registered(
    empty: School, quick: Quick
) -> None:
    with pytest.raises(ModelRefused, match="Own") as refusal:
        train_and_register(
            empty.project,
            empty.registry,
            quick(OWN_CLASS),
            empty.key,
            lambda *_: None,
            now=empty.now,
        )
    assert refusal.value.reason is Refusal.UNREVIEWED_TYPE
    with pytest.raises(ModelUnavailable):
        empty.registry.resolve("flight_delays", CHALLENGER)


def test_training_starts_with_a_declared_window(empty: School, quick: Quick) -> None:
    early = quick(start=date(2012, 12, 31))
    with pytest.raises(UnknownWindow, match="2012-12-31"):
        train_and_register(
            empty.project, empty.registry, early, empty.key, lambda *_: None, now=empty.now
        )


def test_without_a_golden_set_nothing_is_registered(empty: School, tmp_path: Path) -> None:
    elsewhere = replace(empty, project=replace(empty.project, root=tmp_path))
    with pytest.raises(GoldenSetInvalid, match=r"flight_delays\.parquet"):
        elsewhere.register(b"never looked at")
    assert empty.registry.versions("flight_delays") == []
