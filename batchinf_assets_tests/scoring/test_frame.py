"""The frame that a model reads follows from the declaration, never from the values."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.frame import feature_column, model_frame
from batchinf_assets.spec.contract import FeatureSpec

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


def test_a_single_column_is_held_against_its_declaration_as_in_the_frame():
    assert feature_column(MIXED_ROWS, "count", MIXED["count"]).to_pylist() == [1, 2]
    with pytest.raises(BatchinfError, match="'long' is missing"):
        feature_column(MIXED_ROWS.drop_columns("long"), "long", MIXED["long"])
