import re
import warnings

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.encoding.translate import unwrap
from batchinf_assets.scoring.untranslatable import Untranslatable

TEXT = ("carrier", "airport")
CATEGORIES = ("carrier", "airport", "heavy", "on_time", "seats", "serial", "stops", "gust", "delay")
NUMBERS = ("heavy", "on_time", "seats", "serial", "stops", "wind", "gust", "miles", "delay")
FLOAT32 = ("wind", "gust")
FLOAT64 = ("miles", "delay")
SMALL = ("heavy", "seats", "wind", "delay")
SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-3, 0.7), clip=True),
    MaxAbsScaler(),
    MaxAbsScaler(clip=True),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10, 60)),
    RobustScaler(with_scaling=False, unit_variance=False),
]


@pytest.mark.parametrize("names", [FLOAT32, FLOAT64, NUMBERS, ("heavy", "wind"), ("heavy",)])
@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_scalers_give_the_same_bits_in_every_type(check, scaler, names):
    check.agree(scaler, names)


@pytest.mark.parametrize(
    "encoder",
    [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-2,
            encoded_missing_value=-1,
            dtype=np.int32,
        ),
        OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=2**24 + 1,
            encoded_missing_value=77,
        ),
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
        OneHotEncoder(handle_unknown="infrequent_if_exist", dtype=bool),
        OneHotEncoder(handle_unknown="ignore", drop="first", dtype=np.int8),
        OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        OneHotEncoder(handle_unknown="warn"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("names", [CATEGORIES, TEXT, ("heavy",), ("gust",), ("serial",)])
def test_encoders_give_the_same_codes_for_every_type(check, encoder, names):
    check.agree(encoder, names)


IMPUTERS = [
    SimpleImputer(),
    SimpleImputer(strategy="median"),
    SimpleImputer(strategy="most_frequent"),
    SimpleImputer(strategy="constant", fill_value=-0.0),
    SimpleImputer(strategy="constant", fill_value=1 / 3),
]


@pytest.mark.parametrize("names", [FLOAT32, FLOAT64, ("seats", "serial"), ("seats", *FLOAT32)])
@pytest.mark.parametrize("imputer", IMPUTERS, ids=repr)
def test_imputers_fill_numbers_with_the_same_bits(check, imputer, names):
    if imputer.fill_value is not None and names == ("seats", "serial"):
        imputer = SimpleImputer(strategy="constant", fill_value=3)
    check.agree(imputer, names)


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value="inf"),
        SimpleImputer(strategy="constant"),
    ],
    ids=repr,
)
def test_imputers_fill_text_before_it_is_encoded(check, imputer):
    encoder = OneHotEncoder(handle_unknown="ignore")
    recipe = check.agree(make_pipeline(imputer, encoder), TEXT)
    assert [step.kind for step in recipe.columns[0].steps] == ["impute_text", "one_hot"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_column_without_any_value_vanishes_or_is_kept(check, rows, keep):
    imputer = SimpleImputer(keep_empty_features=keep)
    empty = rows.learning | {"delay": [None] * 6}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recipe = check.agree(imputer, FLOAT64, learning=empty)
    assert len(recipe.columns) == 1 + keep


def test_float32_stays_float32_only_among_float32(check):
    alone = check.agree(StandardScaler(), FLOAT32)
    beside = check.agree(StandardScaler(), (*FLOAT32, "miles"))
    assert (alone.precision, beside.precision) == ("float32", "float64")
    assert "cast" in [step.kind for step in beside.columns[0].steps]


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize(
    "transformer",
    [
        *SCALERS,
        *IMPUTERS,
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop=[0.0]),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    ids=repr,
)
def test_infinity_is_refused_where_scikit_learn_refuses_it(check, rows, transformer, bad):
    learning = rows.learning | {"delay": [0.0] * 6}
    model, columns = check.fit(transformer, ("delay",), learning)
    table = rows.table_of(rows.hurting | {"delay": [0.0, bad, 1, 2, 3, 4, 5, 6]})
    with pytest.raises(ValueError, match="infinity"):
        check.transformed(model[:-1], table, columns)
    recipe, _ = unwrap(model, columns)
    with pytest.raises(ModelRefused, match=f"column 'delay' holds {bad!r}") as refused:
        encode(recipe, table, columns)
    assert refused.value.reason is Refusal.ROWS


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("airport", "ORD", "'ORD'"),
        ("airport", "", "''"),
        ("heavy", False, "False"),
        ("gust", 0.5, "0.5"),
        ("gust", None, "nan"),
        ("serial", 2**53 + 1, str(2**53 + 1)),
        ("stops", -1, "-1.0"),
    ],
)
@pytest.mark.parametrize(
    "encoder",
    [OrdinalEncoder(), OneHotEncoder(), OneHotEncoder(drop="first"), OneHotEncoder(dtype=np.int8)],
    ids=repr,
)
def test_unknown_categories_are_refused_where_scikit_learn_refuses_them(
    check, rows, encoder, name, value, shown
):
    learned = {"airport": ["JFK"] * 6, "heavy": [True] * 6, "gust": [0.25] * 6, "stops": [1] * 6}
    learning = rows.learning | learned
    model, columns = check.fit(encoder, (name,), learning)
    recipe, _ = unwrap(model, columns)
    table = rows.table_of(
        {
            column: [values[0], value] if column == name else values[:2]
            for column, values in learning.items()
        }
    )
    with pytest.raises(ValueError, match="unknown categories"):
        check.transformed(model[:-1], table, columns)
    with pytest.raises(ModelRefused, match=re.escape(f"column '{name}' holds {shown}, ")):
        encode(recipe, table, columns)
    known = check.transformed(model[:-1], table.slice(0, 1), columns)
    assert np.array_equal(encode(recipe, table.slice(0, 1), columns).T, known)


def test_known_categories_pass_an_encoder_that_refuses_others(check, rows):
    hurting = {name: values * 2 for name, values in rows.learning.items()}
    for encoder in (OrdinalEncoder(), OneHotEncoder(), OneHotEncoder(drop="first")):
        check.agree(encoder, CATEGORIES, hurting=hurting)


def test_an_encoder_of_one_dropped_category_still_refuses(check, rows):
    model, columns = check.fit(
        OneHotEncoder(drop="first"), ("airport",), rows.learning | {"airport": ["JFK"] * 6}
    )
    recipe, _ = unwrap(model, columns)
    assert not recipe.columns
    with pytest.raises(ModelRefused, match="'ORD'"):
        encode(recipe, rows.table_of(rows.hurting), columns)


def test_declared_categories_keep_their_order(check):
    declared = OrdinalEncoder(
        categories=[["ZZ", "AA", "", "UA"]],
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
    )
    recipe = check.agree(declared, ("carrier",))
    assert recipe.columns[0].steps[-1].categories == ("ZZ", "AA", "", "UA")


@pytest.mark.parametrize(
    ("transformer", "names", "reason"),
    [
        (SimpleImputer(add_indicator=True), FLOAT64, "indicators of missing values"),
        (SimpleImputer(missing_values=-1), ("seats",), "replaces -1 instead of NaN"),
        (SimpleImputer(strategy="most_frequent"), ("carrier", "seats"), "text and numbers"),
        (OneHotEncoder(min_frequency=2), TEXT, "infrequent"),
        (OrdinalEncoder(max_categories=2), TEXT, "infrequent"),
        (OrdinalEncoder(dtype=np.float16), ("airport",), "float16"),
        (FunctionTransformer(np.log1p), ("miles",), "calls a function"),
        (KBinsDiscretizer(2, encode="ordinal"), ("miles",), "no fast form"),
        (make_pipeline(OneHotEncoder(), MaxAbsScaler()), TEXT, "sparse"),
        (StandardScaler().set_output(transform="pandas"), ("miles",), "pandas frames"),
    ],
    ids=repr,
)
def test_what_has_no_step_is_named(check, transformer, names, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, columns = check.fit(transformer, names)
    with pytest.raises(Untranslatable, match=f"^step 'prepare.*{reason}"):
        unwrap(model, columns)


def test_a_transformer_without_function_passes_its_columns_on(check):
    check.agree(FunctionTransformer(), SMALL)
