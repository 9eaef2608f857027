"""A signing key in AWS Secrets Manager: asked for over HTTP, of moto's server on loopback."""

import logging
import traceback
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from batchinf_assets.errors import SigningKeyUnavailable
from batchinf_assets.orchestration.secrets import fetch_secret
from batchinf_assets.registry.keys import KEY_SECRET_VARIABLE, create_signing_key, load_signing_key

CANARY = "c2VjcmV0LWNhbmFyeQ"
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def address():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(address, monkeypatch, tmp_path):
    """The store as whoever keeps secrets in it sees it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", address)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=address)
    yield client
    moto_api(address, "reset")
    client.close()


def moto_api(address, action, data=b""):
    headers = {"Content-Type": "text/plain"}
    asked = urllib.request.Request(f"{address}/moto-api/{action}", data=data, headers=headers)
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200


def load(folder, name="team/signing-key"):
    return load_signing_key(folder, {KEY_SECRET_VARIABLE: name}, fetch_secret)


def test_the_signing_key_is_fetched_and_leaves_no_file(store, tmp_path):
    made = create_signing_key(tmp_path / "made.pem")
    store.create_secret(Name="team/signing-key", SecretString=(tmp_path / "made.pem").read_text())
    assert load(tmp_path / "keys") == made
    assert not (tmp_path / "keys").exists()


def test_the_secret_is_in_no_log_at_any_level(store, tmp_path, caplog):
    create_signing_key(tmp_path / "made.pem")
    pem = (tmp_path / "made.pem").read_text()
    store.create_secret(Name="team/signing-key", SecretString=pem)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("botocore.parsers").setLevel(logging.NOTSET)
    load(tmp_path)
    assert "GetSecretValue" in caplog.text, "nothing was logged: this test would prove nothing"
    assert pem.splitlines()[1] not in caplog.text
    assert logging.getLogger("botocore.parsers").level == logging.NOTSET


def test_a_missing_secret_is_named(store, tmp_path):
    store.create_secret(Name="another", SecretString=CANARY)
    with pytest.raises(
        SigningKeyUnavailable, match=r"'team/signing-key' cannot be read: .*NotFound"
    ):
        load(tmp_path)


def test_credentials_without_the_right_are_refused(store, address, tmp_path):
    store.create_secret(Name="team/signing-key", SecretString=CANARY)
    moto_api(address, "reset-auth", b"0")
    try:
        with pytest.raises(SigningKeyUnavailable, match="GetSecretValue") as error:
            load(tmp_path)
    finally:
        moto_api(address, "reset-auth", b"1000000000")
    assert "cannot be read" in str(error.value)
    assert str(error.value).isprintable()


def test_a_secret_that_is_no_key_is_never_shown(store, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    store.create_secret(Name="team/signing-key", SecretString=f"not a key: {CANARY}")
    caplog.clear()
    with pytest.raises(SigningKeyUnavailable, match="'team/signing-key' holds no") as error:
        load(tmp_path)
    said = [*traceback.format_exception(error.value), repr(error.value), caplog.text]
    assert not [text for text in said if CANARY in text]


def test_a_binary_secret_is_refused_and_never_shown(store, tmp_path):
    store.create_secret(Name="team/signing-key", SecretBinary=CANARY.encode())
    with pytest.raises(SigningKeyUnavailable, match="'team/signing-key' is binary") as error:
        load(tmp_path)
    assert CANARY not in "".join(traceback.format_exception(error.value))


def test_a_missing_region_is_said(store, tmp_path, monkeypatch):
    assert store.meta.region_name == REGION
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(SigningKeyUnavailable, match="region"):
        load(tmp_path)


def test_missing_credentials_are_said(store, tmp_path, monkeypatch):
    assert store.meta.region_name == REGION
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SigningKeyUnavailable, match="credentials"):
        load(tmp_path)
