import importlib.util

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import check_array

from batchinf_assets.errors import ModelRefused
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.encoding.block import source_block
from batchinf_assets.scoring.encoding.translate import unwrap
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.load import load_pipeline

TEXT = ["carrier", "airport"]
FLOATS = ["wind", "gust", "miles", "delay"]
INTEGERS = ["seats", "serial"]
CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
DENSE = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
SPARSE = OneHotEncoder(handle_unknown="ignore")

COMPOSED = {
    "by names, the rest passes": ColumnTransformer(
        [("text", CODES, TEXT)], remainder="passthrough"
    ),
    "by names, the rest is dropped": ColumnTransformer([("text", CODES, TEXT)]),
    "by positions, reordered": ColumnTransformer(
        [("n", StandardScaler(), [10, 7]), ("t", DENSE, [1])]
    ),
    "by mask": ColumnTransformer([("n", MinMaxScaler(), [False] * 7 + [True] * 4)]),
    "by slices": ColumnTransformer(
        [("n", RobustScaler(), slice("wind", "delay")), ("t", CODES, slice(0, 2))]
    ),
    "by callables": make_column_transformer(
        (SimpleImputer(), make_column_selector(dtype_include="float")),
        (CODES, make_column_selector(dtype_include="str")),
        ("passthrough", make_column_selector(dtype_include=["bool", "int32"])),
    ),
    "a column read twice": ColumnTransformer(
        [("a", StandardScaler(), FLOATS), ("b", "passthrough", FLOATS)]
    ),
    "some dropped, one empty": ColumnTransformer(
        [("a", "drop", TEXT), ("b", StandardScaler(), []), ("c", "passthrough", INTEGERS)],
        remainder=SimpleImputer(strategy="median"),
    ),
    "pipelines inside": ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), "passthrough", StandardScaler()), FLOATS),
            ("t", make_pipeline(SimpleImputer(strategy="most_frequent"), DENSE), TEXT),
        ],
        remainder="passthrough",
    ),
    "sparse beside numbers": ColumnTransformer(
        [("t", SPARSE, TEXT), ("i", SPARSE, INTEGERS), ("n", "passthrough", ["miles", "heavy"])],
        sparse_threshold=1,
    ),
    "sparse made dense": ColumnTransformer(
        [("t", SPARSE, TEXT), ("n", "passthrough", FLOATS)], sparse_threshold=0
    ),
    "scaled after encoding": make_pipeline(
        ColumnTransformer([("t", DENSE, TEXT)], remainder="passthrough"), StandardScaler()
    ),
    "codes encoded again": make_pipeline(
        ColumnTransformer([("t", CODES, TEXT), ("n", "passthrough", FLOATS)]),
        ColumnTransformer([("c", CODES, [1, 0])], remainder="passthrough"),
    ),
    "bools beside numbers are objects": make_pipeline(
        ColumnTransformer([("p", "passthrough", ["heavy", "serial", "wind"])]), MinMaxScaler()
    ),
    "integers beside bools": make_pipeline(
        ColumnTransformer([("b", "passthrough", ["heavy"]), ("i", "passthrough", INTEGERS)]), CODES
    ),
    "float32 beside float32 codes": make_pipeline(
        make_column_transformer(
            (OneHotEncoder(dtype=np.float32, handle_unknown="ignore"), TEXT),
            ("passthrough", ["wind", "gust"]),
        ),
        StandardScaler(),
    ),
    "columns of columns": make_pipeline(
        ColumnTransformer([("p", "passthrough", FLOATS)]),
        ColumnTransformer([("a", SimpleImputer(), [3, 0])], remainder=MinMaxScaler()),
    ),
}


@pytest.mark.parametrize("preprocessing", COMPOSED.values(), ids=COMPOSED)
def test_compositions_give_the_same_bits(check, preprocessing):
    check.agree(preprocessing)


def test_a_column_that_is_dropped_later_still_refuses(check, rows):
    twice = make_pipeline(
        ColumnTransformer([("n", StandardScaler(), ["miles", "delay"])]),
        ColumnTransformer([("first", "passthrough", [0])]),
    )
    model, columns = check.fit(twice)
    recipe, _ = unwrap(model, columns)
    table = rows.table_of(rows.hurting | {"delay": [np.inf] * 8})
    assert [column.feature for column in recipe.columns] == ["miles"]
    with pytest.raises(ValueError, match="infinity"):
        check.transformed(model[:-1], table, columns)
    with pytest.raises(ModelRefused, match="'delay' holds inf"):
        encode(recipe, table, columns)


REFUSING = ColumnTransformer([("t", OneHotEncoder(sparse_output=False), ["airport", "carrier"])])


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(REFUSING, ColumnTransformer([("c", "passthrough", [0])]), Ridge()),
        make_pipeline(REFUSING, HistGradientBoostingClassifier(categorical_features=[0])),
        make_pipeline(REFUSING, StandardScaler(), GradientBoostingClassifier(n_estimators=1)),
    ],
    ids=lambda model: type(model[-1]).__name__,
)
def test_one_hot_columns_refuse_whatever_becomes_of_them(rows, model):
    frame, columns = frame_of(rows, rows.columns, rows.learning)
    recipe, _ = unwrap(model.fit(frame, [0, 1] * 3), columns)
    known = rows.table_of(rows.learning)
    assert encode(recipe, known, columns).shape == (len(recipe.columns), 6)
    unknown = rows.table_of(rows.learning | {"carrier": ["UA", "", "B6", None, "UA", "ZZ"]})
    with pytest.raises(ModelRefused, match="column 'carrier' holds 'ZZ'"):
        encode(recipe, unknown, columns)


def frame_of(rows, names, values):
    columns = {name: rows.columns[name] for name in names}
    return model_frame(rows.table_of(values), columns), columns


@pytest.mark.parametrize(
    "names",
    [["serial"], INTEGERS, ["serial", "miles"], ["serial", "heavy"], ["serial", "heavy", "miles"]],
    ids=",".join,
)
@pytest.mark.parametrize("first", [None, ColumnTransformer([("p", "passthrough", slice(0, 3))])])
def test_trees_read_what_their_own_conversion_makes_of_large_integers(rows, first, names):
    # From 2**24 on, rounding to float64 on the way to float32 differs from rounding once.
    serials = [2**60 + 2**36 + 1, -(2**60) - 2**36 - 1, 2**53 + 1, 2**24 + 1, 3, 2**63 - 1]
    learning = rows.learning | {"serial": serials, "miles": [1.0] * 6}
    frame, columns = frame_of(rows, names, learning)
    matrix = frame if first is None else first.fit_transform(frame)
    forest = RandomForestClassifier(2, max_depth=2).fit(matrix, [0, 1] * 3)
    model = forest if first is None else Pipeline([("first", first), ("forest", forest)])
    recipe, final = unwrap(model, columns)
    encoded = encode(recipe, rows.table_of(learning), columns)
    assert final is forest
    assert encoded.dtype == np.float32
    assert np.array_equal(encoded.T, check_array(matrix, dtype=np.float32))


@pytest.mark.parametrize(
    "tree", [DecisionTreeRegressor(), GradientBoostingClassifier(n_estimators=1)]
)
def test_float64_beyond_float32_reaches_trees_as_infinity(rows, tree):
    frame, columns = frame_of(rows, ["miles", "wind"], rows.learning)
    recipe, _ = unwrap(tree.fit(frame, [0, 1] * 3), columns)
    far = rows.table_of(rows.hurting | {"miles": [1e300, -1e300, 1, 2, 3, 4, 5, 6]})
    assert encode(recipe, far, columns)[0, :2].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(
    ("names", "precision"),
    [(["wind", "gust", "heavy"], "float32"), (["wind", "seats"], "float64"), (FLOATS, "float64")],
)
def test_boosting_reads_float32_only_where_nothing_is_lost(rows, names, precision):
    frame, columns = frame_of(rows, names, rows.learning)
    boost = HistGradientBoostingClassifier(max_iter=1).fit(frame, [0, 1] * 3)
    recipe, _ = unwrap(boost, columns)
    table = rows.table_of(rows.hurting)
    expected = boost._preprocess_X(model_frame(table, columns), reset=False)
    encoded = encode(recipe, table, columns)
    assert recipe.precision == precision
    assert np.array_equal(encoded.T.astype(np.float64), expected, equal_nan=True)


@pytest.mark.parametrize("inside", [False, True])
def test_categorical_features_come_first_and_as_codes(rows, inside):
    names = ["wind", "carrier", "miles", "airport", "stops"]
    frame, columns = frame_of(rows, names, rows.learning)
    boost = HistGradientBoostingClassifier(
        max_iter=1, categorical_features=[1, 3, 4], early_stopping=False
    )
    model = make_pipeline("passthrough", boost) if inside else boost
    recipe, final = unwrap(model.fit(frame, [0, 1] * 3), columns)
    table = rows.table_of(rows.hurting)
    expected = final._preprocess_X(model_frame(table, columns), reset=False)
    encoded = encode(recipe, table, columns)
    assert np.array_equal(encoded.T, expected, equal_nan=True)
    assert [column.feature for column in recipe.columns] == [
        "carrier",
        "airport",
        "stops",
        "wind",
        "miles",
    ]


def test_an_estimator_alone_reads_the_declared_columns_in_order(rows):
    names = ["seats", "heavy", "serial"]
    frame, columns = frame_of(rows, names, rows.learning)
    model = LogisticRegression(max_iter=1_000_000).fit(frame > 2, [0, 1] * 3)
    recipe, final = unwrap(model, columns)
    assert final is model
    assert [(column.feature, column.steps) for column in recipe.columns] == [
        (name, ()) for name in names
    ]
    encoded = encode(recipe, rows.table_of(rows.hurting), columns)
    expected = model_frame(rows.table_of(rows.hurting), columns).astype(np.float64)
    assert np.array_equal(encoded.T, expected)


@pytest.fixture(scope="module")
def flights():
    pipeline = load_pipeline("flight_delays")
    columns = pipeline.spec.features.columns
    spec = importlib.util.spec_from_file_location("made_up_training", pipeline.training_script)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    frame = model_frame(flight_rows(1, 600, columns, ["AA", "B6"], ["ATL", "BOS"]), columns)
    return script.train(frame, frame["departure_minute"] > 0), columns


def flight_rows(seed, rows, columns, carriers, airports):
    random = np.random.default_rng(seed)
    choices = {"carrier_code": carriers, "origin_airport": ["EWR", "JFK", "LGA"]}
    arrays = {}
    for name, column in columns.items():
        if column.type == "string":
            arrays[name] = pa.array(random.choice(choices.get(name, airports), rows))
        else:
            missing = random.random(rows) < (0.2 if column.nullable else 0)
            arrays[name] = pa.array(random.normal(size=rows), mask=missing)
    return pa.table(arrays)


def test_the_flight_delays_pipeline_is_read_as_scikit_learn_reads_it(flights):
    model, columns = flights
    recipe, final = unwrap(model, columns)
    table = flight_rows(2, 999, columns, ["AA", "B6", "ZZ", ""], ["ATL", "XXX"])
    encoded = encode(recipe, table, columns)
    expected = final._preprocess_X(model[:-1].transform(model_frame(table, columns)), reset=False)
    assert np.array_equal(encoded.T, expected, equal_nan=True)
    assert np.isnan(encoded[:3]).any(axis=1).tolist() == [True, False, True]
    pieces = [encode(recipe, table.slice(start, 100), columns) for start in range(0, 999, 100)]
    assert np.array_equal(np.concatenate(pieces, axis=1), encoded, equal_nan=True)


def test_text_that_reaches_the_model_is_named(check):
    model, columns = check.fit("passthrough")
    with pytest.raises(Untranslatable, match="column 'carrier' is text where numbers are read"):
        unwrap(model, columns)


def test_other_columns_than_learned_are_named(check):
    model, columns = check.fit(StandardScaler(), FLOATS)
    with pytest.raises(Untranslatable, match="other columns"):
        unwrap(model, dict(reversed(columns.items())))


@pytest.mark.parametrize(
    ("preprocessing", "reason"),
    [
        (
            ColumnTransformer([("n", StandardScaler(), FLOATS)], transformer_weights={"n": 2.0}),
            "step 'prepare' .ColumnTransformer. weighs its columns",
        ),
        (
            ColumnTransformer([("n", make_pipeline(FunctionTransformer(np.abs)), FLOATS)]),
            "step 'prepare.n.functiontransformer' .FunctionTransformer.: it calls a function",
        ),
        (
            ColumnTransformer([("n", StandardScaler(), FLOATS)]).set_output(transform="pandas"),
            "step 'prepare' .ColumnTransformer. gives pandas frames",
        ),
    ],
)
def test_the_step_without_a_fast_form_is_named(check, preprocessing, reason):
    model, columns = check.fit(preprocessing)
    with pytest.raises(Untranslatable, match=reason):
        unwrap(model, columns)


def test_features_have_the_types_that_the_frame_gives_them(rows):
    frame = model_frame(rows.table_of(rows.learning), rows.columns)
    held = {column.feature: column.held for column in source_block(rows.columns).columns}
    assert held == {
        name: np.dtype(object) if dtype == "str" else dtype for name, dtype in frame.dtypes.items()
    }
