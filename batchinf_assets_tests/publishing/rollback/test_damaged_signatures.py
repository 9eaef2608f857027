"""Which signatures condemn what readers see: revoked and broken ones, never a time or a format.

What is damaged of files and manifests is in test_damage.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.files import DataFile
from batchinf_assets.publishing.publish import MANIFEST
from batchinf_assets.publishing.signed import MANIFEST_TYPE
from batchinf_assets.registry.keyring import (
    Keyring,
    read_keyring,
    revoke_key,
    trust_key,
    write_keyring,
)
from batchinf_assets.registry.keys import SigningKey, create_signing_key
from batchinf_assets.registry.promotions import PromotionLog
from batchinf_assets.registry.signing import sign_document
from batchinf_assets.registry.trust import promotion_log
from batchinf_assets.scoring.predictions import REVISION
from batchinf_assets_tests.publishing.desk import Desk
from batchinf_assets_tests.publishing.proof.test_verify import output, table
from batchinf_assets_tests.publishing.rollback.test_damage import broken

YEAR = timedelta(days=365)


@pytest.fixture
def published(desk: Desk) -> Desk:
    desk.publish()
    return desk


@pytest.fixture
def colleague(desk: Desk) -> SigningKey:
    """A second key that counts."""
    key = create_signing_key(Path(str(desk.project.lake)).parent / "colleague.key")
    now = datetime.now(UTC)
    trust_key(desk.project.keys, key.public, not_before=now - YEAR, not_after=now + YEAR)
    return key


def rewrite(desk: Desk, old: bytes, new: bytes) -> bytes:
    path = desk.store.path(desk.window, desk.visible() or "")
    body = path.read_bytes().replace(old, new)
    assert body != path.read_bytes()
    path.write_bytes(body)
    return body


def publish_with_a_newer_version(desk: Desk) -> None:
    """Sign and commit a manifest of a format that nobody here knows."""
    body = rewrite(desk, b'"format_version": 2', b'"format_version": 3')
    desk.signature().write_bytes(sign_document(MANIFEST_TYPE, body, desk.key))
    metadata = {MANIFEST: hashlib.sha256(body).hexdigest(), REVISION: desk.visible() or ""}
    size = output(desk).stat().st_size
    file = DataFile(path=output(desk), rows=desk.rows().num_rows, bytes=size, sha256="")
    table(desk).commit(desk.window, [file], metadata)


def promote_again(desk: Desk, key: SigningKey) -> PromotionLog:
    model = desk.published().model
    log = promotion_log(desk.registry, model.name, model.alias)
    log.append(
        key,
        after=log.length,
        action="promote",
        version=model.version,
        digest=model.digest,
        reason="Again",
        by="tests",
        at=datetime.now(UTC),
        forced=False,
        clauses=(),
    )
    return log


def test_a_manifest_of_a_newer_format_is_refused_and_not_condemned(published: Desk) -> None:
    publish_with_a_newer_version(published)
    with pytest.raises(ManifestInvalid, match="of no format that this version knows"):
        broken(published)


def test_a_manifest_of_a_newer_format_that_nobody_signed_is_damaged(published: Desk) -> None:
    rewrite(published, b'"format_version": 2', b'"format_version": 3')
    assert broken(published) == [
        "expected the manifest that was published, found other bytes",
        "expected a signature that counts, found one of other bytes",
        "expected a manifest that can be read",
    ]


def test_a_key_that_is_trusted_here_since_now_condemns_nothing_older(published: Desk) -> None:
    raw, now = published.key.public, datetime.now(UTC)
    assert published.published().published_at < now  # pyright: ignore[reportOptionalOperand]
    ring = Keyring().with_key(raw, not_before=now, not_after=now + YEAR)
    write_keyring(published.project.keys, ring)
    assert broken(published) == []


def test_a_signature_that_counts_makes_up_for_others(
    published: Desk, colleague: SigningKey
) -> None:
    store, revision = published.store, published.visible() or ""
    body = store.body(published.window, revision)
    place = store.signature_path(published.window, revision, colleague.id)
    place.write_bytes(b"x" * 64)
    assert broken(published) == []
    place.write_bytes(sign_document(MANIFEST_TYPE, body, colleague))
    revoke(published, published.key)
    assert broken(published)[0].endswith("a key that was revoked")  # of the model
    assert len(broken(published)) == 1
    revoke(published, colleague)
    assert sum("which was revoked" in sentence for sentence in broken(published)) == 1


def test_a_revoked_key_that_signed_nothing_of_the_revision_condemns_it_not(
    published: Desk, colleague: SigningKey
) -> None:
    promote_again(published, colleague)
    assert broken(published) == []
    revoke(published, colleague)
    assert broken(published) == []


def test_a_later_promotion_of_a_key_that_counts_keeps_the_one_it_follows(
    published: Desk, colleague: SigningKey
) -> None:
    log = promote_again(published, colleague)
    revoke(published, published.key)
    assert not log.is_revoked(1, read_keyring(published.project.keys))
    revoke(published, colleague)
    ring = read_keyring(published.project.keys)
    assert (log.is_revoked(1, ring), log.is_revoked(2, ring)) == (True, True)
    assert not log.is_revoked(3, ring)


def revoke(desk: Desk, key: SigningKey) -> None:
    revoke_key(desk.project.keys, key.id, at=datetime.now(UTC), reason="Laptop stolen")
