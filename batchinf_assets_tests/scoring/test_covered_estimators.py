"""Every estimator of `make parity`, on fewer rows and flights that nobody flew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from batchinf_assets.registry.card import ParityRecord
from batchinf_assets.scoring.adversarial import threshold_coverage
from batchinf_assets.scoring.fast import LINEAR, TREES
from batchinf_assets.scoring.frame import model_frame
from benchmarks.scorer_parity import (
    COVERED,
    TITLES,
    Covered,
    Flights,
    Pieces,
    broken_rule,
    compare,
    learn,
    line,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring import conftest

REAL, ROWS = 1_500, 3_000
NAMES = [
    *("carrier_code", "origin_airport", "destination_airport"),
    *("departure_minute", "distance_miles", "wind_speed", "pressure"),
]


@pytest.fixture(scope="module")
def made_up(flights: conftest.Flights) -> Flights:
    """Flights with some of the features; their delay depends on three of these."""
    features = pa.concat_tables([flights.training.slice(0, 1_200), flights.unseen.slice(0, 300)])
    columns = {name: flights.columns[name] for name in NAMES}
    frame = model_frame(features, columns)
    hour, wind = frame["departure_minute"], frame["wind_speed"].fillna(-2)
    noise = np.random.default_rng(3).normal(size=REAL)
    delay = 10 + 20 * hour + 8 * wind * hour + 15 * (frame["carrier_code"] == "UA") + 5 * noise
    return Flights(columns=columns, features=features.select(NAMES), delay=delay.to_numpy())


@pytest.mark.parametrize("covered", COVERED, ids=lambda covered: covered.name)
def test_the_fast_scorer_gives_the_answers_of_scikit_learn(
    covered: Covered, made_up: Flights
) -> None:
    with threadpool_limits(1):  # so few rows are learned faster by one thread
        record = compare(learn(covered, made_up), made_up, ROWS, decision=0.4)
    assert record.reason is None
    assert not record.label_flips
    assert record.rows > 0.9 * ROWS
    if not type(covered.estimator).__module__.startswith("sklearn.linear_model"):
        assert (record.scorer, record.largest_difference) == (TREES, 0)


def test_every_kind_of_answer_is_learned_and_not_one_answer_alone(made_up: Flights) -> None:
    assert len(np.unique(made_up.target("binary"))) == 2
    assert len(np.unique(made_up.target("3 classes"))) == 3
    assert len(np.unique(made_up.target("squared error"))) == REAL
    assert 0 == made_up.target("poisson").min() < made_up.target("poisson").mean()


def test_pieces_are_the_real_rows_and_then_as_many_others_as_asked_for(made_up: Flights) -> None:
    pieces = Pieces(
        flights=made_up, golden=made_up.features, thresholds={}, adversarial=1_100, piece=400
    )
    assert [table.num_rows for table in pieces] == [400, 400, 400, 300, 400, 400, 300]
    assert pa.concat_tables(list(pieces)[:4]).equals(made_up.features)
    first, second = (table.column("pressure").to_pylist() for table in list(pieces)[4:6])
    assert first != second


def test_adversarial_pieces_share_the_thresholds_among_them(made_up: Flights) -> None:
    limits = {"wind_speed": np.linspace(-2, 2, 900)}
    pieces = Pieces(
        flights=made_up, golden=made_up.features, thresholds=limits, adversarial=1_200, piece=400
    )
    made = pa.concat_tables(list(pieces)[-3:])
    assert threshold_coverage(made, made_up.columns, limits).present == 900


def record(scorer: str, difference: float, reason: str | None = None) -> ParityRecord:
    return ParityRecord(
        scorer=scorer,
        rows=1_000,
        largest_difference=difference,
        label_flips=None,
        bit_equal=False,
        verdict="refused" if reason else "passed",
        reason=reason,
    )


def test_trees_must_be_equal_where_linear_models_may_round() -> None:
    assert broken_rule(record(TREES, 0.0)) is None
    assert broken_rule(record(LINEAR, 1e-15)) is None
    assert broken_rule(record(TREES, 1e-15)) == "trees answer with numbers that are 1e-15 apart"
    assert broken_rule(record(LINEAR, 0.5, "it gives another label")) == "it gives another label"


def test_lines_stand_under_their_titles() -> None:
    found = line("Ridge, squared error", record(LINEAR, 2e-16), (1_500_000, 3_000_000))
    for title, value in {"compared": "1,000", "difference": "2.0e-16", "fast": "3.00"}.items():
        end = TITLES.index(title) + len(title)
        assert found[:end].endswith(f" {value}")
    assert found.index("passed") == TITLES.index("verdict")
