"""The manifest: the document that names everything that decided a revision of a window.

Pure values and their JSON; `lake.manifests` keeps them, `publishing.verify` holds files to them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.spec import Name


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Value):
    """A file by name and content; `path` counts from the checkout or the lake, as its user says."""

    path: str
    sha256: str
    bytes: int


class OutputRecord(FileRecord):
    """A published file; `path` counts from the predictions table's folder."""

    rows: int


class WindowRecord(_Value):
    """The window that was scored."""

    key: str
    start: datetime
    end: datetime


class SnapshotRecord(_Value):
    """The frozen source rows."""

    digest: str
    rows: int
    source: FileRecord


class FeaturesRecord(_Value):
    """The model's input and what it was made from."""

    digest: str
    rows: int
    definition: str
    references: tuple[FileRecord, ...]
    absent: tuple[str, ...]


class ModelRecord(_Value):
    """The model that scored, who signed it, and which signed promotion made it the alias's."""

    name: Name  # name and digest become paths
    version: str
    alias: Name
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    scorer: str
    key_id: str | None = None  # None in manifests from before models were signed
    promotion: int | None = None


class CodeRecord(_Value):
    """The code and the libraries that scored."""

    version: str
    source: str
    python: str
    libraries: dict[str, str]


class SettingsRecord(_Value):
    """Scoring and post-processing settings that decide the output's bytes."""

    prediction_column: str
    shard_rows: int
    postprocess: str


class CountsRecord(_Value):
    """Row conservation: rows in = scored + quarantined."""

    rows_in: int
    scored: int
    quarantined: int


class EvaluationRecord(_Value):
    """What evaluation measured on this revision."""

    golden: dict[str, float | int | None]
    psi: dict[str, float | None]
    drift_verdict: str


class Manifest(_Value):
    """Everything that decided one revision of one window, and what came out.

    A draft has no evaluation and no `published_at` yet. Documents are immutable once published.
    """

    format_version: Literal[1] = 1
    pipeline: str
    owner: str
    window: WindowRecord
    revision: str
    snapshot: SnapshotRecord
    features: FeaturesRecord
    model: ModelRecord
    code: CodeRecord
    settings: SettingsRecord
    counts: CountsRecord
    outputs: tuple[OutputRecord, ...]
    checks: tuple[CheckResult, ...]
    evaluation: EvaluationRecord | None = None
    run_id: str
    scored_at: datetime
    published_at: datetime | None = None

    def to_json(self) -> bytes:
        """Write the document; equal manifests give equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def parse_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest that was written by this or an earlier version.

    Args:
        content: The document.
        name: What to call it in an error.

    Raises:
        ManifestInvalid: The bytes are no manifest.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ManifestInvalid(
            f"{name} is no manifest: {'.'.join(map(str, problem['loc']))} {problem['msg']}.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error
