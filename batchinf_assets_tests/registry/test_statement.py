import json
import os
import shutil
from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.keyring import Keyring
from batchinf_assets.registry.keys import create_signing_key
from batchinf_assets.registry.statement import ModelStatement, digest_of, read_bound, verify_folder

NOW = datetime(2013, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FILES = {"model.json": b"{}", "model.skops": b"model", "profile.json": b"{ }"}


@pytest.fixture
def key(tmp_path):
    return create_signing_key(tmp_path / "private" / "key.pem")


@pytest.fixture
def ring(key):
    return Keyring().with_key(key.public, not_before=NOW - DAY, not_after=NOW + 100 * DAY)


def statement(key, **changed):
    fields = {
        "name": "toy",
        "version": "2",
        "feature_definition": "f" * 64,
        "created_at": NOW,
        "expires_at": NOW + DAY,
        "key_id": key.id,
        "files": {name: digest_of(data) for name, data in FILES.items()},
    }
    return ModelStatement(**{**fields, **changed})


def place(folder, key, contents=FILES, **changed):
    folder.mkdir()
    for name, data in {**contents, **statement(key, **changed).signed(key)}.items():
        (folder / name).write_bytes(data)
    return folder


def verify(folder, ring, at=NOW, version="2"):
    return verify_folder(folder, name="toy", version=version, keyring=ring, at=at)


def test_a_verified_folder_gives_back_the_bytes_that_were_hashed(tmp_path, key, ring):
    said, contents = verify(place(tmp_path / "v2", key), ring)
    assert said == statement(key)
    assert contents == FILES


def test_a_statement_is_canonical_json(key):
    written = statement(key).to_json()
    assert (
        written == json.dumps(json.loads(written), sort_keys=True, separators=(",", ":")).encode()
    )
    assert ModelStatement.model_validate_json(written) == statement(key)


def test_it_binds_name_version_features_times_key_and_files(key):
    assert sorted(json.loads(statement(key).to_json())) == [
        "created_at",
        "expires_at",
        "feature_definition",
        "files",
        "format_version",
        "key_id",
        "name",
        "version",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": {"../model.json": digest_of(b"")}},
        {"files": {"model.pkl": digest_of(b"")}},
        {"files": {"MODEL.JSON": digest_of(b"")}},
        {"name": "../toy"},
        {"name": "toy\n"},
        {"version": "0"},
        {"version": "02"},
        {"version": "../2"},
        {"version": "2\n"},
        {"expires_at": datetime(2099, 1, 1)},  # noqa: DTZ001 - the case
        {"key_id": "key"},
        {"format_version": 2},
    ],
    ids=str,
)
def test_what_cannot_be_of_a_model_is_never_stated(key, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        statement(key, **change)


@pytest.mark.parametrize("late", [timedelta(0), timedelta(microseconds=1), 30 * DAY])
def test_a_statement_no_longer_counts_from_its_expiry_on(tmp_path, key, ring, late):
    folder = place(tmp_path / "v2", key)
    assert verify(folder, ring, NOW + DAY - timedelta(microseconds=1))
    with pytest.raises(ModelRefused, match=r"expired on 2013-07-02 00:00 UTC.*renew toy 2") as it:
        verify(folder, ring, NOW + DAY + late)
    assert it.value.reason is Refusal.SIGNATURE_EXPIRED


def test_expiry_means_the_same_instant_in_every_time_zone(tmp_path, key, ring):
    kiritimati = timezone(timedelta(hours=14))
    folder = place(tmp_path / "v2", key, expires_at=(NOW + DAY).astimezone(kiritimati))
    assert verify(folder, ring, NOW + DAY - timedelta(seconds=1))
    with pytest.raises(ModelRefused, match="expired on 2013-07-02 00:00 UTC"):
        verify(folder, ring, (NOW + DAY).astimezone(timezone(timedelta(hours=-11))))


def test_without_a_time_an_expired_statement_is_authentic(tmp_path, key, ring):
    assert verify(place(tmp_path / "v2", key, expires_at=NOW - DAY), ring, None)


def test_a_statement_of_an_unknown_format_is_refused_by_name(tmp_path, key, ring):
    folder = place(tmp_path / "v2", key)
    body = json.dumps({**json.loads(statement(key).to_json()), "format_version": 9}).encode()
    unknown = statement(key).model_copy(update={"format_version": 9})
    assert json.loads(body) == json.loads(unknown.to_json())
    for name, data in unknown.signed(key).items():
        (folder / name).write_bytes(data)
    with pytest.raises(ModelRefused, match=r"Model toy v2 \(v2\): .*format_version") as refusal:
        verify(folder, ring)
    assert refusal.value.reason is Refusal.UNREADABLE


def test_a_moved_folder_still_verifies(tmp_path, key, ring):
    moved = shutil.move(place(tmp_path / "v2", key), tmp_path / "elsewhere")
    assert verify(moved, ring)[1] == FILES


@pytest.mark.parametrize(
    "name", ["Model.json", "MODEL.SKOPS", "model.jso\uff4e", "model.json ", ".model.json"]
)
def test_a_name_that_only_looks_alike_does_not_belong(tmp_path, key, ring, name):
    folder = place(tmp_path / "v2", key)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(ModelRefused, match="does not belong to it") as refusal:
        verify(folder, ring)
    assert refusal.value.reason is Refusal.ADDED_FILE


@pytest.mark.parametrize(
    "name", [b"x\nbatchinf: fine", b"\x1b[2Kx", b"\xff\xfe", "\u202ex".encode()]
)
def test_a_strange_name_is_shown_on_one_line(tmp_path, key, ring, name):
    folder = place(tmp_path / "v2", key)
    (folder / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(ModelRefused, match="does not belong to it") as refusal:
        verify(folder, ring)
    assert str(refusal.value).isprintable()


def test_a_grown_file_is_not_read_to_its_end(tmp_path, key, ring):
    folder = place(tmp_path / "v2", key)
    os.truncate(folder / "model.skops", 1 << 40)
    with pytest.raises(ModelRefused, match=r"model\.skops does not have the 5 bytes") as refusal:
        verify(folder, ring)
    assert refusal.value.reason is Refusal.CHANGED_FILE


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, key, ring):
    folder = place(tmp_path / "v2", key)
    (folder / "model.skops").unlink()
    os.mkfifo(folder / "model.skops")
    with pytest.raises(ModelRefused, match=r"model\.skops is no plain file") as refusal:
        verify(folder, ring)
    assert refusal.value.reason is Refusal.NO_PLAIN_FILE


def test_bytes_are_bound_by_length_and_digest(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(b"model")
    assert read_bound(path, digest_of(b"model"), "It") == b"model"
    for other in (b"mode", b"models", b"mOdel"):
        with pytest.raises(ModelRefused, match=r"^It: model\.skops does not have"):
            read_bound(path, digest_of(other), "It")
