"""Which windows must run: a table of what was seen, what is there and what was used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from batchinf_assets.snapshots.arrivals import Arrival, landed_files, plan_arrivals
from batchinf_assets.windows import WindowSpec

Landed = dict[str, tuple[int, int]]

# A file's content follows from its size here: 10 bytes are "ten", 20 bytes "twenty".
CONTENT = {10: "ten", 20: "twenty", 30: "thirty"}
OLD, NEW = (1, 10), (2, 20)
TOUCHED = (9, 10)


def cursor(**seen: tuple[int, int]) -> str:
    entries = {w: [mtime, size, CONTENT[size]] for w, (mtime, size) in seen.items()}
    return json.dumps(entries)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    before: str | None
    landed: Landed
    used: Mapping[str, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    after: Landed | None = None
    limit: int = 2


CASES = [
    Case(name="nothing has ever landed", before=None, landed={}, after={}),
    Case(
        name="at first, what landed before is left to backfills",
        before=None,
        landed={"a": OLD, "b": OLD},
    ),
    Case(
        name="at first, what was used already is no arrival",
        before=None,
        landed={"a": OLD},
        used={"a": "ten"},
    ),
    Case(
        name="at first, a window that used other bytes runs again",
        before=None,
        landed={"a": NEW, "b": OLD},
        used={"a": "ten"},
        runs=["a"],
    ),
    Case(
        name="at first, stock is taken of all even where the limit is reached",
        before=None,
        landed={"a": NEW, "b": NEW, "c": OLD},
        used={"a": "ten", "b": "ten"},
        limit=1,
        runs=["a"],
        after={"a": NEW, "c": OLD},
    ),
    Case(name="a new file runs", before=cursor(a=OLD), landed={"a": OLD, "b": NEW}, runs=["b"]),
    Case(
        name="the first file after an empty folder runs", before="{}", landed={"a": OLD}, runs=["a"]
    ),
    Case(name="an unchanged file does not run", before=cursor(a=OLD), landed={"a": OLD}),
    Case(name="a changed file runs", before=cursor(a=OLD), landed={"a": NEW}, runs=["a"]),
    Case(
        name="a changed file runs though its window was run with the old bytes",
        before=cursor(a=OLD),
        landed={"a": NEW},
        used={"a": "ten"},
        runs=["a"],
    ),
    Case(
        name="a touched file with the same bytes does not run",
        before=cursor(a=OLD),
        landed={"a": TOUCHED},
    ),
    Case(
        name="a new file whose bytes an operator ran already does not run",
        before=cursor(a=OLD),
        landed={"a": OLD, "b": NEW},
        used={"b": "twenty"},
    ),
    Case(
        name="a changed file whose bytes an operator ran already does not run",
        before=cursor(a=OLD),
        landed={"a": NEW},
        used={"a": "twenty"},
    ),
    Case(
        name="a new file runs though its window was run with other bytes",
        before=cursor(a=OLD),
        landed={"a": OLD, "b": NEW},
        used={"b": "ten"},
        runs=["b"],
    ),
    Case(name="a file that is gone is forgotten", before=cursor(a=OLD, b=OLD), landed={"b": OLD}),
    Case(
        name="a file that is gone and comes back unused runs",
        before=cursor(b=OLD),
        landed={"a": OLD, "b": OLD},
        runs=["a"],
    ),
    Case(
        name="what exceeds the limit is left for the next call",
        before="{}",
        landed={"c": NEW, "a": NEW, "b": NEW},
        runs=["a", "b"],
        after={"a": NEW, "b": NEW},
    ),
    Case(
        name="a change that exceeds the limit is remembered as it was",
        before=cursor(a=OLD, b=OLD, c=OLD),
        landed={"a": NEW, "b": NEW, "c": NEW},
        runs=["a", "b"],
        after={"a": NEW, "b": NEW, "c": OLD},
    ),
    Case(
        name="unchanged files do not count against the limit",
        before=cursor(a=OLD, b=OLD, c=OLD),
        landed={"a": OLD, "b": OLD, "c": OLD, "d": NEW},
        limit=1,
        runs=["d"],
    ),
    Case(
        name="files without a run do not count against the limit",
        before="{}",
        landed={"a": NEW, "b": NEW},
        used={"a": "twenty"},
        limit=1,
        runs=["b"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan(case: Case) -> None:
    arrivals, after = plan_arrivals(
        case.before,
        case.landed,
        case.used.get,
        lambda window: CONTENT[case.landed[window][1]],
        limit=case.limit,
    )
    expected = [Arrival(window=w, sha256=CONTENT[case.landed[w][1]]) for w in case.runs]
    assert arrivals == expected
    assert json.loads(after) == json.loads(
        cursor(**(case.landed if case.after is None else case.after))
    )


def calls_until_quiet(
    landed: Landed, used: dict[str, str], first: str | None, limit: int
) -> list[list[str]]:
    """Call again and again, as a sensor does, each run using what had landed."""
    ticks: list[list[str]] = []
    seen = first
    while not ticks or ticks[-1]:
        found, seen = plan_arrivals(
            seen, landed, used.get, lambda w: CONTENT[landed[w][1]], limit=limit
        )
        used |= {arrival.window: arrival.sha256 for arrival in found}
        ticks.append([arrival.window for arrival in found])
    return ticks


def test_every_arrival_runs_once_over_several_calls() -> None:
    landed = dict.fromkeys("abcde", NEW)
    assert calls_until_quiet(landed, {}, "{}", 2) == [["a", "b"], ["c", "d"], ["e"], []]


def test_taking_stock_over_several_calls_never_runs_what_landed_before() -> None:
    landed = dict.fromkeys("abcdef", NEW)
    used = {"a": "ten", "c": "ten", "e": "ten"}
    assert calls_until_quiet(landed, used, None, 1) == [["a"], ["c"], ["e"], []]


def test_a_known_file_is_not_read_again() -> None:
    def fail(window: str) -> str:
        raise AssertionError(window)

    assert plan_arrivals(cursor(a=OLD), {"a": OLD}, fail, fail, limit=9)[0] == []


def drop(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_landed_files_are_found_by_their_windows(tmp_path: Path) -> None:
    days = WindowSpec(start=date(2013, 1, 1), end=date(2013, 2, 1))
    drop(
        tmp_path,
        "flights/2013-01-01.parquet",
        "flights/2013-01-31.parquet",
        "flights/2013-02-01.parquet",
        "flights/2012-12-31.parquet",
        "flights/today.parquet",
        "flights/.2013-01-02.parquet.17.tmp",
        "flights/2013-01-03.parquet.part",
        "flights/old/2013-01-04.parquet",
        "outcomes/2013-01-05.parquet",
    )
    assert landed_files(tmp_path, "flights/{window}.parquet", days) == {
        "2013-01-01": tmp_path / "flights/2013-01-01.parquet",
        "2013-01-31": tmp_path / "flights/2013-01-31.parquet",
    }


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{window}.parquet", "2013-01-01.parquet"),
        ("{window}/flights.parquet", "2013-01-01/flights.parquet"),
        ("day={window}/flights.parquet", "day=2013-01-01/flights.parquet"),
        ("in/{window}", "in/2013-01-01"),
    ],
)
def test_the_window_may_stand_anywhere_in_the_pattern(
    tmp_path: Path, pattern: str, name: str
) -> None:
    drop(tmp_path, name)
    days = WindowSpec(start=date(2013, 1, 1))
    assert landed_files(tmp_path, pattern, days) == {"2013-01-01": tmp_path / name}


def test_hours_are_found_with_the_colon_of_their_key(tmp_path: Path) -> None:
    hours = WindowSpec(every="hour", start=date(2013, 1, 1))
    drop(tmp_path, "2013-01-01-05:00.parquet", "2013-01-01-0500.parquet")
    assert list(landed_files(tmp_path, "{window}.parquet", hours)) == ["2013-01-01-05:00"]


def test_before_anything_landed_there_is_nothing(tmp_path: Path) -> None:
    days = WindowSpec(start=date(2013, 1, 1))
    assert landed_files(tmp_path / "absent", "flights/{window}.parquet", days) == {}
