import os
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.keyring import Keyring
from batchinf_assets.registry.keys import create_signing_key
from batchinf_assets.registry.signing import (
    LARGEST_DOCUMENT,
    DocumentType,
    read_signed,
    sign_document,
    signature_name,
    verify_document,
)

MODEL, PROMOTION, MANIFEST = get_args(DocumentType)
NOW = datetime(2013, 7, 1, tzinfo=UTC)
BODY = b'{"a": 1}'


@pytest.fixture
def key(tmp_path):
    return create_signing_key(tmp_path / "private" / "key.pem")


@pytest.fixture
def ring(key):
    return Keyring().with_key(
        key.public, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=1)
    )


@pytest.fixture
def document(tmp_path, key):
    path = tmp_path / "signed" / "statement.json"
    path.parent.mkdir()
    path.write_bytes(BODY)
    signature_of(path, key).write_bytes(sign_document(MODEL, BODY, key))
    return path


def signature_of(path, key):
    return path.with_name(signature_name(path.stem, key))


def refusal_of(document, ring, type_=MODEL):
    with pytest.raises(ModelRefused, match=r"^Model toy: ") as refusal:
        read_signed(document, type_, ring, NOW, "Model toy")
    return refusal.value


def test_a_signed_document_is_returned_with_its_key(document, ring, key):
    signed = read_signed(document, MODEL, ring, NOW, "Model toy")
    assert (signed.body, signed.key_id) == (BODY, key.id)


def test_what_is_signed_is_the_encoding_of_dsse(key):
    """Dead Simple Signing Envelope 1.0.2: lengths are ASCII decimals of bytes."""
    body = "ä".encode()
    encoded = b"DSSEv1 45 application/vnd.batchinf.model-statement+json 2 \xc3\xa4"
    public = Ed25519PublicKey.from_public_bytes(key.public)
    public.verify(sign_document(MODEL, body, key), encoded)


def test_a_signature_of_one_type_is_none_of_another(document, ring):
    refusal = refusal_of(document, ring, PROMOTION)
    assert refusal.reason is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("place", [0, 3, -1])
def test_one_changed_byte_of_the_document_is_refused(document, ring, place):
    body = bytearray(BODY)
    body[place] ^= 1
    document.write_bytes(body)
    assert refusal_of(document, ring).reason is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_one_changed_byte_of_the_signature_is_refused(document, ring, key, place):
    signature = bytearray(signature_of(document, key).read_bytes())
    signature[place] ^= 1
    signature_of(document, key).write_bytes(signature)
    assert refusal_of(document, ring).reason is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(document, ring, key, length):
    signature = signature_of(document, key).read_bytes()
    signature_of(document, key).write_bytes((signature * 2)[:length])
    assert refusal_of(document, ring).reason is Refusal.BAD_SIGNATURE


def test_an_appended_newline_is_refused(document, ring):
    document.write_bytes(BODY + b"\n")
    assert refusal_of(document, ring).reason is Refusal.BAD_SIGNATURE


def test_a_huge_document_is_refused_after_its_bound(document, ring):
    os.truncate(document, 1 << 40)
    refusal = refusal_of(document, ring)
    assert f"more than {LARGEST_DOCUMENT} bytes" in str(refusal)
    assert refusal.reason is Refusal.BAD_SIGNATURE


def test_no_signature_is_unsigned(document, ring, key):
    signature_of(document, key).unlink()
    refusal = refusal_of(document, ring)
    assert refusal.reason is Refusal.UNSIGNED
    assert "statement.json is not signed" in str(refusal)


def test_a_signature_without_document_is_unsigned(document, ring):
    document.unlink()
    refusal = refusal_of(document, ring)
    assert refusal.reason is Refusal.UNSIGNED
    assert "statement.json is missing" in str(refusal)


def test_two_signatures_are_none(document, ring, key):
    signature = signature_of(document, key).read_bytes()
    document.with_name("statement.0123456789abcdef.sig").write_bytes(signature)
    refusal = refusal_of(document, ring)
    assert refusal.reason is Refusal.UNSIGNED
    assert "has 2 signatures" in str(refusal)


@pytest.mark.parametrize(
    "name",
    ["statement.sig", "statement.0123456789ABCDEF.sig", "statement.0123456789abcdef.sig.bak"],
)
def test_a_file_of_another_name_is_no_signature(document, ring, key, name):
    signature_of(document, key).rename(document.with_name(name))
    assert refusal_of(document, ring).reason is Refusal.UNSIGNED


@pytest.mark.parametrize("which", ["document", "signature"])
def test_links_and_pipes_are_refused(document, ring, key, tmp_path, which):
    path = document if which == "document" else signature_of(document, key)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refusal_of(document, ring).reason is Refusal.NO_PLAIN_FILE
    path.unlink()
    os.mkfifo(path)
    assert refusal_of(document, ring).reason is Refusal.NO_PLAIN_FILE


def test_the_key_is_judged_at_the_time_of_asking(document, ring):
    late = NOW + timedelta(days=2)
    with pytest.raises(ModelRefused) as refusal:
        read_signed(document, MODEL, ring, late, "Model toy")
    assert refusal.value.reason is Refusal.KEY_EXPIRED
    assert read_signed(document, MODEL, ring, None, "Model toy").body == BODY


def verify(document, key, ring, body=BODY, type_=MODEL):
    signature = signature_of(document, key).read_bytes()
    return verify_document(type_, body, signature, key.id, ring, NOW, "Model toy", stem="statement")


def test_bytes_from_anywhere_verify_as_files_do(document, ring, key):
    assert verify(document, key, ring) == read_signed(document, MODEL, ring, NOW, "Model toy")


@pytest.mark.parametrize(
    "changed", [{"body": BODY + b" "}, {"type_": MANIFEST}, {"type_": PROMOTION}]
)
def test_other_bytes_or_another_type_do_not_verify(document, ring, key, changed):
    with pytest.raises(ModelRefused, match=r"statement\.[0-9a-f]{16}\.sig is not of") as refusal:
        verify(document, key, ring, **changed)
    assert refusal.value.reason is Refusal.BAD_SIGNATURE


def test_a_key_that_nobody_trusts_verifies_nothing(document, key):
    with pytest.raises(ModelRefused, match="not in the keyring") as refusal:
        verify(document, key, Keyring())
    assert refusal.value.reason is Refusal.WRONG_KEY
