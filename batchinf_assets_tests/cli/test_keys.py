"""Commands on keys: a key pair is made, listed and revoked, and its private half is never shown."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.registry.keys import create_signing_key

Run = Callable[..., Result]
Told = Callable[..., str]

WINDOW = "2013-07-01"


@pytest.fixture
def folder(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where no key was made yet."""
    assert environ["BATCHINF_KEYS"]
    monkeypatch.setenv("BATCHINF_KEYS", str(tmp_path / "new keys"))
    return tmp_path / "new keys"


def test_init_makes_a_key_that_its_owner_alone_can_read(folder: Path, fine: Told) -> None:
    told = fine("keys", "init", "--days", "30")
    pem = folder / "signing-key.pem"
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    (key,) = json.loads(fine("keys", "list", "--json"))
    assert f"Key {key['id']} made in {folder}, valid for 30 days." in told
    assert key["revoked_at"] is None
    secret = pem.read_text().splitlines()[1]
    assert secret not in told
    assert secret not in (folder / "keyring.json").read_text()


def test_init_does_not_replace_a_key(folder: Path, fine: Told, refused: Told) -> None:
    made = json.loads(fine("keys", "init", "--json"))
    content = (folder / "signing-key.pem").read_bytes()
    line = refused("keys", "init")
    assert "There is a signing key at" in line
    assert "batchinf keys revoke" in line
    assert (folder / "signing-key.pem").read_bytes() == content
    assert [key["id"] for key in json.loads(fine("keys", "list", "--json"))] == [made["key_id"]]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("days", ["0", "-1", "999999", "many"])
def test_a_validity_that_makes_no_sense_is_wrong_use(batchinf: Run, days: str) -> None:
    assert batchinf("keys", "init", "--days", days).exit_code == 2


@pytest.mark.usefixtures("folder")
def test_without_a_keyring_there_is_nothing_to_list(refused: Told) -> None:
    assert "batchinf keys init" in refused("keys", "list")


def test_revoke_says_why_in_the_list(project: Project, fine: Told) -> None:
    (key,) = json.loads(fine("keys", "list", "--json"))
    told = fine("keys", "revoke", key["id"], "--reason", "Laptop stolen")
    assert told.startswith(f"Key {key['id']} is revoked")
    table = fine("keys", "list")
    assert key["id"] in table
    assert "Laptop stolen" in table
    (revoked,) = json.loads(fine("keys", "list", "--json"))
    assert revoked["revoked_at"] is not None
    assert (project.keys / "signing-key.pem").exists()


@pytest.mark.usefixtures("environ")
def test_a_key_that_is_not_in_the_keyring_cannot_be_revoked(refused: Told) -> None:
    assert "The keyring has no key 'nobody'" in refused("keys", "revoke", "nobody", "--reason", "x")


@pytest.mark.usefixtures("environ")
def test_a_revocation_needs_a_reason(batchinf: Run) -> None:
    assert batchinf("keys", "revoke", "nobody").exit_code == 2


def test_after_a_revocation_no_window_is_scored(fine: Told, refused: Told) -> None:
    (key,) = json.loads(fine("keys", "list", "--json"))
    fine("keys", "revoke", key["id"], "--reason", "Laptop stolen")
    line = refused("run", "flight_delays", WINDOW)
    assert "Laptop stolen" in line
    assert line.endswith("[key_revoked]")
    (listed,) = json.loads(fine("model", "list", "--json"))
    assert listed["state"] == "key_revoked"
    assert "no_keyring" not in fine("model", "list")
    (window,) = json.loads(fine("status", "flight_delays", "--json"))
    assert (window["state"], window["revision"]) == ("features ready", None)


def test_a_colleagues_public_key_is_trusted_as_init_printed_it(
    folder: Path, fine: Told, refused: Told
) -> None:
    fine("keys", "init")
    colleague = create_signing_key(folder / "colleague.pem")
    public = base64.b64encode(colleague.public).decode()
    trusted = json.loads(fine("keys", "trust", "--public", public, "--json"))
    assert trusted["key_id"] == colleague.id
    assert colleague.id in fine("keys", "list")
    assert "That is no public key" in refused("keys", "trust", "--public", public[:-4], code=2)
    assert "already" in refused("keys", "trust", "--public", public)


def test_a_key_is_trusted_from_the_day_on_that_is_named(
    folder: Path, fine: Told, refused: Told, batchinf: Run
) -> None:
    fine("keys", "init")
    public = base64.b64encode(create_signing_key(folder / "colleague.pem").public).decode()
    trust = ("keys", "trust", "--public", public)
    assert "--from 2999-01-01" in refused(*trust, "--from", "2999-01-01", code=2)
    assert batchinf(*trust, "--from", "yesterday").exit_code == 2
    fine(*trust, "--from", "2013-07-01")
    own, trusted = json.loads(fine("keys", "list", "--json"))
    assert trusted["not_before"] == "2013-07-01T00:00:00Z"
    assert trusted["not_after"] >= own["not_after"]


def test_a_known_key_may_be_trusted_since_earlier_and_for_no_longer(
    folder: Path, fine: Told, refused: Told
) -> None:
    fine("keys", "init")
    public = base64.b64encode(create_signing_key(folder / "colleague.pem").public).decode()
    trust = ("keys", "trust", "--public", public)
    fine(*trust, "--from", "2013-07-01", "--days", "30")
    _, before = json.loads(fine("keys", "list", "--json"))
    for words in ((), ("--from", "2013-07-01"), ("--from", "2013-07-02", "--days", "3650")):
        line = refused(*trust, *words)
        assert f"knows key {before['id']} already, valid from 2013-07-01" in line
        assert "`batchinf keys trust --from DATE`" in line
    told = fine(*trust, "--from", "2013-06-01", "--days", "3650")
    assert f"from 2013-06-01 to {before['not_after'][:10]}." in told
    _, after = json.loads(fine("keys", "list", "--json"))
    assert after == {**before, "not_before": "2013-06-01T00:00:00Z"}
    fine("keys", "revoke", before["id"], "--reason", "Lost")
    assert "was revoked on" in refused(*trust, "--from", "2013-05-01")
    assert json.loads(fine("keys", "list", "--json"))[1]["not_before"] == after["not_before"]


@pytest.mark.parametrize("place", ["keyring.json", "."])
def test_a_keyring_that_others_may_write_is_refused(
    folder: Path, fine: Told, refused: Told, place: str
) -> None:
    fine("keys", "init")
    (folder / place).chmod(0o777)
    assert "Others may write" in refused("keys", "list")
