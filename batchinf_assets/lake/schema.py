"""Declared columns as Arrow schemas."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from batchinf_assets.spec.contract import ColumnSpec, ColumnType

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}


def arrow_schema(columns: Mapping[str, ColumnSpec]) -> pa.Schema:
    """Return the Arrow schema of declared columns, in their order."""
    return pa.schema(
        [
            pa.field(name, ARROW_TYPES[column.type], nullable=column.nullable)
            for name, column in columns.items()
        ]
    )
