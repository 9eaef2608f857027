"""A drawn golden set: repeatable, in proportion, described, and apart from what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import GoldenSetInvalid, UsageError
from batchinf_assets.evaluation.golden.golden_provenance import LearnedFrom, provenance_path
from batchinf_assets.evaluation.golden.golden_set import read_golden_keys, read_golden_set
from batchinf_assets.project import Project
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.evaluation import GoldenSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import labelled_rows
from batchinf_assets.training.golden_draw import (
    DrawnSet,
    GoldenDraw,
    draw_golden_set,
    learned_from,
    others_that_learned,
    proposed_place,
    require_unlearned,
    write_golden_set,
)
from batchinf_assets.windows import WindowSpec
from batchinf_assets_tests.conftest import World

FIRST, LAST = "2013-06-29", "2013-06-30"
AT = datetime(2026, 3, 1, tzinfo=UTC)
DECLARED = LearnedFrom(what="declared training", start=date(2013, 1, 1), end=date(2013, 4, 1))
KEY = ["scheduled_departure", "carrier", "flight"]


def asked(pipeline: Pipeline, **changes: object) -> GoldenDraw:
    windows = pipeline.spec.window.between(FIRST, LAST)
    draw = GoldenDraw(
        windows=windows,
        rows=300,
        segments=("origin_airport",),
        seed=5,
        version="2",
        at=AT,
        apart_from=(DECLARED,),
    )
    return replace(draw, **changes)  # type: ignore[arg-type]


def drawn(world: World, pipeline: Pipeline, **changes: object) -> DrawnSet:
    draw = asked(pipeline, **changes)
    return draw_golden_set(world.project, pipeline, draw, lambda _done, _all: None)


@pytest.fixture(scope="module")
def one(world: World, pipeline: Pipeline) -> DrawnSet:
    return drawn(world, pipeline)


@pytest.fixture(scope="module")
def labelled(world: World, pipeline: Pipeline) -> pa.Table:
    windows = pipeline.spec.window.between(FIRST, LAST)
    return labelled_rows(world.project, pipeline, windows, lambda _done, _all: None).rows


def test_rows_are_those_that_training_would_see_each_at_most_once(
    one: DrawnSet, labelled: pa.Table, pipeline: Pipeline
) -> None:
    assert one.rows.column_names == [*pipeline.spec.feature_table, "late"]
    assert one.rows.num_rows == 300
    assert one.rows.group_by(KEY).aggregate([]).num_rows == 300
    assert one.rows.equals(one.rows.sort_by([(name, "ascending") for name in KEY]))
    seen = {str(row) for row in labelled.rename_columns(one.rows.column_names).to_pylist()}
    assert {str(row) for row in one.rows.to_pylist()} <= seen


def test_label_and_segments_keep_their_shares(one: DrawnSet, labelled: pa.Table) -> None:
    by = ["label", "origin_airport"]
    there = {
        (row["label"], row["origin_airport"]): row["label_count"]
        for row in labelled.group_by(by).aggregate([("label", "count")]).to_pylist()
    }
    here = {
        (row["late"], row["origin_airport"]): row["late_count"]
        for row in one.rows.group_by(["late", by[1]]).aggregate([("late", "count")]).to_pylist()
    }
    assert set(here) == set(there)
    for group, count in there.items():
        assert abs(here[group] - count * 300 / labelled.num_rows) < 1


def test_the_same_draw_gives_the_same_bytes_whenever_it_is_made(
    one: DrawnSet, world: World, pipeline: Pipeline, tmp_path: Path
) -> None:
    later = drawn(world, pipeline, at=datetime(2027, 1, 1, tzinfo=UTC))
    first = write_golden_set(tmp_path / "a.parquet", one, pipeline.spec)
    second = write_golden_set(tmp_path / "b.parquet", later, pipeline.spec)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert first == second.model_copy(update={"drawn_at": AT})
    other = write_golden_set(tmp_path / "c.parquet", drawn(world, pipeline, seed=6), pipeline.spec)
    assert other.sha256 != first.sha256


def spec_with(pipeline: Pipeline, file: str) -> PipelineSpec:
    golden = GoldenSpec(file=file, label="late")
    return pipeline.spec.model_copy(update={"golden": golden})


def test_what_is_written_is_a_golden_set_with_its_provenance(
    one: DrawnSet, world: World, pipeline: Pipeline, tmp_path: Path
) -> None:
    written = write_golden_set(tmp_path / "golden.parquet", one, pipeline.spec)
    project = replace(world.project, root=tmp_path)
    spec = spec_with(pipeline, "golden.parquet")
    golden = read_golden_set(project, spec)
    assert golden.provenance == written
    assert golden.rows.equals(one.rows.select(golden.rows.column_names).cast(golden.rows.schema))
    keys = read_golden_keys(project, spec)
    assert keys.equals(one.rows.select(KEY).cast(keys.schema))
    assert (written.version, written.drawn_at, written.seed) == ("2", AT, 5)
    assert (written.first.key, written.last.key) == (FIRST, LAST)
    assert written.last.end == pipeline.spec.window.window(LAST).end
    assert (written.rows, written.positives) == (300, one.rows["late"].to_pylist().count(True))
    assert written.excluded == (DECLARED,)
    assert "late, origin_airport" in written.method


def test_the_provenance_tells_what_every_stratum_gave(
    one: DrawnSet, labelled: pa.Table, pipeline: Pipeline, tmp_path: Path
) -> None:
    written = write_golden_set(tmp_path / "golden.parquet", one, pipeline.spec)
    assert len(written.strata) == 6
    assert sum(stratum.available for stratum in written.strata) == labelled.num_rows
    assert written.available == labelled.num_rows
    for stratum in written.strata:
        late, airport = stratum.values["late"] == "true", stratum.values["origin_airport"]
        rows = [row for row in one.rows.to_pylist() if row["late"] is late]
        assert stratum.drawn == sum(row["origin_airport"] == airport for row in rows)


def test_without_strata_rows_are_drawn_uniformly(world: World, pipeline: Pipeline) -> None:
    found = drawn(world, pipeline, stratified=False)
    (stratum,) = found.strata
    assert (stratum.values, len(stratum.drawn)) == ({}, 300)


def test_progress_is_told_by_window(world: World, pipeline: Pipeline) -> None:
    told: list[tuple[int, int]] = []
    draw_golden_set(world.project, pipeline, asked(pipeline), lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_learned_windows_are_named_before_anything_is_read(
    project: Project, pipeline: Pipeline
) -> None:
    nothing_landed = replace(project, landing=project.lake)
    windows = pipeline.spec.window.between("2013-03-25", "2013-04-02")
    with pytest.raises(UsageError) as refusal:
        draw_golden_set(
            nothing_landed, pipeline, asked(pipeline, windows=windows), lambda _done, _all: None
        )
    assert refusal.value.message.startswith(
        "No golden set can be drawn from 2013-03-25, 2013-03-26, 2013-03-27, 2013-03-28, "
        "2013-03-29 and 2 more: declared training covers 2013-01-01 up to 2013-04-01"
    )
    assert refusal.value.next_step == "Draw from windows from 2013-04-01 on."


@pytest.mark.parametrize(
    ("every", "first", "last", "refused"),
    [
        ("day", "2013-03-31", "2013-04-01", ["2013-03-31"]),
        ("day", "2013-04-01", "2013-04-02", []),
        ("hour", "2013-03-31-22:00", "2013-04-01-01:00", ["2013-03-31-22:00", "2013-03-31-23:00"]),
        ("week", "2013-03-31", "2013-04-07", ["2013-03-31"]),
        ("month", "2013-04-01", "2013-05-01", []),
        ("month", "2012-12-01", "2012-12-01", []),
    ],
)
def test_a_window_is_learned_where_it_shares_a_day(
    every: str, first: str, last: str, refused: Sequence[str]
) -> None:
    starts = {"week": "2012-01-01"}.get(every, "2012-01-01")
    spec = WindowSpec.model_validate({"every": every, "start": starts})
    windows = spec.between(first, last)
    if not refused:
        require_unlearned(windows, [DECLARED])
        return
    with pytest.raises(UsageError, match=rf"from {', '.join(refused)}: declared"):
        require_unlearned(windows, [DECLARED])


def test_what_the_champion_learned_from_is_kept_apart(world: World, pipeline: Pipeline) -> None:
    later = {"start": date(2013, 5, 1), "end": date(2013, 5, 2)}
    training = pipeline.spec.model.training.model_copy(update=later)
    model = pipeline.spec.model.model_copy(update={"training": training})
    spec = pipeline.spec.model_copy(update={"model": model})
    assert learned_from(world.registry, spec) == (
        LearnedFrom(what="declared training", **later),
        LearnedFrom(
            what="flight_delays v1 (champion)", start=date(2013, 1, 1), end=date(2013, 4, 1)
        ),
    )


def test_of_a_model_that_came_as_a_file_only_its_profile_is_known(
    rivals: World, pipeline: Pipeline
) -> None:
    model = pipeline.spec.model.model_copy(update={"alias": "challenger"})
    found = learned_from(rivals.registry, pipeline.spec.model_copy(update={"model": model}))
    assert found[1] == LearnedFrom(
        what="the reference profile of flight_delays v3 (challenger)",
        start=date(2013, 6, 25),
        end=date(2013, 6, 27),
    )


def test_before_any_model_is_registered_the_declared_training_counts(
    world: World, pipeline: Pipeline, tmp_path: Path
) -> None:
    nowhere = Registry.at(world.with_lake(tmp_path / "lake"), {})
    assert learned_from(nowhere, pipeline.spec) == (DECLARED,)
    assert others_that_learned(nowhere, pipeline.spec, asked(pipeline).windows) == ()


@pytest.mark.parametrize(
    ("first", "named"),
    [("2013-06-26", ("flight_delays v2", "flight_delays v3")), ("2013-06-27", ())],
)
def test_other_versions_that_learned_from_the_windows_are_named(
    rivals: World, pipeline: Pipeline, first: str, named: tuple[str, ...]
) -> None:
    windows = pipeline.spec.window.between(first, LAST)
    assert others_that_learned(rivals.registry, pipeline.spec, windows) == named


def test_segments_are_features(world: World, pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="flight_delays has no feature airline") as refusal:
        drawn(world, pipeline, segments=("origin_airport", "airline"))
    assert "carrier_code" in refusal.value.next_step


def test_a_proposal_lies_beside_the_declared_file_and_never_in_its_place(
    world: World, pipeline: Pipeline, tmp_path: Path
) -> None:
    project, spec = replace(world.project, root=tmp_path), spec_with(pipeline, "set/golden.parquet")
    place = proposed_place(project, spec, None)
    assert place == tmp_path / "set" / "golden.proposed.parquet"
    assert provenance_path(place).name == "golden.proposed.json"
    with pytest.raises(UsageError, match=r"set/golden\.parquet is the golden set that counts"):
        proposed_place(project, spec, tmp_path / "set" / ".." / "set" / "golden.parquet")
    with pytest.raises(UsageError, match=r"does not end in \.parquet"):
        proposed_place(project, spec, tmp_path / "set" / "golden.json")


def test_a_new_file_beside_the_provenance_of_an_old_one_is_no_golden_set(
    one: DrawnSet, world: World, pipeline: Pipeline, tmp_path: Path
) -> None:
    """What a kill between the two writes leaves."""
    path, project = tmp_path / "golden.parquet", replace(world.project, root=tmp_path)
    write_golden_set(path, one, pipeline.spec)
    old = provenance_path(path).read_bytes()
    write_golden_set(path, drawn(world, pipeline, seed=6), pipeline.spec)
    provenance_path(path).write_bytes(old)
    assert pq.read_metadata(path).num_rows == 300
    with pytest.raises(GoldenSetInvalid, match="not the one that its provenance names"):
        read_golden_set(project, spec_with(pipeline, "golden.parquet"))
