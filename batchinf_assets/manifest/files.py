"""The files that a revision is made of, and those that it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from batchinf_assets.manifest.values import Count, Digest, RelativePath, Value


class FileRecord(Value):
    """A file by name and content; `path` counts from the landing folder or the checkout."""

    path: str
    sha256: Digest
    bytes: Count


class QuarantineRecord(FileRecord):
    """The file that says which rows were set aside and why.

    Attributes:
        path: From the quarantine table's folder.
        lines: One per row and broken rule.
    """

    path: RelativePath
    lines: Annotated[int, Field(gt=0, lt=2**63)]


class OutputRecord(FileRecord):
    """A published file; `path` counts from the predictions table's folder."""

    path: RelativePath
    rows: Count
