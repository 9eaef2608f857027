"""The keyring: which public keys are trusted, for how long, and which no longer are.

It lies outside the lake: whoever may write models must not decide whose signatures count.
"""

from __future__ import annotations

import base64
import fcntl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from batchinf_assets.errors import KeyringInvalid, ModelRefused, Refusal
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.files import aside
from batchinf_assets.registry.card import first_problem
from batchinf_assets.registry.keys import (
    KEY_FILE,
    FetchSecret,
    SigningKey,
    create_signing_key,
    key_id,
    load_signing_key,
)
from batchinf_assets.registry.untrusted_text import one_line

KEYRING_FILE = "keyring.json"
WRITABLE_BY_OTHERS = 0o022
TOO_EARLY = (
    "See that this machine's clock is right; if it is, trust the key from an earlier day on: "
    "`batchinf keys trust --public KEY --from DATE`."
)
TOO_LATE = (
    "Make a new key (`batchinf keys init`), sign the model anew (`batchinf model renew`) and "
    "promote it."
)

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublicKey(_Frozen):
    """A public key and what it is trusted for.

    Attributes:
        id: First 16 hex digits of the SHA-256 of the raw key.
        public: The raw key, base64.
        not_before: Signatures count from here on.
        not_after: Signatures count until here; afterwards what it signed must be signed anew.
        revoked_at: Since when nothing that it ever signed counts.
        revocation_reason: Why.
    """

    id: KeyId
    algorithm: Literal["ed25519"] = "ed25519"
    public: str
    not_before: AwareDatetime
    not_after: AwareDatetime
    revoked_at: AwareDatetime | None = None
    revocation_reason: str | None = None

    @model_validator(mode="after")
    def _id_is_of_the_key(self) -> PublicKey:
        if len(self.raw) != 32 or key_id(self.raw) != self.id:
            raise ValueError(f"the public key of {self.id} is not the one that its id names")
        return self

    @property
    def raw(self) -> bytes:
        """The raw key, 32 bytes."""
        return base64.b64decode(self.public, validate=True)


class Keyring(_Frozen):
    """The trusted keys; an id occurs once."""

    format_version: Literal[1] = 1
    keys: tuple[PublicKey, ...] = ()

    @model_validator(mode="after")
    def _ids_differ(self) -> Keyring:
        ids = [key.id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("a key id occurs twice")
        return self

    def find(self, id_: str) -> PublicKey | None:
        """Return the key with this id, if it is known."""
        return next((key for key in self.keys if key.id == id_), None)

    def trusted(self, id_: str, at: datetime | None, what: str) -> PublicKey:
        """Return a key whose signatures count at a time.

        Args:
            id_: The key's id.
            at: The time that validity is held against; None to ask for trust alone.
            what: What it signed, for the message.

        Raises:
            ModelRefused: The key is unknown, revoked, or not valid at that time.
        """
        key = self.find(id_)
        if key is None:
            raise ModelRefused(
                f"{what} is signed with key {id_[:16]}, which is not in the keyring.",
                reason=Refusal.WRONG_KEY,
                next_step="If you trust that key, restore the keyring that has it, or `batchinf "
                "keys trust --public KEY --from DATE`; else have it signed by a key of yours.",
            )
        if key.revoked_at is not None:
            raise ModelRefused(
                f"{what} is signed with key {key.id}, revoked on {in_utc(key.revoked_at)}: "
                f"{one_line(key.revocation_reason or 'no reason given')}.",
                reason=Refusal.KEY_REVOKED,
                next_step="Nothing that it signed counts again: register the model with another "
                "key, promote it (`batchinf model promote --force`) and run its windows again.",
            )
        if at is not None and not key.not_before <= at <= key.not_after:
            raise ModelRefused(
                f"{what} is signed with key {key.id}, valid from "
                f"{in_utc(key.not_before)} to {in_utc(key.not_after)} only.",
                reason=Refusal.KEY_EXPIRED,
                next_step=TOO_EARLY if at < key.not_before else TOO_LATE,
            )
        return key

    def with_key(self, public: bytes, *, not_before: datetime, not_after: datetime) -> Keyring:
        """Return a keyring that trusts one more raw public key."""
        key = PublicKey(
            id=key_id(public),
            public=base64.b64encode(public).decode(),
            not_before=not_before,
            not_after=not_after,
        )
        return Keyring(keys=(*self.keys, key))

    def without_trust_in(self, id_: str, *, at: datetime, reason: str) -> Keyring:
        """Return a keyring in which a key is revoked.

        Raises:
            KeyringInvalid: There is no such key.
        """
        if self.find(id_) is None:
            known = ", ".join(key.id for key in self.keys) or "none"
            raise KeyringInvalid(
                f"The keyring has no key '{id_[:32]}'.", next_step=f"It has: {known}."
            )
        return self.with_change(id_, revoked_at=at, revocation_reason=reason)

    def with_change(self, id_: str, **change: datetime | str) -> Keyring:
        """Return a keyring in which fields of a key have other values."""
        return Keyring(
            keys=tuple(k.model_copy(update=change) if k.id == id_ else k for k in self.keys)
        )


def in_utc(at: datetime) -> str:
    """Write a time for a message; whoever signed may have written another zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def read_keyring(folder: Path) -> Keyring:
    """Read the keyring of a folder of keys.

    Raises:
        KeyringInvalid: There is none, others may write it, or it is damaged or cannot be read.
    """
    path = folder / KEYRING_FILE
    try:
        for place in (folder, path):
            if place.stat().st_mode & WRITABLE_BY_OTHERS:
                raise KeyringInvalid(
                    f"Others may write {place}, and so decide whose models count.",
                    next_step=f"Close it, and see that no key was added: `chmod go-w {place}`.",
                )
        return Keyring.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise KeyringInvalid(
            f"There is no keyring at {path}, so no model can be trusted.",
            next_step="Restore it from a backup, or set BATCHINF_KEYS to the folder that has "
            "yours; where nothing was signed yet, make a key and a keyring: `batchinf keys init`.",
        ) from error
    except OSError as error:
        raise KeyringInvalid(
            f"The keyring {path} cannot be read: {error.strerror}.",
            next_step="Let this user read it, or set BATCHINF_KEYS to the folder that has yours.",
        ) from error
    except ValidationError as error:
        raise KeyringInvalid(
            f"{path} is no keyring: {first_problem(error)}.",
            next_step="Restore it from a backup.",
        ) from error


def write_keyring(folder: Path, keyring: Keyring) -> Path:
    """Replace the keyring in one step; a reader sees the old one or the new one.

    Others may not write it, whatever the umask: it would be refused.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / KEYRING_FILE
    with aside(path) as temporary:
        temporary.write_bytes(keyring.model_dump_json(indent=2).encode() + b"\n")
        temporary.chmod(temporary.stat().st_mode & ~WRITABLE_BY_OTHERS)
    return path


def init_keys(folder: Path, *, not_before: datetime, not_after: datetime) -> SigningKey:
    """Make a key pair and trust it from now on, beside the keys trusted already.

    Raises:
        SigningKeyUnavailable: There is a private key in the folder already.
        KeyringInvalid: The keyring is damaged.
    """
    _known(folder)  # no key is made for a keyring that cannot take it
    key = create_signing_key(folder / KEY_FILE)
    trust_key(folder, key.public, not_before=not_before, not_after=not_after)
    return key


def trust_key(
    folder: Path, public: bytes, *, not_before: datetime, not_after: datetime
) -> PublicKey:
    """Add a raw public key to the keyring, which is made if there is none.

    One that is known is trusted since an earlier time, and no longer than it is.

    Returns:
        The key as it is trusted now.

    Raises:
        KeyringInvalid: The keyring is damaged, or trusts the key since then already, or no more.
    """
    with _locked(folder):
        keyring, id_ = _known(folder), key_id(public)
        known = keyring.find(id_)
        if known is None:
            changed = keyring.with_key(public, not_before=not_before, not_after=not_after)
        else:
            _require_earlier(known, not_before)
            changed = keyring.with_change(id_, not_before=not_before)
        write_keyring(folder, changed)
    return changed.trusted(id_, None, "What is trusted")


def _require_earlier(known: PublicKey, not_before: datetime) -> None:
    if known.revoked_at is not None:
        raise KeyringInvalid(
            f"Key {known.id} was revoked on {in_utc(known.revoked_at)}.",
            next_step="Nothing that it signed counts again; use another key (`batchinf keys "
            "init`).",
        )
    if not_before >= known.not_before:
        raise KeyringInvalid(
            f"The keyring knows key {known.id} already, valid from {in_utc(known.not_before)} to "
            f"{in_utc(known.not_after)}.",
            next_step="Name an earlier day to trust what it signed before (`batchinf keys trust "
            "--from DATE`); one that expires is followed by a new one (`batchinf keys init`).",
        )


def revoke_key(folder: Path, id_: str, *, at: datetime, reason: str) -> None:
    """Trust nothing any more that a key ever signed.

    Raises:
        KeyringInvalid: The keyring is missing or damaged, or has no such key.
    """
    with _locked(folder):
        revoked = read_keyring(folder).without_trust_in(id_, at=at, reason=reason)
        write_keyring(folder, revoked)


def require_trusted(folder: Path, key: SigningKey, at: datetime) -> PublicKey:
    """Return the public half of a key that is about to sign, if its signatures would count.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: The keyring does not trust the key at that time.
    """
    return read_keyring(folder).trusted(key.id, at, "What you are about to sign")


def load_trusted_key(
    folder: Path,
    environ: Mapping[str, str],
    fetch_secret: FetchSecret | None,
    at: datetime,
) -> SigningKey:
    """Load the private key, and refuse one whose signatures nobody would accept.

    Raises:
        SigningKeyUnavailable: There is no key, or it is not kept as it must be.
        KeyringInvalid: There is no keyring.
        ModelRefused: The keyring does not trust the key at that time.
    """
    key = load_signing_key(folder, environ, fetch_secret)
    require_trusted(folder, key, at)
    return key


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold the keyring's lock: two writers must not take each other's change back."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".keyring.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _known(folder: Path) -> Keyring:
    return read_keyring(folder) if exists(folder / KEYRING_FILE) else Keyring()
