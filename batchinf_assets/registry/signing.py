"""Detached signatures of small documents, verified before a parser sees a byte.

A document `name.json` is signed by `name.<key id>.sig`, 64 raw bytes: nothing has to be parsed to
verify it. Signed is DSSE's pre-authentication encoding of the document with its type (Dead Simple
Signing Envelope 1.0.2, "PAE"), so a signature of one type never passes for another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from batchinf_assets.errors import Refusal
from batchinf_assets.lake.entries import entries
from batchinf_assets.registry.keyring import Keyring, PublicKey
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.plain_files import read_plain, refused

DocumentType = Literal[
    "application/vnd.batchinf.model-statement+json",
    "application/vnd.batchinf.promotion+json",
    "application/vnd.batchinf.manifest+json",
]

SIGNATURE_BYTES = 64
LARGEST_DOCUMENT = 1 << 20
SIGNATURE_NAME = re.compile(r"(?P<stem>[a-z0-9_]+)\.(?P<key>[0-9a-f]{16})\.sig")


@dataclass(frozen=True, kw_only=True)
class SignedDocument:
    """A document whose signature holds.

    Attributes:
        body: Its bytes; only now may they be parsed.
        key_id: The key that signed it.
    """

    body: bytes
    key_id: str


def signature_name(stem: str, key: SigningKey) -> str:
    """Return the name of the file that signs `<stem>.json`."""
    return f"{stem}.{key.id}.sig"


def sign_document(type_: DocumentType, body: bytes, key: SigningKey) -> bytes:
    """Return the signature of a document, 64 bytes."""
    return key.sign(_encoded(type_, body))


def read_signed(
    path: Path, type_: DocumentType, keyring: Keyring, at: datetime | None, what: str
) -> SignedDocument:
    """Read a document if a trusted key signed it.

    Args:
        path: The document, `<stem>.json`; its signature lies beside it.
        type_: What it must have been signed as.
        keyring: The trusted keys.
        at: The time that the key's validity is held against; None to ask for trust alone.
        what: What to call it in a message.

    Raises:
        ModelRefused: It is missing, unsigned or too large, the key is not trusted, or the
            signature is of other bytes.
    """
    signature = _signature_of(path, what)
    match = SIGNATURE_NAME.fullmatch(signature.name)
    assert match is not None
    body = _bounded(path, LARGEST_DOCUMENT, what)
    content = _bounded(signature, SIGNATURE_BYTES, what)
    return verify_document(
        type_, body, content, match["key"], keyring, at, what, stem=match["stem"]
    )


def verify_document(
    type_: DocumentType,
    body: bytes,
    signature: bytes,
    key_id: str,
    keyring: Keyring,
    at: datetime | None,
    what: str,
    *,
    stem: str,
) -> SignedDocument:
    """Return a document if a trusted key signed it, wherever both were read from.

    Args:
        type_: What it must have been signed as.
        body: The document.
        signature: What is said to be its signature.
        key_id: The key that is said to have signed it.
        keyring: The trusted keys.
        at: The time that the key's validity is held against; None to ask for trust alone.
        what: What to call it in a message.
        stem: The document's name without `.json`, for a message too.

    Raises:
        ModelRefused: The key is not trusted, or the signature is of other bytes.
    """
    key = keyring.trusted(key_id, at, what)
    if not is_signature(type_, body, signature, key):
        problem = f"the signature {stem}.{key.id}.sig is not of {stem}.json as it is now"
        raise refused(what, problem, Refusal.BAD_SIGNATURE)
    return SignedDocument(body=body, key_id=key.id)


def is_signature(type_: DocumentType, body: bytes, signature: bytes, key: PublicKey) -> bool:
    """Say whether a key signed a document, whoever trusts that key, and when."""
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, _encoded(type_, body))
    except InvalidSignature:
        return False
    return True


def _encoded(type_: DocumentType, body: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(type_), type_.encode(), len(body), body)


def _signature_of(path: Path, what: str) -> Path:
    found = sorted(
        other
        for other in entries(path.parent, f"{path.stem}.*.sig")
        if SIGNATURE_NAME.fullmatch(other.name)
    )
    if len(found) == 1:
        return found[0]
    problem = f"{path.name} has {len(found)} signatures" if found else f"{path.name} is not signed"
    raise refused(what, problem, Refusal.UNSIGNED)


def _bounded(path: Path, limit: int, what: str) -> bytes:
    data = read_plain(path, what, limit=limit, missing=Refusal.UNSIGNED)
    if len(data) > limit:
        raise refused(what, f"{path.name} has more than {limit} bytes", Refusal.BAD_SIGNATURE)
    return data
