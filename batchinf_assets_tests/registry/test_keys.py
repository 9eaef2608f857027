import base64
import logging
import os
import stat
import traceback

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from batchinf_assets.errors import SigningKeyUnavailable
from batchinf_assets.registry.keys import create_signing_key, key_id, load_signing_key

CANARY = "c2VjcmV0LWNhbmFyeQ"
PEM = (Encoding.PEM, PrivateFormat.PKCS8)


def put(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def everything_said(error):
    """What a log with a traceback would show of a failure, and of what it came from."""
    texts = [*traceback.format_exception(error), repr(error), repr(error.__dict__)]
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
        texts += [repr(error), repr(error.args)]
    return "\n".join(texts)


def test_a_new_key_signs_what_its_public_half_verifies(tmp_path):
    key = create_signing_key(tmp_path / "keys" / "signing-key.pem")
    public = Ed25519PublicKey.from_public_bytes(key.public)
    public.verify(key.sign(b"message"), b"message")
    with pytest.raises(InvalidSignature):
        public.verify(key.sign(b"message"), b"another message")


def test_the_signature_is_the_one_of_rfc_8032():
    """Test 3 of its section 7.1: two bytes."""
    secret = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    pem = Ed25519PrivateKey.from_private_bytes(secret).private_bytes(*PEM, NoEncryption())
    key = load_signing_key(None, {"BATCHINF_SIGNING_KEY": pem.decode()})
    assert key.public.hex().startswith("fc51cd8e6218a1a38da47ed00230f058")
    assert key.sign(bytes.fromhex("af82")).hex().startswith("6291d657deec24024827e69c3abe01a3")


def test_the_id_is_of_the_public_key(tmp_path):
    key = create_signing_key(tmp_path / "key.pem")
    assert key.id == key_id(key.public)
    assert len(key.id) == 16
    assert len(key.public) == 32


def test_a_key_and_its_folder_are_readable_by_their_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        create_signing_key(tmp_path / "keys" / "signing-key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "signing-key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "signing-key.pem"
    create_signing_key(path)
    before = path.read_bytes()
    with pytest.raises(SigningKeyUnavailable, match=r"There is a signing key at .* already"):
        create_signing_key(path)
    assert path.read_bytes() == before


def test_a_link_is_no_place_for_a_new_key(tmp_path):
    (tmp_path / "signing-key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SigningKeyUnavailable):
        create_signing_key(tmp_path / "signing-key.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_the_key_is_read_from_its_folder(tmp_path):
    made = create_signing_key(tmp_path / "signing-key.pem")
    assert load_signing_key(tmp_path, {}) == made


def test_the_environment_names_another_file(tmp_path):
    create_signing_key(tmp_path / "signing-key.pem")
    other = create_signing_key(tmp_path / "other.pem")
    environ = {"BATCHINF_SIGNING_KEY_FILE": str(tmp_path / "other.pem")}
    assert load_signing_key(tmp_path, environ) == other


def test_the_environment_holds_the_key_itself(tmp_path):
    made = create_signing_key(tmp_path / "made.pem")
    environ = {"BATCHINF_SIGNING_KEY": (tmp_path / "made.pem").read_text()}
    assert load_signing_key(tmp_path / "nowhere", environ) == made


def test_a_secret_store_is_asked_by_name(tmp_path):
    made = create_signing_key(tmp_path / "made.pem")
    stored = {"team/key": (tmp_path / "made.pem").read_text()}
    environ = {"BATCHINF_SIGNING_KEY_SECRET": "team/key"}
    assert load_signing_key(tmp_path, environ, stored.__getitem__) == made
    with pytest.raises(SigningKeyUnavailable, match="asks no secret store"):
        load_signing_key(tmp_path, environ)


def test_text_comes_before_secret_and_secret_before_file(tmp_path):
    keys = {name: create_signing_key(tmp_path / name) for name in ("text", "secret", "file")}
    texts = {name: (tmp_path / name).read_text() for name in keys}
    environ = {
        "BATCHINF_SIGNING_KEY": texts["text"],
        "BATCHINF_SIGNING_KEY_SECRET": "secret",
        "BATCHINF_SIGNING_KEY_FILE": str(tmp_path / "file"),
    }
    for expected in ("text", "secret", "file"):
        assert load_signing_key(tmp_path, environ, texts.__getitem__) == keys[expected]
        environ.pop(next(iter(environ)))


@pytest.mark.parametrize("variable", ["", "_FILE", "_SECRET"])
def test_an_empty_variable_counts_as_unset(tmp_path, variable):
    made = create_signing_key(tmp_path / "signing-key.pem")
    assert load_signing_key(tmp_path, {f"BATCHINF_SIGNING_KEY{variable}": ""}) == made


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_that_only_its_owner_reads_is_used(tmp_path, mode):
    made = create_signing_key(tmp_path / "signing-key.pem")
    (tmp_path / "signing-key.pem").chmod(mode)
    assert load_signing_key(tmp_path, {}) == made


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_key_that_others_may_touch_is_refused(tmp_path, mode):
    create_signing_key(tmp_path / "signing-key.pem")
    (tmp_path / "signing-key.pem").chmod(mode)
    with pytest.raises(SigningKeyUnavailable, match=rf"\(mode {mode:o}\).*chmod 600"):
        load_signing_key(tmp_path, {})


def test_the_mode_of_a_linked_key_is_the_one_of_its_target(tmp_path):
    made = create_signing_key(tmp_path / "mounted" / "key.pem")
    (tmp_path / "signing-key.pem").symlink_to(tmp_path / "mounted" / "key.pem")
    assert load_signing_key(tmp_path, {}) == made
    (tmp_path / "mounted" / "key.pem").chmod(0o644)
    with pytest.raises(SigningKeyUnavailable, match="mode 644"):
        load_signing_key(tmp_path, {})


def test_a_missing_key_says_how_to_make_one(tmp_path):
    with pytest.raises(SigningKeyUnavailable, match=r"no signing key at .*batchinf keys init"):
        load_signing_key(tmp_path, {})


def test_a_folder_where_the_key_belongs_is_named(tmp_path):
    (tmp_path / "signing-key.pem").mkdir(mode=0o700)
    with pytest.raises(SigningKeyUnavailable, match=r"signing-key\.pem cannot be read"):
        load_signing_key(tmp_path, {})


def private_pem(key, encryption=None):
    return key.private_bytes(*PEM, encryption or NoEncryption())


WRONG = {
    "nothing": b"",
    "text": f"the key is {CANARY}".encode(),
    "no text": b"\x00\xff" + CANARY.encode(),
    "rsa": private_pem(generate_rsa(public_exponent=65537, key_size=2048)),
    "other curve": private_pem(generate_private_key(SECP256R1())),
    "encrypted": private_pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")),
    "public": Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "damaged": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n".encode(),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_plain_ed25519_key_is_refused_and_never_shown(tmp_path, content, caplog):
    caplog.set_level(logging.DEBUG)
    put(tmp_path / "signing-key.pem", content)
    body = content.decode(errors="surrogateescape")
    places = [
        (tmp_path, {}, "signing-key.pem"),
        (tmp_path, {"BATCHINF_SIGNING_KEY": body or " "}, "BATCHINF_SIGNING_KEY"),
        (tmp_path, {"BATCHINF_SIGNING_KEY_SECRET": "team/key"}, "team/key"),
    ]
    for folder, environ, place in places:
        with pytest.raises(SigningKeyUnavailable, match="no unencrypted Ed25519") as refusal:
            load_signing_key(folder, environ, lambda _: body)
        said = everything_said(refusal.value)
        assert place in said
        assert CANARY not in said
        lines = [line for line in body.splitlines() if len(line) > 8 and "-----" not in line]
        assert not [line for line in lines if line in said or line in caplog.text]


@pytest.mark.parametrize("variable", ["BATCHINF_SIGNING_KEY_FILE", "BATCHINF_SIGNING_KEY_SECRET"])
def test_a_key_in_place_of_a_name_is_never_shown(tmp_path, variable):
    create_signing_key(tmp_path / "made.pem")
    pem = (tmp_path / "made.pem").read_text()
    asked = []
    with pytest.raises(SigningKeyUnavailable, match=f"{variable} holds a key") as refusal:
        load_signing_key(tmp_path, {variable: pem}, asked.append)
    assert pem.splitlines()[1] not in everything_said(refusal.value)
    assert asked == []


def test_a_key_shows_its_id_alone(tmp_path):
    key = create_signing_key(tmp_path / "key.pem")
    raw = base64.b64decode("".join((tmp_path / "key.pem").read_text().splitlines()[1:-1]))[-32:]
    assert repr(key) == f"SigningKey(id='{key.id}')"
    assert str(key) == f"{key}" == repr(key)
    for written in (raw.hex(), base64.b64encode(raw).decode(), repr(raw)):
        assert written not in repr(key)
