"""The reference scorer, and what is required of the outputs of any scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.tree import DecisionTreeClassifier

from batchinf_assets.errors import BatchinfError, ModelRefused, Refusal
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.scorer import SklearnScorer, score_rows

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring.conftest import Flights


@dataclass(frozen=True)
class Giving:
    """A scorer that gives fixed outputs."""

    given: Any
    name: str = "fixed"

    def outputs(self, _features: pa.Table) -> Any:
        return self.given


@pytest.fixture(scope="module")
def scorer(trained: Any, flights: Flights) -> SklearnScorer:
    return SklearnScorer(trained, flights.columns)


def test_the_score_is_the_probability_of_the_label(
    trained: Any, scorer: SklearnScorer, flights: Flights
) -> None:
    expected = trained.predict_proba(model_frame(flights.unseen, flights.columns))
    assert scorer.outputs(flights.unseen).tobytes() == np.ascontiguousarray(expected).tobytes()
    scores = score_rows(scorer, flights.unseen)
    assert (scores.dtype, scores.shape) == (np.float64, (flights.unseen.num_rows,))
    assert scores.tobytes() == np.ascontiguousarray(expected[:, 1]).tobytes()
    assert len(np.unique(scores)) > 100


def test_scores_repeat_bit_for_bit(scorer: SklearnScorer, flights: Flights) -> None:
    first, second = (score_rows(scorer, flights.unseen) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("cut", [1, 2_501, 4_096, 5_002])
def test_scores_do_not_depend_on_where_shards_begin(
    scorer: SklearnScorer, flights: Flights, cut: int
) -> None:
    rows = flights.unseen
    halves = [score_rows(scorer, rows.slice(0, cut)), score_rows(scorer, rows.slice(cut))]
    assert np.concatenate(halves).tobytes() == score_rows(scorer, rows).tobytes()


def test_scores_do_not_depend_on_chunks_or_further_columns(
    scorer: SklearnScorer, flights: Flights
) -> None:
    rows = flights.unseen
    chunked = pa.concat_tables([rows.slice(0, 7), rows.slice(7)])
    wider = chunked.add_column(0, "flight", pa.array(np.arange(rows.num_rows)))
    assert score_rows(scorer, wider).tobytes() == score_rows(scorer, rows).tobytes()


def test_unseen_categories_count_as_missing(scorer: SklearnScorer, flights: Flights) -> None:
    rows = flights.unseen
    place = rows.column_names.index("carrier_code")
    known, first, second = (
        score_rows(
            scorer,
            rows.set_column(place, rows.schema.field(place), pa.array([code] * rows.num_rows)),
        )
        for code in ("UA", "ZZ", "QQ")
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, known)


def test_no_rows_score_to_nothing_and_no_model_is_asked(flights: Flights) -> None:
    class NeverAsked:
        name = "never asked"

        def outputs(self, features: pa.Table) -> Any:
            raise AssertionError(features)

    scores = score_rows(NeverAsked(), flights.unseen.slice(0, 0))
    assert (scores.dtype, scores.shape) == (np.float64, (0,))


def test_the_reference_says_what_it_is(scorer: SklearnScorer) -> None:
    assert scorer.name == "scikit-learn"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(flights: Flights, broken: float) -> None:
    given = np.full((5, 2), 0.5)
    given[3, 1] = broken
    with pytest.raises(BatchinfError, match=r"score of row 3; 1 of 5 scores .*features"):
        score_rows(Giving(given), flights.unseen.slice(0, 5))


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (4, 2), (5,)])
def test_outputs_that_are_not_two_probabilities_per_row_are_refused(
    flights: Flights, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ModelRefused, match="two probabilities per row") as refusal:
        score_rows(Giving(np.full(shape, 0.5)), flights.unseen.slice(0, 5))
    assert refusal.value.reason is Refusal.SCHEMA


def test_a_model_that_learned_one_label_only_is_refused(flights: Flights) -> None:
    frame = model_frame(flights.training, flights.columns)
    single = DummyClassifier(strategy="prior").fit(frame, np.ones(len(frame), dtype=bool))
    with pytest.raises(ModelRefused, match=r"shape \(5, 1\) for 5 rows"):
        score_rows(SklearnScorer(single, flights.columns), flights.unseen.slice(0, 5))


def test_a_regressor_gives_values_and_no_probability(flights: Flights) -> None:
    frame = model_frame(flights.training, flights.columns)
    scorer = SklearnScorer(DummyRegressor(constant=3.0, strategy="constant"), flights.columns)
    scorer.estimator.fit(frame, np.arange(len(frame)))
    assert scorer.outputs(flights.unseen.slice(0, 5)).tolist() == [[3.0]] * 5


def test_rows_that_scikit_learn_refuses_are_refused_in_its_own_words(flights: Flights) -> None:
    numbers = {"distance_miles": flights.columns["distance_miles"]}
    frame = model_frame(flights.training, numbers)
    tree = DecisionTreeClassifier(max_depth=1).fit(frame, frame["distance_miles"] > 0)
    rows = pa.table({"distance_miles": [1.0, float("inf")]})
    with pytest.raises(ModelRefused, match=r"refuses the rows: .*infinity") as refusal:
        SklearnScorer(tree, numbers).outputs(rows)
    assert refusal.value.reason is Refusal.ROWS
    assert "\n" not in str(refusal.value)
