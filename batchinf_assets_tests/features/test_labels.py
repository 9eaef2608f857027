"""Outcomes as they landed, and the labels that the declared condition gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import (
    FeatureSqlFailed,
    InvalidSpec,
    LandedFileMissing,
    LandedFileUnreadable,
    WindowRefused,
)
from batchinf_assets.features.labels import (
    KNOWN_AT,
    label_rows,
    landed_outcomes,
    require_outcomes,
    timed_labels,
)
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.features.conftest import Upstream

FLIGHTS = load_pipeline("flight_delays").spec
TIMES = pa.timestamp("us", tz="UTC")
DEPARTURE = datetime(2013, 7, 1, 12, tzinfo=UTC)


def labelled(label: str) -> PipelineSpec:
    document = FLIGHTS.model_dump()
    document["outcomes"]["label"] = label
    return PipelineSpec.model_validate(document)


def outcomes(*rows: tuple[int, float | None, int | None]) -> pa.Table:
    """Outcomes as (flight, delay, hours until known)."""
    count = len(rows)
    known = [None if h is None else DEPARTURE + timedelta(hours=h) for _, _, h in rows]
    return pa.table(
        {
            "scheduled_departure": pa.array([DEPARTURE] * count, TIMES),
            "carrier": pa.array(["UA"] * count, pa.string()),
            "flight": pa.array([flight for flight, _, _ in rows], pa.int32()),
            "origin": pa.array(["JFK"] * count, pa.string()),
            "destination": pa.array(["BOS"] * count, pa.string()),
            "arrival_delay": pa.array([delay for _, delay, _ in rows], pa.float64()),
            "recorded_at": pa.array(known, TIMES),
        }
    )


def labels(spec: PipelineSpec, table: pa.Table) -> dict[int, bool]:
    found = label_rows(spec, table)
    assert found.column_names == [*spec.source.key, "label"]
    rows = found.to_pylist()
    assert len({row["flight"] for row in rows}) == len(rows), "a key has two labels"
    return {row["flight"]: row["label"] for row in rows}


def test_the_condition_labels_and_null_means_no_label() -> None:
    table = outcomes((1, 14.9, 1), (2, 15.0, 1), (3, None, 1), (4, -60.0, 1), (5, 900.0, 1))
    assert labels(FLIGHTS, table) == {1: False, 2: True, 4: False, 5: True}


def test_a_correction_replaces_what_it_corrects_wherever_it_stands() -> None:
    table = outcomes((1, 0.0, 2), (1, 60.0, 9), (1, 0.0, 5), (2, 60.0, 9), (2, 0.0, 2))
    assert labels(FLIGHTS, table) == {1: True, 2: True}


def test_a_correction_to_nothing_takes_the_label_away() -> None:
    assert labels(FLIGHTS, outcomes((1, 60.0, 1), (1, None, 2))) == {}
    assert labels(FLIGHTS, outcomes((1, None, 1), (1, 60.0, 2))) == {1: True}


def test_an_outcome_of_unknown_time_gives_way_to_any_other() -> None:
    table = outcomes((1, 60.0, None), (1, 0.0, 1))
    assert labels(FLIGHTS, table) == {1: False}
    assert labels(FLIGHTS, table.take([1, 0])) == {1: False}


def test_contradictions_of_one_instant_are_settled_the_same_way_in_any_order() -> None:
    table = outcomes((1, 60.0, 1), (1, 0.0, 1), (1, None, 1))
    orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]]
    assert [labels(FLIGHTS, table.take(order)) for order in orders] == [{1: False}] * 4


def test_no_outcomes_give_no_labels() -> None:
    assert labels(FLIGHTS, outcomes()) == {}


def test_the_condition_may_use_every_outcome_column_and_end_in_a_comment() -> None:
    spec = labelled("CASE WHEN origin = 'JFK' THEN arrival_delay > 0 END -- only one airport")
    assert labels(spec, outcomes((1, 1.0, 1), (2, 0.0, 1))) == {1: True, 2: False}


@pytest.mark.parametrize(
    "label",
    ["arrival_delay >=", "tail_number = 'N1'", "1) FROM outcomes; SELECT (1", "origin", ""],
)
def test_a_condition_that_is_none_is_refused_with_its_place(label: str) -> None:
    with pytest.raises(FeatureSqlFailed) as refusal:
        label_rows(labelled(label), outcomes((1, 1.0, 1)))
    assert f"Pipeline flight_delays, outcomes.label '{label}'" in refusal.value.message
    assert "defs.yaml" in refusal.value.next_step
    assert str(refusal.value).isprintable()
    assert ".." not in str(refusal.value)


def test_a_pipeline_without_outcomes_cannot_be_labelled() -> None:
    spec = FLIGHTS.model_copy(update={"outcomes": None})
    assert require_outcomes(FLIGHTS) is FLIGHTS.outcomes
    for ask in (lambda: require_outcomes(spec), lambda: label_rows(spec, outcomes())):
        with pytest.raises(InvalidSpec, match="flight_delays declares no outcomes"):
            ask()


def test_landed_outcomes_come_with_their_file(upstream: Upstream) -> None:
    window = upstream.pipeline.spec.window.window("2013-07-01")
    record, rows = landed_outcomes(upstream.project, upstream.pipeline.spec, window)
    assert record.path == "outcomes/2013-07-01.parquet"
    assert record.sha256 == file_sha256(upstream.project.landing / record.path)
    # Nothing is cut off here: what was known when matters to views, not to labels.
    assert sorted(rows["arrival_delay"].to_pylist()) == [-5.0, 0.0, 30.0, 100.0, 500.0]


def test_outcomes_that_have_not_landed_are_missing(upstream: Upstream) -> None:
    with pytest.raises(LandedFileMissing, match=r"outcomes/2013-07-02\.parquet"):
        landed_outcomes(upstream.project, upstream.pipeline.spec, upstream.window)


def test_outcomes_that_lack_a_column_or_bytes_are_refused(upstream: Upstream) -> None:
    window = upstream.pipeline.spec.window.window("2013-07-01")
    path = upstream.project.landing / "outcomes/2013-07-01.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["arrival_delay"]), path)
    with pytest.raises(
        WindowRefused, match="column arrival_delay: expected float64, found no such"
    ) as refusal:
        landed_outcomes(upstream.project, upstream.pipeline.spec, window)
    assert [check.asset for check in refusal.value.checks] == ["performance"]
    path.write_bytes(b"")
    with pytest.raises(LandedFileUnreadable, match="is empty"):
        landed_outcomes(upstream.project, upstream.pipeline.spec, window)


def test_a_label_knows_when_its_outcome_became_known() -> None:
    spec = labelled("arrival_delay >= 15")
    found = timed_labels(spec, outcomes((1, 60.0, 5), (1, 0.0, 2), (2, 0.0, None), (3, None, 1)))
    known = {row["flight"]: row[KNOWN_AT] for row in found.to_pylist()}
    assert known == {1: DEPARTURE + timedelta(hours=5), 2: None}
