"""Every way to alter a registered, promoted model, and the reason code that refuses it.

The attacker of this table writes lake and registry as he likes, but not the folder of keys. Cases
of keys that are revoked, expired or unknown stand for what the owner of that folder did.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel

from batchinf_assets.errors import KeyringInvalid, ModelRefused, Refusal
from batchinf_assets.registry import trust
from batchinf_assets.registry.card import ModelCard
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.registry import DIGEST_TAG
from batchinf_assets.registry.signing import sign_document
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.registry.trust import open_version, promoted_model, promotion_log

if TYPE_CHECKING:
    from batchinf_assets_tests.registry.conftest import Toys

FILES = ("model.json", "model.skops", "profile.json", "recipe.json", "trees.parquet")
MODEL, RECORD = r"Model toy v2 \(v2-[0-9a-f]{16}\)", "Promotion 2 of toy@champion"
ROOM = "artifact|card|keyring|plain_files|promotions|registry|seen|signing|statement|trust"
LOG = "The promotions of toy@champion do not verify"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Case:
    """One alteration.

    Attributes:
        name: What is altered.
        alter: Does it to `toy`, whose promoted version is 2.
        reason: The code that must refuse it.
        says: What the message must match.
    """

    name: str
    alter: Callable[[Toys], object]
    reason: Refusal
    says: str


def signature(folder: Path) -> Path:
    return next(folder.glob("*.sig"))


def linked(path: Path) -> None:
    away = path.parents[3] / "away"
    path.rename(away)
    path.symlink_to(away, target_is_directory=away.is_dir())


def exchanged(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def whole_folder(toys: Toys, name: str, version: str) -> None:
    there = toys.folder()
    shutil.rmtree(there)
    shutil.copytree(toys.folder(name, version), there)


def tagged(toys: Toys, version: str, digest: str) -> None:
    from mlflow import MlflowClient

    uri = toys.registry.tracking_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.set_model_version_tag("toy", version, DIGEST_TAG, digest)


def alias_alone(toys: Toys, version: str) -> None:
    toys.registry.point("toy", "champion", version)


def newest_record_removed(toys: Toys) -> None:
    shutil.rmtree(toys.record(2))
    alias_alone(toys, "1")


def newest_record_removed_behind_a_link(toys: Toys) -> None:
    """Another path to the models must not look like another place, where nothing was seen yet."""
    newest_record_removed(toys)
    models = toys.registry.artifact_root
    models.rename(models.with_name("_elsewhere"))
    models.symlink_to("_elsewhere")


def record_of(toys: Toys, **copied: str) -> None:
    shutil.rmtree(toys.record(2))
    shutil.copytree(toys.record(2, **copied), toys.record(2))


def record_by(toys: Toys, key: str, kind: str = "promotion", **changed: object) -> None:
    """Put another signed record in place of the newest, unseen as yet."""
    (toys.registry.keys / "promotions-seen.json").unlink()
    old = Promotion.model_validate_json((toys.record(2) / "promotion.json").read_bytes())
    body = old.model_copy(update={"key_id": toys.keys[key].id, **changed}).to_json()
    signature(toys.record(2)).unlink()
    (toys.record(2) / "promotion.json").write_bytes(body)
    signed = sign_document(f"application/vnd.batchinf.{kind}+json", body, toys.keys[key])
    (toys.record(2) / f"promotion.{toys.keys[key].id}.sig").write_bytes(signed)


def promoted_elsewhere(toys: Toys, name: str, alias: str) -> None:
    """Two genuine promotions, the second of which is then shown as one of toy@champion."""
    version = toys.registry.version(name, "1")
    while not toys.record(2, name, alias).exists():
        toys.promote(version, alias=alias)
    record_of(toys, name=name, alias=alias)


def seen(toys: Toys, content: str) -> None:
    here = content.replace('"toy/', f'"{toys.registry.artifact_root.resolve()}/toy/')
    (toys.registry.keys / "promotions-seen.json").write_text(here)


def another_promotion_with_the_same_number(toys: Toys) -> None:
    before = (toys.registry.keys / "promotions-seen.json").read_text()
    record_by(toys, "mine", version="3", digest=toys.registry.version("toy", "3").digest)
    seen(toys, before)
    alias_alone(toys, "3")


def statement_as(toys: Toys, kind: str) -> None:
    folder, key = toys.folder(), toys.keys["mine"]
    body = (folder / "statement.json").read_bytes()
    signed = sign_document(f"application/vnd.batchinf.{kind}+json", body, key)
    signature(folder).write_bytes(signed)


def by_another_trusted_key(folder: Path, toys: Toys) -> None:
    """The bytes are a colleague's genuine signature, the name says that they are mine."""
    body = (folder / "statement.json").read_bytes()
    kind = "application/vnd.batchinf.model-statement+json"
    signature(folder).write_bytes(sign_document(kind, body, toys.keys["colleague"]))


def statement_lists_less(toys: Toys) -> None:
    folder = toys.folder()
    statement = ModelStatement.model_validate_json((folder / "statement.json").read_bytes())
    files = {name: bound for name, bound in statement.files.items() if name != "recipe.json"}
    (folder / "recipe.json").unlink()
    toys.sign_again(folder, "mine", files=files)


SIGNATURES = [
    Case(
        "signature deleted",
        lambda toys: signature(toys.folder()).unlink(),
        Refusal.UNSIGNED,
        rf"{MODEL}: statement\.json is not signed",
    ),
    Case(
        "statement deleted",
        lambda toys: (toys.folder() / "statement.json").unlink(),
        Refusal.UNSIGNED,
        rf"{MODEL}: statement\.json is missing",
    ),
    Case(
        "two signatures",
        lambda toys: shutil.copy(
            signature(toys.folder()), toys.folder() / "statement.0123456789abcdef.sig"
        ),
        Refusal.UNSIGNED,
        rf"{MODEL}: statement\.json has 2 signatures",
    ),
    Case(
        "statement changed",
        lambda toys: (toys.folder() / "statement.json").write_bytes(b"{"),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: the signature statement\.[0-9a-f]{{16}}\.sig is not of statement\.json",
    ),
    Case(
        "signature cut",
        lambda toys: os.truncate(signature(toys.folder()), 63),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: the signature statement\..*",
    ),
    Case(
        "signature longer",
        lambda toys: os.truncate(signature(toys.folder()), 65),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: statement\.[0-9a-f]{{16}}\.sig has more than 64 bytes",
    ),
    Case(
        "huge statement",
        lambda toys: os.truncate(toys.folder() / "statement.json", 1 << 40),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: statement\.json has more than 1048576 bytes",
    ),
    Case(
        "signed as a promotion",
        lambda toys: statement_as(toys, "promotion"),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: the signature .* is not of statement\.json",
    ),
    Case(
        "another trusted key's signature under this key's name",
        lambda toys: by_another_trusted_key(toys.folder(), toys),
        Refusal.BAD_SIGNATURE,
        rf"{MODEL}: the signature .* is not of statement\.json",
    ),
    Case(
        "statement names another trusted key",
        lambda toys: toys.sign_again(toys.folder(), "mine", key_id=toys.keys["colleague"].id),
        Refusal.WRONG_KEY,
        rf"{MODEL}: the statement names key",
    ),
    Case(
        "key outside the keyring",
        lambda toys: toys.sign_again(toys.folder(), "stranger"),
        Refusal.WRONG_KEY,
        rf"{MODEL} is signed with key [0-9a-f]{{16}}, which is not in the keyring",
    ),
    Case(
        "expired statement",
        lambda toys: toys.sign_again(toys.folder(), "mine", expires_at=toys.at),
        Refusal.SIGNATURE_EXPIRED,
        rf"{MODEL}: its signature expired on 2013-07-01 00:00 UTC.*renew toy 2",
    ),
    Case(
        "expired key",
        lambda toys: toys.sign_again(toys.folder(), "former"),
        Refusal.KEY_EXPIRED,
        rf"{MODEL} is signed with key .* to 2013-06-30 00:00 UTC only",
    ),
    Case(
        "key not valid yet",
        lambda toys: toys.sign_again(toys.folder(), "coming"),
        Refusal.KEY_EXPIRED,
        rf"{MODEL} is signed with key .* from 2013-07-02 00:00 UTC",
    ),
    Case(
        "revoked key",
        lambda toys: toys.sign_again(toys.folder(), "leaked"),
        Refusal.KEY_REVOKED,
        rf"{MODEL} is signed with key .*, revoked on 2013-06-30 .*: Laptop stolen",
    ),
    Case(
        "statement of an unknown format",
        lambda toys: toys.sign_again(toys.folder(), "mine", format_version=9),
        Refusal.UNREADABLE,
        rf"{MODEL}: its statement is of no known format: format_version",
    ),
]

CONTENTS = [
    *(
        Case(
            f"{name} {how}",
            lambda toys, name=name, alter=alter: alter(toys.folder() / name),
            reason,
            rf"{MODEL}: {name} {says}",
        )
        for name in FILES
        for how, alter, reason, says in [
            (
                "changed",
                lambda path: path.write_bytes(b"{" * path.stat().st_size),
                Refusal.CHANGED_FILE,
                "does not have the signed sha256",
            ),
            (
                "longer",
                lambda path: path.write_bytes(path.read_bytes() + b"\n"),
                Refusal.CHANGED_FILE,
                "does not have the [0-9]+ bytes that were signed",
            ),
            (
                "cut",
                lambda path: path.write_bytes(path.read_bytes()[:-1]),
                Refusal.CHANGED_FILE,
                "does not have the [0-9]+ bytes that were signed",
            ),
            (
                "huge",
                lambda path: os.truncate(path, 1 << 40),
                Refusal.CHANGED_FILE,
                "does not have the [0-9]+ bytes that were signed",
            ),
            ("removed", Path.unlink, Refusal.MISSING_FILE, "is missing"),
        ]
    ),
    *(
        Case(
            f"{name} is {what}",
            lambda toys, name=name, alter=alter: alter(next(toys.folder().glob(name))),
            Refusal.NO_PLAIN_FILE,
            rf"{MODEL}: {name.replace('*', '[0-9a-f]{16}')} is no plain file",
        )
        for name in (*FILES, "statement.json", "statement.*.sig")
        for what, alter in [
            ("a link to the same bytes", linked),
            ("a pipe", lambda path: exchanged(path, os.mkfifo)),
            ("a socket", lambda path: exchanged(path, listening)),
            ("a folder", lambda path: exchanged(path, Path.mkdir)),
        ]
    ),
    *(
        Case(
            f"added {what}",
            lambda toys, name=name, add=add: add(toys.folder() / name),
            Refusal.ADDED_FILE,
            rf"{MODEL}: {shown} does not belong to it",
        )
        for what, name, add, shown in [
            ("file", "model.pkl", lambda path: path.write_bytes(b""), r"model\.pkl"),
            ("hidden file", ".hidden", lambda path: path.write_bytes(b""), r"\.hidden"),
            ("look-alike", "Model.json", lambda path: path.write_bytes(b"{}"), r"Model\.json"),
            ("folder", "models", Path.mkdir, "models"),
            ("pipe", "pipe", os.mkfifo, "pipe"),
            ("link", "link", lambda path: path.symlink_to("/"), "link"),
            ("strange name", "a\nb\x1b[2K", lambda path: path.write_bytes(b""), r"a b\\x1b\[2K"),
        ]
    ),
    Case(
        "folder is a link",
        lambda toys: linked(toys.folder()),
        Refusal.NO_PLAIN_FILE,
        f"{MODEL}: .* is no folder of its own",
    ),
    Case(
        "folder is a file",
        lambda toys: (linked(toys.folder()), exchanged(toys.folder(), Path.touch)),
        Refusal.NO_PLAIN_FILE,
        f"{MODEL}: .* is no folder of its own",
    ),
    Case(
        "folder removed",
        lambda toys: shutil.rmtree(toys.folder()),
        Refusal.MISSING_FILE,
        f"{MODEL}: .* is no folder any more",
    ),
    Case(
        "card lists more files than the statement",
        statement_lists_less,
        Refusal.CHANGED_FILE,
        f"{MODEL}: card and statement list other files",
    ),
    Case(
        "statement names other features than the card",
        lambda toys: toys.sign_again(toys.folder(), "mine", feature_definition="0" * 64),
        Refusal.CHANGED_FILE,
        rf"{MODEL}: model\.json and statement name other features",
    ),
]

IDENTITIES = [
    Case(
        "signed folder of another model under this name",
        lambda toys: whole_folder(toys, "other", "1"),
        Refusal.OTHER_MODEL,
        f"{MODEL}: the signature is of model 'other'",
    ),
    Case(
        "signed folder of an older version under the newer one's name",
        lambda toys: whole_folder(toys, "toy", "1"),
        Refusal.OLDER_VERSION,
        f"{MODEL}: the signature is of version 1",
    ),
    Case(
        "signed folder of a newer version under the older one's name",
        lambda toys: whole_folder(toys, "toy", "3"),
        Refusal.OTHER_MODEL,
        f"{MODEL}: the signature is of version 3",
    ),
    Case(
        "alias moved to an older version",
        lambda toys: alias_alone(toys, "1"),
        Refusal.OLDER_VERSION,
        r"'champion' is toy v1 \(.*the newest signed promotion is of v2 \(",
    ),
    Case(
        "alias moved to a newer version that nobody promoted",
        lambda toys: alias_alone(toys, "3"),
        Refusal.NOT_PROMOTED,
        r"'champion' is toy v3 \(.*the newest signed promotion is of v2 \(",
    ),
    Case(
        "digest of the older version in the newer one's tag",
        lambda toys: tagged(toys, "2", toys.registry.version("toy", "1").digest),
        Refusal.NOT_PROMOTED,
        r"'champion' is toy v2 \([0-9a-f]{16}\).*of v2 \([0-9a-f]{16}\)",
    ),
    Case(
        "a path in the digest's tag",
        lambda toys: tagged(toys, "2", "../../elsewhere"),
        Refusal.NOT_REGISTERED_HERE,
        "Version 2 of model 'toy' has no SHA-256 in its tag",
    ),
]

PROMOTIONS = [
    Case(
        "all promotions removed, none seen here",
        lambda toys: (
            shutil.rmtree(toys.record(2).parent),
            (toys.registry.keys / "promotions-seen.json").unlink(),
        ),
        Refusal.NOT_PROMOTED,
        r"'champion' is toy v2 \(.*but nobody promoted it",
    ),
    Case(
        "newest promotion removed and the alias moved back",
        newest_record_removed,
        Refusal.OLDER_VERSION,
        f"{LOG}: record 2 was seen here, the newest now is 1",
    ),
    Case(
        "newest promotion removed, and the models behind a link",
        newest_record_removed_behind_a_link,
        Refusal.OLDER_VERSION,
        f"{LOG}: record 2 was seen here, the newest now is 1",
    ),
    Case(
        "all promotions removed",
        lambda toys: shutil.rmtree(toys.record(2).parent),
        Refusal.OLDER_VERSION,
        f"{LOG}: record 2 was seen here, the newest now is none",
    ),
    Case(
        "promotion's signature removed",
        lambda toys: signature(toys.record(2)).unlink(),
        Refusal.UNSIGNED,
        rf"{RECORD}: promotion\.json is not signed",
    ),
    Case(
        "promotion changed",
        lambda toys: (toys.record(2) / "promotion.json").write_bytes(b"{"),
        Refusal.BAD_SIGNATURE,
        rf"{RECORD}: the signature promotion\..*\.sig is not of promotion\.json",
    ),
    Case(
        "promotion is a link",
        lambda toys: linked(toys.record(2) / "promotion.json"),
        Refusal.NO_PLAIN_FILE,
        rf"{RECORD}: promotion\.json is no plain file",
    ),
    Case(
        "promotion signed as a model",
        lambda toys: record_by(toys, "mine", kind="model-statement"),
        Refusal.BAD_SIGNATURE,
        rf"{RECORD}: the signature .* is not of promotion\.json",
    ),
    Case(
        "older promotion under the newest number",
        lambda toys: (
            shutil.rmtree(toys.record(2)),
            shutil.copytree(toys.record(1), toys.record(2)),
        ),
        Refusal.OTHER_MODEL,
        f"{LOG}: record 2 is of toy@champion, number 1",
    ),
    Case(
        "promotion of another alias",
        lambda toys: promoted_elsewhere(toys, "toy", "shadow"),
        Refusal.OTHER_MODEL,
        f"{LOG}: record 2 is of toy@shadow, number 2",
    ),
    Case(
        "promotion of another model",
        lambda toys: promoted_elsewhere(toys, "other", "champion"),
        Refusal.OTHER_MODEL,
        f"{LOG}: record 2 is of other@champion, number 2",
    ),
    Case(
        "another signed promotion with the same number",
        another_promotion_with_the_same_number,
        Refusal.OLDER_VERSION,
        f"{LOG}: record 2 is another one than was seen here",
    ),
    Case(
        "promotion by a key outside the keyring",
        lambda toys: record_by(toys, "stranger"),
        Refusal.WRONG_KEY,
        f"{RECORD} is signed with key .* not in the keyring",
    ),
    Case(
        "promotion names another trusted key",
        lambda toys: record_by(toys, "mine", key_id=toys.keys["colleague"].id),
        Refusal.WRONG_KEY,
        f"{LOG}: record 2 names key",
    ),
    Case(
        "promotion by an expired key",
        lambda toys: record_by(toys, "former"),
        Refusal.KEY_EXPIRED,
        f"{RECORD} is signed with key .* only",
    ),
    Case(
        "promotion by a revoked key",
        lambda toys: record_by(toys, "leaked"),
        Refusal.KEY_REVOKED,
        f"{RECORD} is signed with key .* revoked on",
    ),
    Case(
        "promotion of an unknown format",
        lambda toys: record_by(toys, "mine", format_version=9),
        Refusal.UNREADABLE,
        f"{LOG}: record 2 is of no known format: format_version",
    ),
    Case(
        "a later number without a record",
        lambda toys: toys.record(7).mkdir(),
        Refusal.UNSIGNED,
        r"Promotion 7 of toy@champion: promotion\.json is not signed",
    ),
    Case(
        "what was seen is damaged",
        lambda toys: seen(toys, "{"),
        Refusal.UNREADABLE,
        r"What was seen of model toy@champion cannot be read: .*promotions-seen\.json",
    ),
    Case(
        "what was seen is further on",
        lambda toys: seen(toys, json.dumps({"toy/champion": {"sequence": 3, "sha256": "0" * 64}})),
        Refusal.OLDER_VERSION,
        f"{LOG}: record 3 was seen here, the newest now is 2",
    ),
    Case(
        "what was seen is another one",
        lambda toys: seen(toys, json.dumps({"toy/champion": {"sequence": 2, "sha256": "0" * 64}})),
        Refusal.OLDER_VERSION,
        f"{LOG}: record 2 is another one than was seen here",
    ),
    Case(
        "what was seen is no longer before it",
        lambda toys: seen(toys, json.dumps({"toy/champion": {"sequence": 1, "sha256": "0" * 64}})),
        Refusal.OLDER_VERSION,
        f"{LOG}: record 1 is another one than was seen here",
    ),
]

CASES = [*SIGNATURES, *CONTENTS, *IDENTITIES, *PROMOTIONS]


ARTIFACT_CASES = [*SIGNATURES, *CONTENTS, *IDENTITIES[:3]]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Whatever a parser of this room is given from now on, beside being parsed."""
    given: list[bytes] = []

    def spied_on(model: type[BaseModel]) -> Callable[[bytes], object]:
        real = model.model_validate_json

        def parse(data: bytes) -> object:
            given.append(data)
            return real(data)

        return parse

    for model in (ModelCard, ModelStatement, Profile, Promotion):
        monkeypatch.setattr(model, "model_validate_json", spied_on(model))
    return given


def vouched_for(toys: Toys) -> set[bytes]:
    """All that a key signed which may sign now, found without the code under test."""
    vouched: set[bytes] = set()
    for path in toys.registry.artifact_root.rglob("*.sig"):
        stem, key, _ = path.name.split(".")
        body = path.with_name(f"{stem}.json")
        if key not in {toys.keys["mine"].id, toys.keys["colleague"].id} or not is_small(body):
            continue
        if is_small(path) and holds(toys, key, stem, body.read_bytes(), path.read_bytes()):
            vouched.add(body.read_bytes())
            if stem == "statement":
                vouched |= listed(body)
    return vouched


def is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 1 << 20


def holds(toys: Toys, key: str, stem: str, body: bytes, signature: bytes) -> bool:
    kind = {"statement": "model-statement", "promotion": "promotion"}[stem]
    name = f"application/vnd.batchinf.{kind}+json".encode()
    message = b"DSSEv1 %d %s %d %s" % (len(name), name, len(body), body)
    public = next(known.public for known in toys.keys.values() if known.id == key)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def listed(statement: Path) -> set[bytes]:
    digests = {bound["sha256"] for bound in json.loads(statement.read_bytes())["files"].values()}
    small = [path.read_bytes() for path in statement.parent.iterdir() if is_small(path)]
    return {data for data in small if hashlib.sha256(data).hexdigest() in digests}


def test_unaltered_it_scores_and_only_vouched_bytes_are_parsed(
    toys: Toys, parsed: list[bytes]
) -> None:
    assert promoted_model(toys.registry, "toy", "champion", toys.at).version.version == "2"
    assert len(parsed) == 4
    assert {*parsed} <= vouched_for(toys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_altered_model_neither_scores_nor_is_compared(
    toys: Toys, parsed: list[bytes], case: Case
) -> None:
    ask = [lambda: promoted_model(toys.registry, "toy", "champion", toys.at)]
    if case in ARTIFACT_CASES:
        version = toys.registry.version("toy", "2")
        ask.append(lambda: open_version(toys.registry, version, toys.at))
    case.alter(toys)
    vouched = vouched_for(toys)
    parsed.clear()
    for model in ask:
        with pytest.raises(ModelRefused) as refusal:
            model()
        assert refusal.value.reason is case.reason
        assert re.search(case.says, str(refusal.value)), str(refusal.value)
        assert str(refusal.value).isprintable()
    assert {*parsed} <= vouched


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"{}]")], ids=["missing", "damaged"]
)
def test_without_a_whole_keyring_no_byte_is_parsed(
    toys: Toys, parsed: list[bytes], damage: Callable[[Path], object]
) -> None:
    version = toys.registry.version("toy", "2")
    damage(toys.registry.keys / "keyring.json")
    with pytest.raises(KeyringInvalid, match=r"keyring\.json"):
        promoted_model(toys.registry, "toy", "champion", toys.at)
    with pytest.raises(KeyringInvalid, match=r"keyring\.json"):
        open_version(toys.registry, version, toys.at)
    assert parsed == []


def test_a_broken_chain_is_refused_by_the_history(toys: Toys) -> None:
    record_by(toys, "mine", previous_sha256="0" * 64)
    log = promotion_log(toys.registry, "toy", "champion")
    with pytest.raises(ModelRefused, match=f"{LOG}: record 1 breaks the chain") as refusal:
        log.history(toys.keyring)
    assert refusal.value.reason is Refusal.OLDER_VERSION


def test_every_code_of_this_room_stands_in_the_table() -> None:
    """Schema and descriptions have tables of their own, beside cards and artifacts."""
    room = Path(trust.__file__).parent
    text = "".join((room / f"{name}.py").read_text() for name in ROOM.split("|"))
    used = {Refusal[code] for code in re.findall(r"Refusal\.([A-Z_]+)", text)}
    assert used - {case.reason for case in CASES} == {Refusal.SCHEMA, Refusal.UNDESCRIBED}
