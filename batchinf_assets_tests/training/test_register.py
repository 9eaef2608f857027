"""Registering: every kind of model is examined, measured, described and signed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from batchinf_assets.errors import (
    ModelRefused,
    ModelUnavailable,
    Refusal,
)
from batchinf_assets.evaluation.golden.golden_set import read_golden_set
from batchinf_assets.evaluation.metrics.binary import binary_metrics
from batchinf_assets.features.build import feature_definition
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.registry.card import installed_libraries
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import CHALLENGER
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.fast import LINEAR, TREES
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.load import load_reference, load_scorer
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.register import (
    RegisteredModel,
    register_file,
    renew_model,
    train_and_register,
    training_days,
)
from batchinf_assets.training.verify import verify_model
from batchinf_assets.windows import Every, WindowSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

Quick = Callable[..., Pipeline]

CATEGORIES = ["carrier_code", "origin_airport", "destination_airport"]
NUMBERS = ["distance_miles", "departure_minute"]


def encoded(encoder: Any, estimator: Any) -> Any:
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        ColumnTransformer([("words", encoder, CATEGORIES), ("numbers", scaled, NUMBERS)]), estimator
    )


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def one_hot(*, sparse: bool = True) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)


ESTIMATORS = {
    "logistic": lambda: encoded(one_hot(), LogisticRegression()),
    "forest": lambda: encoded(ordinal(), RandomForestClassifier(n_estimators=5, max_depth=6)),
    "bayes": lambda: encoded(one_hot(sparse=False), GaussianNB()),
}


def learned(school: School, kind: str) -> bytes:
    frame = model_frame(school.labelled.rows, school.pipeline.spec.features.columns)
    return skops.io.dumps(
        ESTIMATORS[kind]().fit(frame, school.labelled.rows.column("label").to_pandas())
    )


def onnx_logistic(school: School) -> bytes:
    """The logistic function of two features, written down by hand."""
    columns = school.pipeline.spec.features.columns
    types = {"string": TensorProto.STRING, "float64": TensorProto.DOUBLE}
    inputs = [
        helper.make_tensor_value_info(name, types[column.type], [None, 1])
        for name, column in columns.items()
    ]
    nodes = [
        helper.make_node("Concat", NUMBERS, ["read"], axis=1),
        helper.make_node("Gemm", ["read", "weights", "intercept"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
    ]
    given = {"weights": ([2, 1], [-1e-4, 1e-3]), "intercept": ([1], [-1.0]), "one": ([1], [1.0])}
    tensors = [
        helper.make_tensor(name, TensorProto.DOUBLE, shape, values)
        for name, (shape, values) in given.items()
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 2])]
    graph = helper.make_graph(nodes, "logistic", inputs, outputs, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


@dataclass(frozen=True)
class Class:
    """What was registered, in this order: versions 1, 2, 3, …"""

    school: School
    boosted: RegisteredModel
    logistic: RegisteredModel
    forest: RegisteredModel
    bayes: RegisteredModel
    onnx: RegisteredModel


@pytest.fixture(scope="module")
def registered(school: School, tmp_path_factory: pytest.TempPathFactory) -> Class:
    def quietly(_done: int, _all: int) -> None:
        pass

    place = (school.project, school.registry, school.pipeline, school.key)
    path = tmp_path_factory.mktemp("elsewhere") / "model.onnx"
    path.write_bytes(onnx_logistic(school))
    boosted = train_and_register(*place, quietly, now=school.now)
    return Class(
        school=school,
        boosted=boosted,
        **{kind: school.register(learned(school, kind)) for kind in ESTIMATORS},
        onnx=register_file(*place, path, quietly, open_sandbox=True, now=school.now),
    )


@pytest.fixture(params=["boosted", "logistic", "forest", "bayes", "onnx"])
def found(request: pytest.FixtureRequest, registered: Class) -> RegisteredModel:
    return getattr(registered, request.param)


def test_the_newest_is_the_challenger_and_nobody_is_champion(registered: Class) -> None:
    registry = registered.school.registry
    known = registry.versions("flight_delays")
    assert [version.version for version in known] == ["1", "2", "3", "4", "5"]
    assert [version.aliases for version in known] == [(), (), (), (), (CHALLENGER,)]
    assert registry.resolve("flight_delays", CHALLENGER).digest == registered.onnx.version.digest
    with pytest.raises(ModelUnavailable):
        registry.resolve("flight_delays", "champion")


def test_each_kind_is_scored_by_the_fastest_that_passed(registered: Class) -> None:
    reference = "scikit-learn"
    chosen = {
        kind: (getattr(registered, kind).card.model_format, getattr(registered, kind).card.scorer)
        for kind in ("boosted", "logistic", "forest", "bayes", "onnx")
    }
    runtime = registered.onnx.card.scorer
    assert chosen == {
        "boosted": ("skops", TREES),
        "logistic": ("skops", LINEAR),
        "forest": ("skops", TREES),
        "bayes": ("skops", reference),
        "onnx": ("onnx", runtime),
    }
    assert runtime.startswith("onnxruntime ")


def test_the_record_of_a_refused_scorer_has_a_reason(registered: Class) -> None:
    reference, refused = registered.bayes.card.parity
    assert (reference.scorer, reference.verdict, reference.reason) == (
        "scikit-learn",
        "passed",
        None,
    )
    assert refused.verdict == "refused"
    assert refused.reason is not None
    assert "GaussianNB" in refused.reason


def test_the_records_of_those_that_passed_say_how_they_were_compared(registered: Class) -> None:
    for model, difference in ((registered.boosted, 0.0), (registered.logistic, 1e-9)):
        reference, fast = model.card.parity
        assert (reference.scorer, fast.scorer) == ("scikit-learn", model.card.scorer)
        assert (fast.verdict, fast.label_flips) == ("passed", 0)
        assert fast.largest_difference is not None
        assert fast.largest_difference <= difference
        assert fast.rows > 2_000
    assert registered.boosted.card.parity[1].bit_equal


def test_every_scorer_that_passed_was_measured_and_no_other(found: RegisteredModel) -> None:
    passed = {record.scorer for record in found.card.parity if record.verdict == "passed"}
    assert {*found.rows_per_second} == passed
    assert all(speed > 0 for speed in found.rows_per_second.values())


def test_the_same_file_registered_again_is_the_same_model(
    registered: Class, tmp_path: Path
) -> None:
    school = registered.school
    shutil.copytree(school.project.lake, tmp_path / "lake")
    again = school.with_lake(tmp_path / "lake").register(onnx_logistic(school))
    assert again.version.version == "6"
    assert again.version.digest == registered.onnx.version.digest


def test_only_a_model_that_was_trained_here_names_what_trained_it(registered: Class) -> None:
    trained, given = registered.boosted.card, registered.onnx.card
    assert (trained.origin, trained.libraries) == ("trained here", installed_libraries())
    assert (given.origin, given.libraries) == ("file", {})
    assert given.training == trained.training


@pytest.mark.parametrize(
    ("every", "keys", "days"),
    [
        ("day", ["2013-06-28", "2013-06-29"], (date(2013, 6, 28), date(2013, 6, 30))),
        ("month", ["2013-06-01"], (date(2013, 6, 1), date(2013, 7, 1))),
        ("hour", ["2013-06-28-05:00", "2013-06-29-12:00"], (date(2013, 6, 28), date(2013, 6, 30))),
        ("hour", ["2013-06-28-05:00", "2013-06-29-23:00"], (date(2013, 6, 28), date(2013, 6, 30))),
    ],
)
def test_training_ends_the_day_after_the_last_one_it_touched(
    every: Every, keys: list[str], days: tuple[date, date]
) -> None:
    grid = WindowSpec(every=every, start=date(2013, 1, 1))
    assert training_days([grid.window(key) for key in keys]) == days


def test_every_kind_scores_as_its_reference_once_it_is_verified(
    found: RegisteredModel, registered: Class
) -> None:
    school = registered.school
    columns = school.pipeline.spec.features.columns
    artifact = open_version(school.registry, found.version, school.now)
    fast, reference = load_scorer(artifact, columns), load_reference(artifact, columns)
    assert fast.name == found.card.scorer
    scores, expected = (score_rows(scorer, school.labelled.rows) for scorer in (fast, reference))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    assert np.array_equal(scores >= 0.4, expected >= 0.4)
    assert len(np.unique(scores)) > 5


def test_the_onnx_model_gives_the_formula_that_was_written_down(registered: Class) -> None:
    school = registered.school
    rows = school.labelled.rows
    columns = school.pipeline.spec.features.columns
    artifact = open_version(school.registry, registered.onnx.version, school.now)
    distance, departure = (rows.column(name).to_numpy() for name in NUMBERS)
    expected = 1 / (1 + np.exp(-(-1e-4 * distance + 1e-3 * departure - 1)))
    scores = score_rows(load_scorer(artifact, columns), rows)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_an_artifact_holds_what_its_scorer_needs_and_no_more(registered: Class) -> None:
    always = {"profile.json"}
    expected = {
        "boosted": {*always, "model.skops", "recipe.json", "trees.parquet"},
        "logistic": {*always, "model.skops", "recipe.json", "linear.json"},
        "forest": {*always, "model.skops", "recipe.json", "trees.parquet"},
        "bayes": {*always, "model.skops"},
        "onnx": {*always, "model.onnx"},
    }
    assert {kind: {*getattr(registered, kind).card.files} for kind in expected} == expected


def test_the_card_says_what_the_model_learned_from(found: RegisteredModel, school: School) -> None:
    card, rows = found.card, school.labelled.rows
    assert (card.training.start, card.training.end) == (date(2013, 6, 28), date(2013, 6, 30))
    positives = rows["label"].to_pylist().count(True)
    assert (card.training.rows, card.training.positives) == (rows.num_rows, positives)
    assert card.feature_definition == feature_definition(school.pipeline)
    assert [column.name for column in card.input_schema] == list(
        school.pipeline.spec.features.columns
    )
    assert card.output_schema[0].name == "delay_probability"


def test_its_figures_are_those_on_the_training_rows_and_on_the_golden_set(
    found: RegisteredModel, school: School
) -> None:
    spec = school.pipeline.spec
    scorer = load_scorer(
        open_version(school.registry, found.version, school.now), spec.features.columns
    )
    rows = school.labelled.rows
    expected = roc_auc_score(rows["label"].to_numpy(zero_copy_only=False), score_rows(scorer, rows))
    assert found.card.metrics["auroc"] == pytest.approx(expected, abs=1e-9)
    path = school.project.root / spec.golden.file
    golden = read_golden_set(school.project, spec).rows
    metrics = binary_metrics(
        golden[spec.golden.label],
        pa.array(score_rows(scorer, golden.select(list(spec.features.columns)))),
        decision=spec.golden.decision,
    )
    assert found.card.golden.metrics == pytest.approx(metrics.figures, abs=1e-12)
    assert found.card.golden.sha256 == file_sha256(path)
    assert (found.card.golden.rows, found.card.golden.positives) == (2_000, metrics.positives)


def test_the_signature_counts_for_the_declared_days(found: RegisteredModel, school: School) -> None:
    artifact = open_version(school.registry, found.version, school.now)
    expires_at = school.now + timedelta(days=school.pipeline.spec.model.valid_days)
    assert artifact.statement.expires_at == found.expires_at == expires_at
    assert artifact.statement.created_at == school.now
    assert artifact.statement.key_id == school.key.id
    with pytest.raises(ModelRefused) as refusal:
        open_version(school.registry, found.version, expires_at)
    assert refusal.value.reason is Refusal.SIGNATURE_EXPIRED


def test_the_challenger_learned_the_quick_copy(registered: Class) -> None:
    school = registered.school
    artifact = open_version(school.registry, registered.boosted.version, school.now)
    estimator = load_estimator(artifact.contents["model.skops"], "The model")
    assert estimator.named_steps["boost"].n_iter_ == 5


def test_verifying_a_model_finds_what_its_registration_found(registered: Class) -> None:
    school = registered.school
    artifact = open_version(school.registry, registered.logistic.version, school.now)
    findings = verify_model(school.project, school.pipeline, artifact)
    assert (findings.scorer, findings.model_format) == (LINEAR, "skops")
    assert [record.verdict for record in findings.parity] == ["passed", "passed"]


def test_verifying_holds_a_model_against_the_features_of_now(registered: Class) -> None:
    school = registered.school
    artifact = open_version(school.registry, registered.boosted.version, school.now)
    features = school.pipeline.spec.features
    fewer = {name: column for name, column in features.columns.items() if name != "pressure"}
    spec = school.pipeline.spec.model_copy(
        update={"features": features.model_copy(update={"columns": fewer})}
    )
    with pytest.raises(ModelRefused, match="'pressure' is missing") as refusal:
        verify_model(school.project, replace(school.pipeline, spec=spec), artifact)
    assert refusal.value.reason is Refusal.SCHEMA


def test_a_renewed_version_has_the_same_files_and_a_longer_signature(
    registered: Class, tmp_path: Path
) -> None:
    school = registered.school
    shutil.copytree(school.project.lake, tmp_path / "lake")
    copied = school.with_lake(tmp_path / "lake")
    old = registered.bayes
    late = old.expires_at + timedelta(days=1)
    renewed = renew_model(copied.registry, old.version, school.key, days=30, now=late)
    assert (renewed.version, renewed.digest) == ("6", old.version.digest)
    first, second = (
        open_version(copied.registry, version, at)
        for version, at in ((old.version, None), (renewed, late))
    )
    assert first.contents == second.contents
    assert second.statement.expires_at == late + timedelta(days=30)
    longest = renew_model(copied.registry, old.version, school.key, days=9_999, now=late)
    (key,) = read_keyring(school.project.keys).keys
    assert open_version(copied.registry, longest, late).statement.expires_at == key.not_after
