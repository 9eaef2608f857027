"""What was there before anybody watched: taken once, read bit by bit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.project import Project
from batchinf_assets.snapshots.arrivals import Left
from batchinf_assets.snapshots.stock import keep_stock, read_stock, stock_place, take_stock
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy()
NOW, LATER = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 7, 2, tzinfo=UTC)
ONE, OTHER, TEN = (1, 10), (2, 10), "a" * 64


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    return Project(**here)


def test_stock_is_taken_once(project: Project) -> None:
    assert read_stock(project, SPEC) is None
    first = take_stock(project, SPEC, {"a": ONE}, NOW)
    assert take_stock(project, SPEC, {"b": ONE}, LATER) == first == read_stock(project, SPEC)
    assert first.taken_at == NOW
    assert first.left("a") == Left(identity=ONE, sha256=None)
    assert first.left("b") is None


def test_what_is_read_of_it_is_kept_and_the_rest_is_read_another_time(project: Project) -> None:
    taken = take_stock(project, SPEC, {"a": ONE, "b": ONE}, NOW)
    half = taken.read({"a": ONE, "b": ONE}, {"a": TEN}.get)
    keep_stock(project, SPEC, taken, half)
    kept = read_stock(project, SPEC)
    assert kept == half
    assert half.left("a") == Left(identity=ONE, sha256=TEN)
    assert half.unread == ("b",)


def test_what_changed_or_went_before_it_was_read_is_no_stock_any_more(project: Project) -> None:
    taken = take_stock(project, SPEC, {"a": ONE, "b": ONE, "c": ONE}, NOW)
    read = taken.read({"a": ONE, "b": OTHER}, lambda _window: TEN)
    assert list(read.files) == ["a"]


def test_what_was_read_stays_stock_whatever_became_of_the_file(project: Project) -> None:
    taken = take_stock(project, SPEC, {"a": ONE}, NOW)
    read = taken.read({"a": ONE}, lambda _window: TEN)
    assert read.read({"a": OTHER}, lambda _window: "b" * 64) == read


def test_who_was_slower_keeps_nothing(project: Project) -> None:
    taken = take_stock(project, SPEC, {"a": ONE, "b": ONE}, NOW)
    landed = {"a": ONE, "b": ONE}
    keep_stock(project, SPEC, taken, taken.read(landed, {"a": TEN}.get))
    keep_stock(project, SPEC, taken, taken.read(landed, {"b": TEN}.get))
    kept = read_stock(project, SPEC)
    assert kept is not None
    assert kept.unread == ("b",)


@pytest.mark.parametrize("content", [b"{}", b"no JSON"])
def test_a_damaged_stock_is_named(project: Project, content: bytes) -> None:
    take_stock(project, SPEC, {"a": ONE}, NOW)
    place = stock_place(project, SPEC)
    assert isinstance(place, Path)
    place.write_bytes(content)
    with pytest.raises(ManifestInvalid, match=r"stock\.json does not say") as refused:
        read_stock(project, SPEC)
    assert "Remove it" in refused.value.next_step
