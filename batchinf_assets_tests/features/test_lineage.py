"""Column lineage, read off the SQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.features.lineage import Origin, column_lineage, view_columns
from batchinf_assets.spec.load import Pipeline, load_pipeline

FLIGHTS = load_pipeline("flight_delays")


def with_sql(folder: Path, sql: str) -> Pipeline:
    (folder / "features.sql").write_text(sql, encoding="utf-8")
    return replace(FLIGHTS, folder=folder)


def origins(*columns: str) -> tuple[Origin, ...]:
    """Origins written as `view.column`."""
    parts = [column.split(".") for column in columns]
    return tuple(Origin(view=view, column=column) for view, column in parts)


def test_every_column_of_the_features_table_has_its_origins() -> None:
    found = column_lineage(FLIGHTS)
    assert list(found) == list(FLIGHTS.spec.feature_table)
    assert all(found.values())


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        ("carrier", ["snapshot.carrier"]),
        ("carrier_code", ["snapshot.carrier"]),
        ("departure_minute", ["snapshot.departure_local"]),
        ("plane_age", ["planes.manufactured", "snapshot.scheduled_departure"]),
        ("temperature", ["weather.temperature"]),
        ("carrier_delay_rate", ["outcomes.arrival_delay"]),
        ("route_delay_rate", ["outcomes.arrival_delay"]),
    ],
)
def test_a_feature_is_traced_through_joins_and_subqueries(feature: str, columns: list[str]) -> None:
    assert column_lineage(FLIGHTS)[feature] == origins(*columns)


def test_a_column_of_several_views_names_them_all_once_and_in_order(tmp_path: Path) -> None:
    rest = FLIGHTS.features_sql.replace(
        "w.temperature,", "coalesce(w.temperature, s.distance, w.temperature) AS temperature,"
    )
    found = column_lineage(with_sql(tmp_path, rest))
    assert found["temperature"] == origins("snapshot.distance", "weather.temperature")


def test_a_constant_comes_from_nowhere(tmp_path: Path) -> None:
    rest = FLIGHTS.features_sql.replace("w.temperature,", "1.0 AS temperature,")
    assert column_lineage(with_sql(tmp_path, rest))["temperature"] == ()


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT 1 AS one FROM snapshot", "'scheduled_departure'"),
        ("SELECT FROM WHERE", "its columns"),
        ("", "its columns"),
    ],
)
def test_sql_without_a_declared_column_is_refused_with_its_file(
    tmp_path: Path, sql: str, what: str
) -> None:
    with pytest.raises(FeatureSqlFailed) as refusal:
        column_lineage(with_sql(tmp_path, sql))
    assert refusal.value.message.startswith(f"flight_delays/features.sql: no lineage of {what}")
    assert str(refusal.value).isprintable()


def test_a_mistyped_column_is_named_with_the_views_that_there_are(tmp_path: Path) -> None:
    sql = FLIGHTS.features_sql.replace("s.distance", "s.distence")
    with pytest.raises(FeatureSqlFailed, match="Unknown column: distence") as refusal:
        column_lineage(with_sql(tmp_path, sql))
    assert "over outcomes, planes, snapshot, weather." in refusal.value.next_step


def test_views_have_the_columns_that_sql_sees() -> None:
    columns = view_columns(FLIGHTS.spec)
    assert sorted(columns) == ["outcomes", "planes", "snapshot", "weather"]
    assert columns["planes"] == {"tail_number": "string", "manufactured": "int32"}
    # An as-of view carries the source's key beside the observation.
    assert list(columns["weather"])[:4] == ["scheduled_departure", "carrier", "flight", "origin"]
    assert "arrival_delay" in columns["outcomes"]


def test_a_pipeline_without_outcomes_has_no_view_of_them() -> None:
    spec = FLIGHTS.spec.model_copy(update={"outcomes": None, "references": {}})
    assert list(view_columns(spec)) == ["snapshot"]
