"""Text files in blocks of whole lines, so that memory is bounded and every fault has its line.

Plain or gzip; a file that expands without end is left as soon as it passes its limit. What the
lines say is for `csv_file` and `json_lines`.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from batchinf_assets.errors import LandingFault
from batchinf_assets.snapshots.file_limits import FileLimits

BLOCK_BYTES = 4 * 2**20

_TEXTS_PER_LINE = 16
"""A line may hold so many of the longest texts, where those would take more than a block."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class TextBlock:
    """Some whole lines of a file, valid UTF-8 without NUL bytes.

    Attributes:
        first_line: The number of the first one; a file's first line is 1.
        content: The lines, with their ends.
    """

    first_line: int
    content: bytes


def text_blocks(
    content: bytes, limits: FileLimits, *, zipped: bool, quotes: bool
) -> Iterator[TextBlock]:
    """Cut a file into blocks of whole lines.

    Args:
        content: The file's bytes.
        limits: What it may expand to, and how long its texts may be.
        zipped: Whether it is gzip.
        quotes: Whether a line goes on to the next one inside of double quotes, as in CSV.

    Raises:
        LandedFileUnreadable: While it is iterated: above a limit, a damaged archive, not UTF-8, a
            NUL byte, quotes that never close, or nothing but blanks.
    """
    empty = True
    for block in _cut(_chunks(content, limits, zipped=zipped), limits, quotes=quotes):
        _require_text(block, limits)
        empty = empty and not block.content.strip()
        yield block
    if empty:
        raise limits.refused(LandingFault.EMPTY, "is empty (no line in it)")


def _chunks(content: bytes, limits: FileLimits, *, zipped: bool) -> Iterator[bytes]:
    plain = io.BytesIO(content)
    stream = cast("BinaryIO", gzip.GzipFile(fileobj=plain)) if zipped else plain
    total = 0
    try:
        while chunk := stream.read(BLOCK_BYTES):
            yield chunk if total else chunk.removeprefix(_BYTE_ORDER_MARK)
            total += len(chunk)
            limits.require_decoded(total)
    except EOFError as error:
        raise limits.refused(
            LandingFault.TRUNCATED, "is no whole gzip file (it ends early)"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        clause = "is no gzip file or a damaged one"
        raise limits.refused(LandingFault.DAMAGED, clause) from error


def _cut(chunks: Iterator[bytes], limits: FileLimits, *, quotes: bool) -> Iterator[TextBlock]:
    pending, line = b"", 1
    for chunk in chunks:
        pending += chunk
        cut = _whole_lines(pending, quotes=quotes)
        if cut:
            yield TextBlock(first_line=line, content=pending[:cut])
            line += pending.count(b"\n", 0, cut)
            pending = pending[cut:]
        _require_line(pending, line, limits)
    if quotes and pending.count(b'"') % 2:
        clause = f"opens a quotation in line {line} that never closes"
        raise limits.refused(LandingFault.MALFORMED_LINE, clause)
    if pending:
        yield TextBlock(first_line=line, content=pending)


def _require_line(line: bytes, number: int, limits: FileLimits) -> None:
    longest = max(BLOCK_BYTES, _TEXTS_PER_LINE * limits.declared.text_bytes)
    if len(line) >= longest:
        clause = f"has {longest} bytes or more in line {number}: no such line is read"
        raise limits.refused(LandingFault.TEXT_TOO_LONG, clause)


def _whole_lines(text: bytes, *, quotes: bool) -> int:
    """Return where the last line ends that is not inside of quotes; 0 where none does."""
    end = text.rfind(b"\n") + 1
    inside = quotes and text.count(b'"', 0, end) % 2
    while end and inside:
        before = text.rfind(b"\n", 0, end - 1) + 1
        inside ^= text.count(b'"', before, end) % 2
        end = before
    return end


def _require_text(block: TextBlock, limits: FileLimits) -> None:
    try:
        block.content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = block.content[error.start]
        clause = f"is not UTF-8 in line {_line_at(block, error.start)} (byte 0x{byte:02x})"
        raise limits.refused(LandingFault.BAD_ENCODING, clause) from error
    if (nul := block.content.find(b"\0")) >= 0:
        clause = f"has a NUL byte in line {_line_at(block, nul)}"
        raise limits.refused(LandingFault.NUL_BYTE, clause)


def _line_at(block: TextBlock, place: int) -> int:
    return block.first_line + block.content.count(b"\n", 0, place)
