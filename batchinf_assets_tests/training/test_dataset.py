"""Labelled rows of a few real days: the labels are true, the features are those of scoring."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import (
    GoldenSetInvalid,
    InvalidSpec,
    LandedFileMissing,
    WindowRefused,
)
from batchinf_assets.features.build import build_features
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.dataset import LabelledRows, labelled_rows, training_rows

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

DAYS = ("2013-06-28", "2013-06-29")
KEY = ["scheduled_departure", "carrier", "flight"]


@pytest.fixture(scope="module")
def labelled(school: School) -> LabelledRows:
    return labelled_rows(school.project, school.pipeline, school.windows, lambda *_: None)


@pytest.fixture(scope="module")
def golden(school: School) -> pd.DataFrame:
    path = school.project.root / school.pipeline.spec.golden.file
    return pq.read_table(path).to_pandas()


@pytest.fixture(scope="module")
def arrivals(school: School) -> pd.DataFrame:
    """The outcomes of the two days, as they landed."""
    folder = school.project.landing / "outcomes"
    return pd.concat([pq.read_table(folder / f"{day}.parquet").to_pandas() for day in DAYS])


def test_labels_are_the_landed_arrivals_of_the_same_flight(
    labelled: LabelledRows, arrivals: pd.DataFrame
) -> None:
    rows = labelled.rows.select([*KEY, "label"]).to_pandas()
    joined = rows.merge(arrivals, on=KEY, validate="one_to_one")
    assert len(joined) == len(rows) == arrivals["arrival_delay"].notna().sum()
    assert (joined["label"] == (joined["arrival_delay"] >= 15)).all()
    assert 0.1 < joined["label"].mean() < 0.6


def test_flights_without_arrival_are_left_out_and_counted(
    labelled: LabelledRows, arrivals: pd.DataFrame
) -> None:
    assert labelled.windows == 2
    assert labelled.unlabelled == arrivals["arrival_delay"].isna().sum() > 0


def test_the_rows_of_each_window_can_be_told(school: School, labelled: LabelledRows) -> None:
    for kept in (labelled, school.labelled):  # the second lacks golden rows
        parts = list(kept.by_window())
        assert pa.concat_tables([rows for _, rows in parts]).equals(kept.rows)
        for (_, rows), window in zip(parts, school.windows, strict=True):
            departures = rows.column("scheduled_departure").to_pandas()
            assert departures.between(window.start, window.end, inclusive="left").all()
    assert sum(school.labelled.window_rows) == sum(labelled.window_rows) - school.labelled.golden


def test_a_model_learns_from_the_very_features_that_scoring_makes(
    school: School, labelled: LabelledRows, tmp_path: Path
) -> None:
    project = replace(school.project, lake=tmp_path / "lake")
    window = school.pipeline.spec.window.window(DAYS[1])
    freeze_snapshot(project, school.pipeline.spec, window)
    scored = build_features(project, school.pipeline, window).rows.to_pandas()
    learned = labelled.rows.drop_columns(["label"]).to_pandas()
    learned = learned[learned["scheduled_departure"] >= window.start]
    assert len(learned) > 500
    merged = learned.merge(scored, on=KEY, suffixes=("", "_scored"), validate="one_to_one")
    for feature in school.pipeline.spec.features.columns:
        pd.testing.assert_series_equal(
            merged[feature], merged[f"{feature}_scored"], check_names=False
        )


def test_rows_come_in_window_order_and_sorted_by_key(labelled: LabelledRows) -> None:
    frame = labelled.rows.select(KEY).to_pandas()
    assert frame.equals(frame.sort_values(KEY, ignore_index=True))


def test_no_golden_row_becomes_a_training_row(
    school: School, labelled: LabelledRows, golden: pd.DataFrame
) -> None:
    found = training_rows(school.project, school.pipeline, school.windows, lambda *_: None)
    frame = labelled.rows.to_pandas()
    shared = frame.merge(golden[KEY], on=KEY, how="left", indicator=True)["_merge"] == "both"
    assert found.golden == shared.sum() > 20
    kept = frame[~shared.to_numpy()].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.rows.to_pandas(), kept)
    assert (found.windows, found.unlabelled) == (labelled.windows, labelled.unlabelled)


def with_golden_set(school: School, root: Path, golden: pd.DataFrame) -> Project:
    path = root / school.pipeline.spec.golden.file
    path.parent.mkdir(parents=True)
    golden.to_parquet(path)
    return replace(school.project, root=root)


def test_rows_of_other_days_stay_however_alike_their_keys(
    school: School, labelled: LabelledRows, golden: pd.DataFrame, tmp_path: Path
) -> None:
    moved = golden.assign(scheduled_departure=golden["scheduled_departure"] + pd.Timedelta("1us"))
    project = with_golden_set(school, tmp_path, moved)
    found = training_rows(project, school.pipeline, school.windows, lambda *_: None)
    assert found == labelled


def test_a_golden_set_without_keys_stops_training_before_anything_is_read(
    school: School, golden: pd.DataFrame, tmp_path: Path
) -> None:
    project = with_golden_set(school, tmp_path, golden.drop(columns=["carrier", "flight"]))
    progress: list[int] = []
    with pytest.raises(GoldenSetInvalid, match="lacks the key columns carrier, flight") as refusal:
        training_rows(
            project, school.pipeline, school.windows, lambda done, _all: progress.append(done)
        )
    assert refusal.value.next_step.startswith("Add them")
    assert progress == []


def test_progress_counts_the_windows(school: School) -> None:
    progress: list[tuple[int, int]] = []
    labelled_rows(
        school.project, school.pipeline, school.windows, lambda *done: progress.append(done)
    )
    assert progress == [(1, 2), (2, 2)]


def refuse(
    school: School,
    error: type[Exception],
    match: str,
    project: Project | None = None,
    pipeline: Pipeline | None = None,
) -> None:
    with pytest.raises(error, match=match):
        labelled_rows(
            project or school.project,
            pipeline or school.pipeline,
            school.windows,
            lambda *_: None,
        )


def copied_landing(school: School, folder: Path) -> Project:
    shutil.copytree(school.project.landing, folder)
    return replace(school.project, landing=folder)


def test_a_day_without_outcomes_stops_training_and_is_named(school: School, tmp_path: Path) -> None:
    project = copied_landing(school, tmp_path / "landing")
    (project.landing / "outcomes" / f"{DAYS[1]}.parquet").unlink()
    refuse(school, LandedFileMissing, r"outcomes/2013-06-29\.parquet", project)


def test_a_day_that_breaks_its_contract_stops_training(school: School, tmp_path: Path) -> None:
    project = copied_landing(school, tmp_path / "landing")
    path = project.landing / "flights" / f"{DAYS[1]}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)
    refuse(school, WindowRefused, "2013-06-29", project)


def test_without_outcomes_nothing_can_be_learned(school: School) -> None:
    spec = school.pipeline.spec.model_copy(update={"outcomes": None})
    mute = replace(school.pipeline, spec=spec)
    refuse(school, InvalidSpec, "flight_delays declares no outcomes", pipeline=mute)
