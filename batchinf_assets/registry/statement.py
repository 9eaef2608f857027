"""The model statement: what is signed of an artifact, and a folder held against it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.registry.card import FileDigest, SignedFile, first_problem
from batchinf_assets.registry.keyring import KeyId, Keyring, in_utc
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.plain_files import plain_folder_names, read_plain, refused
from batchinf_assets.registry.signing import (
    DocumentType,
    read_signed,
    sign_document,
    signature_name,
)
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.spec.contract import Name

STATEMENT_FILE = "statement.json"
STATEMENT_TYPE: DocumentType = "application/vnd.batchinf.model-statement+json"


class ModelStatement(BaseModel):
    """What is signed of a model.

    Attributes:
        name: The registered model's name.
        version: Its version in the registry.
        feature_definition: Digest of the feature SQL that the model learned from.
        created_at: When it was signed.
        expires_at: From when on the signature no longer counts.
        key_id: Who signed.
        files: Every file of the artifact but this one and its signature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    name: Name
    version: str = Field(pattern=r"^[1-9][0-9]{0,9}$")
    feature_definition: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    key_id: KeyId
    files: dict[SignedFile, FileDigest] = Field(min_length=1)

    def to_json(self) -> bytes:
        """Write canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    def signed(self, key: SigningKey) -> dict[str, bytes]:
        """Return the statement and its signature by file name."""
        body = self.to_json()
        return {
            STATEMENT_FILE: body,
            signature_name("statement", key): sign_document(STATEMENT_TYPE, body, key),
        }


def digest_of(data: bytes) -> FileDigest:
    """Return what binds these bytes."""
    return FileDigest(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def verify_folder(
    folder: Path, *, name: str, version: str, keyring: Keyring, at: datetime | None
) -> tuple[ModelStatement, Mapping[SignedFile, bytes]]:
    """Verify a model's folder from the signature down, and return the very bytes that were hashed.

    Nothing is parsed before the signature over it held, and no more of a file is read than was
    signed. What is exchanged after it was listed or read changes nothing: the bytes that were
    hashed are the ones that are returned.

    Args:
        folder: The artifact's folder.
        name: The model that it must be.
        version: The version that it must be.
        keyring: The trusted keys.
        at: The time that validity is held against; None asks for authenticity alone.

    Raises:
        ModelRefused: With the reason code of the first thing that is wrong.
    """
    what = f"Model {name} v{version} ({folder.name})"
    present = plain_folder_names(folder, what)
    signed = read_signed(folder / STATEMENT_FILE, STATEMENT_TYPE, keyring, at, what)
    statement = _parsed(signed.body, what)
    _require_identity(statement, name, version, signed.key_id, what)
    _require_in_time(statement, at, what)
    _require_listed(present, statement, what)
    return statement, {
        file: read_bound(folder / file, bound, what) for file, bound in statement.files.items()
    }


def read_bound(path: Path, bound: FileDigest, what: str) -> bytes:
    """Read a file that must hold certain bytes.

    Raises:
        ModelRefused: It is missing, no plain file, or holds other bytes.
    """
    data = read_plain(path, what, limit=bound.bytes)
    if len(data) != bound.bytes:
        problem = f"{path.name} does not have the {bound.bytes} bytes that were signed"
        raise refused(what, problem, Refusal.CHANGED_FILE)
    if digest_of(data) != bound:
        raise refused(what, f"{path.name} does not have the signed sha256", Refusal.CHANGED_FILE)
    return data


def _parsed(body: bytes, what: str) -> ModelStatement:
    try:
        return ModelStatement.model_validate_json(body)
    except ValidationError as error:
        reason = f"its statement is of no known format: {first_problem(error)}"
        raise refused(what, reason, Refusal.UNREADABLE) from error


def _require_identity(
    statement: ModelStatement, name: str, version: str, key_id: str, what: str
) -> None:
    if statement.key_id != key_id:
        reason = f"the statement names key {statement.key_id}, key {key_id} signed it"
        raise refused(what, reason, Refusal.WRONG_KEY)
    if statement.name != name:
        raise refused(what, f"the signature is of model '{statement.name}'", Refusal.OTHER_MODEL)
    if statement.version != version:
        older = int(statement.version) < int(version)
        raise refused(
            what,
            f"the signature is of version {statement.version}",
            Refusal.OLDER_VERSION if older else Refusal.OTHER_MODEL,
        )


def _require_in_time(statement: ModelStatement, at: datetime | None, what: str) -> None:
    if at is not None and at >= statement.expires_at:
        raise ModelRefused(
            f"{what}: its signature expired on {in_utc(statement.expires_at)}.",
            reason=Refusal.SIGNATURE_EXPIRED,
            next_step="Retrain, or sign it for longer after a review: "
            f"`batchinf model renew {statement.name} {statement.version}`.",
        )


def _require_listed(present: frozenset[str], statement: ModelStatement, what: str) -> None:
    listed = {*statement.files, STATEMENT_FILE, f"statement.{statement.key_id}.sig"}
    for name in sorted(present - listed):
        raise refused(what, f"{one_line(name)} does not belong to it", Refusal.ADDED_FILE)
    for name in sorted(listed - present):
        raise refused(what, f"{name} is missing", Refusal.MISSING_FILE)
