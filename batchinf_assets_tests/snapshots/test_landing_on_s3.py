"""Landed objects on S3: one version, read whole, named in every refusal."""

from __future__ import annotations

import hashlib
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import LandedFileMissing, LandedFileUnreadable, LandingFault
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.snapshots import landed_bytes
from batchinf_assets.snapshots.completeness import is_whole
from batchinf_assets.snapshots.landed_rows import landed_rows
from batchinf_assets.snapshots.landing import LandedFile, Landing
from batchinf_assets.snapshots.parts import identity_of, landed_at, landed_sha256
from batchinf_assets.spec.contract import ColumnSpec, CompleteSpec, LimitsSpec
from batchinf_assets.windows import WindowSpec

WINDOW = WindowSpec(start=date(2013, 1, 1)).window("2013-07-01")
PATTERN = "flights/{window}.parquet"
PARTS = "flights/{window}/*.parquet"
ROWS = pa.table({"id": pa.array(range(500), pa.int64()), "text": ["some text"] * 500})
COLUMNS = {"id": ColumnSpec(type="int64"), "text": ColumnSpec(type="string")}


@pytest.fixture
def landing(s3_landing: S3Place) -> Landing:
    return Landing(s3_landing, str(s3_landing))


def parquet(rows: pa.Table = ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return sink.getvalue().to_pybytes()


def drop(landing: Landing, content: bytes) -> S3Place:
    place = landing.path(PATTERN, WINDOW)
    assert isinstance(place, S3Place)
    place.write_bytes(content)
    return place


def read(landing: Landing, limits: LimitsSpec | None = None) -> LandedFile:
    return landing.read(PATTERN, WINDOW, limits=limits or LimitsSpec(), columns=COLUMNS)


def test_an_object_is_read_with_its_path_digest_and_size(landing: Landing) -> None:
    content = parquet()
    place = drop(landing, content)
    found = read(landing)
    assert found.rows.equals(ROWS)
    assert found.record.path == "flights/2013-07-01.parquet"
    assert found.record.sha256 == hashlib.sha256(content).hexdigest() == landed_sha256(place)
    assert found.record.bytes == len(content)
    assert landed_rows(place) == ROWS.num_rows


def test_an_object_larger_than_a_piece_is_read_whole(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landed_bytes, "PIECE_BYTES", 1_000)
    content = parquet()
    drop(landing, content)
    assert len(content) > 1_000
    assert read(landing).rows.equals(ROWS)


def test_an_object_that_has_not_landed_is_named(landing: Landing) -> None:
    with pytest.raises(LandedFileMissing, match=r"s3://.*/flights/2013-07-01.parquet of window"):
        read(landing)


def test_an_empty_object_and_one_above_the_limit_are_refused(landing: Landing) -> None:
    drop(landing, b"")
    with pytest.raises(LandedFileUnreadable) as empty:
        read(landing)
    drop(landing, parquet())
    with pytest.raises(LandedFileUnreadable) as large:
        read(landing, LimitsSpec(file_bytes=100))
    assert (empty.value.reason, large.value.reason) == (LandingFault.EMPTY, LandingFault.TOO_LARGE)


def test_an_object_replaced_once_it_was_opened_is_refused(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, opened = drop(landing, parquet()), S3Place.open

    def open_and_replace(self: S3Place, *args: object, **options: object) -> object:
        file = opened(self, *args, **options)
        place.write_bytes(parquet(ROWS.slice(1)))
        return file

    monkeypatch.setattr(S3Place, "open", open_and_replace)
    with pytest.raises(LandedFileUnreadable, match="was changed while it was read") as refused:
        read(landing)
    assert refused.value.reason == LandingFault.CHANGED_WHILE_READ


def test_an_object_replaced_or_gone_after_its_last_piece_is_refused(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = drop(landing, parquet()), S3Place.stat
    for change in (lambda: place.write_bytes(b"other"), place.unlink):
        drop(landing, parquet())
        calls: list[str] = []

        def stat_after(self: S3Place, calls: list[str] = calls, change: object = change) -> object:
            calls.append(self.key)
            if len(calls) == 4:  # looked for, before, opened, after
                assert callable(change)
                change()
            return asked(self)

        with monkeypatch.context() as patch:
            patch.setattr(S3Place, "stat", stat_after)
            with pytest.raises(LandedFileUnreadable) as refused:
                read(landing)
        assert refused.value.reason == LandingFault.CHANGED_WHILE_READ


def test_an_object_replaced_within_a_second_by_one_of_its_size_is_read_again(
    landing: Landing,
) -> None:
    one, other = parquet(), parquet(ROWS.set_column(1, "text", [["same size"] * 500]))
    assert len(one) == len(other)
    place = drop(landing, one)
    before, first = identity_of(place), read(landing)
    drop(landing, other)
    after, second = identity_of(place), read(landing)
    assert before != after
    assert first.record.sha256 != second.record.sha256


def test_a_folder_of_objects_is_read_in_the_order_of_names_and_known_by_all_of_them(
    landing: Landing,
) -> None:
    folder = landing.path("flights/2013-07-01")
    for name, rows in (("b", ROWS.slice(250)), ("a", ROWS.slice(0, 250)), (".hidden", ROWS)):
        (folder / f"{name}.parquet").write_bytes(parquet(rows))
    parts = landing.read_parts(PARTS, WINDOW, limits=LimitsSpec(), columns=COLUMNS)
    assert [part.record.path.rpartition("/")[2] for part in parts] == ["a.parquet", "b.parquet"]
    place = landing.path(PARTS, WINDOW)
    before = identity_of(place)
    assert landed_rows(place) == ROWS.num_rows
    (folder / "a.parquet").write_bytes(parquet(ROWS.slice(1, 250)))
    assert identity_of(place) != before


def test_an_object_is_whole_at_once_and_a_folder_of_them_once_it_is_quiet(
    landing: Landing,
) -> None:
    place, quiet = drop(landing, parquet()), CompleteSpec()
    (landing.path("flights/2013-07-01") / "a.parquet").write_bytes(parquet())
    folder = landing.path(PARTS, WINDOW)
    assert is_whole(place, quiet, landed_at(place))
    assert not is_whole(folder, quiet, landed_at(folder))
    assert is_whole(folder, quiet, landed_at(folder) + quiet.quiet_for)
    assert not is_whole(place.with_name("absent.parquet"), quiet, landed_at(place))


def test_a_declared_marker_counts_on_s3_too(landing: Landing) -> None:
    place, marked = drop(landing, parquet()), CompleteSpec(marker="{file}.ready")
    assert not is_whole(place, marked, landed_at(place))
    place.with_name(f"{place.name}.ready").write_bytes(b"")
    assert is_whole(place, marked, landed_at(place))
