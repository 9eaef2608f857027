"""Signed manifests: whose signature counts, over which bytes, at what time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from batchinf_assets.errors import ManifestInvalid, SigningKeyUnavailable
from batchinf_assets.lake.manifests import ManifestStore, SignedManifest
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord, OutputRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing.signed import read_signed_manifest, sign_manifest
from batchinf_assets.registry.keyring import Keyring, write_keyring
from batchinf_assets.registry.keys import SigningKey, create_signing_key
from batchinf_assets.registry.signing import sign_document
from batchinf_assets.windows import WindowSpec

FORMAT = (CHECKOUT / "docs" / "formats" / "manifest.md").read_text(encoding="utf-8")
WINDOW = WindowSpec(start=date(2013, 1, 1)).window("2013-07-01")
NOW = datetime(2013, 7, 2, 5, tzinfo=UTC)
DAY = timedelta(days=1)
REVISION, ANOTHER = "0123456789abcdef", "fedcba9876543210"
LANDED = FileRecord(path="f.parquet", sha256="0" * 64, bytes=1)
MANIFEST = Manifest(
    pipeline="toy",
    owner="toys@example.com",
    window=WindowRecord(key=WINDOW.key, start=WINDOW.start, end=WINDOW.end),
    revision=REVISION,
    snapshot=SnapshotRecord(digest="a" * 64, rows=0, source=LANDED),
    features=FeaturesRecord(digest="b" * 64, rows=0, definition="c" * 64, references=(), absent=()),
    model=ModelRecord(name="m", version="1", alias="champion", digest="d" * 64, scorer="s"),
    code=CodeRecord(version="0", source="e", python="3", libraries={}),
    settings=SettingsRecord(prediction_column="p", shard_rows=1, postprocess="f"),
    counts=CountsRecord(rows_in=0, scored=0, quarantined=0),
    outputs=(),
    checks=(),
    run_id="run",
    scored_at=NOW,
    published_at=NOW,
)


@dataclass
class Shelf:
    """A store with one signed manifest, and the keys of two people."""

    store: ManifestStore
    mine: SigningKey
    theirs: SigningKey
    keyring: Keyring

    @property
    def path(self) -> Path:
        return Path(self.store.path(WINDOW, REVISION))

    @property
    def signature(self) -> Path:
        return self.signature_of(self.mine)

    def signature_of(self, key: SigningKey) -> Path:
        return Path(self.store.signature_path(WINDOW, REVISION, key.id))

    def keep(self, manifest: Manifest = MANIFEST, key: SigningKey | None = None) -> None:
        signed = sign_manifest(manifest, key or self.mine, self.keyring)
        self.store.write(WINDOW, signed, require_held=lambda: None)

    def read(self) -> Manifest:
        return read_signed_manifest(self.store, WINDOW, REVISION, self.keyring).manifest

    def problem(self) -> str:
        with pytest.raises(ManifestInvalid) as refusal:
            self.read()
        assert refusal.value.message.startswith(str(self.path))
        return refusal.value.message.removeprefix(str(self.path))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    mine, theirs = (create_signing_key(tmp_path / name / "key.pem") for name in ("mine", "theirs"))
    keyring = Keyring()
    for key in (mine, theirs):
        keyring = keyring.with_key(key.public, not_before=NOW - DAY, not_after=NOW + DAY)
    made = Shelf(ManifestStore(tmp_path / "_manifests"), mine, theirs, keyring)
    made.keep()
    return made


def test_a_signed_manifest_is_read_with_its_key_and_digest(shelf: Shelf) -> None:
    found = read_signed_manifest(shelf.store, WINDOW, REVISION, shelf.keyring)
    assert (found.manifest, found.key_id) == (MANIFEST, shelf.mine.id)
    digest = subprocess.run(["sha256sum", shelf.path], check=True, capture_output=True, text=True)
    assert found.sha256 == digest.stdout.split()[0]


def lose_the_signature(shelf: Shelf) -> None:
    shelf.signature.unlink()


def change_a_byte(shelf: Shelf) -> None:
    shelf.path.write_bytes(MANIFEST.to_json().replace(b"toys@", b"t0ys@"))


def add_a_newline(shelf: Shelf) -> None:
    shelf.path.write_bytes(MANIFEST.to_json() + b"\n")


def cut_the_signature(shelf: Shelf) -> None:
    shelf.signature.write_bytes(shelf.signature.read_bytes()[:63])


def sign_as_a_model(shelf: Shelf) -> None:
    type_ = "application/vnd.batchinf.model-statement+json"
    shelf.signature.write_bytes(sign_document(type_, MANIFEST.to_json(), shelf.mine))


def sign_in_the_name_of_another(shelf: Shelf) -> None:
    shelf.signature.rename(shelf.signature_of(shelf.theirs))


def sign_another_revision(shelf: Shelf) -> None:
    shelf.keep(MANIFEST.model_copy(update={"revision": ANOTHER}))
    for suffix in ("json", f"{shelf.mine.id}.sig"):
        shelf.path.with_name(f"{ANOTHER}.{suffix}").rename(
            shelf.path.with_name(f"{REVISION}.{suffix}")
        )


def sign_a_draft(shelf: Shelf) -> None:
    body = MANIFEST.model_copy(update={"published_at": None}).to_json()
    shelf.path.write_bytes(body)
    type_ = "application/vnd.batchinf.manifest+json"
    shelf.signature.write_bytes(sign_document(type_, body, shelf.mine))


def revoke(shelf: Shelf) -> None:
    shelf.keyring = shelf.keyring.without_trust_in(shelf.mine.id, at=NOW, reason="Laptop stolen")


def forget_the_key(shelf: Shelf) -> None:
    keys = tuple(key for key in shelf.keyring.keys if key.id != shelf.mine.id)
    shelf.keyring = Keyring(keys=keys)


def valid(shelf: Shelf, not_before: datetime, not_after: datetime) -> None:
    shelf.keyring = Keyring().with_key(
        shelf.mine.public, not_before=not_before, not_after=not_after
    )


def expire_before_publication(shelf: Shelf) -> None:
    valid(shelf, NOW - 2 * DAY, NOW - DAY)


def begin_after_publication(shelf: Shelf) -> None:
    valid(shelf, NOW + DAY, NOW + 2 * DAY)


FAULTS: list[tuple[Callable[[Shelf], None], str]] = [
    (lose_the_signature, r" is not signed\.$"),
    (change_a_byte, r": the signature .*\.sig is not of .*\.json as it is now\.$"),
    (add_a_newline, r": the signature .* is not of"),
    (cut_the_signature, r": the signature .* is not of"),
    (sign_as_a_model, r": the signature .* is not of"),
    (sign_in_the_name_of_another, r": the signature .* is not of"),
    (sign_another_revision, r" is about revision fedcba9876543210"),
    (sign_a_draft, r" is a draft: it has no published_at"),
    (revoke, r"revoked on 2013-07-02 05:00 UTC: Laptop stolen"),
    (forget_the_key, r"which is not in the keyring"),
    (expire_before_publication, r"valid from .* only\. It says it was published on 2013-07-02"),
    (begin_after_publication, r"valid from .* only\. It says it was published on 2013-07-02"),
]


@pytest.mark.parametrize(("plant", "sentence"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_what_is_not_signed_rightly_is_refused_in_words(
    shelf: Shelf, plant: Callable[[Shelf], None], sentence: str
) -> None:
    plant(shelf)
    assert re.search(sentence, shelf.problem())


@pytest.mark.parametrize(
    ("plant", "step"), [(forget_the_key, "batchinf keys trust"), (revoke, "with another key")]
)
def test_nobody_is_sent_after_who_changed_what_only_the_keyring_does_not_trust(
    shelf: Shelf, plant: Callable[[Shelf], None], step: str
) -> None:
    plant(shelf)
    with pytest.raises(ManifestInvalid) as refusal:
        shelf.read()
    assert step in refusal.value.next_step
    assert "who changed" not in refusal.value.next_step


def test_a_key_that_expired_since_publication_still_counts(shelf: Shelf) -> None:
    valid(shelf, NOW - DAY, NOW)
    assert shelf.read() == MANIFEST


def test_no_parser_sees_what_nobody_signed(shelf: Shelf) -> None:
    shelf.path.write_bytes(b"{")
    assert "is not of" in shelf.problem()


def test_a_signature_of_earlier_bytes_beside_one_that_holds_does_not_matter(shelf: Shelf) -> None:
    left = shelf.signature.read_bytes()
    later = MANIFEST.model_copy(update={"run_id": "later"})
    shelf.keep(later, shelf.theirs)
    shelf.signature.write_bytes(left)
    assert shelf.read() == later
    forget_the_key(shelf)
    assert shelf.read() == later


def test_of_several_signatures_that_do_not_hold_each_is_named(shelf: Shelf) -> None:
    shelf.signature_of(shelf.theirs).write_bytes(shelf.signature.read_bytes())
    revoke(shelf)
    problem = shelf.problem()
    assert "Laptop stolen" in problem
    assert f"{shelf.theirs.id}.sig is not of" in problem


def test_a_key_that_nobody_trusts_signs_no_manifest(shelf: Shelf) -> None:
    revoke(shelf)
    with pytest.raises(SigningKeyUnavailable, match="Laptop stolen"):
        sign_manifest(MANIFEST, shelf.mine, shelf.keyring)
    late = MANIFEST.model_copy(update={"published_at": NOW + 2 * DAY})
    with pytest.raises(SigningKeyUnavailable, match="valid from"):
        sign_manifest(late, shelf.theirs, shelf.keyring)


@pytest.mark.parametrize(
    "change",
    [
        {"published_at": None},
        {"run_id": "/srv/lake"},
        {"outputs": (OutputRecord.model_construct(path="/x", rows=1, bytes=1, sha256="0" * 64),)},
    ],
)
def test_what_could_not_be_read_back_is_not_signed(shelf: Shelf, change: dict[str, object]) -> None:
    with pytest.raises(ManifestInvalid):
        sign_manifest(MANIFEST.model_copy(update=change), shelf.mine, shelf.keyring)


def by_hand(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", FORMAT, flags=re.DOTALL)
    return block


def verify_in_python(shelf: Shelf, keys: Path) -> None:
    write_keyring(keys, shelf.keyring)
    exec(by_hand("python"), {"revision": REVISION, "keyring": keys / "keyring.json"})


def verify_with_openssl(shelf: Shelf, _keys: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key = shelf.keyring.find(shelf.mine.id)
    public = key.public if key else ""
    script = f"set -e; cd {shelf.path.parent}; PUBLIC={public}; REVISION={REVISION}\n"
    subprocess.run(["bash", "-c", script + by_hand("sh")], check=True, capture_output=True)


@pytest.mark.parametrize("verify", [verify_in_python, verify_with_openssl])
def test_the_documented_ways_to_verify_by_hand_accept_and_refuse(
    shelf: Shelf,
    verify: Callable[[Shelf, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(shelf.path.parent)
    verify(shelf, tmp_path / "keys")
    change_a_byte(shelf)
    with pytest.raises((InvalidSignature, subprocess.CalledProcessError)):
        verify(shelf, tmp_path / "keys")


def test_signed_manifests_are_values(shelf: Shelf) -> None:
    first, second = (sign_manifest(MANIFEST, shelf.mine, shelf.keyring) for _ in range(2))
    assert (
        first
        == second
        == SignedManifest(
            revision=REVISION,
            body=MANIFEST.to_json(),
            key_id=shelf.mine.id,
            signature=shelf.signature.read_bytes(),
        )
    )
