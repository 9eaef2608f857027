"""Manifests on disk: one per revision, signed, one draft per window, whole or absent."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batchinf_assets.errors import LostRace, ManifestInvalid
from batchinf_assets.lake import conditional
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.lake.manifests import (
    SIGNATURE_BYTES,
    ManifestStore,
    SignedManifest,
)
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord, OutputRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.windows import Window, WindowSpec

DAYS = WindowSpec(start=date(2013, 1, 1))
DAY, NEXT_DAY = DAYS.between("2013-07-01", "2013-07-02")
R1, R2, R3, R4 = (f"{number:016x}" for number in range(1, 5))
MINE, THEIRS = "0123456789abcdef", "fedcba9876543210"
HOUR = WindowSpec(every="hour", start=date(2013, 1, 1)).window("2013-07-01-05:00")


def manifest(revision: str, window: Window = DAY) -> Manifest:
    landed = FileRecord(path="f.parquet", sha256="0" * 64, bytes=1)
    return Manifest(
        pipeline="toy",
        owner="toys@example.com",
        window=WindowRecord(key=window.key, start=window.start, end=window.end),
        revision=revision,
        snapshot=SnapshotRecord(digest="a" * 64, rows=0, source=landed),
        features=FeaturesRecord(
            digest="b" * 64, rows=0, definition="c" * 64, references=(), absent=()
        ),
        model=ModelRecord(name="m", version="1", alias="champion", digest="d" * 64, scorer="s"),
        code=CodeRecord(version="0", source="e", python="3", libraries={}),
        settings=SettingsRecord(prediction_column="p", shard_rows=1, postprocess="f"),
        counts=CountsRecord(rows_in=0, scored=0, quarantined=0),
        outputs=(),
        checks=(),
        run_id="run",
        scored_at=datetime(2013, 7, 1, 5, tzinfo=UTC),
    )


def signed(document: Manifest, key_id: str = MINE) -> SignedManifest:
    """The store keeps signatures and does not judge them."""
    return SignedManifest(
        revision=document.revision,
        body=document.to_json(),
        key_id=key_id,
        signature=bytes.fromhex(key_id) * (SIGNATURE_BYTES // 8),
    )


def still_held() -> None:
    """Nobody took the window over."""


def keep(store: ManifestStore, window: Window, document: Manifest, key_id: str = MINE) -> Place:
    return store.write(window, signed(document, key_id), require_held=still_held)


@pytest.fixture
def store(tmp_path: Path) -> ManifestStore:
    return ManifestStore(tmp_path / "_manifests")


@pytest.fixture(params=["on a disk", "on S3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ManifestStore:
    lake: Place = tmp_path if request.param == "on a disk" else request.getfixturevalue("s3_lake")
    return ManifestStore(lake / "toy" / "_manifests")


def test_a_manifest_lies_under_its_window_and_revision(store: ManifestStore) -> None:
    path = keep(store, DAY, manifest(R1))
    assert path == store.path(DAY, R1) == store.folder / "2013-07-01" / f"{R1}.json"
    assert path.read_bytes() == manifest(R1).to_json()
    assert store.read(DAY, R1) == manifest(R1)


def test_hours_have_no_colon_in_their_folder(store: ManifestStore) -> None:
    keep(store, HOUR, manifest(R1, HOUR))
    assert store.path(HOUR, R1).parent.name == "2013-07-01-0500"
    assert store.read(HOUR, R1).window.key == HOUR.key


def test_every_revision_is_listed_and_the_draft_is_none(any_store: ManifestStore) -> None:
    assert any_store.revisions(DAY) == []
    for revision in (R2, R1):
        keep(any_store, DAY, manifest(revision))
    any_store.write_draft(DAY, manifest(R3))
    keep(any_store, NEXT_DAY, manifest(R4, NEXT_DAY))
    assert any_store.revisions(DAY) == [R1, R2]


def test_a_missing_manifest_is_named(store: ManifestStore) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        store.read(DAY, R1)
    assert f"Revision {R1} of window 2013-07-01 has no manifest" in refusal.value.message
    assert str(store.path(DAY, R1)) in refusal.value.message


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_cut_manifest_is_refused(store: ManifestStore, length: int) -> None:
    path = keep(store, DAY, manifest(R1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ManifestInvalid, match="is no manifest"):
        store.read(DAY, R1)


def test_a_manifest_in_the_place_of_another_is_refused(store: ManifestStore) -> None:
    keep(store, DAY, manifest(R1))
    store.path(DAY, R1).rename(store.path(DAY, R2))
    with pytest.raises(ManifestInvalid, match=f"is about revision {R1} of 2013-07-01"):
        store.read(DAY, R2)
    keep(store, DAY, manifest(R3, NEXT_DAY))
    with pytest.raises(ManifestInvalid, match=f"is about revision {R3} of 2013-07-02"):
        store.read(DAY, R3)


def test_a_draft_takes_the_place_of_the_one_before(store: ManifestStore) -> None:
    assert store.draft(DAY) is None
    store.write_draft(DAY, manifest(R1))
    store.write_draft(DAY, manifest(R2))
    assert store.draft(DAY) == manifest(R2)
    assert store.draft(NEXT_DAY) is None


def test_dropping_a_draft_leaves_the_manifests(any_store: ManifestStore) -> None:
    keep(any_store, DAY, manifest(R1))
    any_store.write_draft(DAY, manifest(R2))
    any_store.drop_draft(DAY)
    assert any_store.draft(DAY) is None
    assert any_store.revisions(DAY) == [R1]
    any_store.drop_draft(DAY)


def test_a_damaged_draft_is_an_error_and_not_an_absent_one(store: ManifestStore) -> None:
    store.write_draft(DAY, manifest(R1))
    (store.folder / DAY.key / "draft.json").write_bytes(b"{")
    with pytest.raises(ManifestInvalid, match=r"draft\.json is no manifest"):
        store.draft(DAY)


def test_a_manifest_lies_beside_its_signature(any_store: ManifestStore) -> None:
    path = keep(any_store, DAY, manifest(R1))
    assert any_store.signatures(DAY, R1) == {MINE: path.with_name(f"{R1}.{MINE}.sig")}
    assert any_store.signature_path(DAY, R1, MINE).read_bytes() == signed(manifest(R1)).signature
    assert any_store.signatures(DAY, R2) == {}
    assert any_store.signatures(NEXT_DAY, R1) == {}


@pytest.mark.parametrize(
    "name",
    [
        f"{R1}.sig",
        f"{R1}.{MINE.upper()}.sig",
        f"{R1}.{MINE}.sig.bak",
        f".{R1}.{MINE}.sig",
        f"{R1}.{R1}.{MINE}.sig",
        f"{R2}.{MINE}.sig",
    ],
)
def test_a_file_of_another_name_is_no_signature(store: ManifestStore, name: str) -> None:
    path = keep(store, DAY, manifest(R1))
    path.with_name(f"{R1}.{MINE}.sig").rename(path.with_name(name))
    assert store.signatures(DAY, R1) == {}


@pytest.mark.parametrize("write", [1, 2])
def test_a_document_is_never_there_without_its_signature(
    store: ManifestStore, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the n-th write."""
    write_bytes, written = conditional.write_bytes, list[str]()

    def dying(place: Path, content: bytes) -> None:
        if len(written) + 1 == write:
            raise OSError("no space left on device")
        written.append(place.name)
        write_bytes(place, content)

    with monkeypatch.context() as patch:
        patch.setattr(conditional, "write_bytes", dying)
        with pytest.raises(OSError, match="no space"):
            keep(store, DAY, manifest(R1))
    assert written == [f"{R1}.{MINE}.sig"][: write - 1]
    assert store.revisions(DAY) == []
    assert keep(store, DAY, manifest(R1)).is_file()
    assert list(store.signatures(DAY, R1)) == [MINE]


def test_what_was_signed_with_another_key_before_loses_its_signature(
    any_store: ManifestStore,
) -> None:
    keep(any_store, DAY, manifest(R1), THEIRS)
    keep(any_store, DAY, manifest(R2), THEIRS)
    later = manifest(R1).model_copy(update={"run_id": "later"})
    keep(any_store, DAY, later)
    assert any_store.read(DAY, R1) == later
    assert list(any_store.signatures(DAY, R1)) == [MINE]
    assert list(any_store.signatures(DAY, R2)) == [THEIRS]


def test_who_no_longer_holds_the_window_writes_nothing(store: ManifestStore) -> None:
    def taken_over() -> None:
        raise LostRace("Another run took the window over.", next_step="Look at it.")

    with pytest.raises(LostRace):
        store.write(DAY, signed(manifest(R1)), require_held=taken_over)
    assert not (store.folder / DAY.key).is_dir() or store.revisions(DAY) == []
    assert store.signatures(DAY, R1) == {}


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("key_id", [MINE, THEIRS])
def test_who_was_overtaken_while_writing_touches_nothing_of_the_others(
    any_store: ManifestStore, there_before: bool, key_id: str
) -> None:
    if there_before:
        keep(any_store, DAY, manifest(R1).model_copy(update={"run_id": "died"}), key_id)
    winner = manifest(R1).model_copy(update={"run_id": "winner"})

    def overtaken() -> None:
        keep(any_store, DAY, winner, key_id)

    with pytest.raises(LostRace):
        any_store.write(DAY, signed(manifest(R1)), require_held=overtaken)
    assert any_store.read(DAY, R1) == winner
    kept = any_store.signatures(DAY, R1)[key_id].read_bytes()
    assert kept == signed(winner, key_id).signature


def test_a_huge_manifest_is_refused_before_it_is_read(store: ManifestStore) -> None:
    path = keep(store, DAY, manifest(R1))
    os.truncate(path, LARGEST_DOCUMENT + 1)
    with pytest.raises(ManifestInvalid, match=f"more than {LARGEST_DOCUMENT} bytes"):
        store.read(DAY, R1)


def test_a_huge_draft_is_refused_before_it_is_read(any_store: ManifestStore) -> None:
    any_store.write_draft(DAY, manifest(R1))
    draft = any_store.path(DAY, R1).with_name("draft.json")
    write_bytes(draft, draft.read_bytes() + b" " * LARGEST_DOCUMENT)
    with pytest.raises(
        ManifestInvalid, match=rf"draft\.json has more than {LARGEST_DOCUMENT} bytes"
    ):
        any_store.draft(DAY)


def of_shards(count: int) -> Manifest:
    output = OutputRecord(
        path=f"window=2013-07-01-0000/{R1}/part-00000.parquet",
        sha256="f" * 64,
        bytes=2**40,
        rows=2**30,
    )
    outputs = [output.model_copy(update={"path": f"{output.path}{n:05d}"}) for n in range(count)]
    return manifest(R1).model_copy(update={"outputs": tuple(outputs)})


def test_a_manifest_of_fifty_thousand_shards_can_be_kept(store: ManifestStore) -> None:
    document = of_shards(50_000)
    store.write_draft(DAY, document)
    assert store.draft(DAY) == document


def test_a_draft_that_nobody_would_read_is_not_written(store: ManifestStore) -> None:
    with pytest.raises(ManifestInvalid, match="names 90000 files") as refusal:
        store.write_draft(DAY, of_shards(90_000))
    assert "shard_rows" in refusal.value.next_step
    assert store.draft(DAY) is None
