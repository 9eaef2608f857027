"""`golden draw`: a proposal beside the present set, which no command touches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.project import CHECKOUT
from batchinf_assets.spec.load import Pipeline

DAYS = ("--from", "2013-06-29", "--to", "2013-06-30")
DRAW = ("golden", "draw", "flight_delays")

Run = Callable[..., Result]
Told = Callable[..., str]
Refused = Callable[..., str]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "drawn" / "golden.parquet"


def test_the_proposal_is_written_and_held_beside_the_present_set(
    fine: Told, output: Path, pipeline: Pipeline
) -> None:
    declared = CHECKOUT / pipeline.spec.golden.file
    before = {path: path.read_bytes() for path in declared.parent.iterdir()}
    told = fine(*DRAW, *DAYS, "--rows", "200", "--segment", "origin_airport", "-o", str(output))
    rows = pq.read_table(output)
    late = rows["late"].to_pylist().count(True)
    assert rows.num_rows == 200
    assert told.startswith(
        f"Version 2 of the golden set, proposed in {output}: 200 of 1,618 labelled rows of "
        "2013-06-29 to 2013-06-30."
    )
    lines = {line.split("│")[1].strip(): line for line in told.splitlines() if "│" in line}
    assert "27.8% (556)" in lines["share of late"]
    assert f"{late / 200:.1%} ({late})" in lines["share of late"]
    assert "36.8% (736)" in lines["origin_airport EWR"]
    assert "put it and its .json in the place of data/golden/flight_delays.parquet" in told
    assert {path: path.read_bytes() for path in declared.parent.iterdir()} == before


def test_json_holds_the_provenance_and_both_sets(fine: Told, output: Path) -> None:
    asked = ("--rows", "50", "--segment", "carrier_code", "--seed", "9", "-o", str(output))
    told = json.loads(fine(*DRAW, *DAYS, *asked, "--json"))
    assert told["provenance"] == json.loads(output.with_suffix(".json").read_bytes())
    assert told["provenance"]["sha256"] == file_sha256(output)
    assert told["provenance"]["seed"] == 9
    assert [each["what"] for each in told["provenance"]["excluded"]] == [
        "declared training",
        "flight_delays v1 (champion)",
    ]
    assert told["takes_the_place_of"] == "data/golden/flight_delays.parquet"
    assert told["present"]["rows"] == 2_000
    assert told["proposed"]["rows"] == sum(told["proposed"]["segments"]["carrier_code"].values())
    assert (told["also_learned"], told["doubts"]) == ([], [])


def test_a_number_is_shown_by_the_quartiles_of_both_sets(fine: Told, output: Path) -> None:
    asked = ("--rows", "50", "--segment", "distance_miles", "-o", str(output))
    told = json.loads(fine(*DRAW, *DAYS, *asked, "--json"))
    ranges = told["proposed"]["segments"]["distance_miles"]
    assert list(ranges) == list(told["present"]["segments"]["distance_miles"])
    assert [name.partition(" ")[0] for name in ranges] == [
        *("up", "above", "above", "above", "missing")
    ]
    assert sum(ranges.values()) == 50
    assert len(told["provenance"]["strata"]) == 8  # late or not, by quartile


def test_an_earlier_proposal_is_not_drawn_over_unless_asked_to(
    fine: Told, refused: Refused, output: Path
) -> None:
    fine(*DRAW, *DAYS, "--rows", "50", "-o", str(output))
    before = output.read_bytes()
    line = refused(*DRAW, *DAYS, "--rows", "60", "-o", str(output), code=2)
    assert f"{output} holds an earlier proposal." in line
    assert output.read_bytes() == before
    fine(*DRAW, *DAYS, "--rows", "60", "-o", str(output), "--force")
    assert pq.read_table(output).num_rows == 60


def test_windows_that_the_champion_learned_from_are_refused_by_name(
    refused: Refused, output: Path
) -> None:
    days = ("--from", "2013-03-30", "--to", "2013-04-02")
    line = refused(*DRAW, *days, "--rows", "50", "-o", str(output), code=2)
    assert "No golden set can be drawn from 2013-03-30, 2013-03-31: " in line
    assert not output.exists()


def test_the_set_that_counts_is_never_written(refused: Refused, pipeline: Pipeline) -> None:
    declared = CHECKOUT / pipeline.spec.golden.file
    before = declared.read_bytes()
    line = refused(*DRAW, *DAYS, "--rows", "50", "-o", str(declared), code=2)
    assert "data/golden/flight_delays.parquet is the golden set that counts" in line
    assert declared.read_bytes() == before


def test_more_rows_than_have_landed_are_refused(refused: Refused, output: Path) -> None:
    line = refused(*DRAW, *DAYS, "--rows", "5000", "-o", str(output), code=2)
    assert "5,000 rows cannot be drawn from 1,618." in line
    assert not output.exists()


def test_a_window_that_has_not_landed_is_named(refused: Refused, output: Path) -> None:
    days = ("--from", "2013-07-07", "--to", "2013-07-08")
    line = refused(*DRAW, *days, "--rows", "50", "-o", str(output))
    assert "flights/2013-07-08.parquet" in line
    assert not output.exists()
