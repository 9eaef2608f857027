"""Seconds per row by stage, off two manifests."""

from __future__ import annotations

from batchinf_assets.evaluation.comparison.stages import StageTime, stage_times
from batchinf_assets_tests.evaluation.comparison.written import manifest


def test_the_slowest_stage_of_either_comes_first() -> None:
    other = manifest(timings={"read": 12.0, "score": 1.0, "compare": 4.0})
    assert stage_times(manifest(), other) == (
        StageTime(stage="read", a=0.25, b=3.0),
        StageTime(stage="compare", a=None, b=1.0),
        StageTime(stage="score", a=0.5, b=0.25),
    )


def test_a_revision_without_rows_has_no_time_per_row() -> None:
    empty = manifest(counts={"rows_in": 0, "scored": 0})
    assert {time.a for time in stage_times(empty, manifest())} == {None}
