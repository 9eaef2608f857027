"""Some rows of a file, to see what it holds: bounded in time and memory, however large it is.

Judges nothing and follows no declaration; a landed file is read by `snapshots.landing`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.checks import quoted
from batchinf_assets.errors import LandedFileMissing, LandingFault
from batchinf_assets.snapshots.csv_file import decode_csv
from batchinf_assets.snapshots.file_limits import FileLimits, unreadable
from batchinf_assets.snapshots.formats import FileFormat, format_of
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.snapshots.sample_types import json_columns, typed_texts
from batchinf_assets.snapshots.text_blocks import BLOCK_BYTES, TextBlock, text_blocks
from batchinf_assets.spec.contract import LimitsSpec

SAMPLE_ROWS = 262_144
"""Of a Parquet file, spread over its row groups."""

SAMPLE_BYTES = 4 * BLOCK_BYTES
"""Of a text file, unzipped, from its beginning: who wants its end has to read it all."""

_GROUPS = 16
_BATCH_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some rows of a file, or all of them.

    Attributes:
        rows: The rows, in the types of the file or those that its texts seem to have.
        rows_in_file: How many there are; None where the rest was not read.
        untold: Why a column's type could not be told, by the column's name.
    """

    rows: pa.Table
    rows_in_file: int | None
    untold: Mapping[str, str] = field(default_factory=dict[str, str])


def read_sample(path: Path, limits: LimitsSpec) -> Sample:
    """Read all of a small file, and of a large one some rows.

    Args:
        path: The file; its ending is the format.
        limits: What it may ask of this machine.

    Raises:
        InvalidSpec: The ending is no known format.
        LandedFileMissing: There is no such file.
        LandedFileUnreadable: It is empty, damaged, not of its format, or above a limit.
    """
    name, file_format = quoted(str(path)), format_of(path.name)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise LandedFileMissing(f"{name} is not there.", next_step="Check the path.") from error
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(name, LandingFault.NO_FILE, "is no file")
    file_limits = FileLimits(name=name, file_bytes=status.st_size, declared=limits)
    file_limits.require_file_bytes()
    if file_format.kind == "parquet":
        return _of_parquet(path, file_limits)
    return _of_text(path, file_format, file_limits)


def _of_parquet(path: Path, limits: FileLimits) -> Sample:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        file = None  # the reader of whole files says what is wrong with it
    if file is None or file.metadata.num_rows <= SAMPLE_ROWS:
        landing = Landing(path.parent, quoted(str(path.parent)))
        rows = landing.read(path.name, limits=limits.declared, columns={}).rows
        return Sample(rows=rows, rows_in_file=rows.num_rows)
    limits.require_columns(len(file.schema_arrow))
    limits.require_rows(file.metadata.num_rows)
    rows = pa.Table.from_batches(_spread(path, file, limits))
    return Sample(rows=rows, rows_in_file=file.metadata.num_rows)


def _spread(path: Path, file: pq.ParquetFile, limits: FileLimits) -> Iterator[pa.RecordBatch]:
    """Yield the first rows of some row groups, texts as dictionaries: one can repeat for ever."""
    texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
    groups = file.metadata.num_row_groups
    chosen = range(0, groups, -(-groups // _GROUPS))
    try:
        encoded = pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True)
        for group in chosen:
            wanted = SAMPLE_ROWS // len(chosen)
            for batch in encoded.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                limits.require_texts(pa.Table.from_batches([batch]))
                yield batch.slice(0, wanted)
                wanted -= min(wanted, batch.num_rows)
                if not wanted:
                    break
    except (pa.ArrowException, OSError) as error:
        clause = f"is no whole Parquet file ({quoted(str(error).partition(chr(10))[0])})"
        raise limits.refused(LandingFault.DAMAGED, clause) from error


def _of_text(path: Path, file_format: FileFormat, limits: FileLimits) -> Sample:
    with path.open("rb") as file:  # zipped or not, this much holds a sample
        content = file.read(SAMPLE_BYTES + 2 * BLOCK_BYTES)
    if not content:
        raise limits.refused(LandingFault.EMPTY, "is empty (0 bytes)")
    is_csv = file_format.kind == "csv"
    blocks = text_blocks(content, limits, zipped=file_format.zipped, quotes=is_csv)
    first, whole = _first_blocks(blocks)
    if is_csv:
        rows, untold = typed_texts(decode_csv(iter(first), {}, limits)), dict[str, str]()
    else:
        rows, untold = json_columns(first, limits)
    return Sample(rows=rows, rows_in_file=rows.num_rows if whole else None, untold=untold)


def _first_blocks(blocks: Iterator[TextBlock]) -> tuple[list[TextBlock], bool]:
    """Take as many blocks as a sample needs, and say whether these are all."""
    taken: list[TextBlock] = []
    size = 0
    for block in blocks:
        if size >= SAMPLE_BYTES:
            return taken, False
        taken.append(block)
        size += len(block.content)
    return taken, True
