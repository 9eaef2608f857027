"""Signed manifests: what a publication signs, and what must hold before one is believed.

The signature is detached, `<revision>.<key id>.sig` beside `<revision>.json`; where the files lie
is in `lake.manifests`, how documents are signed in `registry.signing`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchinf_assets.errors import ManifestInvalid, ModelRefused, Refusal, SigningKeyUnavailable
from batchinf_assets.lake.manifests import SIGNATURE_BYTES, ManifestStore, SignedManifest
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest, parse_manifest
from batchinf_assets.registry.keyring import Keyring, in_utc
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.signing import (
    DocumentType,
    is_signature,
    sign_document,
    verify_document,
)
from batchinf_assets.windows import Window

MANIFEST_TYPE: DocumentType = "application/vnd.batchinf.manifest+json"
OF_THE_KEY = frozenset({Refusal.WRONG_KEY, Refusal.KEY_REVOKED})
"""Refusals by what is trusted here: nobody changed the manifest."""

RESTORE = "Restore it and its signature from a backup, and find out who changed them."

Signer = Literal["counts", "revoked", "of other bytes", "unknown"]
"""What a signature is worth on this machine; `unknown` is a key that its keyring does not have."""


@dataclass(frozen=True, kw_only=True)
class VerifiedManifest:
    """A manifest whose signature holds.

    Attributes:
        manifest: The document.
        key_id: The key that signed it.
        sha256: Of its bytes.
    """

    manifest: Manifest
    key_id: str
    sha256: str


def sign_manifest(manifest: Manifest, key: SigningKey, keyring: Keyring) -> SignedManifest:
    """Sign a manifest at its `published_at`.

    Raises:
        ManifestInvalid: It could not be read back, or has no `published_at`.
        SigningKeyUnavailable: The keyring does not trust the key at that time, so that nobody would
            believe the manifest.
    """
    body = manifest.to_json()
    what = f"The manifest of revision {manifest.revision}"
    finished = parse_manifest(body, what)
    try:
        keyring.trusted(key.id, _published_at(finished, what), what)
    except ModelRefused as error:
        raise SigningKeyUnavailable(
            f"{error.message} Nobody would believe it.",
            next_step="Sign with a key that the keyring trusts: `batchinf keys list`.",
        ) from error
    return SignedManifest(
        revision=manifest.revision,
        body=body,
        key_id=key.id,
        signature=sign_document(MANIFEST_TYPE, body, key),
    )


def read_signed_manifest(
    store: ManifestStore, window: Window, revision: str, keyring: Keyring
) -> VerifiedManifest:
    """Read the manifest of a revision if a trusted key signed it.

    No parser sees a byte before a signature held. Of several signatures one must hold; others are
    of earlier bytes. The key may have expired since, but must have been valid at `published_at`:
    that time is the signer's own word. Who has an expired key could backdate, so a key that leaked
    must be revoked, whether it expired or not.

    Raises:
        ManifestInvalid: It is missing or unsigned; the signature is of other bytes; its key is not
            in the keyring, is revoked, or was not valid when the manifest was published; or it is
            about another revision or window.
    """
    body, what = store.body(window, revision), str(store.path(window, revision))
    key_id = _signer(store, window, revision, body, keyring)
    manifest = store.parsed(window, revision, body)
    published_at = _published_at(manifest, what)
    try:
        keyring.trusted(key_id, published_at, what)
    except ModelRefused as error:
        raise ManifestInvalid(
            f"{error.message} It says it was published on {in_utc(published_at)}.",
            next_step=RESTORE,
        ) from error
    sha256 = hashlib.sha256(body).hexdigest()
    return VerifiedManifest(manifest=manifest, key_id=key_id, sha256=sha256)


def signers(
    store: ManifestStore, window: Window, revision: str, body: bytes, keyring: Keyring
) -> dict[str, Signer]:
    """Return what each signature beside a manifest is worth, by the id of its key.

    Cryptography and revocation decide, never a time: when a machine began to trust a key says
    nothing of what the key signed.

    Raises:
        OSError: A signature is there and cannot be read.
    """
    found: dict[str, Signer] = {}
    for key_id, place in store.signatures(window, revision).items():
        key = keyring.find(key_id)
        if key is None:
            found[key_id] = "unknown"
        elif not is_signature(MANIFEST_TYPE, body, _signature(place), key):
            found[key_id] = "of other bytes"
        else:
            found[key_id] = "revoked" if key.revoked_at else "counts"
    return found


def _signature(place: Place) -> bytes:
    return place.read_bytes() if place.stat().st_size == SIGNATURE_BYTES else b""


def _signer(
    store: ManifestStore, window: Window, revision: str, body: bytes, keyring: Keyring
) -> str:
    what = str(store.path(window, revision))
    problems: list[ModelRefused] = []
    for key_id, place in store.signatures(window, revision).items():
        signature = _signature(place)
        try:
            return verify_document(
                MANIFEST_TYPE, body, signature, key_id, keyring, None, what, stem=revision
            ).key_id
        except ModelRefused as error:
            problems.append(error)
    raise ManifestInvalid(
        " ".join(problem.message for problem in problems) or f"{what} is not signed.",
        next_step=next((p.next_step for p in problems if p.reason in OF_THE_KEY), RESTORE),
    )


def _published_at(manifest: Manifest, what: str) -> datetime:
    if manifest.published_at is None:
        raise ManifestInvalid(f"{what} is a draft: it has no published_at.", next_step=RESTORE)
    return manifest.published_at
