"""The values that references hold, for rows that must name one of them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.contracts.passed import require_passed
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def known_values(
    landing: Landing,
    spec: PipelineSpec,
    columns: Mapping[str, ColumnSpec],
    window: Window,
    *,
    asset: str,
) -> dict[str, pa.Array]:
    """Return, for each column with `known_in`, the distinct values that its reference holds.

    Args:
        landing: Where references land.
        spec: Declares them.
        columns: The columns of the table to judge.
        window: The window, for messages.
        asset: The asset that judges.

    Raises:
        LandedFileMissing: A reference has not landed.
        WindowRefused: It lacks the column, or has another type in it.
    """
    known: dict[str, pa.Array] = {}
    for name, column in columns.items():
        if column.known_in is not None:
            reference, _, looked_up = column.known_in.partition(".")
            known[name] = _values(landing, spec, reference, looked_up, window, asset)
    return known


def _values(
    landing: Landing, spec: PipelineSpec, reference: str, column: str, window: Window, asset: str
) -> pa.Array:
    file, columns = spec.references[reference].file, spec.references[reference].columns
    landed = landing.read(file, limits=spec.source.limits, columns=columns)
    declared = {column: columns[column]}
    name = landed.record.path
    schema = check_columns(landed.rows, declared, asset=asset, accept=ANY_LAYOUT)
    require_passed([schema], spec.name, window, part=name, source=name)
    return pc.unique(conform(landed.rows, declared).column(column)).drop_null()
