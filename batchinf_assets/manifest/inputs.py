"""What was scored: the window, its frozen rows and its features."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    model_validator,
)

from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.values import (
    Count,
    Digest,
    RelativePath,
    Text,
    Value,
    require_relative,
)
from batchinf_assets.spec.contract import Name


def _relative_file(file: FileRecord) -> FileRecord:
    require_relative(file.path)
    return file


RelativeFile = Annotated[FileRecord, AfterValidator(_relative_file)]


class WindowRecord(Value):
    """The window that was scored: its key, first instant and first instant after."""

    key: str = Field(pattern=r"^[0-9][0-9:-]{0,30}$")
    start: AwareDatetime
    end: AwareDatetime


class ApprovalRecord(Value):
    """Who let corrected data in that landed late, why and when."""

    by: Text
    reason: Text
    at: AwareDatetime


class SnapshotRecord(Value):
    """The frozen source rows.

    Attributes:
        table: The Delta table's folder within the pipeline's.
        version: The Delta version that gave the window these rows; None where it is not known.
        digest: Of the rows, whatever their file looks like.
        rows: Their count.
        source: The landed file.
        landed: Rows of that file, `rows` + `quarantined`; None where it is not known.
        quarantined: Rows that were set aside before the others were frozen.
        rejected: Digest of what was said of them; None where there are none.
        contract: Digest of the declared rules that they were judged by; None where not known.
        required: Declared columns that the landed file calls required; None where its format cannot
            say, and where it is not known.
        approval: Who let it in, where it landed late; None where nobody was asked.
    """

    table: RelativePath = "snapshot"
    version: Count | None = None
    digest: Digest
    rows: Count
    source: RelativeFile
    landed: Count | None = None
    quarantined: Count = 0
    rejected: Digest | None = None
    contract: Digest | None = None
    required: tuple[Name, ...] | None = None
    approval: ApprovalRecord | None = None

    @property
    def rows_in(self) -> int:
        """Rows that landed."""
        return self.rows + self.quarantined

    @property
    def content(self) -> tuple[str | None, ...]:
        """What decides a revision: the rows, the contract, and what was set aside by it."""
        return self.digest, self.contract, self.rejected

    @model_validator(mode="after")
    def _every_row_is_accounted_for(self) -> SnapshotRecord:
        if self.landed not in (None, self.rows_in):
            raise ValueError("landed rows are those frozen and those quarantined")
        _require_reasons(self.quarantined, self.rejected)
        return self


class FeaturesRecord(Value):
    """The model's input and what it was made from.

    Attributes:
        digest: Of the rows, whatever their file looks like.
        rows: Their count.
        definition: Digest of the feature SQL and what was declared beside it.
        contract: Digest of the declared rules that they were judged by; None where not known.
        quarantined: Rows that were set aside because of their features.
        rejected: Digest of what was said of them; None where there are none.
        row_group_rows: Rows per row group of the features file; None where it is not known.
        references: Landed files that were read beside the snapshot.
        absent: Outcome files that had not landed, and would have been read.
    """

    digest: Digest
    rows: Count
    definition: Digest
    row_group_rows: Count | None = None
    references: tuple[RelativeFile, ...]
    absent: tuple[RelativePath, ...]
    contract: Digest | None = None
    quarantined: Count = 0
    rejected: Digest | None = None

    @property
    def content(self) -> tuple[str | None, ...]:
        """What decides a revision: the rows, the contract, and what was set aside by it."""
        return self.digest, self.contract, self.rejected

    @model_validator(mode="after")
    def _every_row_has_a_reason(self) -> FeaturesRecord:
        _require_reasons(self.quarantined, self.rejected)
        return self


def _require_reasons(quarantined: int, rejected: str | None) -> None:
    if bool(quarantined) != (rejected is not None):
        raise ValueError("quarantined rows and the digest of their reasons go together")
