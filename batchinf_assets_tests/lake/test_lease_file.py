"""What a lease file may say: anything else is refused, and never reckoned with."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.lease_file import LARGEST_TOKEN, Lease, LeaseInvalid, read_document
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT
from batchinf_assets.lake.worker import Worker

WINDOW = "2013-07-01"
NOON = datetime(2013, 7, 2, 12, tzinfo=UTC)
LEASE = Lease(
    window=WINDOW,
    token=3,
    holder="run-0",
    worker=Worker(host="elsewhere", pid=17),
    stage="features",
    hold="0" * 16,
    since=NOON,
    beat_at=NOON,
    ttl_seconds=0.4,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "_leases" / f"{WINDOW}.json"


def saying(**fields: object) -> bytes:
    """A lease file in which somebody changed fields."""
    return json.dumps(json.loads(LEASE.to_json()) | fields).encode()


BEYOND_BOUNDS: list[tuple[str, object]] = [
    ("token", LARGEST_TOKEN + 1),
    ("token", 10**400),
    ("beat_at", "0001-01-01T00:00:00+23:59"),
    ("beat_at", "1999-12-31T23:59:59Z"),
    ("beat_at", "9999-12-31T23:59:59-23:59"),
    ("since", "2200-01-01T00:00:00Z"),
    ("since", 10**300),
    ("ttl_seconds", 0),
    ("ttl_seconds", 3_601),
    ("ttl_seconds", float("nan")),
    ("ttl_seconds", float("inf")),
    ("holder", "h" * 201),
    ("holder", "h\x1b[2J"),
    ("stage", "s" * 101),
    ("stage", "s\u202e"),
    ("hold", "h" * 101),
    ("window", "w" * 101),
]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"null",
        LEASE.to_json()[:-20],
        LEASE.to_json().replace(b'"token": 3', b'"token": 0'),
        LEASE.to_json().replace(b'"format_version": 1', b'"format_version": 2'),
        LEASE.to_json().replace(b'"token"', b'"tokens"'),
        LEASE.to_json().replace(b"Z", b""),
        LEASE.to_json().replace(b'"pid": 17', b'"pid": -1'),
        *(saying(**{field: value}) for field, value in BEYOND_BOUNDS),
        saying(worker={"host": "h" * 256, "pid": 17}),
        saying(worker={"host": "h\n", "pid": 17}),
        saying(worker={"host": "h", "pid": 17, "started": 2**64}),
        saying(unreported=[json.loads(saying(beat_at="9999-12-31T23:59:59Z"))]),
        LEASE.to_json() + b" " * LARGEST_DOCUMENT,
    ],
    ids=itertools.count(),
)
def test_a_damaged_lease_is_no_lost_race_and_says_what_to_do(place: Path, damage: bytes) -> None:
    place.parent.mkdir()
    place.write_bytes(damage)
    with pytest.raises(LeaseInvalid) as refusal:
        read_document(place, WINDOW)
    assert str(place) in refusal.value.message
    assert "remove the file" in refusal.value.next_step
    assert "\n" not in str(refusal.value)
    assert place.read_bytes() == damage


def test_the_bounds_themselves_are_allowed(place: Path) -> None:
    bounds = {"holder": "h" * 200, "stage": "s" * 100, "ttl_seconds": 3_600, "token": LARGEST_TOKEN}
    bounds |= {"since": "2000-01-01T00:00:00Z", "beat_at": "2199-12-31T23:59:59Z"}
    create(place, saying(**bounds, worker={"host": "h" * 255, "pid": 17}))
    found = read_document(place, WINDOW)
    assert found is not None
    assert found[0].expires_at.year == 2200


def test_the_lease_of_another_window_is_refused(place: Path) -> None:
    create(place, LEASE.model_copy(update={"window": "2013-07-02"}).to_json())
    with pytest.raises(LeaseInvalid, match=r"2013-07-02.*2013-07-01"):
        read_document(place, WINDOW)
