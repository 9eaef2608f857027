from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.golden.golden_provenance import read_provenance
from batchinf_assets.project import CHECKOUT
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.dataset import labelled_rows
from batchinf_assets_tests.conftest import World
from batchinf_demo.golden import SETS, draw

DAY = "2013-05-17"
DRAWN = SETS["flight_delays"]


@pytest.fixture(scope="module")
def golden(pipeline: Pipeline) -> pa.Table:
    return pq.read_table(CHECKOUT / pipeline.spec.golden.file)


def test_the_golden_set_shares_no_row_with_training(golden: pa.Table, pipeline: Pipeline) -> None:
    training = pipeline.spec.model.training
    zone = ZoneInfo(pipeline.spec.window.timezone)
    days = [moment.astimezone(zone).date() for moment in golden["scheduled_departure"].to_pylist()]
    assert min(days) >= training.end
    assert min(days) >= DRAWN.first
    assert max(days) < DRAWN.end


def test_the_golden_set_has_the_documented_size_and_no_flight_twice(
    golden: pa.Table, pipeline: Pipeline
) -> None:
    assert golden.num_rows == DRAWN.rows
    assert golden.group_by(list(pipeline.spec.source.key)).aggregate([]).num_rows == DRAWN.rows
    assert f"{pc.sum(golden['late']).as_py()} of them late" in (
        CHECKOUT / "docs" / "golden-set.md"
    ).read_text(encoding="utf-8")


def test_the_golden_rows_of_a_day_are_what_the_feature_sql_makes_of_it(
    golden: pa.Table, pipeline: Pipeline, world: World
) -> None:
    window = pipeline.spec.window.window(DAY)
    made = labelled_rows(world.project, pipeline, [window], lambda _done, _all: None).rows
    kind = golden.schema.field("scheduled_departure").type
    start, end = (pa.scalar(moment, kind) for moment in (window.start, window.end))
    departures = golden["scheduled_departure"]
    drawn = golden.filter(
        pc.and_(pc.greater_equal(departures, start), pc.less(departures, end))
    ).rename_columns(made.column_names)
    assert drawn.num_rows > 10
    assert set(map(str, drawn.to_pylist())) <= set(map(str, made.to_pylist()))


@pytest.mark.drill
def test_the_draw_of_then_still_gives_the_committed_rows(
    golden: pa.Table, pipeline: Pipeline, world: World
) -> None:
    drawn = draw(world.project, pipeline, datetime(2026, 3, 1, tzinfo=UTC))
    assert drawn.rows.equals(golden)


def test_the_provenance_says_how_it_was_drawn(pipeline: Pipeline) -> None:
    known = read_provenance(CHECKOUT / pipeline.spec.golden.file)
    assert known is not None
    assert (known.rows, known.seed, known.method) == (
        DRAWN.rows,
        DRAWN.seed,
        "uniformly without replacement",
    )
    assert (known.first.start.date(), known.last.end.date()) == (DRAWN.first, DRAWN.end)
    training = pipeline.spec.model.training
    assert [(each.start, each.end) for each in known.excluded] == [(training.start, training.end)]
