"""The golden set of departure_delays: whole, apart from training, made by the pipeline's SQL."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.golden.golden_provenance import read_provenance
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.training.dataset import labelled_rows
from batchinf_demo.departures import land_departures
from batchinf_demo.golden import SETS

DEPARTURES = load_pipeline("departure_delays")
FILE = CHECKOUT / DEPARTURES.spec.golden.file
DRAWN = SETS["departure_delays"]
HOURS = ("2013-05-17-16:00", "2013-05-17-18:00")


@pytest.fixture(scope="module")
def golden() -> pa.Table:
    return pq.read_table(FILE)


def test_it_shares_no_row_with_training(golden: pa.Table) -> None:
    zone = ZoneInfo(DEPARTURES.spec.window.timezone)
    days = [each.astimezone(zone).date() for each in golden["scheduled_departure"].to_pylist()]
    assert DEPARTURES.spec.model.training.end <= DRAWN.first <= min(days)
    assert max(days) < DRAWN.end


def test_it_has_the_documented_size_and_no_flight_twice(golden: pa.Table) -> None:
    keys = golden.group_by(list(DEPARTURES.spec.source.key)).aggregate([])
    assert golden.num_rows == keys.num_rows == DRAWN.rows
    assert f"{pc.sum(golden['late']).as_py()} of which left late" in (
        CHECKOUT / "docs" / "golden-set.md"
    ).read_text(encoding="utf-8")


def test_the_provenance_says_how_it_was_drawn() -> None:
    known = read_provenance(FILE)
    assert known is not None
    method = "uniformly without replacement"
    assert (known.rows, known.seed, known.method) == (DRAWN.rows, DRAWN.seed, method)
    assert (known.first.start.date(), known.last.end.date()) == (DRAWN.first, DRAWN.end)
    training = DEPARTURES.spec.model.training
    assert [(each.start, each.end) for each in known.excluded] == [(training.start, training.end)]


def test_its_rows_of_some_hours_are_what_the_feature_sql_makes_of_them(
    golden: pa.Table, tmp_path: Path
) -> None:
    project = Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )
    land_departures(project.landing, first=date(2013, 5, 17), last=date(2013, 5, 17))
    windows = DEPARTURES.spec.window.between(*HOURS)
    made = labelled_rows(project, DEPARTURES, windows, lambda _done, _all: None).rows
    kind = golden.schema.field("scheduled_departure").type
    departures = golden["scheduled_departure"]
    inside = pc.and_(
        pc.greater_equal(departures, pa.scalar(windows[0].start, kind)),
        pc.less(departures, pa.scalar(windows[-1].end, kind)),
    )
    drawn = golden.filter(inside).rename_columns(made.column_names)
    assert drawn.num_rows > 5
    assert set(map(str, drawn.to_pylist())) <= set(map(str, made.to_pylist()))
