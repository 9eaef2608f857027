"""Runs that leave before their time, told to or replaced; and what the ledger hears of a stage.

The same with processes that are killed is in `resilience.test_preemption_processes`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.attempts import attempting, lease_place
from batchinf_assets.errors import LostRace, Overrun, Preempted, RunOverCap
from batchinf_assets.features.build import build_features
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ShardsRecord
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.scoring.sharded_window import (
    NOW,
    ROWS,
    SHARD_ROWS,
    SHARDS,
    Scoring,
    in_shards_of,
)
from batchinf_assets_tests.scoring.watched_scorer import Watch

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

MIDDLE = 11


@pytest.fixture
def cut_in(world: World, pipeline: Pipeline, tmp_path: Path) -> Callable[[int], Scoring]:
    """Cut the window into shards of so many rows, in a lake of its own."""

    def make(shard_rows: int) -> Scoring:
        project, cut = world.with_lake(tmp_path / "lake"), in_shards_of(pipeline, shard_rows)
        window = pipeline.spec.window.window("2013-07-04")
        freeze_snapshot(project, cut.spec, window)
        build_features(project, cut, window)
        model = scoring_model(world.registry, cut, NOW)
        return Scoring(project=project, pipeline=cut, window=window, model=model)

    return make


@pytest.fixture
def scoring(cut_in: Callable[[int], Scoring]) -> Scoring:
    return cut_in(SHARD_ROWS)


def draft_of(scoring: Scoring) -> Manifest | None:
    return manifests(scoring.project, scoring.pipeline.spec).draft(scoring.window)


def at_call(number: int, act: Callable[[], object]) -> tuple[Watch, list[int]]:
    """Make a watch that acts when so many shards have begun, and keeps the rows of each."""
    begun: list[int] = []

    def watch(rows: pa.Table) -> None:
        begun.append(rows.num_rows)
        if len(begun) == number:
            act()

    return watch, begun


@pytest.mark.parametrize(
    ("shard_rows", "shards"), [(SHARD_ROWS, SHARDS), (1_000, 1)], ids=["the last", "the only"]
)
def test_who_is_told_to_leave_while_nothing_is_left_to_begin_leaves_all_the_same(
    cut_in: Callable[[int], Scoring], shard_rows: int, shards: int
) -> None:
    scoring = cut_in(shard_rows)
    watch, begun = at_call(shards, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted, match=f"{shards} of {shards} shards are finished"):
        scoring.score(watch, for_threads=False)
    assert len(begun) == shards
    assert draft_of(scoring) is None
    record = scoring.recorded()
    assert (record["state"], record["reason_code"]) == ("preempted", "preempted")

    manifest, scored_again = scoring.rows_scored()
    assert scored_again == 0
    assert manifest.shards == ShardsRecord(planned=shards, computed=0, reused=shards)
    assert draft_of(scoring) == manifest


def score_under(scoring: Scoring, require_left: Callable[[], None]) -> None:
    project, spec, window = scoring.project, scoring.pipeline.spec, scoring.window
    with attempting(project, spec, window, run_id="run", stage="predictions") as attempt:
        attempt.require_left = require_left
        score_window(project, scoring.pipeline, window, scoring.model, attempt=attempt, now=NOW)


def test_a_run_above_its_cap_begins_no_new_shard_and_is_gone_on_with(scoring: Scoring) -> None:
    allowed = iter(range(MIDDLE))

    def require_left() -> None:
        if next(allowed, None) is None:
            raise RunOverCap("Above its cap.", reason=Overrun.SPENT, next_step="Approve it.")

    with pytest.raises(RunOverCap):
        score_under(scoring, require_left)
    assert draft_of(scoring) is None
    record = scoring.recorded()
    assert (record["state"], record["reason_code"]) == ("refused", "run_over_cap/spent")

    manifest = scoring.score()
    assert manifest.shards == ShardsRecord(planned=SHARDS, computed=SHARDS - MIDDLE, reused=MIDDLE)


def lose_the_lease(scoring: Scoring) -> None:
    """Leave the lease as it is once its holder did not beat for an hour and another one died."""
    spec, window = scoring.pipeline.spec, scoring.window
    place = lease_place(scoring.project, spec, window)
    lease = read_lease(place, window.key)
    assert lease is not None
    hour_ago = lease.beat_at - timedelta(hours=1)
    # Were `hold` that of who is asleep, a beat at this very moment would bring it back to life.
    lapsed = {"since": hour_ago, "beat_at": hour_ago, "hold": "f" * 16}
    write_bytes(place, lease.model_copy(update=lapsed).to_json())


def take_over(scoring: Scoring) -> None:
    """Begin as another run, and leave without having scored anything."""
    lose_the_lease(scoring)
    spec = scoring.pipeline.spec
    with attempting(
        scoring.project, spec, scoring.window, run_id="successor", stage="predictions"
    ) as attempt:
        assert attempt.token == 2


def take_over_and_score(scoring: Scoring) -> None:
    lose_the_lease(scoring)
    scoring.score(run_id="successor")


def test_who_was_replaced_begins_no_new_shard(scoring: Scoring) -> None:
    watch, begun = at_call(MIDDLE, lambda: take_over(scoring))
    with pytest.raises(LostRace, match="no longer holds window 2013-07-04"):
        scoring.score(watch, for_threads=False)
    assert len(begun) == MIDDLE
    assert draft_of(scoring) is None
    states = {record["run_id"]: record["state"] for record in scoring.all_recorded()}
    assert states == {"run": "lost_race", "successor": "scored"}


def test_who_was_replaced_at_its_last_shard_leaves_the_draft_of_its_successor(
    scoring: Scoring,
) -> None:
    watch, begun = at_call(SHARDS, lambda: take_over_and_score(scoring))
    with pytest.raises(LostRace, match="no longer holds window 2013-07-04"):
        scoring.score(watch, for_threads=False)
    assert (len(begun), sum(begun)) == (SHARDS, ROWS)
    draft = draft_of(scoring)
    assert draft is not None
    assert (draft.run_id, draft.attempt) == ("successor", 2)
    assert draft.shards == ShardsRecord(planned=SHARDS, computed=1, reused=SHARDS - 1)


def test_who_was_replaced_before_it_scores_does_not_drop_the_draft_of_its_successor(
    scoring: Scoring,
) -> None:
    project, pipeline, window = scoring.project, scoring.pipeline, scoring.window

    def oversleep() -> None:
        with attempting(
            project, pipeline.spec, window, run_id="run", stage="predictions"
        ) as attempt:
            take_over_and_score(scoring)
            score_window(project, pipeline, window, scoring.model, attempt=attempt, now=NOW)

    with pytest.raises(LostRace, match="no longer holds window 2013-07-04"):
        oversleep()
    draft = draft_of(scoring)
    assert draft is not None
    assert (draft.run_id, draft.attempt) == ("successor", 2)


def test_the_ledger_hears_what_scoring_took_and_of_which_revision(scoring: Scoring) -> None:
    manifest = scoring.score()
    record = scoring.recorded()
    assert (record["stage"], record["state"]) == ("predictions", "scored")
    assert (record["revision"], record["rows"]) == (manifest.revision, ROWS)
    assert (record["shards_total"], record["shards_computed"], record["shards_reused"]) == (
        SHARDS,
        SHARDS,
        0,
    )
    assert record["bytes_written"] == sum(len(file) for file in scoring.files(manifest).values())
    assert record["retries"] == 0


def test_the_ledger_hears_only_of_bytes_that_the_attempt_wrote_itself(scoring: Scoring) -> None:
    first = scoring.score()
    lost = (3, 17)
    for index in lost:
        scoring.checkpoint(first, index).unlink()
    scoring.score(run_id="next")
    record = scoring.recorded()
    assert (record["run_id"], record["revision"]) == ("next", first.revision)
    assert (record["shards_computed"], record["shards_reused"]) == (2, SHARDS - 2)
    assert record["bytes_written"] == sum(first.outputs[index].bytes for index in lost)
