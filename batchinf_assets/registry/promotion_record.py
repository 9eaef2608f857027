"""What a record of a promotion says; how records hang together is `registry.promotions`'s business.

Format: `docs/formats/model.md`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.registry.card import Digest
from batchinf_assets.registry.keyring import KeyId
from batchinf_assets.spec.contract import Name


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clause(_Frozen):
    """One condition of a promotion and whether it held.

    Attributes:
        name: Which condition.
        passed: Whether it held.
        sentence: What was found, for people.
        measured: The figures behind it.
    """

    name: str
    passed: bool
    sentence: str
    measured: dict[str, float | int | str | bool | None] = Field(default_factory=dict)


class Promotion(_Frozen):
    """One move of an alias.

    Attributes:
        sequence: 1 for the first record of an alias, one more for each.
        previous_sha256: The record before; None for the first.
        action: Whether the version was put forward or taken back to.
        version: The version that the alias names from here on.
        digest: Its artifact.
        reason: Why, in the words of who did it.
        by: Who.
        at: When.
        forced: Whether clauses failed and were overridden.
        clauses: What the gate found.
        key_id: Who signed.
    """

    format_version: Literal[1] = 1
    name: Name
    alias: Name
    sequence: int = Field(ge=1)
    previous_sha256: Digest | None
    action: Literal["promote", "demote"]
    version: str
    digest: Digest
    reason: str = Field(min_length=1)
    by: str
    at: AwareDatetime
    forced: bool
    clauses: tuple[Clause, ...]
    key_id: KeyId

    def to_json(self) -> bytes:
        """Write canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))
