import importlib.util
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.dummy import DummyClassifier

from batchinf_assets.errors import BatchinfError, ModelRefused
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.registry.artifact import Training, write_artifact
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.scorer import SklearnScorer, load_scorer
from batchinf_assets.spec import FeatureSpec, load_pipeline

FLIGHTS = load_pipeline("flight_delays")
COLUMNS = FLIGHTS.spec.features.columns
ROWS = 5_003


def flight_features(seed, rows, carriers, airports):
    random = np.random.default_rng(seed)
    columns = {}
    for name, column in COLUMNS.items():
        if column.type == "string":
            choices = {"carrier_code": carriers, "origin_airport": ["EWR", "JFK", "LGA"]}
            columns[name] = pa.array(random.choice(choices.get(name, airports), rows))
        else:
            missing = random.random(rows) < (0.1 if column.nullable else 0)
            columns[name] = pa.array(random.normal(size=rows), mask=missing)
    return pa.table(columns, schema=arrow_schema(COLUMNS))


TRAINING = flight_features(1, 4_000, ["AA", "B6", "UA"], ["ATL", "BOS", "SFO"])
UNSEEN = flight_features(2, ROWS, ["AA", "UA", "ZZ"], ["ATL", "XXX"])


@pytest.fixture(scope="module")
def trained():
    spec = importlib.util.spec_from_file_location("flight_training", FLIGHTS.training_script)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    frame = model_frame(TRAINING, COLUMNS)
    labels = (frame["departure_minute"] + (frame["carrier_code"] == "UA") > 0.5).rename("late")
    return script.train(frame, labels)


@pytest.fixture(scope="module")
def artifact(trained, tmp_path_factory):
    return write_artifact(
        tmp_path_factory.mktemp("models of flights"),
        estimator=trained,
        name="flight_delays",
        columns=COLUMNS,
        score_column="delay_probability",
        training=Training(
            start=date(2013, 1, 1), end=date(2013, 4, 1), rows=TRAINING.num_rows, positives=1
        ),
        metrics={"auroc": 0.5},
        feature_definition="0" * 64,
        profile=build_profile(
            TRAINING,
            np.full(TRAINING.num_rows, 0.5),
            columns=COLUMNS,
            score_column="delay_probability",
        ),
    )


@pytest.fixture(scope="module")
def scorer(artifact):
    return load_scorer(artifact, COLUMNS)


def test_the_registered_pipeline_scores_as_the_trained_one(trained, scorer):
    expected = trained.predict_proba(model_frame(UNSEEN, COLUMNS))[:, 1]
    scores = scorer.score(UNSEEN)
    assert (scores.dtype, scores.shape) == (np.float64, (ROWS,))
    assert scores.tobytes() == expected.tobytes()
    assert len(np.unique(scores)) > 100


def test_scores_repeat_bit_for_bit(scorer):
    assert scorer.score(UNSEEN).tobytes() == scorer.score(UNSEEN).tobytes()


@pytest.mark.parametrize("cut", [1, ROWS // 2, 4_096, ROWS - 1])
def test_scores_do_not_depend_on_where_shards_begin(scorer, cut):
    halves = [scorer.score(UNSEEN.slice(0, cut)), scorer.score(UNSEEN.slice(cut))]
    assert np.concatenate(halves).tobytes() == scorer.score(UNSEEN).tobytes()


def test_scores_do_not_depend_on_chunks_or_further_columns(scorer):
    chunked = pa.concat_tables([UNSEEN.slice(0, 7), UNSEEN.slice(7)])
    wider = chunked.add_column(0, "flight", pa.array(np.arange(ROWS)))
    assert scorer.score(wider).tobytes() == scorer.score(UNSEEN).tobytes()


def test_unseen_categories_count_as_missing(scorer):
    place = UNSEEN.column_names.index("carrier_code")
    field = UNSEEN.schema.field(place)
    known, first, second = (
        scorer.score(UNSEEN.set_column(place, field, pa.array([code] * ROWS)))
        for code in ("UA", "ZZ", "QQ")
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, known)


def test_no_rows_score_to_nothing():
    class NeverAsked:
        def predict_proba(self, frame):
            raise AssertionError(frame)

    scores = SklearnScorer(NeverAsked(), COLUMNS).score(UNSEEN.slice(0, 0))
    assert (scores.dtype, scores.shape) == (np.float64, (0,))


def test_a_scorer_says_what_it_is(scorer):
    assert scorer.name == "scikit-learn"


def test_features_that_the_model_did_not_learn_are_refused(artifact):
    fewer = {name: column for name, column in COLUMNS.items() if name != "pressure"}
    with pytest.raises(ModelRefused, match="'pressure' is missing"):
        load_scorer(artifact, fewer)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(broken):
    class Broken:
        def predict_proba(self, frame):
            given = np.full((len(frame), 2), 0.5)
            given[3, 1] = broken
            return given

    with pytest.raises(BatchinfError, match=r"score of row 3; 1 of 5 scores .*features"):
        SklearnScorer(Broken(), COLUMNS).score(UNSEEN.slice(0, 5))


def test_a_model_that_learned_one_label_only_is_refused():
    frame = model_frame(TRAINING, COLUMNS)
    single = DummyClassifier(strategy="prior").fit(frame, np.ones(len(frame), dtype=bool))
    with pytest.raises(ModelRefused, match=r"shape \(5, 1\) for 5 rows"):
        SklearnScorer(single, COLUMNS).score(UNSEEN.slice(0, 5))


MIXED = {
    "text": FeatureSpec(type="string", nullable=True),
    "flag": FeatureSpec(type="bool"),
    "maybe_flag": FeatureSpec(type="bool", nullable=True),
    "count": FeatureSpec(type="int32"),
    "maybe_count": FeatureSpec(type="int64", nullable=True),
    "short": FeatureSpec(type="float32", nullable=True),
    "long": FeatureSpec(type="float64"),
}
MIXED_ROWS = pa.table(
    {
        "text": ["a", None],
        "flag": [True, False],
        "maybe_flag": [True, None],
        "count": [1, 2],
        "maybe_count": [7, None],
        "short": [0.1, None],
        "long": [0.1, 0.2],
    },
    schema=arrow_schema(MIXED),
)
MIXED_TYPES = {
    "text": "str",
    "flag": "bool",
    "maybe_flag": "float64",
    "count": "int32",
    "maybe_count": "float64",
    "short": "float32",
    "long": "float64",
}


def test_the_frame_keeps_declared_order_types_and_values():
    frame = model_frame(MIXED_ROWS, MIXED)
    expected = pd.DataFrame(
        {
            "text": pd.Series(["a", None], dtype="str"),
            "flag": [True, False],
            "maybe_flag": [1.0, np.nan],
            "count": np.array([1, 2], dtype=np.int32),
            "maybe_count": [7.0, np.nan],
            "short": np.array([0.1, np.nan], dtype=np.float32),
            "long": [0.1, 0.2],
        }
    )
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize("rows", [0, 1])
def test_dtypes_do_not_depend_on_the_values(rows):
    frame = model_frame(MIXED_ROWS.slice(0, rows), MIXED)
    assert frame.dtypes.astype(str).to_dict() == MIXED_TYPES
    assert len(frame) == rows


@pytest.mark.parametrize(
    "text", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_encoding_of_strings_gives_the_same_frame(text):
    encoded = MIXED_ROWS.set_column(0, "text", MIXED_ROWS["text"].cast(text))
    assert encoded.schema.field("text").type == text
    pd.testing.assert_frame_equal(model_frame(encoded, MIXED), model_frame(MIXED_ROWS, MIXED))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (MIXED_ROWS.drop_columns("long"), "'long' is missing"),
        (
            MIXED_ROWS.set_column(6, "long", pa.array([0.1, 0.2], pa.float32())),
            "'long' has type float where double is declared",
        ),
        (
            MIXED_ROWS.set_column(3, "count", pa.array([1, None], pa.int32())),
            "'count' has 1 nulls and is not declared nullable",
        ),
    ],
)
def test_columns_that_break_the_declaration_are_named(table, problem):
    with pytest.raises(BatchinfError, match=f"{problem}.*defs.yaml"):
        model_frame(table, MIXED)
