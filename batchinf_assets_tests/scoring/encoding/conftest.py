"""Rows that learn and rows that hurt, and the comparison with scikit-learn, bit for bit."""

import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.encoding.recipe import Recipe
from batchinf_assets.scoring.encoding.translate import unwrap
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {
    "carrier": FeatureSpec(type="string", nullable=True),
    "airport": FeatureSpec(type="string"),
    "heavy": FeatureSpec(type="bool"),
    "on_time": FeatureSpec(type="bool", nullable=True),
    "seats": FeatureSpec(type="int32"),
    "serial": FeatureSpec(type="int64"),
    "stops": FeatureSpec(type="int64", nullable=True),
    "wind": FeatureSpec(type="float32"),
    "gust": FeatureSpec(type="float32", nullable=True),
    "miles": FeatureSpec(type="float64"),
    "delay": FeatureSpec(type="float64", nullable=True),
}
LEARNING = {
    "carrier": ["UA", "", "B6", None, "UA", "AA"],
    "airport": ["JFK", "EWR", "JFK", "LGA", "JFK", "EWR"],
    "heavy": [True, False, True, False, False, True],
    "on_time": [True, None, False, True, True, False],
    "seats": [7, -3, 2**31 - 1, 7, 0, 120],
    "serial": [2**53, 2**53 + 2, -5, 0, 2**62 + 1, 3],
    "stops": [0, 1, None, 2, 1, 0],
    "wind": [0.1, -2.5, 3.3, 1e-3, 0.1, 7.0],
    "gust": [0.3, None, 9.1, 0.3, -1.7, 2.2],
    "miles": [0.1, 2475.3, -1e-9, 1 / 3, 0.1, 980.0],
    "delay": [1.1, None, -7.25, 0.0, 33.3, 1.1],
}
HURTING = {
    "carrier": ["ZZ", None, "", "UA", "ua", "B6 ", "é", "AA"],
    "airport": ["ORD", "JFK", "", "LGA", "jfk", "EWR", "JFK\0", "nan"],
    "heavy": [True, False, True, False, False, True, True, False],
    "on_time": [None, True, False, None, True, False, True, False],
    "seats": [7, -(2**31), 2**31 - 1, 1, 0, 2**24 + 1, -7, 120],
    "serial": [2**53 + 1, 2**53 + 2, -(2**63), 2**63 - 1, 2**60 + 1, 0, 2**62 + 1, 3],
    "stops": [2**53 + 1, None, -1, 0, 1, 2, 3, -(2**63)],
    "wind": [np.nan, -0.0, 3.4e38, -3.4e38, 1e-45, 0.1, 2.5, -2.5],
    "gust": [None, np.nan, 0.0, -0.0, 3.4e38, 0.3, 1e-40, 2.2],
    "miles": [np.nan, -0.0, 1.7e308, -1.7e308, 5e-324, 0.1, 0.1 + 1e-17, 1 / 3],
    "delay": [None, np.nan, 0.0, -0.0, 1e300, 1.1, -7.25, 7.5],
}


class Reads(BaseEstimator):
    """A final estimator that takes whatever numbers there are."""

    def fit(self, _matrix, _labels):
        return self


def table_of(rows):
    return pa.table(rows, schema=arrow_schema(COLUMNS))


def layouts(table):
    """The same rows as Arrow can hold them."""
    text = [place for place, column in enumerate(table.columns) if column.type == pa.string()]
    encoded = large = table
    for place in text:
        name, column = table.column_names[place], table.column(place)
        encoded = encoded.set_column(place, name, column.dictionary_encode())
        large = large.set_column(place, name, column.cast(pa.large_string()))
    yield table
    yield encoded
    yield large
    yield pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])
    yield pa.concat_tables([encoded.slice(0, 1), encoded.slice(1)])
    yield pa.concat_tables([table.slice(2, 5), table]).slice(5)


def transformed(preprocessing, table, columns):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow, unknown categories, skipped features
        matrix = preprocessing.transform(model_frame(table, columns))
    dense = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
    return dense.astype(np.float64)


def fit(preprocessing, names=tuple(COLUMNS), learning=LEARNING):
    columns = {name: COLUMNS[name] for name in names}
    frame = model_frame(table_of(learning), columns)
    model = Pipeline([("prepare", preprocessing), ("model", Reads())])
    return model.fit(frame, np.arange(len(frame)) % 2), columns


def agree(preprocessing, names=tuple(COLUMNS), *, learning=LEARNING, hurting=HURTING):
    """Assert that the recipe of a preprocessing gives scikit-learn's bits; return the recipe."""
    model, columns = fit(preprocessing, names, learning)
    recipe, final = unwrap(model, columns)
    assert final is model[-1]
    assert Recipe.from_json(recipe.to_json()) == recipe
    table = table_of(hurting)
    expected = transformed(model[:-1], table, columns)
    for layout in layouts(table):
        matrix = encode(recipe, layout, columns)
        assert (matrix.dtype, matrix.flags.c_contiguous) == (recipe.precision, True)
        assert np.array_equal(matrix.T.astype(np.float64), expected, equal_nan=True)
    rows = [encode(recipe, table.slice(row, 1), columns) for row in range(table.num_rows)]
    whole = encode(recipe, table, columns)
    assert np.array_equal(np.concatenate(rows, axis=1), whole, equal_nan=True)
    assert encode(recipe, table.slice(0, 0), columns).shape == (len(recipe.columns), 0)
    return recipe


@pytest.fixture(scope="session")
def rows():
    return SimpleNamespace(
        columns=COLUMNS, learning=LEARNING, hurting=HURTING, table_of=table_of, Reads=Reads
    )


@pytest.fixture(scope="session")
def check():
    return SimpleNamespace(agree=agree, fit=fit, transformed=transformed)
