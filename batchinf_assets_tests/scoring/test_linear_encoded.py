import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from batchinf_assets.errors import ModelRefused
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Impute,
    MatrixColumn,
    Ordinal,
    Recipe,
)
from batchinf_assets.scoring.encoding.translate import unwrap
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.linear import LinearModel, predict_linear, translate_linear
from batchinf_assets.scoring.linear_encoded import predict_encoded
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {
    "word": FeatureSpec(type="string", nullable=True),
    "place": FeatureSpec(type="string"),
    "number": FeatureSpec(type="float64", nullable=True),
}


def worded(seed, rows):
    random = np.random.default_rng(seed)
    number = pa.array(random.normal(size=rows), mask=random.random(rows) < 0.2)
    word = pa.array(random.choice(list("abcde"), rows), mask=random.random(rows) < 0.2)
    return pa.table({"word": word, "place": random.choice(["x", "y", "z"], rows), "number": number})


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("run_columns", [1, 256])
def test_strings_are_added_as_their_columns_of_the_matrix_would_be(
    labels, run_columns, monkeypatch
):
    monkeypatch.setattr("batchinf_assets.scoring.linear_encoded.RUN_COLUMNS", run_columns)
    learning, table = worded(1, 300), worded(2, 1_000)
    hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    preprocessing = make_column_transformer(
        (make_pipeline(hot, StandardScaler()), ["word"]),
        (hot, ["place", "word"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["number"]),
        (OrdinalEncoder(), ["place"]),
    )
    pipeline = make_pipeline(preprocessing, LogisticRegression())
    pipeline.fit(model_frame(learning, COLUMNS), np.arange(300) % labels)
    recipe, final = unwrap(pipeline, COLUMNS)
    model = translate_linear(final)
    expected = predict_linear(model, encode(recipe, table, COLUMNS))
    found = predict_encoded(model, recipe, table, COLUMNS)
    assert np.array_equal(found, expected)
    asked = pipeline.predict_proba(model_frame(table, COLUMNS))
    assert np.abs(found - asked).max() <= 1e-9
    parts = [
        predict_encoded(model, recipe, table.slice(start, 9), COLUMNS)
        for start in range(0, 1_000, 9)
    ]
    assert np.concatenate(parts).tobytes() == found.tobytes()
    assert predict_encoded(model, recipe, table.slice(0, 0), COLUMNS).shape == (0, labels)


def test_values_are_rounded_to_the_matrix_first():
    third = Arithmetic(kind="divide", value=3.0)
    codes = Ordinal(categories=("x", "y", "z"), missing=None, unknown=None)
    recipe = Recipe(
        columns=(
            MatrixColumn(feature="place", steps=(codes, third)),
            MatrixColumn(feature="number", steps=(Impute(value=0.1), third)),
        ),
        precision="float32",
    )
    model = LinearModel(
        coefficients=np.ones((1, 2)), intercept=np.zeros(1), link="identity", classifier=False
    )
    table = worded(1, 300)
    expected = predict_linear(model, encode(recipe, table, COLUMNS))
    assert np.array_equal(predict_encoded(model, recipe, table, COLUMNS), expected)


def test_a_missing_number_is_refused_by_its_name():
    recipe = Recipe(columns=(MatrixColumn(feature="number"),), precision="float64")
    model = LinearModel(
        coefficients=np.ones((1, 1)), intercept=np.zeros(1), link="logistic", classifier=True
    )
    with pytest.raises(ModelRefused, match="matrix column 0, made of 'number', holds nan"):
        predict_encoded(model, recipe, worded(1, 300), COLUMNS)


def test_a_recipe_of_other_columns_is_refused():
    recipe = Recipe(columns=(MatrixColumn(feature="number"),) * 2, precision="float64")
    model = LinearModel(
        coefficients=np.ones((1, 1)), intercept=np.zeros(1), link="logistic", classifier=True
    )
    with pytest.raises(ModelRefused, match="reads 1 matrix columns; there are 2"):
        predict_encoded(model, recipe, worded(1, 300), COLUMNS)
