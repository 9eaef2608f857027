"""Predictions joined to the outcomes that arrived later."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.evaluation.performance import Performance, realised_performance
from batchinf_assets.spec import PipelineSpec, load_pipeline

DEPARTURE = datetime(2013, 7, 1, 12, tzinfo=UTC)
RECORDED = datetime(2013, 7, 3, tzinfo=UTC)
TIMES = pa.timestamp("us", tz="UTC")


def flights(label: str = "arrival_delay >= 15") -> PipelineSpec:
    """The demo pipeline, with another label condition."""
    document = load_pipeline("flight_delays").spec.model_dump()
    document["outcomes"]["label"] = label
    return PipelineSpec.model_validate(document)


def predictions(scores: dict[int, float]) -> pa.Table:
    """Predictions by flight number."""
    return pa.table(
        {
            "scheduled_departure": pa.array([DEPARTURE] * len(scores), TIMES),
            "carrier": pa.array(["UA"] * len(scores), pa.string()),
            "flight": pa.array(scores.keys(), pa.int32()),
            "delay_probability": pa.array(scores.values(), pa.float64()),
        }
    )


def outcomes(delays: list[tuple[int, float | None, int]]) -> pa.Table:
    """Outcomes as (flight, delay, hours until known)."""
    rows = len(delays)
    known = [RECORDED + timedelta(hours=hours) for _, _, hours in delays]
    return pa.table(
        {
            "scheduled_departure": pa.array([DEPARTURE] * rows, TIMES),
            "carrier": pa.array(["UA"] * rows, pa.string()),
            "flight": pa.array([flight for flight, _, _ in delays], pa.int32()),
            "origin": pa.array(["JFK"] * rows, pa.string()),
            "destination": pa.array(["BOS"] * rows, pa.string()),
            "arrival_delay": pa.array([delay for _, delay, _ in delays], pa.float64()),
            "recorded_at": pa.array(known, TIMES),
        }
    )


def test_ten_predictions_give_the_figures_computed_by_hand() -> None:
    # 1 to 4 arrived in time, 5 and 6 late, 7 just late, 8 was cancelled, 9 and 10 are not in.
    delays = {1: -5, 2: 0, 3: 14, 4: 14.9, 5: 90, 6: 30, 7: 15, 8: None, 77: 99}
    found = realised_performance(
        predictions({flight: flight / 10 for flight in range(1, 11)}),
        outcomes([(flight, delay, 0) for flight, delay in delays.items()]),
        spec=flights(),
    )
    assert (found.state, found.rows, found.labelled) == ("measured", 10, 7)
    assert found.metrics is not None
    assert (found.metrics.rows, found.metrics.positives) == (7, 3)
    # At the declared decision 0.4: flights 4 to 7 count as late, 3 of the 4 are.
    assert found.metrics.precision == 3 / 4
    assert found.metrics.recall == 1.0
    assert found.metrics.auroc == 1.0
    # Squares: .01 + .04 + .09 + .16 + .25 + .16 + .09 = .80 over 7 rows.
    assert found.metrics.brier == pytest.approx(0.8 / 7, abs=1e-15)


def test_before_anything_landed_there_are_no_outcomes_yet() -> None:
    assert realised_performance(predictions({1: 0.5}), None, spec=flights()) == Performance(
        state="no outcomes yet", rows=1, labelled=0, metrics=None
    )


@pytest.mark.parametrize("delays", [[], [(1, None, 0)], [(2, 30.0, 0)]])
def test_outcomes_without_any_label_are_no_labels(
    delays: list[tuple[int, float | None, int]],
) -> None:
    found = realised_performance(predictions({1: 0.5}), outcomes(delays), spec=flights())
    assert found == Performance(state="no labels", rows=1, labelled=0, metrics=None)


def test_the_outcome_known_last_counts() -> None:
    landed = [(1, 0.0, 5), (1, 60.0, 9), (1, 0.0, 2)]
    found = realised_performance(predictions({1: 0.5}), outcomes(landed), spec=flights())
    assert found.labelled == 1
    assert found.metrics is not None
    assert found.metrics.positives == 1


def test_a_correction_can_take_a_label_away() -> None:
    landed = [(1, 60.0, 1), (1, None, 2)]
    found = realised_performance(predictions({1: 0.5}), outcomes(landed), spec=flights())
    assert found.state == "no labels"


def test_the_label_sees_outcome_columns_only() -> None:
    with pytest.raises(FeatureSqlFailed, match=r"outcomes\.label 'delay_probability > 0'"):
        realised_performance(
            predictions({1: 0.5}), outcomes([(1, 0.0, 0)]), spec=flights("delay_probability > 0")
        )


@pytest.mark.parametrize("label", ["arrival_delay >=", "1) FROM outcomes; SELECT (1", "carrier"])
def test_a_label_that_is_no_condition_is_refused(label: str) -> None:
    with pytest.raises(FeatureSqlFailed) as refusal:
        realised_performance(predictions({1: 0.5}), outcomes([(1, 0.0, 0)]), spec=flights(label))
    assert "outcomes.label" in refusal.value.message
    assert "defs.yaml" in refusal.value.next_step


def test_a_label_may_end_in_a_comment() -> None:
    found = realised_performance(
        predictions({1: 0.5}), outcomes([(1, 20.0, 0)]), spec=flights("arrival_delay > 9 -- late")
    )
    assert found.labelled == 1


def test_names_that_are_sql_keywords_are_quoted() -> None:
    document = flights().model_dump()
    for part in ("source", "outcomes"):
        document[part]["columns"]["order"] = document[part]["columns"].pop("flight")
    document["source"]["key"] = ["scheduled_departure", "carrier", "order"]
    document["prediction"]["column"] = "select"
    predicted = predictions({1: 0.5}).rename_columns(
        ["scheduled_departure", "carrier", "order", "select"]
    )
    landed = outcomes([(1, 20.0, 0)]).rename_columns({"flight": "order"})
    found = realised_performance(predicted, landed, spec=PipelineSpec.model_validate(document))
    assert found.labelled == 1


def test_names_like_ours_do_not_collide() -> None:
    document = flights("label > 15").model_dump()
    document["source"]["columns"]["score"] = document["source"]["columns"].pop("flight")
    columns = document["outcomes"]["columns"]
    columns["score"], columns["label"] = columns.pop("flight"), columns.pop("arrival_delay")
    document["source"]["key"] = ["scheduled_departure", "carrier", "score"]
    predicted = predictions({1: 0.5}).rename_columns({"flight": "score"})
    landed = outcomes([(1, 20.0, 0)]).rename_columns({"flight": "score", "arrival_delay": "label"})
    found = realised_performance(predicted, landed, spec=PipelineSpec.model_validate(document))
    assert found.metrics is not None
    assert found.metrics.brier == 0.25
