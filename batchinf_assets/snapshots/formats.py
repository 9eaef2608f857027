"""Which format a landed file has: its name's ending says it, nothing is guessed from bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from batchinf_assets.checks import quoted
from batchinf_assets.errors import InvalidSpec, LandingFault
from batchinf_assets.snapshots.csv_file import decode_csv
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.json_lines import decode_json_lines
from batchinf_assets.snapshots.parquet_file import decode_parquet
from batchinf_assets.snapshots.text_blocks import text_blocks
from batchinf_assets.spec.contract import ColumnSpec


@dataclass(frozen=True)
class FileFormat:
    """How a file's bytes become rows.

    Attributes:
        kind: The format.
        zipped: Whether the whole file is compressed with gzip.
    """

    kind: Literal["parquet", "csv", "json_lines"]
    zipped: bool = False

    @property
    def typed(self) -> bool:
        """Whether the file says itself of which types its columns are."""
        return self.kind == "parquet"


FORMATS: Mapping[str, FileFormat] = {
    ".parquet": FileFormat("parquet"),
    ".csv": FileFormat("csv"),
    ".csv.gz": FileFormat("csv", zipped=True),
    ".jsonl": FileFormat("json_lines"),
    ".jsonl.gz": FileFormat("json_lines", zipped=True),
    ".ndjson": FileFormat("json_lines"),
    ".ndjson.gz": FileFormat("json_lines", zipped=True),
}
"""The formats by ending."""


def format_of(name: str) -> FileFormat:
    """Return the format that a file's name declares.

    Raises:
        InvalidSpec: The name has none of the known endings.
    """
    for ending, found in FORMATS.items():
        if name.lower().endswith(ending):
            return found
    raise InvalidSpec(
        f"{quoted(name)} has no ending that tells its format.",
        next_step=f"Declare a file that ends in one of: {', '.join(FORMATS)}.",
    )


def decode(
    content: bytes, file_format: FileFormat, columns: Mapping[str, ColumnSpec], limits: FileLimits
) -> pa.Table:
    """Turn a file's bytes into rows, within its limits.

    Args:
        content: The whole file, as it lies on disk.
        file_format: Its format.
        columns: The declared columns: texts of CSV and JSON Lines get their types.
        limits: What the file may ask for.

    Raises:
        LandedFileUnreadable: It is empty, damaged, not of its format, or above a limit.
    """
    if not content:
        raise limits.refused(LandingFault.EMPTY, "is empty (0 bytes)")
    if file_format.kind == "parquet":
        return decode_parquet(content, limits, columns)
    is_csv = file_format.kind == "csv"
    blocks = text_blocks(content, limits, zipped=file_format.zipped, quotes=is_csv)
    return (decode_csv if is_csv else decode_json_lines)(blocks, columns, limits)
