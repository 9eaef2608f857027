import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import ValidationError

from batchinf_assets.errors import LostRace, ModelRefused, Refusal, UsageError
from batchinf_assets.registry.promotion_record import Clause, Promotion
from batchinf_assets.registry.promotions import PromotionLog
from batchinf_assets.registry.signing import sign_document

DIGEST = "d" * 64


@pytest.fixture
def log(toys, tmp_path):
    """The log of a model of which nothing was promoted yet."""
    return PromotionLog.of(tmp_path / "models", toys.registry.keys, "fresh", "champion")


def append(log, toys, version="1", key="mine", **changed):
    fields = {
        "action": "promote",
        "version": version,
        "digest": DIGEST,
        "reason": "Better",
        "by": "somebody",
        "at": toys.at,
        "forced": False,
        "clauses": (),
    }
    return log.append(toys.keys[key], **{"after": log.length, **fields, **changed})


def elsewhere(log, tmp_path, name="other lake"):
    """The same log as another machine sees it: its own copy, nothing seen yet."""
    return PromotionLog.of(log.folder.parents[2], tmp_path / name, log.name, log.alias)


def reason_of(ask):
    with pytest.raises(ModelRefused, match="fresh@champion") as refusal:
        ask()
    return refusal.value.reason


def test_a_log_without_records_has_no_current_one(log, toys):
    assert log.current(toys.keyring, toys.at) is None
    assert log.history(toys.keyring) == []
    assert not log.folder.exists()


def test_the_newest_record_counts(log, toys):
    first, second = append(log, toys, "1"), append(log, toys, "2", key="colleague")
    assert log.current(toys.keyring, toys.at) == second
    assert log.history(toys.keyring) == [first, second]
    assert [first.sequence, second.sequence] == [1, 2]
    assert second.key_id == toys.keys["colleague"].id


def test_a_record_keeps_what_the_gate_found(log, toys):
    clause = Clause(
        name="margin", passed=False, sentence="AUROC fell by 0.1", measured={"fell": 0.1, "n": 3}
    )
    written = append(log, toys, clauses=(clause,), forced=True, reason="Known: see ticket ü")
    assert log.history(toys.keyring) == [written]
    assert log.history(toys.keyring)[0].clauses == (clause,)


def test_a_demotion_is_a_record_like_any_other(log, toys):
    append(log, toys, "1")
    append(log, toys, "2")
    append(log, toys, "1", action="demote", reason="Worse in production")
    assert log.current(toys.keyring, toys.at).version == "1"
    assert [record.action for record in log.history(toys.keyring)] == [
        "promote",
        "promote",
        "demote",
    ]


def test_records_are_chained_by_digest(log, toys):
    append(log, toys, "1")
    body = (log.folder / "000001" / "promotion.json").read_bytes()
    second = append(log, toys, "2")
    assert second.previous_sha256 == hashlib.sha256(body).hexdigest()
    assert log.history(toys.keyring)[0].previous_sha256 is None


def test_each_alias_has_a_log_of_its_own(log, toys):
    other = replace(log, alias="shadow", folder=log.folder.with_name("shadow"))
    append(log, toys, "1")
    append(other, toys, "2")
    assert log.current(toys.keyring, toys.at).version == "1"
    assert other.current(toys.keyring, toys.at).sequence == 1


@pytest.mark.parametrize("name", ["../toy", "", "Toy", "toy/..", "toy\n", "a" * 64])
def test_what_is_no_name_never_becomes_a_path(toys, tmp_path, name):
    for model, alias in ((name, "champion"), ("toy", name)):
        with pytest.raises(UsageError, match="is no name of a model or an alias") as error:
            PromotionLog.of(tmp_path, toys.registry.keys, model, alias)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [{"reason": ""}, {"action": "delete"}, {"digest": "short"}, {"surprise": 1}, {"at": "now"}],
    ids=str,
)
def test_what_is_no_promotion_is_never_signed(log, toys, change):
    with pytest.raises(ValidationError):
        append(log, toys, **change)
    assert not log.folder.exists()


def test_whoever_adds_the_same_record_later_is_told(log, toys):
    """A colleague promotes after our number was taken and before our record is placed."""
    mine = toys.keys["mine"]

    class Slow:
        id, public = mine.id, mine.public

        def sign(self, message):
            append(log, toys, "2", key="colleague")
            return mine.sign(message)

    slow = replace(toys, keys={**toys.keys, "mine": Slow()})
    with pytest.raises(LostRace, match="fresh@champion at the same time"):
        append(log, slow, "1")
    assert [record.version for record in log.history(toys.keyring)] == ["2"]
    assert [path.name for path in log.folder.iterdir()] == ["000001"]


def test_records_that_are_added_at_once_are_one_chain(log, toys):
    together = Barrier(2)

    def promote_often(key):
        won = 0
        for _ in range(10):
            together.wait()
            try:
                append(log, toys, "1", key=key)
                won += 1
            except LostRace:
                continue
        return won

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(promote_often, ["mine", "colleague"]))
    history = log.history(toys.keyring)
    assert [record.sequence for record in history] == list(range(1, sum(won) + 1))
    assert sum(won) >= 10
    assert log.seen.last("fresh", "champion").sequence == sum(won)


def test_records_cut_off_the_end_are_missed(log, toys):
    append(log, toys, "1")
    append(log, toys, "2")
    shutil.rmtree(log.folder / "000002")
    for ask in (
        lambda: log.current(toys.keyring, toys.at),
        lambda: log.history(toys.keyring),
        lambda: append(log, toys, "3"),
    ):
        assert reason_of(ask) is Refusal.OLDER_VERSION


def test_a_log_that_vanished_is_missed(log, toys):
    append(log, toys, "1")
    shutil.rmtree(log.folder)
    with pytest.raises(ModelRefused, match="record 1 was seen here, the newest now is none"):
        log.current(toys.keyring, toys.at)


def test_reading_marks_what_was_seen(log, toys, tmp_path):
    append(log, toys, "1")
    append(log, toys, "2")
    reader = elsewhere(log, tmp_path)
    assert reader.current(toys.keyring, toys.at).sequence == 2
    shutil.rmtree(log.folder / "000002")
    assert reason_of(lambda: reader.current(toys.keyring, toys.at)) is Refusal.OLDER_VERSION


def test_records_verify_from_a_read_only_folder_of_keys(
    log, toys, tmp_path, monkeypatch, unprivileged
):
    append(log, toys, "1")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above belong to one user alone
    Path("keys").mkdir(mode=0o555)
    reader = PromotionLog.of(Path("models"), Path("keys"), "fresh", "champion")
    ring = toys.keyring
    with unprivileged():
        assert reader.current(ring, toys.at).version == "1"
    assert list(Path("keys").iterdir()) == []


def test_another_chain_in_place_of_the_one_that_was_seen_is_missed(log, toys, tmp_path):
    """The same key signs for a staging lake: its longer log lies about this one."""
    append(log, toys, "1")
    staging = PromotionLog.of(tmp_path / "staging", tmp_path / "none", "fresh", "champion")
    for version in ("7", "8", "9"):
        append(staging, toys, version)
    shutil.rmtree(log.folder)
    shutil.copytree(staging.folder, log.folder)
    with pytest.raises(ModelRefused, match="record 1 is another one than was seen here") as it:
        log.current(toys.keyring, toys.at)
    assert it.value.reason is Refusal.OLDER_VERSION


def test_one_record_of_another_chain_does_not_continue_this_one(log, toys, tmp_path):
    append(log, toys, "1")
    staging = PromotionLog.of(tmp_path / "staging", tmp_path / "none", "fresh", "champion")
    for version in ("7", "8"):
        append(staging, toys, version)
    shutil.copytree(staging.folder / "000002", log.folder / "000002")
    with pytest.raises(ModelRefused, match="record 1 breaks the chain"):
        log.current(toys.keyring, toys.at)
    with pytest.raises(ModelRefused, match="record 1 breaks the chain"):
        log.history(toys.keyring)


def test_successors_of_what_was_seen_are_followed(log, toys, tmp_path):
    append(log, toys, "1")
    reader = elsewhere(log, tmp_path)
    assert reader.current(toys.keyring, toys.at).sequence == 1
    for version in ("2", "3", "4"):
        append(log, toys, version)
    assert reader.current(toys.keyring, toys.at).sequence == 4
    assert reader.seen.last("fresh", "champion") == log.seen.last("fresh", "champion")


def test_a_newer_record_vouches_for_those_of_a_key_that_was_revoked_since(log, toys):
    append(log, toys, "1")
    append(log, toys, "2", key="colleague")
    ring = toys.keyring.without_trust_in(toys.keys["mine"].id, at=toys.at, reason="Lost")
    assert log.current(ring, toys.at).version == "2"
    assert [record.version for record in log.history(ring)] == ["1", "2"]
    both = ring.without_trust_in(toys.keys["colleague"].id, at=toys.at, reason="Lost")
    with pytest.raises(ModelRefused, match="Promotion 2 of fresh@champion") as refusal:
        log.history(both)
    assert refusal.value.reason is Refusal.KEY_REVOKED


def test_an_old_record_that_was_changed_is_missed_by_its_successor(log, toys):
    append(log, toys, "1")
    append(log, toys, "2")
    path = log.folder / "000001" / "promotion.json"
    path.write_bytes(path.read_bytes().replace(b"Better", b"Worse!"))
    with pytest.raises(ModelRefused, match="record 1 breaks the chain"):
        log.history(toys.keyring)


def test_a_decision_on_an_older_state_loses_the_race(log, toys):
    judged = log.length
    append(log, toys, "2")
    with pytest.raises(LostRace, match="Somebody else moved fresh@champion"):
        append(log, toys, "1", after=judged)
    assert log.length == 1


def test_history_outlives_the_validity_of_its_keys(log, toys):
    record = append(log, toys, "1")
    late = toys.at + timedelta(days=99)
    with pytest.raises(ModelRefused) as refusal:
        log.current(toys.keyring, late)
    assert refusal.value.reason is Refusal.KEY_EXPIRED
    assert log.history(toys.keyring) == [record]


def test_a_missing_record_breaks_the_history(log, toys):
    for version in ("1", "2", "3"):
        append(log, toys, version)
    shutil.rmtree(log.folder / "000002")
    with pytest.raises(ModelRefused, match="Promotion 2 of fresh@champion") as refusal:
        log.history(toys.keyring)
    assert refusal.value.reason is Refusal.MISSING_FILE


@pytest.mark.parametrize("name", ["2", "0000002", "٠٠٠٠٠٢", "-00002", "000002.bak", ".000002"])
def test_only_numbers_as_written_here_are_records(log, toys, name):
    first = append(log, toys, "1")
    shutil.copytree(log.folder / "000001", log.folder / name)
    assert log.current(toys.keyring, toys.at) == first
    assert append(log, toys, "2").sequence == 2


def test_a_planted_later_record_stops_and_never_decides(log, toys):
    append(log, toys, "1")
    (log.folder / "999999").mkdir()
    with pytest.raises(ModelRefused, match="Promotion 999999 of fresh@champion") as refusal:
        log.current(toys.keyring, toys.at)
    assert refusal.value.reason is Refusal.UNSIGNED


def test_a_pipe_in_place_of_a_record_is_not_waited_for(log, toys):
    append(log, toys, "1")
    path = log.folder / "000001" / "promotion.json"
    path.unlink()
    os.mkfifo(path)
    for ask in (
        lambda: log.current(toys.keyring, toys.at),
        lambda: append(log, toys, "2"),
    ):
        with pytest.raises(ModelRefused, match=r"promotion\.json is no plain file"):
            ask()


def test_a_signed_record_of_an_unknown_format_is_refused_by_name(log, toys):
    record = append(log, toys, "1").model_copy(update={"format_version": 9})
    body = record.to_json()
    kind = "application/vnd.batchinf.promotion+json"
    folder = log.folder / "000001"
    (folder / "promotion.json").write_bytes(body)
    signature = folder / f"promotion.{toys.keys['mine'].id}.sig"
    signature.write_bytes(sign_document(kind, body, toys.keys["mine"]))
    with pytest.raises(ModelRefused, match="record 1 is of no known format") as refusal:
        log.current(toys.keyring, toys.at)
    assert refusal.value.reason is Refusal.UNREADABLE


def test_a_record_is_canonical_json(log, toys):
    written = append(log, toys, "1").to_json()
    again = json.dumps(json.loads(written), sort_keys=True, separators=(",", ":")).encode()
    assert written == again
    assert Promotion.model_validate_json(written).to_json() == written
