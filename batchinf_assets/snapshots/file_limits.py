"""The declared limits of a landed file, and how a file that is refused is reported.

Every refusal names the file, says what is wrong with a stable code, and what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import quoted
from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.spec.contract import LimitsSpec

MAX_DECODED_BYTES = 8 * 2**30
"""No file may decode to more, whatever is declared: a window's rows are held in memory."""

FREE_EXPANSION_BYTES = 64 * 2**20
"""Up to here a file may expand as far as it likes; small files of few values do."""

_AGAIN = "Ask upstream to drop it again, then run the window again."
_SMALLER = "Ask upstream to correct it, or raise the limit under source.limits in defs.yaml."
_STEPS = {
    LandingFault.CHANGED_WHILE_READ: "Run the window again once it is written; upstream should "
    "write elsewhere and then rename the file.",
    LandingFault.TOO_LARGE: _SMALLER,
    LandingFault.TOO_MANY_ROWS: _SMALLER,
    LandingFault.TOO_MANY_COLUMNS: _SMALLER,
    LandingFault.TEXT_TOO_LONG: _SMALLER,
    LandingFault.EXPANDS_TOO_FAR: _SMALLER,
}


def unreadable(name: str, reason: LandingFault, clause: str) -> LandedFileUnreadable:
    """Return the error for a file; `clause` follows its name, as in `is empty`."""
    return LandedFileUnreadable(
        f"{name} {clause}.", reason=reason, next_step=_STEPS.get(reason, _AGAIN)
    )


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """What one landed file may ask for. Each method raises LandedFileUnreadable above its limit.

    Attributes:
        name: How messages call the file.
        file_bytes: Its size.
        declared: The pipeline's limits.
    """

    name: str
    file_bytes: int
    declared: LimitsSpec

    @property
    def decoded_bytes(self) -> int:
        """How many bytes the file may decode to."""
        by_size = int(min(self.declared.expansion * self.file_bytes, MAX_DECODED_BYTES))
        return min(max(by_size, FREE_EXPANSION_BYTES), MAX_DECODED_BYTES)

    def refused(self, reason: LandingFault, clause: str) -> LandedFileUnreadable:
        """Return the error that refuses the file."""
        return unreadable(self.name, reason, clause)

    def require_file_bytes(self) -> None:
        """Judge the size; nothing of the file needs to be read for it."""
        if self.file_bytes > self.declared.file_bytes:
            clause = f"has {self.file_bytes} bytes, the limit is {self.declared.file_bytes}"
            raise self.refused(LandingFault.TOO_LARGE, clause)

    def require_columns(self, columns: int) -> None:
        """Judge the number of columns."""
        if columns > self.declared.columns:
            clause = f"has {columns} columns, the limit is {self.declared.columns}"
            raise self.refused(LandingFault.TOO_MANY_COLUMNS, clause)

    def require_rows(self, rows: int) -> None:
        """Judge the number of rows, or of those found so far."""
        if rows > self.declared.rows:
            clause = f"has {rows} rows or more, the limit is {self.declared.rows}"
            raise self.refused(LandingFault.TOO_MANY_ROWS, clause)

    def require_decoded(self, decoded: int) -> None:
        """Judge the decoded bytes, or those known so far."""
        if decoded > self.decoded_bytes:
            clause = f"decodes to {decoded} bytes or more, the limit is {self.decoded_bytes}"
            raise self.refused(LandingFault.EXPANDS_TOO_FAR, clause)

    def require_texts(self, rows: pa.Table) -> None:
        """Judge the longest string of every text column, by lengths alone."""
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            longest = max(map(_longest, column.chunks), default=0)
            if longest > self.declared.text_bytes:
                clause = (
                    f"has a text of {longest} bytes in column '{quoted(name)}', "
                    f"the limit is {self.declared.text_bytes}"
                )
                raise self.refused(LandingFault.TEXT_TOO_LONG, clause)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are texts or bytes of any length."""
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _longest(values: pa.Array) -> int:
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary
    return (pc.max(pc.binary_length(values)).as_py() or 0) if is_text(values.type) else 0
