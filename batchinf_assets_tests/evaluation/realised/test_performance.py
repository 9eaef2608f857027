"""Predictions joined to the outcomes that arrived later."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.evaluation.realised.performance import (
    LabelDelay,
    Performance,
    label_delay,
    label_predictions,
    realised_performance,
)
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

DEPARTURE = datetime(2013, 7, 1, 12, tzinfo=UTC)
RECORDED = datetime(2013, 7, 3, tzinfo=UTC)
WINDOW_END = datetime(2013, 7, 2, 4, tzinfo=UTC)
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


def realised(
    predicted: pa.Table,
    landed: pa.Table | None,
    *,
    spec: PipelineSpec,
    segments: pa.Table | None = None,
) -> Performance:
    labelled = (
        label_predictions(predicted, landed, spec=spec, window_end=WINDOW_END, segments=segments)
        if landed is not None
        else None
    )
    return realised_performance(labelled, predicted.num_rows, spec=spec)


def test_ten_predictions_give_the_figures_computed_by_hand() -> None:
    # 1 to 4 arrived in time, 5 and 6 late, 7 just late, 8 was cancelled, 9 and 10 are not in.
    delays = {1: -5, 2: 0, 3: 14, 4: 14.9, 5: 90, 6: 30, 7: 15, 8: None, 77: 99}
    found = realised(
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
    assert realised(predictions({1: 0.5}), None, spec=flights()) == Performance(
        state="no outcomes yet", rows=1, labelled=0, metrics=None
    )


@pytest.mark.parametrize("delays", [[], [(1, None, 0)], [(2, 30.0, 0)]])
def test_outcomes_without_any_label_are_no_labels(
    delays: list[tuple[int, float | None, int]],
) -> None:
    found = realised(predictions({1: 0.5}), outcomes(delays), spec=flights())
    assert found == Performance(state="no labels", rows=1, labelled=0, metrics=None)


def test_the_outcome_known_last_counts() -> None:
    landed = [(1, 0.0, 5), (1, 60.0, 9), (1, 0.0, 2)]
    found = realised(predictions({1: 0.5}), outcomes(landed), spec=flights())
    assert found.labelled == 1
    assert found.metrics is not None
    assert found.metrics.positives == 1


def test_a_correction_can_take_a_label_away() -> None:
    landed = [(1, 60.0, 1), (1, None, 2)]
    found = realised(predictions({1: 0.5}), outcomes(landed), spec=flights())
    assert found.state == "no labels"


def test_the_label_sees_outcome_columns_only() -> None:
    with pytest.raises(FeatureSqlFailed, match=r"outcomes\.label 'delay_probability > 0'"):
        realised(
            predictions({1: 0.5}), outcomes([(1, 0.0, 0)]), spec=flights("delay_probability > 0")
        )


@pytest.mark.parametrize("label", ["arrival_delay >=", "1) FROM outcomes; SELECT (1", "carrier"])
def test_a_label_that_is_no_condition_is_refused(label: str) -> None:
    with pytest.raises(FeatureSqlFailed) as refusal:
        realised(predictions({1: 0.5}), outcomes([(1, 0.0, 0)]), spec=flights(label))
    assert "outcomes.label" in refusal.value.message
    assert "defs.yaml" in refusal.value.next_step


def test_a_label_may_end_in_a_comment() -> None:
    found = realised(
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
    found = realised(predicted, landed, spec=PipelineSpec.model_validate(document))
    assert found.labelled == 1


def test_names_like_ours_do_not_collide() -> None:
    document = flights("label > 15").model_dump()
    document["source"]["columns"]["score"] = document["source"]["columns"].pop("flight")
    columns = document["outcomes"]["columns"]
    columns["score"], columns["label"] = columns.pop("flight"), columns.pop("arrival_delay")
    document["source"]["key"] = ["scheduled_departure", "carrier", "score"]
    predicted = predictions({1: 0.5}).rename_columns({"flight": "score"})
    landed = outcomes([(1, 20.0, 0)]).rename_columns({"flight": "score", "arrival_delay": "label"})
    found = realised(predicted, landed, spec=PipelineSpec.model_validate(document))
    assert found.metrics is not None
    assert found.metrics.brier == 0.25


def test_the_delay_of_labels_is_shown() -> None:
    # The window ended on July 2nd at four; recorded is July 3rd and so many hours.
    landed = [(1, 60.0, 0), (2, 0.0, 10), (3, 0.0, 4), (4, None, 99), (77, 5.0, 99)]
    found = realised(predictions(dict.fromkeys(range(1, 6), 0.5)), outcomes(landed), spec=flights())
    assert (found.rows, found.labelled) == (5, 3)
    assert found.delay == LabelDelay(rows=3, median=24 * 3600.0, percentile_95=30 * 3600.0)


def test_outcomes_that_do_not_say_when_they_became_known_have_no_delay() -> None:
    assert label_delay(pa.chunked_array([[None, None]], pa.float64())) is None
    found = label_delay(pa.chunked_array([[None, -60.0]], pa.float64()))
    assert found == LabelDelay(rows=1, median=-60.0, percentile_95=-60.0)


def test_segments_come_with_the_features_of_the_rows() -> None:
    document = flights().model_dump()
    document["performance"]["segments"] = ["carrier_code", "plane_age"]
    spec = PipelineSpec.model_validate(document)
    scores = {1: 0.9, 2: 0.1, 3: 0.6, 4: 0.2}
    features = predictions(scores).drop_columns(["delay_probability"])
    features = features.append_column("carrier_code", pa.array(["UA", "UA", "AA", None]))
    features = features.append_column("plane_age", pa.array([7.0, None, 7.0, 7.0]))
    landed = outcomes([(1, 60.0, 0), (2, 0.0, 0), (3, 0.0, 0), (4, 0.0, 0)])
    found = realised(predictions(scores), landed, spec=spec, segments=features)
    rows = {(each.column, each.value): each.metrics.rows for each in found.segments}
    assert sum(rows.values()) == 8
    assert rows["carrier_code", "UA"] == 2
    assert rows["carrier_code", "AA"] == 1
    (united,) = [
        each.metrics
        for each in found.segments
        if (each.column, each.value) == ("carrier_code", "UA")
    ]
    assert (united.positives, united.recall, united.auroc) == (1, 1.0, 1.0)
