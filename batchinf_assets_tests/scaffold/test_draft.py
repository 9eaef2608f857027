"""What is told of a pipeline by its landed files, and what only its owner can tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import UsageError
from batchinf_assets.scaffold.draft import Draft, draft
from batchinf_assets.scaffold.drop import Drop

DAYS = 10
VISITS = 40

Change = Callable[[pa.Table], pa.Table]
Drafted = Callable[..., Draft]


def as_it_is(table: pa.Table) -> pa.Table:
    return table


def without(*names: str) -> Change:
    return lambda table: table.drop_columns(list(names))


def with_two_times(table: pa.Table) -> pa.Table:
    return table.append_column("left_at", table["recorded_at"])


def visits(day: int) -> pa.Table:
    ids = list(range(day * VISITS, (day + 1) * VISITS))
    start = datetime(2025, 5, 1, 8, tzinfo=UTC) + timedelta(days=day)
    return pa.table(
        {
            "visit": ids,
            "at": pa.array([start + timedelta(minutes=each % VISITS) for each in ids]),
            "clinic": [("north", "south")[each % 2] for each in ids],
            "patient": [f"p{each}" for each in ids],
            "age": [None if each % 7 == 0 else float(each % 90) for each in ids],
            "insured": [each % 3 == 0 for each in ids],
            "order": [each % 4 for each in ids],
        }
    )


def attendance(day: int) -> pa.Table:
    rows = visits(day)
    later = [at + timedelta(hours=1) for at in rows.column("at").to_pylist()]
    came = [each % 2 == 0 for each in range(VISITS)]
    return pa.table({"visit": rows["visit"], "came": came, "recorded_at": pa.array(later)})


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    """Land ten days and draft from them."""

    def make(
        source: Change = as_it_is, outcomes: Change = as_it_is, *, days: int = DAYS, **asked: Any
    ) -> Draft:
        drops: list[Drop] = []
        for name, rows, change in (("visits", visits, source), ("seen", attendance, outcomes)):
            folder = tmp_path / name
            folder.mkdir()
            for day in range(days):
                path = folder / f"{date(2025, 5, 1) + timedelta(days=day)}.parquet"
                pq.write_table(change(rows(day)), path)
            drops.append(Drop.around(folder / "2025-05-01.parquet", tmp_path))
        return draft(drops[0], drops[1], **asked)

    return make


def test_key_times_features_and_days_are_told_by_the_files(drafted: Drafted) -> None:
    found = drafted()
    assert (found.source.key, found.source.time, found.known_at) == (
        ("visit",), "at", "recorded_at",
    )  # fmt: skip
    assert {name: spec.type for name, spec in found.features.items()} == {
        "clinic": "string", "age": "float64", "insured": "bool", "order": "int64",
    }  # fmt: skip
    assert found.features["age"].nullable
    assert found.training == (date(2025, 5, 1), date(2025, 5, 8))
    assert found.golden == ("2025-05-08", "2025-05-10")
    assert found.seen == "400 rows of 10 of 10 files"


def test_of_many_files_some_are_looked_at_from_all_over(drafted: Drafted) -> None:
    found = drafted(days=33)
    assert found.seen == "440 rows of 11 of 33 files"
    assert found.training == (date(2025, 5, 1), date(2025, 5, 24))


def test_files_of_other_columns_than_the_newest_are_left_out(drafted: Drafted) -> None:
    def before_orders(table: pa.Table) -> pa.Table:
        is_old = table["visit"][0].as_py() < 4 * VISITS
        return table.drop_columns(["order"]) if is_old else table

    assert drafted(before_orders).seen == "240 rows of 6 of 10 files"


def test_one_day_is_learned_and_leaves_no_golden_set(drafted: Drafted) -> None:
    found = drafted(days=1)
    assert (found.training, found.golden) == ((date(2025, 5, 1), date(2025, 5, 2)), None)


def test_who_knows_better_says_so(drafted: Drafted) -> None:
    found = drafted(without("patient"), with_two_times, key=["visit"], known_at="left_at")
    assert (found.source.key, found.known_at) == (("visit",), "left_at")


@pytest.mark.parametrize(
    ("source", "outcomes", "says"),
    [
        (without("at"), as_it_is, "no column that could be the time"),
        (without("visit", "patient", "at"), as_it_is, "no column that could be the key"),
        (without("clinic", "age", "insured", "order"), as_it_is, "a model could learn from"),
        (as_it_is, without("recorded_at"), "0 columns that could say when an outcome"),
        (as_it_is, with_two_times, "2 columns .* recorded_at, left_at"),
        (as_it_is, without("visit"), "lacks visit, part of the key"),
    ],
    ids=["time", "key", "features", "known at", "two times", "outcomes without key"],
)
def test_what_cannot_be_told_is_asked_for(
    drafted: Drafted, source: Change, outcomes: Change, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        drafted(source, outcomes)


def test_files_of_different_windows_are_refused(tmp_path: Path) -> None:
    for name, day, rows in (("visits", 1, visits), ("seen", 2, attendance)):
        (tmp_path / name).mkdir()
        pq.write_table(rows(day), tmp_path / name / f"2025-05-0{day}.parquet")
    source = Drop.around(tmp_path / "visits" / "2025-05-01.parquet", tmp_path)
    outcomes = Drop.around(tmp_path / "seen" / "2025-05-02.parquet", tmp_path)
    with pytest.raises(UsageError, match="No window has both"):
        draft(source, outcomes)
