"""Finishing a revision: only missing shards are scored, and a failing one costs no other.

Runs that are told to leave, or are replaced, are in `test_engine_leaving`; whole processes in
`resilience.test_preemption_processes`.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.errors import ShardFailed
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import (
    FeaturesFooter,
    build_features,
    features_table,
    load_features,
)
from batchinf_assets.lake.digest import content_digest
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ShardsRecord
from batchinf_assets.scoring import engine
from batchinf_assets.scoring import score as room
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.scoring.predictions import (
    manifests,
    observed_bins,
    predictions_table,
)
from batchinf_assets.scoring.preemption import stopping_on_sigterm
from batchinf_assets.scoring.shards import Shard, plan_shards
from batchinf_assets.scoring.workers import TRIES, run_shards
from batchinf_assets.snapshots.freeze import (
    SnapshotFooter,
    freeze_snapshot,
    load_snapshot,
    snapshot_table,
)
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.scoring.sharded_window import (
    NOW,
    PATIENCE_SECONDS,
    ROWS,
    SHARD_ROWS,
    SHARDS,
    Scoring,
    in_shards_of,
)
from batchinf_assets_tests.scoring.watched_scorer import Watch

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

FAILING = 11


@pytest.fixture(scope="module")
def shards(pipeline: Pipeline) -> Pipeline:
    """The pipeline in thirty small shards."""
    return in_shards_of(pipeline, SHARD_ROWS)


@pytest.fixture(scope="module")
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window("2013-07-04")


@pytest.fixture(scope="module")
def model(world: World, pipeline: Pipeline) -> ScoringModel:
    return scoring_model(world.registry, pipeline, NOW)


@pytest.fixture(scope="module")
def template(
    world: World, shards: Pipeline, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A lake that holds snapshot and features of the window."""
    lake = tmp_path_factory.mktemp("in shards") / "lake"
    project = world.with_lake(lake)
    freeze_snapshot(project, shards.spec, window)
    build_features(project, shards, window)
    return lake


@pytest.fixture
def new_scoring(
    world: World,
    template: Path,
    shards: Pipeline,
    window: Window,
    model: ScoringModel,
    tmp_path: Path,
) -> Callable[[str], Scoring]:
    def make(name: str) -> Scoring:
        shutil.copytree(template, tmp_path / name / "lake")
        project = world.with_lake(tmp_path / name / "lake")
        return Scoring(project=project, pipeline=shards, window=window, model=model)

    return make


@pytest.fixture
def scoring(new_scoring: Callable[[str], Scoring]) -> Scoring:
    return new_scoring("one")


def rows_of(manifest: Manifest, indices: list[int]) -> int:
    return sum(manifest.outputs[index].rows for index in indices)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_rows_scored_again_are_those_whose_checkpoints_were_lost(
    scoring: Scoring, share: float
) -> None:
    first, scored = scoring.rows_scored()
    assert (scored, len(first.outputs)) == (ROWS, SHARDS)
    before = scoring.files(first)
    lost = random.Random(f"lost {share}").sample(range(SHARDS), round(share * SHARDS))
    for index in lost:
        scoring.checkpoint(first, index).unlink()
    second, scored_again = scoring.rows_scored()
    assert scored_again == rows_of(first, lost)
    assert second.shards == ShardsRecord(
        planned=SHARDS, computed=len(lost), reused=SHARDS - len(lost)
    )
    assert (second.revision, second.outputs) == (first.revision, first.outputs)
    assert scoring.files(second) == before
    assert second.counts == first.counts


def test_finished_shards_are_not_scored_again(scoring: Scoring) -> None:
    first = scoring.score()
    second, scored_again = scoring.rows_scored()
    assert scored_again == 0
    assert second.shards == ShardsRecord(planned=SHARDS, computed=0, reused=SHARDS)
    assert second.outputs == first.outputs


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("kind", ["file", "checkpoint"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut, Path.unlink])
def test_a_damaged_shard_is_computed_again_with_the_same_bytes(
    scoring: Scoring, kind: str, damage: Callable[[Path], None]
) -> None:
    first = scoring.score()
    before = scoring.files(first)
    damage({"file": scoring.file, "checkpoint": scoring.checkpoint}[kind](first, 7))
    second, scored_again = scoring.rows_scored()
    assert scored_again == SHARD_ROWS
    assert second.outputs == first.outputs
    assert scoring.files(second) == before


def with_another_model(scoring: Scoring, _: pytest.MonkeyPatch, __: Path) -> Scoring:
    version = replace(scoring.model.version, digest="0" * 64)
    return replace(scoring, model=replace(scoring.model, version=version))


def with_other_settings(scoring: Scoring, _: pytest.MonkeyPatch, folder: Path) -> Scoring:
    changed = replace(scoring.pipeline, folder=folder / "defs")
    shutil.copytree(scoring.pipeline.folder, changed.folder)
    (changed.folder / "postprocess.sql").write_text(f"{scoring.pipeline.postprocess_sql}\n-- new")
    return replace(scoring, pipeline=changed)


def with_other_code(scoring: Scoring, monkeypatch: pytest.MonkeyPatch, _: Path) -> Scoring:
    other = room.running_code().model_copy(update={"source": "0" * 64})
    monkeypatch.setattr(room, "running_code", lambda: other)
    return scoring


CHANGES = [with_another_model, with_other_settings, with_other_code]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_of_another_revision_is_taken_over(
    scoring: Scoring,
    change: Callable[[Scoring, pytest.MonkeyPatch, Path], Scoring],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    first = scoring.score()
    changed = change(scoring, monkeypatch, tmp_path)
    second, scored_again = changed.rows_scored()
    assert second.revision != first.revision
    assert second.shards == ShardsRecord(planned=SHARDS, computed=SHARDS, reused=0)
    assert scored_again == ROWS
    assert {output.path for output in first.outputs}.isdisjoint(changed.files(second))


def test_a_checkpoint_copied_from_another_revision_is_not_believed(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = scoring.score()
    second = with_other_settings(scoring, monkeypatch, tmp_path).score()
    shutil.copy2(scoring.checkpoint(second, 3), scoring.checkpoint(first, 3))
    third, scored_again = scoring.rows_scored()
    assert scored_again == SHARD_ROWS
    assert third.outputs == first.outputs


def failing(at: pa.Table, error: Exception, times: int = 10) -> tuple[Watch, Counter[str]]:
    """Make a watch that fails where these rows are scored, and count how often it did."""
    failed: Counter[str] = Counter()

    def watch(rows: pa.Table) -> None:
        if rows.equals(at) and failed["times"] < times:
            failed["times"] += 1
            raise error

    return watch, failed


@pytest.mark.parametrize(
    ("error", "tries", "reason", "code", "finished"),
    [
        (OSError(errno.EIO, "Input/output error"), TRIES, "output error", "shard_failed", 29),
        (OSError(errno.ENOSPC, "No space left"), 1, "No space left", "out_of_space", FAILING),
        (MemoryError(), 1, "do not fit into memory", "out_of_memory", 29),
    ],
    ids=["EIO", "ENOSPC", "memory"],
)
def test_a_shard_that_always_fails_is_given_up_and_what_is_finished_is_kept(
    scoring: Scoring, error: Exception, tries: int, reason: str, code: str, finished: int
) -> None:
    watch, failed = failing(scoring.features_of(FAILING), error)
    with pytest.raises(ShardFailed) as failure:
        scoring.score(watch, for_threads=False)
    assert failed["times"] == tries
    for named in ("2013-07-04", "flight_delays", reason, f"{finished} of {SHARDS} shards"):
        assert named in failure.value.message
    spec = scoring.pipeline.spec
    assert manifests(scoring.project, spec).draft(scoring.window) is None
    assert predictions_table(scoring.project, spec).files() == {}
    record = scoring.recorded()
    assert (record["state"], record["reason_code"]) == ("failed", code)
    assert reason in record["reason"]

    second, scored_again = scoring.rows_scored()
    assert second.shards == ShardsRecord(
        planned=SHARDS, computed=SHARDS - finished, reused=finished
    )
    assert scored_again == rows_of(second, [FAILING, *range(finished + 1, SHARDS)])


def test_storage_that_fails_for_a_moment_costs_a_try_and_no_byte(
    new_scoring: Callable[[str], Scoring],
) -> None:
    calm, shaken = new_scoring("calm"), new_scoring("shaken")
    error = OSError(errno.EIO, "Input/output error")
    watch, failed = failing(shaken.features_of(FAILING), error, times=TRIES - 1)
    manifest = shaken.score(watch)
    assert failed["times"] == shaken.recorded()["retries"] == TRIES - 1
    assert shaken.files(manifest) == calm.files(calm.score())
    assert manifest.shards == ShardsRecord(planned=SHARDS, computed=SHARDS, reused=0)


def test_a_bug_in_a_scorer_is_raised_as_what_it_is_and_recorded_by_its_class(
    scoring: Scoring,
) -> None:
    watch, _ = failing(scoring.features_of(FAILING), KeyError("postgres://user:secret@host"))
    with pytest.raises(KeyError):
        scoring.score(watch)
    record = scoring.recorded()
    assert (record["state"], record["reason_code"]) == ("failed", "unexpected/key_error")
    assert record["reason"] == "KeyError"


def test_a_scorer_that_is_not_for_several_threads_is_called_by_one(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "usable_cores", lambda: 4)
    threads: Counter[int] = Counter()
    manifest = scoring.score(lambda _: threads.update([threading.get_ident()]), for_threads=False)
    assert list(threads.values()) == [SHARDS]
    assert manifest.resources is not None
    assert manifest.resources.workers == 1


def test_workers_side_by_side_give_the_bytes_of_one(
    new_scoring: Callable[[str], Scoring], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = new_scoring("alone"), new_scoring("together")
    in_one = alone.score(lambda _: None, for_threads=False)
    monkeypatch.setattr(engine, "usable_cores", lambda: 3)
    three = threading.Barrier(3)  # passes only while three shards are scored at a time
    in_three = together.score(lambda _: three.wait(PATIENCE_SECONDS))
    assert in_three.resources is not None
    assert in_three.resources.workers == 3
    assert in_three.outputs == in_one.outputs
    assert together.files(in_three) == alone.files(in_one)
    assert in_three.checks == in_one.checks


def test_a_signal_that_another_thread_takes_is_heard_by_the_one_that_waits() -> None:
    waiting = threading.main_thread().ident or 0

    def work(_shard: Shard) -> bool:
        frames = sys._current_frames  # pyright: ignore[reportPrivateUsage]
        while frames()[waiting].f_code is not threading.Condition.wait.__code__:
            time.sleep(0.01)
        time.sleep(0.05)  # from the call to the system's own wait
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)
        return stop.wait(PATIENCE_SECONDS)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of this thread
    try:
        with stopping_on_sigterm() as stop:
            outcome = run_shards(plan_shards([1, 1], 1), work, workers=1, stop=stop)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert outcome.results == {0: True}


@pytest.fixture
def empty(scoring: Scoring) -> Scoring:
    """A window that kept no row: its snapshot and features are there and hold none."""
    project, spec, window = scoring.project, scoring.pipeline.spec, scoring.window
    snapshot, features = (
        load_snapshot(project, spec, window),
        load_features(project, spec, window),
    )
    rows = snapshot.rows.slice(0, 0)
    frozen = snapshot.record.model_copy(
        update={"digest": content_digest(rows, spec.source.key), "rows": 0, "landed": 0}
    )
    footer = SnapshotFooter(record=frozen, checks=snapshot.checks)
    snapshot_table(project, spec).keep(window, "none", rows, footer.model_dump(mode="json"))
    inputs = features.rows.slice(0, 0)
    made = features.record.model_copy(
        update={"digest": content_digest(inputs, spec.source.key), "rows": 0}
    )
    described = FeaturesFooter(record=made, snapshot=frozen.digest, checks=features.checks)
    features_table(project, spec).keep(
        window, "none", inputs, described.model_dump(mode="json"), scan=True
    )
    return scoring


def test_a_window_without_rows_has_no_shards_and_no_files(empty: Scoring) -> None:
    manifest, scored = empty.rows_scored()
    assert (scored, manifest.outputs) == (0, ())
    assert manifest.shards == ShardsRecord(planned=0, computed=0, reused=0)
    assert manifest.counts.model_dump() == {"rows_in": 0, "scored": 0, "quarantined": 0}
    assert all(check.passed for check in manifest.checks)


def test_evaluation_of_a_window_without_rows_counts_none_and_judges_nothing(
    empty: Scoring,
) -> None:
    manifest = empty.score()
    project, spec, profile = empty.project, empty.pipeline.spec, empty.model.artifact.profile
    observed = observed_bins(project, spec, empty.window, manifest, profile)
    assert observed == {
        name: [0] * len(subject.bin_counts) for name, subject in profile.subjects.items()
    }
    record = evaluate_window(project, spec, empty.window, empty.model).record
    assert record.drift_verdict == "insufficient data"
    assert set(record.psi.values()) == {None}
