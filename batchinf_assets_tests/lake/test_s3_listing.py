"""Places that one listing told of: nothing more is asked, and no newer version is read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.errors import StorageRefused
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import ObjectReplaced
from batchinf_assets.lake.s3_listing import ListedPlace, listed
from batchinf_assets_tests.resilience.fault_proxy import Fault, FaultProxy, fault_proxy

MANY = 1_100
NAMES = ["in/2013-01-01.csv", "in/2013-01-02.csv", "in/deep/x", "in-beside/y", "z"]


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def landing(s3_lake: S3Place, proxy: FaultProxy) -> S3Place:
    proxy.inject()
    return replace(s3_lake, access=replace(s3_lake.access, endpoint=proxy.url))


def fill(place: S3Place, names: list[str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: (place / name).write_bytes(name.encode()), names))


def test_more_objects_than_a_page_holds_are_listed_and_nothing_else_is_asked(
    landing: S3Place, proxy: FaultProxy
) -> None:
    fill(landing, [f"in/{number:05}.csv" for number in range(MANY)])
    proxy.inject()
    found = list(listed(landing, "in").glob("in/*.csv"))
    assert [place.name for place in found] == [f"{number:05}.csv" for number in range(MANY)]
    assert {place.stat().st_size for place in found} == {len("in/00000.csv")}
    asked = proxy.seen()
    assert [seen.method for seen in asked] == ["GET", "GET"]
    assert all("list-type=2" in seen.path for seen in asked)


def test_a_listed_place_answers_as_the_place_itself_does(landing: S3Place) -> None:
    fill(landing, NAMES)
    known = listed(landing)
    for pattern in ("*", "in/*.csv", "*/*", "**/*", "in*"):
        assert [str(p) for p in known.glob(pattern)] == [str(p) for p in landing.glob(pattern)]
    for name in (*NAMES, "in", "in/deep", "absent"):
        one, other = known / name, landing / name
        answers = [(p.exists(), p.is_file(), p.is_dir()) for p in (one, other)]
        assert answers[0] == answers[1], name
    for name in NAMES:
        assert (known / name).stat().st_size == (landing / name).stat().st_size
        assert (known / name).stat().st_ctime_ns == (landing / name).stat().st_ctime_ns
        assert (known / name).stat().e_tag == (landing / name).stat().e_tag
        assert (known / name).read_bytes() == name.encode()


def test_only_what_lies_below_the_named_folder_is_listed(landing: S3Place) -> None:
    fill(landing, NAMES)
    known = listed(landing, "in")
    assert (known / "in" / "deep" / "x").is_file()
    assert not (known / "in-beside" / "y").exists()
    assert listed(known) is known


def test_an_object_that_is_not_listed_is_not_there(landing: S3Place) -> None:
    known = listed(landing)
    (landing / "later").write_bytes(b"later")
    assert not (known / "later").exists()
    with pytest.raises(FileNotFoundError):
        (known / "later").stat()


def test_an_object_that_was_replaced_since_it_was_listed_is_not_read(landing: S3Place) -> None:
    (landing / "a").write_bytes(b"before")
    known = listed(landing) / "a"
    (landing / "a").write_bytes(b"after!")
    with known.open() as file, pytest.raises(ObjectReplaced, match="replaced while it was read"):
        file.read()


def test_a_place_alone_knows_itself_and_equals_itself(landing: S3Place) -> None:
    fill(landing, NAMES)
    known = listed(landing) / NAMES[0]
    assert isinstance(known, ListedPlace)
    alone = known.alone()
    assert (alone, hash(alone), alone.stat()) == (known, hash(known), known.stat())
    assert list(alone.listing.objects) == [known.key]


def test_a_folder_on_disk_is_returned_as_it_is(tmp_path: Path) -> None:
    assert listed(tmp_path, "in") is tmp_path


def test_a_listing_that_is_refused_is_no_empty_listing(landing: S3Place, proxy: FaultProxy) -> None:
    proxy.inject(Fault(kind="status", status=403, method="GET"))
    with pytest.raises(StorageRefused):
        listed(landing)
