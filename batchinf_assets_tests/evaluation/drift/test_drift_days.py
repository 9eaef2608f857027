"""Drift on real days of the season that a model learned: rows of a day are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batchinf_assets.features.labels import LABEL
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.dataset import training_rows
from batchinf_assets.training.register import declared_windows
from benchmarks.drift_days import Learned, flights, shares, unseen

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

Judged = list[tuple[Learned, pa.Table]]
FOLD = 1


@pytest.fixture(scope="module")
def days(world: World, pipeline: Pipeline) -> Judged:
    """Thirty days of January to March 2013, and a model of the sixty between."""
    windows = declared_windows(pipeline)
    labelled = training_rows(world.project, pipeline, windows, lambda _done, _all: None)
    assert LABEL in labelled.rows.column_names
    judged = [window for place, window in enumerate(windows) if place % 3 == FOLD]
    rows = {window.key: flights(world.project, pipeline, window) for window in judged}
    return unseen(pipeline, labelled, windows, rows, FOLD)


def test_unseen_days_of_the_same_season_seldom_alarm_anybody(days: Judged) -> None:
    assert len(days) == 30
    stable, _, major = shares(learned.judge(rows) for learned, rows in days)
    assert major <= 0.05
    assert stable >= 0.9
    rows_alone = shares(learned.of_independent_rows.judge(rows) for learned, rows in days)
    assert rows_alone[0] < 0.2


def test_a_day_whose_distances_are_in_kilometres_is_major(days: Judged) -> None:
    learned, rows = days[0]
    calm = {drift.subject: drift.verdict for drift in learned.judge(rows)}
    place = rows.schema.get_field_index("distance_miles")
    kilometres = pc.multiply(rows.column(place), 1.609344)
    other_unit = rows.set_column(place, "distance_miles", kilometres)
    moved = {drift.subject: drift.verdict for drift in learned.judge(other_unit)}
    assert (calm["distance_miles"], moved["distance_miles"]) == ("stable", "major")
