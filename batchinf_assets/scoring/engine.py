"""Finish the shards of a revision: take over what an earlier attempt left, score the rest.

One shard is the business of `scoring.shard_scoring`, threads and tries that of `scoring.workers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

from batchinf_assets.cores import usable_cores
from batchinf_assets.errors import BatchinfError, Preempted, ShardFailed
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.scoring.checkpoints import Checkpoint, Checkpoints
from batchinf_assets.scoring.preemption import stopping_on_sigterm
from batchinf_assets.scoring.shard_scoring import ScoredShard, ShardScoring
from batchinf_assets.scoring.shards import Shard
from batchinf_assets.scoring.workers import Outcome, ahead_on, run_shards

GROUPS_AHEAD = 2
"""Row groups of a shard that are scored or wait to be written: all cores have work while shards are
written, and what waits stays a fraction of the rows in work, however many cores there are."""


@dataclass(frozen=True, kw_only=True)
class FinishedShards:
    """All shards of a revision.

    Attributes:
        checkpoints: One per shard, in order.
        reused: How many an earlier attempt had finished.
        bytes_written: Size of the files that this attempt wrote.
        retries: How often a shard was tried again.
        workers: How many shards were worked on at a time.
    """

    checkpoints: tuple[Checkpoint, ...]
    reused: int
    bytes_written: int
    retries: int
    workers: int

    @property
    def computed(self) -> int:
        """How many this attempt scored."""
        return len(self.checkpoints) - self.reused

    @property
    def carried(self) -> int:
        """How many rows kept a score of the revision before, in any attempt."""
        return sum(checkpoint.carried for checkpoint in self.checkpoints)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Working time per stage, over all workers."""
        stages = {stage for checkpoint in self.checkpoints for stage in checkpoint.seconds}
        return {
            stage: round(sum(c.seconds.get(stage, 0.0) for c in self.checkpoints), 6)
            for stage in sorted(stages)
        }


def finish_shards(
    scoring: ShardScoring,
    shards: Sequence[Shard],
    folder: Place,
    checkpoints: Checkpoints,
    *,
    attempt: int,
    require_held: Callable[[], None],
    published: Sequence[OutputRecord] = (),
) -> FinishedShards:
    """Return a checkpoint for every shard, scoring those that have no whole file yet.

    Args:
        scoring: How to score one.
        shards: The plan.
        folder: The revision's, where output files go.
        checkpoints: The revision's.
        attempt: The number of this attempt, for new checkpoints.
        require_held: Raises where another attempt has taken the window over, or the run may begin
            no shard any more; asked before each shard.
        published: The files that readers see, where this revision is published already and one of
            them was lost: what is written anew must be the same bytes.

    Raises:
        LostRace: Another attempt has taken the window over.
        RunOverCap: The run has taken more than its cap; finished shards stay.
        ManifestInvalid: A published file came out differently; it was left as it is.
        Preempted: SIGTERM came; finished shards stay for the next attempt.
        ShardFailed: A shard failed for want of space, memory or access; the others were finished.
        BatchinfError: A shard was refused.
    """
    scoring, workers = _for_workers(scoring)

    visible = {output.path: output.sha256 for output in published}

    def finish(shard: Shard) -> tuple[Checkpoint, bool]:
        require_held()
        path = path_within(folder / shard.file_name, checkpoints.table)
        if found := checkpoints.finished(shard, path):
            return found, True
        scored = scoring.score(shard, folder, expected=visible.get(path), in_order=in_order)
        made = _checkpoint(scored, shard, path, checkpoints, attempt)
        checkpoints.keep(made)
        return made, False

    with stopping_on_sigterm() as stop, ThreadPoolExecutor(workers) as cores:
        in_order = ahead_on(cores, min(workers, GROUPS_AHEAD))
        outcome = run_shards(shards, finish, workers=workers, stop=stop)
        _require_all(outcome, shards, scoring, stop)
    return FinishedShards(
        checkpoints=tuple(outcome.results[shard.index][0] for shard in shards),
        reused=sum(reused for _, reused in outcome.results.values()),
        bytes_written=sum(
            made.output.bytes for made, reused in outcome.results.values() if not reused
        ),
        retries=outcome.retries,
        workers=min(workers, max(len(shards), 1)),
    )


def _for_workers(scoring: ShardScoring) -> tuple[ShardScoring, int]:
    beside_others = scoring.scorer.for_workers()
    if beside_others is None:
        return scoring, 1
    return replace(scoring, scorer=beside_others), usable_cores()


def _checkpoint(
    scored: ScoredShard, shard: Shard, path: str, checkpoints: Checkpoints, attempt: int
) -> Checkpoint:
    file = scored.file
    return Checkpoint(
        revision=checkpoints.revision,
        index=shard.index,
        start=shard.start,
        output=OutputRecord(
            path=path,
            sha256=file.sha256,
            bytes=file.bytes,
            rows=file.rows,
        ),
        keys=scored.keys,
        checks=scored.checks,
        observed=scored.observed,
        scores=scored.scores,
        seconds={stage: round(seconds, 6) for stage, seconds in scored.seconds.items()},
        carried=scored.carried,
        attempt=attempt,
    )


def _require_all(
    outcome: Outcome[tuple[Checkpoint, bool]],
    shards: Sequence[Shard],
    scoring: ShardScoring,
    stop: Event,
) -> None:
    failure, done = outcome.failure, f"{len(outcome.results)} of {len(shards)} shards are finished"
    what = f"Window {scoring.window} of {scoring.pipeline.name}"
    if isinstance(failure, BatchinfError):
        raise failure
    if failure is not None:
        raise ShardFailed(
            f"{what} could not be scored: {_reason(failure)}; {done}.",
            next_step="Make room or give access, then run the window again; it goes on from there.",
        ) from failure
    if stop.is_set():  # also where all are finished: what comes next must not begin
        raise Preempted(
            f"{what} was interrupted: {done}.",
            next_step="Run the window again; it goes on from there.",
        )


def _reason(failure: BaseException) -> str:
    if isinstance(failure, MemoryError):
        return "a few thousand rows do not fit into memory"
    named = f" ({failure.filename})" if isinstance(failure, OSError) and failure.filename else ""
    return f"{str(failure).splitlines()[0]}{named}" if str(failure) else type(failure).__name__
