"""`backfill plan`, and `backfill run` of a range or of what is stale."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.cli.backfill import cost_text
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.run import PriceSpec

FIRST, SECOND, THIRD = "2013-07-01", "2013-07-02", "2013-07-03"

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def three_days(project: Project) -> Project:
    """A project in which nothing but three days of flights landed."""
    for path in (project.landing / "flights").iterdir():
        if path.stem not in (FIRST, SECOND, THIRD):
            path.unlink()
    return project


def flights(project: Project, day: str) -> Path:
    return project.landing / "flights" / f"{day}.parquet"


def planned(fine: Told, *arguments: str) -> dict[str, Any]:
    return json.loads(fine("backfill", "plan", "flight_delays", *arguments, "--json"))


def test_a_plan_of_what_never_ran_knows_rows_and_no_time(fine: Told, three_days: Project) -> None:
    rows = sum(
        pq.read_metadata(flights(three_days, day)).num_rows for day in (FIRST, SECOND, THIRD)
    )
    told = fine("backfill", "plan", "flight_delays")
    assert "3 of 3 windows are stale" in told
    assert f"{FIRST} to {THIRD}" in told
    assert f"0 of 3 windows are current. To run: 3 windows, {rows:,} rows, unknown time.\n" in told
    plan = planned(fine)
    assert plan["to_run"] == {
        "windows": 3,
        "rows": rows,
        "seconds": None,
        "ranges": [{"from": FIRST, "to": THIRD}],
    }
    assert plan["reasons"] == {"missing": plan["to_run"]}
    assert (plan["pace"], plan["absent"]) == (None, [])
    assert plan["windows"][0]["reasons"] == ["missing"]
    assert plan["windows"][0]["runs"] is True
    assert (plan["first"], plan["last"], plan["chunk"]) == (None, None, 92)
    assert plan["runs"] == [{"from": FIRST, "to": THIRD, "windows": 3}]


def test_a_plan_names_the_windows_whose_rows_it_cannot_tell(
    fine: Told, three_days: Project
) -> None:
    assert "cannot be told" not in fine("backfill", "plan", "flight_delays")
    os.truncate(flights(three_days, SECOND), 1_000)
    told = fine("backfill", "plan", "flight_delays")
    assert "To run: 3 windows, unknown rows" in told
    assert f"How many rows landed cannot be told of {SECOND}: what is there is damaged" in told


def test_what_is_stale_is_run_and_nothing_else(
    fine: Told, batchinf: Run, three_days: Project, pipeline: Pipeline
) -> None:
    table = predictions_table(three_days, pipeline.spec)
    fine("run", "flight_delays", SECOND)
    ran = json.loads(fine("backfill", "run", "flight_delays", "--stale", "--json"))
    assert [run["done"] for run in ran["runs"]] == [[FIRST], [THIRD]]
    assert ran["left_out"] == {}
    assert sorted(table.files()) == [FIRST, SECOND, THIRD]
    plan = planned(fine)
    assert (plan["reasons"], plan["to_run"]["windows"]) == ({}, 0)
    assert plan["pace"]["attempts"] == 3
    assert all(window["seconds"] > 0 for window in plan["windows"])
    told = fine("backfill", "plan", "flight_delays", "--to", "2013-07-05")
    assert told == (
        "3 of 3 windows are current. To run: 0 windows, 0 rows, 0.0 s.\n"
        "2 windows have not landed: 2013-07-04 to 2013-07-05.\n"
    )
    assert fine("backfill", "run", "flight_delays", "--stale") == (
        "Nothing of flight_delays is stale that could be run.\n"
    )
    flights(three_days, FIRST).unlink()
    (key,) = json.loads(fine("keys", "list", "--json"))
    fine("keys", "revoke", key["id"], "--reason", "Laptop stolen")
    unjudged = batchinf("backfill", "plan", "flight_delays")
    assert unjudged.exit_code == 0
    assert unjudged.stderr.startswith("batchinf: No window is judged by its model")


def test_a_window_that_cannot_run_is_left_out_and_told(
    batchinf: Run, fine: Told, three_days: Project, pipeline: Pipeline
) -> None:
    window = pipeline.spec.window.window(FIRST)
    rows = pq.read_table(flights(three_days, FIRST))
    flights(three_days, FIRST).unlink()
    refused = batchinf("run", "flight_delays", FIRST)
    assert refused.exit_code == 1
    for day in (SECOND, THIRD):
        flights(three_days, day).unlink()
    told = batchinf("backfill", "run", "flight_delays", "--stale")
    assert told.exit_code == 0
    assert told.stderr == (
        f"batchinf: Stale and left out, as the source file is not there: {FIRST}.\n"
    )
    plan = fine("backfill", "plan", "flight_delays")
    assert f"Cannot run now, as the source file is not there: {FIRST}.\n" in plan
    assert "failed: failed in snapshot: landed_file_missing.\n" in plan
    pq.write_table(rows, flights(three_days, FIRST))
    assert batchinf("backfill", "run", "flight_delays", "--stale").exit_code == 0
    assert published_revision(three_days, pipeline.spec, window) is not None


@pytest.mark.parametrize("arguments", [[], ["--from", FIRST], ["--to", FIRST]])
def test_a_backfill_needs_both_ends_or_what_is_stale(batchinf: Run, arguments: list[str]) -> None:
    result = batchinf("backfill", "run", "flight_delays", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("batchinf: backfill run needs --from and --to, or --stale")


def test_a_plan_of_a_range_in_the_wrong_order_is_wrong_use(batchinf: Run) -> None:
    result = batchinf("backfill", "plan", "flight_delays", "--from", SECOND, "--to", FIRST)
    assert result.exit_code == 2
    assert f"The range {SECOND} to {FIRST} is empty." in result.stderr


def test_a_plan_of_an_empty_world_is_empty(fine: Told, three_days: Project) -> None:
    for day in (FIRST, SECOND, THIRD):
        flights(three_days, day).unlink()
    told = fine("backfill", "plan", "flight_delays")
    assert told == "0 of 0 windows are current. To run: 0 windows, 0 rows, 0.0 s.\n"


@pytest.mark.parametrize(
    ("price", "seconds", "told"),
    [
        (None, 3600.0, ""),
        (2.5, 7200.0, ", 5.00 EUR"),
        (2.5, 0.0, ", 0.00 EUR"),
        (2.5, None, ", unknown cost"),
    ],
)
def test_a_plan_tells_its_cost_where_a_price_is_declared_and_never_takes_unknown_for_zero(
    pipeline: Pipeline, price: float | None, seconds: float | None, told: str
) -> None:
    declared = None if price is None else PriceSpec(machine_hour=price, currency="EUR")
    spec = pipeline.spec.model_copy(update={"price": declared})
    assert cost_text(spec, seconds) == told
