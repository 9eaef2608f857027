"""What a finished shard leaves behind, so that a later attempt need not compute it again.

A checkpoint is written after the shard's file, so it never speaks of a file that is not there
whole. It names the revision, and a revision's id covers inputs, model and code: a checkpoint of
anything else is of no use to this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import DocumentTooLarge
from batchinf_assets.lake.digest import canonical_json, json_sha256
from batchinf_assets.lake.files import holds, read_bounded, write_bytes
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.manifest.values import Count
from batchinf_assets.scoring.shards import Shard


class Checkpoint(BaseModel):
    """A finished shard.

    Attributes:
        revision: The revision that it belongs to.
        index: The shard.
        start: Its first row among the window's.
        output: The file that holds its predictions.
        keys: First and last key of each of its row groups.
        checks: What was checked on its rows.
        observed: Its rows by bin of the model's reference profile, per feature and score.
        scores: Its rows by bin of `scoring.score_histogram`; None where nobody counted.
        seconds: Time per stage: `read`, `compare`, `score`, `postprocess`, `check`, `write`.
        carried: Rows whose score was kept from the revision before.
        attempt: The attempt that computed it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    revision: str
    index: int
    start: int
    output: OutputRecord
    keys: tuple[KeySpan, ...]
    checks: tuple[CheckResult, ...]
    observed: dict[str, tuple[Count, ...]]
    scores: tuple[Count, ...] | None = None
    seconds: dict[str, float]
    carried: Count = 0
    attempt: int


class _Sealed(BaseModel):
    """A checkpoint with the digest of its own content: a changed digit must not pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Checkpoint
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one revision of one window.

    Attributes:
        folder: `<lake>/<pipeline>/_checkpoints/<window>/<revision>`.
        table: The folder that output paths count from.
        revision: The revision.
    """

    folder: Place
    table: Place
    revision: str

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; readable as a whole or not at all."""
        sealed = _Sealed(checkpoint=checkpoint, sha256=_seal(checkpoint))
        write_bytes(self._path(checkpoint.index), canonical_json(sealed.model_dump(mode="json")))

    def finished(self, shard: Shard, path: str) -> Checkpoint | None:
        """Return the checkpoint of a shard whose file is whole; None if it must be computed.

        Args:
            shard: The shard as it is planned now.
            path: Where its file belongs, from the table's folder.
        """
        found = self.read(shard.index)
        if found is None or found.start != shard.start:
            return None
        if (found.output.path, found.output.rows) != (path, shard.rows):
            return None
        output = found.output
        whole = holds(self.table / output.path, output.bytes, output.sha256)
        return found if whole else None

    def read(self, index: int) -> Checkpoint | None:
        """Return a checkpoint of this revision; None where it is missing, damaged or another's."""
        try:
            sealed = _Sealed.model_validate_json(read_bounded(self._path(index)))
        except (FileNotFoundError, DocumentTooLarge, ValidationError):
            return None
        intact = sealed.sha256 == _seal(sealed.checkpoint)
        found = sealed.checkpoint
        return found if intact and (found.revision, found.index) == (self.revision, index) else None

    def missing(self, shards: Iterable[Shard]) -> list[Shard]:
        """Return the shards without a checkpoint; whether files are whole is not looked at."""
        return [shard for shard in shards if self.read(shard.index) is None]

    def _path(self, index: int) -> Place:
        return self.folder / f"{index:05d}.json"


def _seal(checkpoint: Checkpoint) -> str:
    document = checkpoint.model_dump(mode="json")
    if document["scores"] is None:  # not a word of those that were sealed before it was counted
        del document["scores"]
    return json_sha256(document)
