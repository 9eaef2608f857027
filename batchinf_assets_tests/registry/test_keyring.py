import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchinf_assets.errors import KeyringInvalid, ModelRefused, SigningKeyUnavailable
from batchinf_assets.registry.keyring import (
    Keyring,
    PublicKey,
    init_keys,
    read_keyring,
    trust_key,
    write_keyring,
)
from batchinf_assets.registry.keys import create_signing_key, load_signing_key

START = datetime(2013, 6, 1, 12, tzinfo=UTC)
END = datetime(2013, 7, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TOKYO = timezone(timedelta(hours=9))


@pytest.fixture
def key(tmp_path):
    return create_signing_key(tmp_path / "private" / "key.pem")


@pytest.fixture
def ring(key):
    return Keyring().with_key(key.public, not_before=START, not_after=END)


def reason(refusal):
    return refusal.value.reason.value


def test_a_keyring_reads_back_as_it_was_written(tmp_path, ring, key):
    revoked = ring.without_trust_in(key.id, at=END, reason="Lost")
    write_keyring(tmp_path / "keys", revoked)
    assert read_keyring(tmp_path / "keys") == revoked
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_the_keyring_holds_no_private_key(tmp_path, ring):
    write_keyring(tmp_path, ring)
    assert sorted(json.loads((tmp_path / "keyring.json").read_text())["keys"][0]) == [
        "algorithm",
        "id",
        "not_after",
        "not_before",
        "public",
        "revocation_reason",
        "revoked_at",
    ]


@pytest.mark.parametrize("at", [START, START + SECOND, END])
def test_a_key_counts_from_its_first_to_its_last_second(ring, key, at):
    assert ring.trusted(key.id, at, "It").raw == key.public


@pytest.mark.parametrize("at", [START - SECOND, END + SECOND])
def test_a_key_does_not_count_outside_its_validity(ring, key, at):
    period = r"from 2013-06-01 12:00 UTC to 2013-07-01 12:00 UTC"
    with pytest.raises(ModelRefused, match=rf"It is signed with key {key.id}.*{period}") as refusal:
        ring.trusted(key.id, at, "It")
    assert reason(refusal) == "key_expired"


def test_without_a_time_only_trust_is_asked_for(ring, key):
    assert ring.trusted(key.id, None, "It").id == key.id


def test_validity_means_the_same_instant_in_every_time_zone(key):
    ring = Keyring().with_key(
        key.public, not_before=START.astimezone(TOKYO), not_after=END.astimezone(TOKYO)
    )
    assert ring.trusted(key.id, END, "It")
    with pytest.raises(ModelRefused, match="to 2013-07-01 12:00 UTC"):
        ring.trusted(key.id, (END + SECOND).astimezone(TOKYO), "It")


def test_a_key_outside_the_keyring_is_named(ring):
    with pytest.raises(ModelRefused, match="key 0123456789abcdef, which is not in the") as refusal:
        ring.trusted("0123456789abcdef", START, "It")
    assert reason(refusal) == "wrong_key"


@pytest.mark.parametrize("at", [START, None])
def test_nothing_that_a_revoked_key_ever_signed_counts(ring, key, at):
    revoked = ring.without_trust_in(key.id, at=END, reason="Laptop\nstolen")
    with pytest.raises(ModelRefused, match=r"revoked on 2013-07-01 .*: Laptop stolen\.") as refusal:
        revoked.trusted(key.id, at, "It")
    assert reason(refusal) == "key_revoked"


def test_revoking_one_key_leaves_the_others(tmp_path, ring, key):
    other = create_signing_key(tmp_path / "other.pem")
    both = ring.with_key(other.public, not_before=START, not_after=END)
    revoked = both.without_trust_in(key.id, at=END, reason="Lost")
    assert revoked.trusted(other.id, START, "It").revoked_at is None


def test_an_unknown_key_cannot_be_revoked(ring, key):
    with pytest.raises(KeyringInvalid, match=f"no key 'nonsense'. It has: {key.id}"):
        ring.without_trust_in("nonsense", at=END, reason="Lost")


def test_a_key_is_in_a_keyring_once(ring, key):
    with pytest.raises(ValueError, match="a key id occurs twice"):
        ring.with_key(key.public, not_before=START, not_after=END)


def test_a_public_key_under_the_id_of_another_is_refused(tmp_path, ring):
    other = create_signing_key(tmp_path / "other.pem")
    [known] = Keyring().with_key(other.public, not_before=START, not_after=END).keys
    with pytest.raises(ValueError, match="is not the one that its id names"):
        PublicKey.model_validate({**known.model_dump(), "id": ring.keys[0].id})


def test_a_missing_keyring_trusts_nothing(tmp_path):
    with pytest.raises(KeyringInvalid, match=r"no keyring at .*keyring\.json.*batchinf keys init"):
        read_keyring(tmp_path)


def changed(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "other format": lambda path: changed(path, lambda ring: ring.update(format_version=2)),
    "more than known": lambda path: changed(path, lambda ring: ring.update(surprise=1)),
    "no base64": lambda path: changed(path, lambda ring: ring["keys"][0].update(public="!")),
    "short key": lambda path: changed(path, lambda ring: ring["keys"][0].update(public="AAAA")),
    "no time zone": lambda path: changed(
        path, lambda ring: ring["keys"][0].update(not_after="2099-01-01T00:00:00")
    ),
    "other algorithm": lambda path: changed(
        path, lambda ring: ring["keys"][0].update(algorithm="none")
    ),
    "twice": lambda path: changed(path, lambda ring: ring["keys"].append(ring["keys"][0])),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_keyring_trusts_nothing(tmp_path, ring, damage):
    damage(write_keyring(tmp_path, ring))
    with pytest.raises(KeyringInvalid, match=r"keyring\.json is no keyring: .*backup"):
        read_keyring(tmp_path)


def test_a_keyring_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "keyring.json").mkdir()
    with pytest.raises(KeyringInvalid, match=r"keyring\.json cannot be read"):
        read_keyring(tmp_path)


def test_a_new_key_is_trusted_at_once(tmp_path):
    made = init_keys(tmp_path / "keys", not_before=START, not_after=END)
    assert load_signing_key(tmp_path / "keys", {}) == made
    assert read_keyring(tmp_path / "keys").trusted(made.id, START, "It").raw == made.public


def test_a_next_key_keeps_the_trust_in_the_ones_before(tmp_path):
    first = init_keys(tmp_path, not_before=START, not_after=END)
    (tmp_path / "signing-key.pem").rename(tmp_path / "first.pem")
    second = init_keys(tmp_path, not_before=START, not_after=END)
    assert [key.id for key in read_keyring(tmp_path).keys] == [first.id, second.id]


def test_making_a_key_twice_changes_nothing(tmp_path):
    init_keys(tmp_path, not_before=START, not_after=END)
    before = (tmp_path / "keyring.json").read_bytes()
    with pytest.raises(SigningKeyUnavailable):
        init_keys(tmp_path, not_before=START, not_after=END)
    assert (tmp_path / "keyring.json").read_bytes() == before


def test_no_key_is_made_for_a_damaged_keyring(tmp_path):
    (tmp_path / "keyring.json").write_text("{")
    with pytest.raises(KeyringInvalid):
        init_keys(tmp_path, not_before=START, not_after=END)
    assert not (tmp_path / "signing-key.pem").exists()


def test_a_colleagues_key_is_trusted_beside_the_own_one(tmp_path, key):
    own = init_keys(tmp_path / "keys", not_before=START, not_after=END)
    trust_key(tmp_path / "keys", key.public, not_before=START, not_after=END)
    assert [known.id for known in read_keyring(tmp_path / "keys").keys] == [own.id, key.id]
    with pytest.raises(KeyringInvalid, match=f"knows key {key.id} already"):
        trust_key(tmp_path / "keys", key.public, not_before=START, not_after=END)


def test_a_keyring_made_under_the_umask_of_a_group_is_not_refused(tmp_path):
    before = os.umask(0o007)
    try:
        made = init_keys(tmp_path / "keys", not_before=START, not_after=END)
    finally:
        os.umask(before)
    assert read_keyring(tmp_path / "keys").find(made.id) is not None


def next_step(ring, id_, at):
    with pytest.raises(ModelRefused) as refusal:
        ring.trusted(id_, at, "It")
    return refusal.value.next_step


def test_before_a_key_counts_the_clock_is_asked_about_and_after_it_a_new_key_is(ring, key):
    assert "this machine's clock" in next_step(ring, key.id, START - SECOND)
    assert "batchinf keys init" in next_step(ring, key.id, END + SECOND)


def test_after_a_revocation_the_model_is_promoted_by_force(ring, key):
    revoked = ring.without_trust_in(key.id, at=END, reason="Lost")
    assert "batchinf model promote --force" in next_step(revoked, key.id, START)


def test_a_lost_keyring_is_restored_before_another_is_made(tmp_path):
    with pytest.raises(KeyringInvalid) as refusal:
        read_keyring(tmp_path)
    assert refusal.value.next_step.startswith("Restore it from a backup")
