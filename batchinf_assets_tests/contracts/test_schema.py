"""The pandera schema of declared columns, over small pandas frames."""

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pytest
from pandera.errors import SchemaErrors

from batchinf_assets.contracts.schema import pandera_schema
from batchinf_assets.spec.contract import ColumnSpec


def failures(column: ColumnSpec, values: "pd.Series") -> dict[str, list[int]]:
    """Return the failing positions per rule of one column `x`."""
    try:
        pandera_schema({"x": column}).validate(pd.DataFrame({"x": values}), lazy=True)
    except SchemaErrors as found:
        cases = found.failure_cases
        return {str(rule): sorted(rows) for rule, rows in cases.groupby("check")["index"]}
    return {}


def test_a_frame_inside_every_rule_passes():
    columns = {
        "a": ColumnSpec(type="float64", min=0, max=1),
        "b": ColumnSpec(type="string", allowed=("x", "y")),
        "c": ColumnSpec(type="int32", nullable=True),
    }
    frame = pd.DataFrame(
        {"a": [0.0, 1.0], "b": ["x", "y"], "c": pd.array([1, None], dtype="Int32")}
    )
    validated = pandera_schema(columns).validate(frame, lazy=True)
    assert validated.equals(frame)


def test_a_missing_column_fails_and_an_extra_one_does_not():
    schema = pandera_schema({"x": ColumnSpec(type="int32")})
    with pytest.raises(SchemaErrors, match="COLUMN_NOT_IN_DATAFRAME"):
        schema.validate(pd.DataFrame({"y": [1]}), lazy=True)
    assert list(schema.validate(pd.DataFrame({"x": [1], "y": [1]}), lazy=True)) == ["x", "y"]


def test_bounds_belong_to_the_allowed_values():
    values = pd.Series([-0.1, 0.0, 0.5, 1.0, 1.1])
    found = failures(ColumnSpec(type="float64", min=0, max=1), values)
    assert found == {"float64 in [0.0, 1.0]": [0, 4]}


def test_nan_is_not_finite_in_a_column_that_must_be_filled():
    values = pd.Series([0.5, np.nan, np.inf, -np.inf])
    found = failures(ColumnSpec(type="float64"), values)
    assert found == {"finite": [1, 2, 3], "not_nullable": [1]}


def test_infinities_are_refused_even_where_nan_is_allowed():
    values = pd.Series([0.5, np.nan, np.inf, -np.inf])
    assert failures(ColumnSpec(type="float64", nullable=True), values) == {"finite": [2, 3]}


def test_bounds_say_nothing_about_nan():
    values = pd.Series([np.nan, 2.0])
    column = ColumnSpec(type="float64", nullable=True, min=0, max=1)
    assert failures(column, values) == {"float64 in [0.0, 1.0]": [1]}


@pytest.mark.parametrize("column_type", ["int32", "int64"])
def test_fractional_bounds_of_integers_move_inwards(column_type: str):
    values = pd.Series([0, 1, 2, 3], dtype=column_type)
    column = ColumnSpec.model_validate({"type": column_type, "min": 0.5, "max": 2.5})
    assert failures(column, values) == {f"{column_type} in [1, 2]": [0, 3]}


def test_integers_above_two_to_the_53rd_are_compared_exactly():
    values = pd.array([2**53, 2**53 + 1, None], dtype="Int64")
    column = ColumnSpec(type="int64", nullable=True, max=2**53)
    assert failures(column, pd.Series(values)) == {"int64 at most 9007199254740992": [1]}


def test_bounds_beyond_the_integers_never_overflow():
    values = pd.Series([-(2**63), 2**63 - 1], dtype="int64")
    assert failures(ColumnSpec(type="int64", min=-1e30, max=1e300), values) == {}


def test_a_float32_bound_is_compared_in_float32():
    # As float64, float32's 0.1 is 0.10000000149: no value that was meant to be outside.
    values = pd.Series([0.1, 0.11], dtype="float32")
    assert failures(ColumnSpec(type="float32", max=0.1), values) == {"float32 at most 0.1": [1]}
    assert failures(ColumnSpec(type="float32", min=-1e300, max=1e300), values) == {}


def test_only_allowed_strings_pass_and_missing_ones_where_nullable():
    values = pd.Series(["low", "LOW", None, "low "])
    column = ColumnSpec(type="string", nullable=True, allowed=("low", "high"))
    assert failures(column, values) == {"one of low, high": [1, 3]}


def test_a_long_list_of_allowed_strings_is_cut_in_the_rule():
    allowed = tuple(f"v{n}" for n in range(12))
    found = failures(ColumnSpec(type="string", allowed=allowed), pd.Series(["v11", "w"]))
    assert found == {"one of v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, … (12 values)": [1]}


def test_an_empty_frame_passes():
    columns = {"a": ColumnSpec(type="float32", min=0), "b": ColumnSpec(type="string")}
    frame = pd.DataFrame({"a": np.empty(0, np.float32), "b": pd.Series([], dtype="str")})
    assert pandera_schema(columns).validate(frame, lazy=True).empty


def test_the_schema_carries_the_declared_descriptions():
    schema = pandera_schema({"x": ColumnSpec(type="float64", description="Miles")})
    assert isinstance(schema, pandera.DataFrameSchema)
    assert schema.columns["x"].description == "Miles"
    assert not schema.columns["x"].nullable
