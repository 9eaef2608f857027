"""Ed25519 signing keys (RFC 8032): made here, read from a file, a variable or a secret store.

The public halves, with their validity, are in `registry.keyring`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from batchinf_assets.errors import SigningKeyUnavailable
from batchinf_assets.lake.files import fsync

KEY_VARIABLE = "BATCHINF_SIGNING_KEY"
KEY_FILE_VARIABLE = "BATCHINF_SIGNING_KEY_FILE"
KEY_SECRET_VARIABLE = "BATCHINF_SIGNING_KEY_SECRET"  # noqa: S105 - a variable's name
KEY_FILE = "signing-key.pem"
LARGEST_KEY = 1 << 16

FetchSecret = Callable[[str], str]
"""Returns the secret of this name from a secret store."""


@dataclass(frozen=True)
class SigningKey:
    """A private key; its representation shows the id alone.

    Attributes:
        id: First 16 hex digits of the SHA-256 of the public key.
        public: The raw public key, 32 bytes.
    """

    id: str
    public: bytes = field(repr=False)
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._private.sign(message)


def key_id(public: bytes) -> str:
    """Return the id of a raw public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def create_signing_key(path: Path) -> SigningKey:
    """Make a key pair and write its private half, readable by its owner alone.

    Raises:
        SigningKeyUnavailable: There is a key at `path` already.
        OSError: The folder cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SigningKeyUnavailable(
            f"There is a signing key at {path} already.",
            next_step="Use it; to replace it, move it away first, and if it leaked revoke it: "
            "`batchinf keys revoke KEY_ID --reason ...`.",
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    fsync(path.parent)
    return _signing_key(private)


def load_signing_key(
    folder: Path, environ: Mapping[str, str], fetch_secret: FetchSecret | None = None
) -> SigningKey:
    """Load the private key from the first place that is set.

    In this order: the PEM text in `BATCHINF_SIGNING_KEY`; the secret that
    `BATCHINF_SIGNING_KEY_SECRET` names; the file `BATCHINF_SIGNING_KEY_FILE`, or else
    `signing-key.pem` in the folder of keys.

    Args:
        folder: The folder of keys.
        environ: The environment.
        fetch_secret: Asks the secret store; None where there is none.

    Raises:
        SigningKeyUnavailable: There is no key, others may read its file, or it is no Ed25519 key.
            What stood there is never part of the message.
    """
    for variable in (KEY_SECRET_VARIABLE, KEY_FILE_VARIABLE):
        _require_no_key_in(variable, environ)
    if text := environ.get(KEY_VARIABLE):
        return _parsed(text, f"The variable {KEY_VARIABLE}")
    if name := environ.get(KEY_SECRET_VARIABLE):
        if fetch_secret is None:
            raise SigningKeyUnavailable(
                f"{KEY_SECRET_VARIABLE} names a secret, but this process asks no secret store.",
                next_step="Run the command line's `batchinf`, or set "
                f"{KEY_FILE_VARIABLE} to a file.",
            )
        return _parsed(fetch_secret(name), f"The secret '{name}'")
    return _from_file(Path(environ.get(KEY_FILE_VARIABLE) or folder / KEY_FILE))


def _require_no_key_in(variable: str, environ: Mapping[str, str]) -> None:
    """Require a name where a name belongs: messages, logs and the secret store would show it."""
    if "PRIVATE KEY" in environ.get(variable, ""):
        raise SigningKeyUnavailable(
            f"{variable} holds a key where the name of one belongs.",
            next_step=f"Put the key into {KEY_VARIABLE}.",
        )


def _from_file(path: Path) -> SigningKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            pem = b"" if mode & 0o077 else file.read(LARGEST_KEY)
    except FileNotFoundError as error:
        raise SigningKeyUnavailable(
            f"There is no signing key at {path}.",
            next_step=f"Make one: `batchinf keys init`; or set {KEY_FILE_VARIABLE}.",
        ) from error
    except OSError as error:
        raise SigningKeyUnavailable(
            f"The signing key {path} cannot be read: {error.strerror}.",
            next_step=f"Let this user read it, or set {KEY_FILE_VARIABLE} to another file.",
        ) from error
    if mode & 0o077:
        raise SigningKeyUnavailable(
            f"Others may read the signing key {path} (mode {mode:o}).",
            next_step=f"Close it: `chmod 600 {path}`; if others could have read it, revoke it.",
        )
    return _parsed(pem.decode(errors="replace"), f"The file {path}")


def _parsed(pem: str, place: str) -> SigningKey:
    try:  # PEM is ASCII; an encoding error would carry the text
        private = load_pem_private_key(pem.encode("ascii", "replace"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None  # the parser's own message could show what stands there
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyUnavailable(
            f"{place} holds no unencrypted Ed25519 private key in PEM.",
            next_step="Make one: `batchinf keys init`.",
        )
    return _signing_key(private)


def _signing_key(private: Ed25519PrivateKey) -> SigningKey:
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SigningKey(id=key_id(public), public=public, _private=private)
