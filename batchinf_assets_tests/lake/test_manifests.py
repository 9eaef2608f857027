"""Manifests on disk: one per revision, one draft per window, whole or absent."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.manifest import (
    CodeRecord,
    CountsRecord,
    FeaturesRecord,
    FileRecord,
    Manifest,
    ModelRecord,
    SettingsRecord,
    SnapshotRecord,
    WindowRecord,
)
from batchinf_assets.windows import Window, WindowSpec

DAYS = WindowSpec(start=date(2013, 1, 1))
DAY, NEXT_DAY = DAYS.between("2013-07-01", "2013-07-02")
HOUR = WindowSpec(every="hour", start=date(2013, 1, 1)).window("2013-07-01-05:00")


def manifest(revision: str, window: Window = DAY) -> Manifest:
    landed = FileRecord(path="f.parquet", sha256="0" * 64, bytes=1)
    return Manifest(
        pipeline="toy",
        owner="toys@example.com",
        window=WindowRecord(key=window.key, start=window.start, end=window.end),
        revision=revision,
        snapshot=SnapshotRecord(digest="a", rows=0, source=landed),
        features=FeaturesRecord(digest="b", rows=0, definition="c", references=(), absent=()),
        model=ModelRecord(name="m", version="1", alias="champion", digest="d" * 64, scorer="s"),
        code=CodeRecord(version="0", source="e", python="3", libraries={}),
        settings=SettingsRecord(prediction_column="p", shard_rows=1, postprocess="f"),
        counts=CountsRecord(rows_in=0, scored=0, quarantined=0),
        outputs=(),
        checks=(),
        run_id="run",
        scored_at=datetime(2013, 7, 1, 5, tzinfo=UTC),
    )


@pytest.fixture
def store(tmp_path: Path) -> ManifestStore:
    return ManifestStore(tmp_path / "_manifests")


def test_a_manifest_lies_under_its_window_and_revision(store: ManifestStore) -> None:
    path = store.write(DAY, manifest("r1"))
    assert path == store.path(DAY, "r1") == store.folder / "2013-07-01" / "r1.json"
    assert path.read_bytes() == manifest("r1").to_json()
    assert store.read(DAY, "r1") == manifest("r1")


def test_hours_have_no_colon_in_their_folder(store: ManifestStore) -> None:
    store.write(HOUR, manifest("r1", HOUR))
    assert store.path(HOUR, "r1").parent.name == "2013-07-01-0500"
    assert store.read(HOUR, "r1").window.key == HOUR.key


def test_every_revision_is_listed_and_the_draft_is_none(store: ManifestStore) -> None:
    assert store.revisions(DAY) == []
    for revision in ("r2", "r1"):
        store.write(DAY, manifest(revision))
    store.write_draft(DAY, manifest("r3"))
    store.write(NEXT_DAY, manifest("r4", NEXT_DAY))
    assert store.revisions(DAY) == ["r1", "r2"]


def test_a_missing_manifest_is_named(store: ManifestStore) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        store.read(DAY, "r1")
    assert "Revision r1 of window 2013-07-01 has no manifest" in refusal.value.message
    assert str(store.path(DAY, "r1")) in refusal.value.message


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_cut_manifest_is_refused(store: ManifestStore, keep: int) -> None:
    path = store.write(DAY, manifest("r1"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ManifestInvalid, match="is no manifest"):
        store.read(DAY, "r1")


def test_a_manifest_in_the_place_of_another_is_refused(store: ManifestStore) -> None:
    store.write(DAY, manifest("r1"))
    store.path(DAY, "r1").rename(store.path(DAY, "r2"))
    with pytest.raises(ManifestInvalid, match="is about revision r1 of 2013-07-01"):
        store.read(DAY, "r2")
    store.write(DAY, manifest("r3", NEXT_DAY))
    with pytest.raises(ManifestInvalid, match="is about revision r3 of 2013-07-02"):
        store.read(DAY, "r3")


def test_a_draft_takes_the_place_of_the_one_before(store: ManifestStore) -> None:
    assert store.draft(DAY) is None
    store.write_draft(DAY, manifest("r1"))
    store.write_draft(DAY, manifest("r2"))
    assert store.draft(DAY) == manifest("r2")
    assert store.draft(NEXT_DAY) is None


def test_dropping_a_draft_leaves_the_manifests(store: ManifestStore) -> None:
    store.write(DAY, manifest("r1"))
    store.write_draft(DAY, manifest("r2"))
    store.drop_draft(DAY)
    assert store.draft(DAY) is None
    assert store.revisions(DAY) == ["r1"]
    store.drop_draft(DAY)


def test_a_damaged_draft_is_an_error_and_not_an_absent_one(store: ManifestStore) -> None:
    store.write_draft(DAY, manifest("r1"))
    (store.folder / DAY.key / "draft.json").write_bytes(b"{")
    with pytest.raises(ManifestInvalid, match=r"draft\.json is no manifest"):
        store.draft(DAY)
