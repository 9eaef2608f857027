"""How many rows landed, by what Parquet footers say; no row is read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.lake.place import Place
from batchinf_assets.snapshots.parts import parts_of


def landed_rows(place: Place) -> int | None:
    """Count the rows of a landed file or folder; None where it is no Parquet, damaged or absent."""
    try:
        return sum(map(_rows_of, parts_of(place)))
    except (OSError, pa.ArrowException):
        return None


def _rows_of(part: Place) -> int:
    with part.open("rb") as file:
        return pq.read_metadata(file).num_rows
