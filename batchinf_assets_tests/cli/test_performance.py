"""`performance`: what outcomes have shown, window by window, and the states without figures."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from batchinf_assets.project import Project

FIRST, SECOND, THIRD = "2013-07-01", "2013-07-02", "2013-07-03"


def test_nothing_published_is_said(fine: Callable[..., str]) -> None:
    assert fine("performance", "flight_delays") == "Nothing of flight_delays is published yet.\n"
    assert json.loads(fine("performance", "flight_delays", "--json")) == []


def test_measured_waiting_and_missing_windows_stand_in_one_table(
    fine: Callable[..., str], project: Project
) -> None:
    (project.landing / f"outcomes/{SECOND}.parquet").unlink()
    fine("backfill", "run", "flight_delays", "--from", FIRST, "--to", SECOND)
    one, two, three = json.loads(
        fine("performance", "flight_delays", "--from", FIRST, "--to", THIRD, "--json")
    )
    assert [each["state"] for each in (one, two, three)] == [
        "measured",
        "no outcomes yet",
        "not published",
    ]
    assert 0 < one["labelled"] < one["rows"]
    auroc = one["realised"]["auroc"]
    assert auroc["low"] < auroc["value"] < auroc["high"]
    assert one["trailing"]["trailing_7"]["auroc"] == auroc
    assert one["trend"]["auroc"]["verdict"] == "insufficient data"
    assert one["label_delay"]["median"] <= one["label_delay"]["percentile_95"]
    assert one["estimated"]["auroc"] > 0.5
    assert two["estimated"]["auroc"] > 0.5
    assert (two["labelled"], two["realised"]) == (0, {})
    assert three["revision"] is None

    assert json.loads(fine("performance", "flight_delays", SECOND, "--json")) == [two]
    told = fine("performance", "flight_delays", "--metric", "brier")
    lines = [line for line in told.splitlines() if "2013-07" in line]
    assert len(lines) == 2
    assert f"{one['realised']['brier']['value']:.4f}" in lines[0]
    assert "no outcomes yet" in lines[1]
    assert "trailing 28" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", THIRD, "--to", FIRST),
        ("--from", "x"),
        ("--metric", "luck"),
        (FIRST, "--to", THIRD),
    ],
)
def test_what_is_no_range_or_metric_is_wrong_use(
    batchinf: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    assert batchinf("performance", "flight_delays", *arguments).exit_code == 2
