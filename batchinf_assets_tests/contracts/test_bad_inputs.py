"""Every bad input is refused by name, and what was published stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.contract import ColumnSpec, FreshnessSpec, RuleSpec, VolumeSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.attempt import reason_code
from batchinf_assets_tests.contracts.bad_inputs import BAD_INPUTS, Bad
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    outputs,
    project_at,
    run_window,
    small_pipeline,
    verified,
    visible_rows,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

DAY_BEFORE = "2013-07-03"
AT_LEAST = 60


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A project in which one window is published, under a contract that allows little.

    Attributes:
        project: Where.
        pipeline: What.
        rows: What landed for the window.
        made: The published revision and the digests of its files.
        visible: What readers see.
    """

    project: Project
    pipeline: Pipeline
    rows: pa.Table
    made: list[str]
    visible: pa.Table

    def run(self, bad: Bad) -> BatchinfError | None:
        """Land a bad file and run the window; return the refusal."""
        files = f"flights/{{window}}.{bad.ending}"
        source = self.pipeline.spec.source.model_copy(update={"files": files})
        pipeline = with_source(self.pipeline, source)
        path = self.project.landing / "flights" / f"{DAY}.{bad.ending}"
        path.write_bytes(bad.spoil(self.rows))
        try:
            run_window(self.project, pipeline, pipeline.spec.window.window(DAY), bad.name)
        except BatchinfError as error:
            return error
        return None


def with_source(pipeline: Pipeline, source: object) -> Pipeline:
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"source": source}))


def strict(pipeline: Pipeline) -> Pipeline:
    """Declare one of each rule; every broken one blocks."""
    source = pipeline.spec.source
    changed: dict[str, ColumnSpec] = {
        "carrier": ColumnSpec(type="string", pattern="[0-9A-Z]{2}"),
        "tail_number": ColumnSpec(type="string", nullable=True, known_in="planes.tail_number"),
        "destination": ColumnSpec(type="string", max_length=4),
    }
    return with_source(
        pipeline,
        source.model_copy(
            update={
                "columns": {**source.columns, **changed},
                "accept": (),
                "late": None,
                "quarantine": None,
                "volume": VolumeSpec(at_least=0.5, at_most=2, windows=1, min_windows=1),
                "freshness": FreshnessSpec(column="scheduled_departure", within=timedelta(hours=4)),
                "rules": (
                    RuleSpec(name="arrives_on_a_minute", sql="arrival_local % 100 < 60"),
                    RuleSpec(
                        name="all_three_airports", per="table", sql="count(DISTINCT origin) = 3"
                    ),
                ),
            }
        ),
    )


def known_planes(landing: Path, rows: pa.Table) -> pa.Table:
    """Leave out rows whose plane the real reference lacks: the contract asks for them."""
    known = pq.read_table(landing / "planes.parquet").column("tail_number").to_pylist()
    wanted = {*known, None}
    keep = [tail in wanted for tail in rows.column("tail_number").to_pylist()]
    return rows.filter(pa.array(keep))


def only_flight_required(rows: pa.Table) -> pa.Table:
    """Write as most do, every column optional, but for one."""
    fields = [field.with_nullable(field.name != "flight") for field in rows.schema]
    return rows.cast(pa.schema(fields))


@pytest.fixture(scope="module")
def desk(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("bad inputs")
    landing = root / "landing"
    (landing / "flights").mkdir(parents=True)
    for part in ("lake", "keys"):
        shutil.copytree(getattr(world, part), root / part)
    for name in ("weather.parquet", "planes.parquet"):
        shutil.copy2(world.landing / name, landing / name)
    project, pipeline = project_at(root, landing), strict(small_pipeline())
    for day in (DAY_BEFORE, DAY):
        landed = pq.read_table(world.landing / "flights" / f"{day}.parquet")
        rows = only_flight_required(known_planes(landing, landed).replace_schema_metadata(None))
        pq.write_table(rows, landing / "flights" / f"{day}.parquet")
    before, window = (pipeline.spec.window.window(day) for day in (DAY_BEFORE, DAY))
    freeze_snapshot(project, pipeline.spec, before)
    run_window(project, pipeline, window, "good")
    visible = visible_rows(project, pipeline)
    assert visible is not None
    made = outputs(project, pipeline, window)
    yield Desk(project=project, pipeline=pipeline, rows=rows, made=made, visible=visible)
    # After all of them: the same bytes, and they verify.
    assert verified(project, pipeline, window).problems == ()


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_a_bad_input_is_refused_by_name_and_nothing_is_published(desk: Desk, bad: Bad) -> None:
    refusal = desk.run(bad)
    assert refusal is not None, "it was published"
    sentence = str(refusal)
    assert reason_code(refusal) == bad.code, sentence
    assert DAY in sentence
    for clause in bad.says:
        assert clause in sentence, sentence
    assert "\n" not in sentence
    for text in bad.never:
        assert text not in sentence
    assert len(sentence) < 2_000
    window = desk.pipeline.spec.window.window(DAY)
    assert outputs(desk.project, desk.pipeline, window) == desk.made
    found = visible_rows(desk.project, desk.pipeline)
    assert found is not None
    assert found.equals(desk.visible)


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len({bad.name for bad in BAD_INPUTS}) == len(BAD_INPUTS) >= AT_LEAST
