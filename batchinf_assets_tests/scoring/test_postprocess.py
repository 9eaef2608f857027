"""Post-processing: the declared SQL over scored rows, by hand on ten rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.postprocess import postprocess, scored_rows
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.prediction import PredictionSpec

FLIGHTS = load_pipeline("flight_delays")
SCORES = np.array([0.0, 0.1, 0.19, 0.2, 0.21, 0.39, 0.4, 0.41, 0.9, 1.0])


def features(count: int = len(SCORES)) -> pa.Table:
    columns: dict[str, list[object]] = {
        name: [1.0] * count for name in FLIGHTS.spec.features.columns
    }
    columns |= {
        "scheduled_departure": [datetime(2013, 7, 1, 12, tzinfo=UTC)] * count,
        "carrier": ["UA"] * count,
        "flight": list(range(1, count + 1)),
        "carrier_code": ["UA"] * count,
        "origin_airport": ["JFK"] * count,
        "destination_airport": ["BOS"] * count,
    }
    return pa.table(columns, schema=arrow_schema(FLIGHTS.spec.feature_table))


def with_sql(folder: Path, sql: str) -> Pipeline:
    (folder / "postprocess.sql").write_text(sql, encoding="utf-8")
    return replace(FLIGHTS, folder=folder)


def run(pipeline: Pipeline = FLIGHTS) -> list[dict[str, object]]:
    scored = scored_rows(features(), SCORES, FLIGHTS.spec.prediction)
    return sorted(postprocess(pipeline, scored).to_pylist(), key=lambda row: row["flight"])


def test_ten_flights_get_the_decisions_made_by_hand() -> None:
    rows = run()
    assert [row["flight"] for row in rows] == list(range(1, 11))
    assert [row["delay_probability"] for row in rows] == SCORES.tolist()
    # Late from 0.4 on, medium from 0.2 on: both bounds included.
    assert [row["late_expected"] for row in rows] == [False] * 6 + [True] * 4
    assert [row["risk"] for row in rows] == ["low"] * 3 + ["medium"] * 3 + ["high"] * 4
    assert list(rows[0]) == list(FLIGHTS.spec.prediction_table)


def test_sql_sees_key_features_and_score(tmp_path: Path) -> None:
    rows = run(with_sql(tmp_path, "SELECT * FROM scored"))
    assert list(rows[0]) == [*FLIGHTS.spec.feature_table, "delay_probability"]


def test_scores_belong_to_the_rows_they_stand_beside() -> None:
    scored = scored_rows(features(3), SCORES[:3], PredictionSpec(column="p"))
    assert scored["p"].to_pylist() == [0.0, 0.1, 0.19]
    assert scored.schema.field("p").type == pa.float64()
    assert scored.drop_columns(["p"]).equals(features(3))


def test_without_postprocessing_key_and_score_are_the_output() -> None:
    pipeline = replace(FLIGHTS, spec=FLIGHTS.spec.model_copy(update={"postprocess": None}))
    rows = run(pipeline)
    assert list(rows[0]) == ["scheduled_departure", "carrier", "flight", "delay_probability"]
    assert [row["delay_probability"] for row in rows] == SCORES.tolist()


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM snapshot", "SELECT nothing FROM scored", "SELECT * FROM 'x.parquet'", "DROP"],
)
def test_sql_that_sees_more_than_the_scored_rows_is_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(FeatureSqlFailed) as refusal:
        run(with_sql(tmp_path, sql))
    assert refusal.value.message.startswith("flight_delays/postprocess.sql: ")
    assert "\n" not in str(refusal.value)
    assert "`scored`" in refusal.value.next_step
