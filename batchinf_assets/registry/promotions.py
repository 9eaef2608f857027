"""The promotions of a model: a chain of signed records that says which version an alias may name.

The registry's alias is a pointer that anybody with access to the registry can move; a record here
is a second signature over that move. The newest record counts. `registry.seen` remembers which one
was seen last, so cutting records off the end does not bring an older champion back (the defence
of The Update Framework's clients, too: they keep the version that they saw).

On S3 a record appears with its document, written last. Beside it a signature is named by the
document that it signs, so one that was left behind by a record that lost or died belongs to none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from batchinf_assets.errors import LostRace, ModelRefused, Refusal, UsageError
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.files import place_folder
from batchinf_assets.registry.card import first_problem
from batchinf_assets.registry.keyring import Keyring
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.mirror import Limits, Mirror, Models
from batchinf_assets.registry.plain_files import read_plain
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.seen import Seen, SeenPromotions
from batchinf_assets.registry.signing import (
    LARGEST_DOCUMENT,
    SIGNATURE_BYTES,
    DocumentType,
    read_signed,
    sign_document,
    signature_name,
)
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.spec.contract import Name

PROMOTION_TYPE: DocumentType = "application/vnd.batchinf.promotion+json"
RECORD_FILE = "promotion.json"


@dataclass(frozen=True, kw_only=True)
class PromotionLog:
    """The records of one alias of one model.

    Attributes:
        folder: Where they lie, one folder each.
        name: The model.
        alias: The alias.
        seen: What was seen last of every alias, outside the lake.
    """

    folder: Models
    name: str
    alias: str
    seen: SeenPromotions

    @classmethod
    def of(cls, artifact_root: Models, keys: Path, name: str, alias: str) -> PromotionLog:
        """Return the log of an alias.

        Raises:
            UsageError: What is asked for is no name of a model or an alias.
        """
        for word in (name, alias):  # they become a path
            _require_name(word)
        folder = artifact_root / name / "_promotions" / alias
        models = artifact_root.mark if isinstance(artifact_root, Mirror) else artifact_root
        return cls(folder=folder, name=name, alias=alias, seen=SeenPromotions.beside(keys, models))

    def current(self, keyring: Keyring, at: datetime | None) -> Promotion | None:
        """Return the newest record, verified; None where there never was one.

        It is remembered as seen, if the folder of keys can be written.

        Raises:
            ModelRefused: Its signature does not hold, it is of another alias, or it is not what
                was seen here before and no successor of it.
        """
        seen = self._seen  # before the records are listed: a mark that is set meanwhile is newer
        records = self._records()
        newest = self._newest(records, seen)
        if newest == 0:
            return None
        promotion, digest = self._read(records, newest, keyring, at)
        if seen:
            self._require_successor(records, seen, promotion, digest)
        self.seen.remember(self.name, self.alias, Seen(sequence=newest, sha256=digest))
        return promotion

    def history(self, keyring: Keyring) -> list[Promotion]:
        """Return all records, oldest first: the newest of a trusted key, the others linked to it.

        Raises:
            ModelRefused: A record is missing or not the one that its successor names, the newest
                is not signed, or it is not what was seen here before and no successor of it.
        """
        seen = self._seen
        records = self._records()
        newest = self._newest(records, seen)
        if newest == 0:
            return []
        record, digest = self._read(records, newest, keyring, None)
        if seen:
            self._require_successor(records, seen, record, digest)
        found = [record]
        for sequence in range(newest - 1, 0, -1):
            body = self._bytes(records, sequence)
            if _sha256(body) != found[-1].previous_sha256:
                raise self._refused(f"record {sequence} breaks the chain", Refusal.OLDER_VERSION)
            found.append(self._parsed(sequence, body))
        if found[-1].previous_sha256 is not None:
            raise self._refused("the first record names one before it", Refusal.OLDER_VERSION)
        return found[::-1]

    def is_revoked(self, sequence: int, keyring: Keyring) -> bool:
        """Say whether a record hangs on revoked keys alone: its own, and those of all later ones.

        A later record covers it by its link, so one of a key that counts, or that cannot be judged
        here, keeps it. What was seen here last is not asked: the question is not which one counts.

        Raises:
            OSError: The records are there and cannot be listed.
        """
        records = self._records()
        later = range(sequence, self._newest(records, None) + 1)
        return bool(later) and all(self._is_of_revoked(records, each, keyring) for each in later)

    def _is_of_revoked(self, records: Path, sequence: int, keyring: Keyring) -> bool:
        try:
            self._read(records, sequence, keyring, None)
        except ModelRefused as error:
            return error.reason is Refusal.KEY_REVOKED
        return False

    @property
    def length(self) -> int:
        """How many records there are.

        Raises:
            ModelRefused: There are fewer than were seen here.
        """
        seen = self._seen
        return self._newest(self._records(), seen)

    def append(self, key: SigningKey, *, after: int, **fields: object) -> Promotion:
        """Sign and add a record.

        Whoever appends has verified the one before, by `current` or `history`; here it is bound.

        Args:
            key: Signs it.
            after: The `length` when the decision was made.
            fields: The record's, but for those that follow from its place.

        Raises:
            ModelRefused: The newest one is older than one that was seen here, or no plain file.
            LostRace: Somebody else added one meanwhile.
            OSError: The folder cannot be written.
        """
        seen, records = self._seen, self._records()
        newest = self._newest(records, seen)
        if newest != after:
            raise self._lost_race()
        promotion = Promotion.model_validate(
            {
                "name": self.name,
                "alias": self.alias,
                "sequence": newest + 1,
                "previous_sha256": _sha256(self._bytes(records, newest)) if newest else None,
                "key_id": key.id,
                **fields,
            }
        )
        body = promotion.to_json()
        try:
            self._place(promotion.sequence, body, key)
        except FileExistsError as error:
            raise self._lost_race() from error
        added = Seen(sequence=promotion.sequence, sha256=_sha256(body))
        self.seen.remember(self.name, self.alias, added)
        return promotion

    def _place(self, sequence: int, body: bytes, key: SigningKey) -> None:
        folder = self.folder / f"{sequence:06d}"
        signature = sign_document(PROMOTION_TYPE, body, key)
        if isinstance(folder, Mirror):
            folder.add([(signature_name(_sha256(body), key), signature), (RECORD_FILE, body)])
        else:
            place_folder(folder, {RECORD_FILE: body, signature_name(_STEM, key): signature})

    def _records(self) -> Path:
        """Return the folder of records, or a copy of it as it is now."""
        if isinstance(self.folder, Path):
            return self.folder
        return self.folder.copied(f"{self.name}@{self.alias}", _limits, _name_signatures)

    def _lost_race(self) -> LostRace:
        return LostRace(
            f"Somebody else moved {self.name}@{self.alias} at the same time.",
            next_step=f"Look at `batchinf model history {self.name}`, then decide again.",
        )

    def _newest(self, records: Path, seen: Seen | None) -> int:
        numbers = (path.name for path in entries(records, "*") if _NUMBER.fullmatch(path.name))
        newest = max(map(int, numbers), default=0)
        if seen and newest < seen.sequence:
            raise self._refused(
                f"record {seen.sequence} was seen here, the newest now is {newest or 'none'}",
                Refusal.OLDER_VERSION,
            )
        return newest

    def _require_successor(self, records: Path, seen: Seen, newest: Promotion, digest: str) -> None:
        """Require that what was seen is the newest record or, by its links, one before it.

        A record that is linked needs no key of its own: the signature of the newest covers it.
        """
        record = newest
        for sequence in range(newest.sequence - 1, seen.sequence - 1, -1):
            body, digest = self._bytes(records, sequence), record.previous_sha256 or ""
            if _sha256(body) != digest:
                raise self._refused(f"record {sequence} breaks the chain", Refusal.OLDER_VERSION)
            record = self._parsed(sequence, body)
        if digest != seen.sha256:
            raise self._refused(
                f"record {seen.sequence} is another one than was seen here", Refusal.OLDER_VERSION
            )

    def _read(
        self, records: Path, sequence: int, keyring: Keyring, at: datetime | None
    ) -> tuple[Promotion, str]:
        path = _record(records, sequence)
        signed = read_signed(path, PROMOTION_TYPE, keyring, at, self._what(sequence))
        promotion = self._parsed(sequence, signed.body)
        found = f"{promotion.name}@{promotion.alias}, number {promotion.sequence}"
        if found != f"{self.name}@{self.alias}, number {sequence}":
            raise self._refused(f"record {sequence} is of {found}", Refusal.OTHER_MODEL)
        if promotion.key_id != signed.key_id:
            problem = f"record {sequence} names key {promotion.key_id}, {signed.key_id} signed it"
            raise self._refused(problem, Refusal.WRONG_KEY)
        return promotion, _sha256(signed.body)

    def _parsed(self, sequence: int, body: bytes) -> Promotion:
        try:
            return Promotion.model_validate_json(body)
        except ValidationError as error:
            problem = f"record {sequence} is of no known format: {first_problem(error)}"
            raise self._refused(problem, Refusal.UNREADABLE) from error

    def _bytes(self, records: Path, sequence: int) -> bytes:
        return read_plain(_record(records, sequence), self._what(sequence), limit=LARGEST_DOCUMENT)

    def _what(self, sequence: int) -> str:
        return f"Promotion {sequence} of {self.name}@{self.alias}"

    @property
    def _seen(self) -> Seen | None:
        return self.seen.last(self.name, self.alias)

    def _refused(self, problem: str, reason: Refusal) -> ModelRefused:
        return ModelRefused(
            f"The promotions of {self.name}@{self.alias} do not verify: {problem}.",
            reason=reason,
            next_step=f"Restore {self.folder} from a backup and find out who changed it; if the "
            "lake was deleted, or an older one restored, on purpose, delete "
            f"{self.seen.path} with it.",
        )


def _require_name(word: str) -> None:
    try:
        _NAME.validate_python(word)
    except ValidationError as error:
        raise UsageError(
            f"'{one_line(word, 64)}' is no name of a model or an alias.",
            next_step="Write a letter, then letters, digits and _, all of them lower-case.",
        ) from error


def _record(records: Path, sequence: int) -> Path:
    return records / f"{sequence:06d}" / RECORD_FILE


def _limits(names: Sequence[str]) -> Limits:
    """Bound the objects of whole records; whatever else is there belongs to none."""
    found = [match for name in names if (match := _OBJECT.fullmatch(name))]
    whole = {match["number"] for match in found if match["file"] == RECORD_FILE}
    return {
        match[0]: LARGEST_DOCUMENT if match["file"] == RECORD_FILE else SIGNATURE_BYTES
        for match in found
        if match["number"] in whole
    }


def _name_signatures(records: Path) -> None:
    """Give the signatures of each record's document the names that they have in a folder."""
    for document in entries(records, f"*/{RECORD_FILE}"):
        digest = file_sha256(document)
        for signature in entries(document.parent, f"{digest}.*.sig"):
            signature.rename(signature.with_name(signature.name.replace(digest, _STEM)))


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


_NAME: TypeAdapter[str] = TypeAdapter(Name)
_NUMBER = re.compile(r"[0-9]{6}")
_STEM = Path(RECORD_FILE).stem
_OBJECT = re.compile(
    r"(?P<number>[0-9]{6})/(?P<file>promotion\.json|(?:promotion|[0-9a-f]{64})\.[0-9a-f]{16}\.sig)"
)
