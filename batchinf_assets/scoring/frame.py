"""The rows that a model reads: one frame or column for training and scoring alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import FeatureSpec


def model_frame(table: pa.Table, columns: Mapping[str, FeatureSpec]) -> pd.DataFrame:
    """Make the frame that a model reads, for training and scoring alike.

    Column order and dtypes follow from the declaration alone, never from the values, so a shard
    without missing values looks like one with them: strings are `str`, missing NaN; nullable
    integers and bools are float64, missing NaN; everything else keeps its type.

    Args:
        table: At least the declared columns; others are left out.
        columns: The declared features, in the model's order.

    Raises:
        BatchinfError: A column is missing, of another type, or has nulls without being nullable.
    """
    return pd.DataFrame(
        {name: _values(feature_column(table, name, spec), spec) for name, spec in columns.items()}
    )


def feature_column(table: pa.Table, name: str, spec: FeatureSpec) -> pa.ChunkedArray:
    """Return a feature's column, held against its declaration; any encoding of strings will do.

    Raises:
        BatchinfError: The column is missing, of another type, or has nulls without being nullable.
    """
    if name not in table.column_names:
        raise _unfit(name, "is missing")
    column = table.column(name)
    expected = ARROW_TYPES[spec.type]
    if spec.type == "string" and _is_text(column.type):
        column = column.cast(expected)
    if column.type != expected:
        raise _unfit(name, f"has type {column.type} where {expected} is declared")
    if column.null_count and not spec.nullable:
        raise _unfit(name, f"has {column.null_count} nulls and is not declared nullable")
    return column


def _values(column: pa.ChunkedArray, spec: FeatureSpec) -> pd.Series[Any] | npt.NDArray[Any]:
    if spec.type == "string":
        return pd.Series(column.to_pandas(), dtype="str")
    if spec.nullable and not pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy()
    return column.to_numpy()


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def _unfit(name: str, reason: str) -> BatchinfError:
    return BatchinfError(
        f"Feature column '{name}' {reason}.",
        next_step="Correct the feature SQL or features.columns in defs.yaml.",
    )
