"""CSV files: RFC 4180 with a header, in UTF-8; an empty cell without quotes is null.

Nothing is guessed: every cell is read as text, and declared columns get their declared types.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.csv as pacsv

from batchinf_assets.checks import quoted
from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.parquet_file import require_distinct
from batchinf_assets.snapshots.text_blocks import TextBlock
from batchinf_assets.snapshots.typed_text import Misfit, TypedText
from batchinf_assets.spec.contract import ColumnSpec

_SHOWN_NAMES = 5


def decode_csv(
    blocks: Iterator[TextBlock], columns: Mapping[str, ColumnSpec], limits: FileLimits
) -> pa.Table:
    """Decode a CSV file.

    Args:
        blocks: Its lines.
        columns: The declared columns; any others stay texts.
        limits: Judged block by block.

    Raises:
        LandedFileUnreadable: There is no header, a line has too many or too few cells, a cell is no
            value of its column's type, or a limit is passed.
    """
    names: list[str] = []
    typing, parts, rows, decoded = TypedText(columns), list[pa.Table](), 0, 0
    for block in blocks:
        header = not names
        names = names or _header(block, columns, limits)
        if not names:
            continue
        texts = _cells(block, names, limits)
        limits.require_texts(texts)
        part = _typed(typing, texts, block, limits, header=header)
        parts.append(part)
        rows, decoded = rows + part.num_rows, decoded + part.nbytes
        limits.require_rows(rows)
        limits.require_decoded(decoded)
    return typing.joined(parts)


def _header(block: TextBlock, columns: Mapping[str, ColumnSpec], limits: FileLimits) -> list[str]:
    """Return the names in the first line that is not blank, if there is one."""
    line, names = next(_records(block, limits), (block.first_line, list[str]()))
    if not names:
        return names
    limits.require_columns(len(names))
    require_distinct(names, limits, f" in line {line}")
    if not all(names) or (columns and columns.keys().isdisjoint(names)):
        shown = ", ".join(quoted(name) or "''" for name in names[:_SHOWN_NAMES])
        clause = f"has no header: line {line} names none of the declared columns (found: {shown})"
        if not columns.keys().isdisjoint(names):
            clause = f"has a column without a name in line {line} (found: {shown})"
        raise limits.refused(LandingFault.NO_HEADER, clause)
    return names


def _cells(block: TextBlock, names: list[str], limits: FileLimits) -> pa.Table:
    """Parse a block in one piece, so that a record never lies across two."""
    # An empty cell behind quotes at the very end would be an empty text to Arrow.
    content = block.content if block.content.endswith(b"\n") else block.content + b"\n"
    try:
        return pacsv.read_csv(
            pa.BufferReader(content),
            read_options=pacsv.ReadOptions(column_names=names, block_size=len(content) + 1),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _malformed(block, len(names), limits) from error


def _typed(
    typing: TypedText, texts: pa.Table, block: TextBlock, limits: FileLimits, *, header: bool
) -> pa.Table:
    above = 1 if header else 0
    try:
        return typing.typed(texts.slice(above))
    except Misfit as misfit:
        lines = (line for line, _ in _records(block, limits))
        line = next((line for row, line in enumerate(lines) if row == misfit.row + above), "?")
        clause = (
            f"has a bad value in line {line}, column {misfit.column}: "
            f"expected {misfit.expected}, found '{quoted(misfit.text)}'"
        )
        raise limits.refused(LandingFault.BAD_VALUE, clause) from misfit


def _malformed(block: TextBlock, expected: int, limits: FileLimits) -> LandedFileUnreadable:
    for line, cells in _records(block, limits):
        if len(cells) != expected:
            clause = f"has {len(cells)} cells in line {line}, expected {expected} as in the header"
            return limits.refused(LandingFault.MALFORMED_LINE, clause)
    clause = f"has a malformed line in or after line {block.first_line}"
    return limits.refused(LandingFault.MALFORMED_LINE, clause)


def _records(block: TextBlock, limits: FileLimits) -> Iterator[tuple[int, list[str]]]:
    """Yield the records with the numbers of their first lines; blank lines are none."""
    # Slower than Arrow by far, which does not tell lines: for headers and refusals only.
    reader = csv.reader(io.StringIO(block.content.decode("utf-8"), newline=""))
    before = 0
    try:
        for cells in reader:
            if cells:
                yield block.first_line + before, cells
            before = reader.line_num
    except csv.Error as error:
        clause = f"has a malformed line {block.first_line + before} ({quoted(str(error))})"
        raise limits.refused(LandingFault.MALFORMED_LINE, clause) from error
