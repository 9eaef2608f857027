"""Models and promotions on S3: written, copied and verified against moto's server on loopback."""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from batchinf_assets.errors import (
    LostRace,
    ModelRefused,
    Refusal,
    StorageUnavailable,
    UsageError,
)
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access, S3Limits
from batchinf_assets.registry import mirror as mirrors
from batchinf_assets.registry.artifact import artifact_folder, place_artifact
from batchinf_assets.registry.mirror import Mirror
from batchinf_assets.registry.registry import ModelVersion
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.registry.trust import open_version, promoted_model, promotion_log

MODEL = "cloudy"


@pytest.fixture
def version(cloud):
    return cloud.register(cloud.draft(MODEL))


@pytest.fixture
def failing_write(monkeypatch):
    """Let the store stop answering after a number of writes."""

    @contextmanager
    def after(writes):
        create, left = S3Place.create, iter(range(writes))

        def failing(place, content):
            if next(left, None) is None:
                raise StorageUnavailable("No answer.", next_step="Wait.")
            return create(place, content)

        with monkeypatch.context() as patch:
            patch.setattr(S3Place, "create", failing)
            yield

    return after


def opened(cloud, version):
    return open_version(cloud.registry, version, cloud.at)


def refusal(ask):
    with pytest.raises(ModelRefused) as found:
        ask()
    assert str(found.value).isprintable()
    return found.value


def prefix(version):
    return f"models/{MODEL}/v{version.version}-{version.digest[:16]}/"


def keys_below(bucket, prefix="models/"):
    return sorted(found.key for found in bucket.objects.filter(Prefix=prefix))


def elsewhere(cloud, tmp_path, name="another machine"):
    """The same models as another machine sees them: it has copied and seen nothing yet."""
    models, keys = cloud.registry.artifact_root, tmp_path / name / "keys"
    keys.mkdir(parents=True)
    shutil.copy2(cloud.registry.keys / "keyring.json", keys)
    mirror = replace(models, cache=tmp_path / name / "cache")
    return replace(cloud, registry=replace(cloud.registry, artifact_root=mirror, keys=keys))


def log_of(cloud):
    return promotion_log(cloud.registry, MODEL, "champion")


def test_a_model_registered_and_promoted_on_s3_is_found_by_another_machine(
    cloud, version, tmp_path
):
    record = cloud.promote(version)
    other = elsewhere(cloud, tmp_path)
    found = promoted_model(other.registry, MODEL, "champion", other.at)
    assert found.artifact.contents["model.skops"] == b"a model"
    assert found.version.digest == found.artifact.digest == version.digest
    assert found.promotion == record
    assert found.artifact.folder.is_relative_to(tmp_path / "another machine" / "cache")
    assert not (cloud.registry.keys.parent / "lake" / "_models" / MODEL).exists()


def test_the_objects_are_those_of_a_folder(cloud, version, bucket):
    key = cloud.keys["mine"].id
    names = (*cloud.draft(MODEL).contents, "statement.json", f"statement.{key}.sig")
    assert keys_below(bucket) == sorted(f"{prefix(version)}{name}" for name in names)


def test_the_same_objects_are_copied_once(cloud, version):
    first, second = opened(cloud, version), opened(cloud, version)
    assert first.folder == second.folder
    assert len(list(cloud.registry.artifact_root.cache.iterdir())) == 1


def test_processes_that_copy_at_once_each_read_a_whole_copy(cloud, version, tmp_path):
    together, other = Barrier(4), elsewhere(cloud, tmp_path)

    def read(_number):
        together.wait()
        return opened(other, version).contents["model.skops"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [b"a model"] * 4
    assert len(list(other.registry.artifact_root.cache.iterdir())) == 1


def test_a_changed_object_is_refused_until_it_is_restored(cloud, version, bucket):
    opened(cloud, version)
    model = bucket.Object(f"{prefix(version)}model.skops")
    model.put(Body=b"another model")
    assert refusal(lambda: opened(cloud, version)).reason is Refusal.CHANGED_FILE
    model.put(Body=b"a model")
    assert opened(cloud, version).contents["model.skops"] == b"a model"


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "model.pkl",
        "deeper/model.skops",
        "..%2f..%2fescaped",
        "right\u202eleft",
        f"model.{'a' * 16}.sig",
        ".hidden",
    ],
)
def test_an_added_object_is_refused_and_never_copied(cloud, version, bucket, name):
    opened(cloud, version)
    bucket.put_object(Key=f"{prefix(version)}{name}", Body=b"planted")
    assert refusal(lambda: opened(cloud, version)).reason is Refusal.ADDED_FILE
    copied = cloud.registry.artifact_root.cache.rglob("*")
    assert not any(path.read_bytes() == b"planted" for path in copied if path.is_file())


def test_a_second_signature_is_refused(cloud, version, bucket):
    bucket.put_object(Key=f"{prefix(version)}statement.{'a' * 16}.sig", Body=b"x" * 64)
    assert refusal(lambda: opened(cloud, version)).reason is Refusal.UNSIGNED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.skops", Refusal.MISSING_FILE),
        ("model.json", Refusal.MISSING_FILE),
        ("statement.json", Refusal.UNSIGNED),
    ],
)
def test_an_object_deleted_on_s3_is_missed_although_it_was_copied(
    cloud, version, bucket, name, reason
):
    opened(cloud, version)
    bucket.Object(f"{prefix(version)}{name}").delete()
    assert refusal(lambda: opened(cloud, version)).reason is reason


def test_a_model_deleted_on_s3_is_missed_by_its_url(cloud, version, bucket):
    opened(cloud, version)
    bucket.objects.filter(Prefix=prefix(version)).delete()
    found = refusal(lambda: opened(cloud, version))
    assert found.reason is Refusal.MISSING_FILE
    assert f"s3://{bucket.name}/{prefix(version)[:-1]} holds nothing" in str(found)


def test_another_version_in_place_of_a_signed_one_is_refused(cloud, version, bucket):
    newer = cloud.register(cloud.draft(MODEL))  # the same files, signed as version 2
    for key in keys_below(bucket, prefix(version)):
        bucket.Object(key.replace("/v1-", "/v2-")).copy({"Bucket": bucket.name, "Key": key})
    assert refusal(lambda: opened(cloud, newer)).reason is Refusal.OLDER_VERSION


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "emptied", "unreadable"])
def test_a_damaged_copy_is_made_again(cloud, version, damage):
    copy = opened(cloud, version).folder
    if damage == "changed":
        (copy / "model.skops").write_bytes(b"A model")
    elif damage == "removed":
        (copy / "model.skops").unlink()
    elif damage == "added":
        (copy / "notes.txt").touch()
    elif damage == "emptied":
        shutil.rmtree(copy)
    else:
        (copy.parent / "copied.json").write_bytes(b"{")
    assert opened(cloud, version).contents["model.skops"] == b"a model"
    assert opened(cloud, version).folder == copy


def test_no_more_of_a_document_is_copied_than_can_be_read(cloud, version, bucket):
    bucket.Object(f"{prefix(version)}statement.json").put(Body=b" " * (3 << 20))
    assert "more than 1048576 bytes" in str(refusal(lambda: opened(cloud, version)))
    (copied,) = cloud.registry.artifact_root.cache.rglob("statement.json")
    assert copied.stat().st_size == (1 << 20) + 1


def test_more_objects_than_any_folder_has_are_not_looked_at(cloud, version, monkeypatch):
    monkeypatch.setattr(mirrors, "MOST_OBJECTS", 3)
    assert "holds more than 3 objects" in str(refusal(lambda: opened(cloud, version)))


def test_without_s3_nothing_scores_from_a_copy(cloud, version):
    opened(cloud, version)
    models = cloud.registry.artifact_root
    limits = S3Limits(retries=0, connect_seconds=0.5, total_seconds=1)
    access = S3Access(endpoint="http://127.0.0.1:9", region="eu-central-1", limits=limits)
    away = replace(models, origin=replace(models.origin, access=access))
    with pytest.raises(StorageUnavailable, match="s3://"):
        opened(replace(cloud, registry=replace(cloud.registry, artifact_root=away)), version)


def test_two_registries_never_write_over_each_others_version(cloud, version, bucket):
    """Both number from 1; here the other one signs the same files with another key."""
    before = {key: bucket.Object(key).e_tag for key in keys_below(bucket)}
    draft, key = cloud.draft(MODEL), cloud.keys["colleague"]
    statement = ModelStatement(
        name=MODEL,
        version="1",
        feature_definition=draft.card.feature_definition,
        created_at=cloud.at,
        expires_at=cloud.at.replace(year=2014),
        key_id=key.id,
        files={**draft.files},
    )
    with pytest.raises(LostRace, match="another registry gave the same version"):
        place_artifact(cloud.registry.artifact_root, draft, "1", statement.signed(key))
    assert {key: bucket.Object(key).e_tag for key in keys_below(bucket)} == before
    assert opened(cloud, version).digest == draft.digest


@pytest.mark.parametrize("writes", range(7))
def test_an_upload_that_dies_is_no_model(cloud, failing_write, writes):
    draft = cloud.draft(MODEL)
    with failing_write(writes), pytest.raises(StorageUnavailable):
        cloud.register(draft)
    assert cloud.registry.versions(MODEL) == []
    died = ModelVersion(
        name=MODEL, version="1", aliases=(), digest=draft.digest, created_at=cloud.at
    )
    found = refusal(lambda: opened(cloud, died))
    assert found.reason is (Refusal.UNSIGNED if writes else Refusal.MISSING_FILE)
    assert opened(cloud, cloud.register(draft)).statement.version == "2"


def test_promotions_are_one_chain_on_s3_too(cloud, version, tmp_path):
    first = cloud.promote(version)
    newer = cloud.register(cloud.draft(MODEL, b"newer"))
    second = cloud.promote(newer, key="colleague")
    third = cloud.promote(version, action="demote")
    for seen_from in (cloud, elsewhere(cloud, tmp_path)):
        log = log_of(seen_from)
        assert log.history(cloud.keyring) == [first, second, third]
        assert log.current(cloud.keyring, cloud.at) == third
        assert log.length == 3


@pytest.mark.usefixtures("version")
def test_a_model_that_nobody_promoted_has_no_records(cloud):
    assert log_of(cloud).current(cloud.keyring, cloud.at) is None
    assert log_of(cloud).history(cloud.keyring) == []


def test_promotions_at_once_are_one_chain(cloud, version, tmp_path):
    together, machines = Barrier(2), [cloud, elsewhere(cloud, tmp_path)]

    def promote_often(number):
        won = 0
        for _ in range(4):
            together.wait()
            try:
                machines[number].promote(version, key=("mine", "colleague")[number])
                won += 1
            except LostRace:
                continue
        return won

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(promote_often, range(2)))
    for machine in machines:
        history = log_of(machine).history(cloud.keyring)
        assert [record.sequence for record in history] == list(range(1, sum(won) + 1))
    assert sum(won) >= 4


@pytest.mark.parametrize("rival", ["mine", "colleague"])
def test_whoever_adds_the_same_record_later_is_told_and_leaves_no_harm(cloud, version, rival):
    mine = cloud.keys["mine"]

    class Slow:
        id, public = mine.id, mine.public

        def sign(self, message):
            cloud.promote(version, key=rival, reason="Faster")
            return mine.sign(message)

    slow = replace(cloud, keys={**cloud.keys, "mine": Slow()})
    with pytest.raises(LostRace, match=f"{MODEL}@champion at the same time"):
        slow.promote(version)
    assert [record.reason for record in log_of(cloud).history(cloud.keyring)] == ["Faster"]
    assert cloud.promote(version, key="mine").sequence == 2
    assert log_of(cloud).length == 2


@pytest.mark.parametrize("writes", range(2))
def test_a_promotion_that_dies_is_no_record(cloud, version, failing_write, writes):
    first = cloud.promote(version)
    with failing_write(writes), pytest.raises(StorageUnavailable):
        cloud.promote(version, reason="It dies")
    log = log_of(cloud)
    assert log.history(cloud.keyring) == [first]
    second = cloud.promote(version, key="colleague")
    assert log.history(cloud.keyring) == [first, second]


def test_a_signature_is_named_by_the_document_that_it_signs(cloud, version, bucket):
    cloud.promote(version)
    folder = f"models/{MODEL}/_promotions/champion/000001"
    body = bucket.Object(f"{folder}/promotion.json").get()["Body"].read()
    signature = f"{hashlib.sha256(body).hexdigest()}.{cloud.keys['mine'].id}.sig"
    assert keys_below(bucket, folder) == [f"{folder}/{signature}", f"{folder}/promotion.json"]


def test_a_changed_record_is_refused(cloud, version, bucket):
    cloud.promote(version)
    document = bucket.Object(f"models/{MODEL}/_promotions/champion/000001/promotion.json")
    body = document.get()["Body"].read()
    document.put(Body=body.replace(b"A test", b"a test"))
    log = log_of(cloud)
    assert refusal(lambda: log.current(cloud.keyring, cloud.at)).reason is Refusal.UNSIGNED


def test_records_cut_off_on_s3_are_missed_wherever_copies_lie(cloud, version, bucket, tmp_path):
    cloud.promote(version)
    cloud.promote(version)
    moved = replace(cloud.registry.artifact_root, cache=tmp_path / "moved")
    other = replace(cloud, registry=replace(cloud.registry, artifact_root=moved))
    bucket.objects.filter(Prefix=f"models/{MODEL}/_promotions/champion/000002").delete()
    for machine in (cloud, other):
        for ask in (
            lambda log: log.current(cloud.keyring, cloud.at),
            lambda log: log.history(cloud.keyring),
            lambda log: log.length,
        ):
            found = refusal(lambda ask=ask, machine=machine: ask(log_of(machine)))
            assert found.reason is Refusal.OLDER_VERSION
            assert f"Restore s3://{bucket.name}/models" in str(found)


@pytest.mark.parametrize("name", ["2", "0000002", "000002.bak", ".000002", "000002/deeper"])
def test_only_records_as_written_here_count(cloud, version, bucket, name):
    first = cloud.promote(version)
    folder = f"models/{MODEL}/_promotions/champion"
    for key in keys_below(bucket, f"{folder}/000001"):
        moved = key.replace("/000001/", f"/{name}/")
        bucket.Object(moved).copy({"Bucket": bucket.name, "Key": key})
    assert log_of(cloud).current(cloud.keyring, cloud.at) == first
    assert cloud.promote(version).sequence == 2


def test_models_that_were_uploaded_from_a_disk_verify_as_they_are(cloud, toys, bucket):
    for path in (toys.registry.artifact_root / "toy").rglob("*"):
        if path.is_file():
            below = path.relative_to(toys.registry.artifact_root)
            bucket.upload_file(str(path), f"models/{below}")
    found = promoted_model(cloud.registry, "toy", "champion", cloud.at)
    assert found.artifact.contents["model.skops"] == b"second"
    assert cloud.promote(cloud.registry.version("toy", "3")).sequence == 3
    assert promoted_model(cloud.registry, "toy", "champion", cloud.at).version.version == "3"


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "", "new\nline", ".hidden", "a" * 201])
def test_what_is_no_name_never_becomes_a_path(cloud, name):
    with pytest.raises(UsageError, match="is no name of a model") as found:
        artifact_folder(cloud.registry.artifact_root, name, "1", "d" * 64)
    assert str(found.value).isprintable()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702])
def test_a_folder_of_copies_that_others_may_write_or_read_is_wrong_use(cloud, version, mode):
    cache = cloud.registry.artifact_root.cache
    opened(cloud, version)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(mode)
    with pytest.raises(UsageError, match=r"open to other users.*BATCHINF_CACHE"):
        opened(cloud, version)


def test_a_link_in_place_of_the_copies_is_not_followed(cloud, version, tmp_path):
    cache = cloud.registry.artifact_root.cache
    cache.parent.mkdir(parents=True)
    (tmp_path / "theirs").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError, match="is a link"):
        opened(cloud, version)
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"BATCHINF_CACHE": "/srv/cache", "HOME": "/home/me"}, "/srv/cache"),
        ({"XDG_CACHE_HOME": "/srv/xdg", "HOME": "/home/me"}, "/srv/xdg/batchinf"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/batchinf"),
        ({"HOME": "/home/me"}, "/home/me/.cache/batchinf"),
        ({}, f"{Path.home()}/.cache/batchinf"),
    ],
)
def test_copies_lie_in_the_users_cache_by_url(environ, folder):
    mine = S3Place(bucket="bucket", key="models")
    other = S3Place(bucket="bucket", key="models2")
    copies = Mirror.of(mine, environ).cache
    assert copies.parent == Path(folder) / "models"
    assert copies == Mirror.of(mine, environ).cache != Mirror.of(other, environ).cache
