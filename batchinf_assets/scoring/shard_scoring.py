"""Score one shard: read a row group, score, post-process, check, write, and the next one.

Which shards there are is in `scoring.shards`, who runs them and their row groups side by side in
`scoring.workers`, what stays of a finished one in `scoring.checkpoints`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from batchinf_assets.checks import CheckResult, merge_checks
from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.contracts.key_order import check_key_streams
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.contracts.value_rules import blocking_alone
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.files import DataFile
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups, write_row_groups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.carried import EarlierScores
from batchinf_assets.scoring.observed import observe
from batchinf_assets.scoring.postprocess import check_score_kept, postprocess, scored_rows
from batchinf_assets.scoring.said import Scores, leading_scores
from batchinf_assets.scoring.score_histogram import count_scores
from batchinf_assets.scoring.scorer import Scorer, score_rows
from batchinf_assets.scoring.shards import Shard
from batchinf_assets.scoring.workers import InOrder
from batchinf_assets.snapshots.freeze import require_passed
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.prediction import BINARY, Kind
from batchinf_assets.windows import Window

ASSET = "predictions"

SMALLEST_PART = 4_096
"""Rows below which a lack of memory is not the rows' fault."""


@dataclass(frozen=True, kw_only=True)
class ScoredShard:
    """One shard's output.

    Attributes:
        file: The written file.
        keys: First and last key of each of its row groups.
        checks: What was checked on its rows.
        observed: Its rows by bin of the reference profile, per feature and score.
        scores: Its rows by bin of `scoring.score_histogram`.
        seconds: Time per stage.
        carried: Rows whose score was looked up and not computed.
    """

    file: DataFile
    keys: tuple[KeySpan, ...]
    checks: tuple[CheckResult, ...]
    observed: dict[str, tuple[int, ...]]
    scores: tuple[int, ...]
    seconds: dict[str, float]
    carried: int


@dataclass(frozen=True, kw_only=True)
class ShardScoring:
    """How the shards of a revision are scored.

    Attributes:
        pipeline: Declares contract and post-processing.
        window: The window, for messages.
        features: The rows.
        scorer: Computes the scores; used by several threads at once.
        profile: The training reference that rows are counted against.
        earlier: Scores to keep for rows whose features did not change.
    """

    pipeline: Pipeline
    window: Window
    features: RowGroups
    scorer: Scorer
    profile: Profile
    earlier: EarlierScores | None = None

    def score(
        self,
        shard: Shard,
        folder: Place,
        *,
        expected: str | None = None,
        in_order: InOrder = map,
    ) -> ScoredShard:
        """Score, check and write one shard.

        Its file is whole or absent, and the same features, model and declaration give the same
        bytes, however much memory there was.

        Args:
            shard: The shard.
            folder: Where its file goes.
            expected: SHA-256 that the file must have, where readers see it already.
            in_order: Has the row groups scored, maybe by other threads, while this one writes.

        Raises:
            ManifestInvalid: The features are gone or damaged, or the file came out differently.
            ModelRefused: The model refuses the rows.
            FeatureSqlFailed: The post-processing SQL is wrong.
            WindowRefused: Its result lacks a declared column, or a value breaks the contract; the
                shard was not written.
            OSError: The disk is full or the folder cannot be written.
            MemoryError: Not even a few thousand rows fit.
        """
        tally = _Tally()
        schema = arrow_schema(self.pipeline.spec.prediction_table)
        rows = self._predictions(shard, tally, in_order)
        file = write_row_groups(folder / shard.file_name, schema, rows, expected=expected)
        tally.lap("write")
        return ScoredShard(
            file=file,
            keys=tuple(tally.spans),
            checks=tuple(merge_checks(tally.checks)),
            observed={name: tuple(c.tolist()) for name, c in tally.observed.items()},
            scores=tuple(tally.scores.tolist()),
            seconds=tally.seconds,
            carried=tally.carried,
        )

    def _predictions(self, shard: Shard, tally: _Tally, in_order: InOrder) -> Iterator[pa.Table]:
        for rows, part in in_order(self._group, shard.groups):
            tally.add(part)
            yield rows
            tally.lap("write")

    def _group(self, group: int) -> tuple[pa.Table, _Tally]:
        spec, tally = self.pipeline.spec, _Tally()
        (features,) = self.features.read([group])
        tally.lap("read")
        scores = self._scores(features, tally)
        rows = self._postprocessed(features, scores, tally)
        tally.lap("postprocess")
        inputs = features.select(list(spec.features.columns))
        tally.observe(self.profile, inputs, spec.prediction.score, scores)
        tally.lap("check")
        return rows, tally

    def _scores(self, features: pa.Table, tally: _Tally) -> Scores:
        inputs = features.select(list(self.pipeline.spec.features.columns))
        kind = self.pipeline.spec.prediction.of
        if self.earlier is None:
            scores = scores_in_parts(self.scorer, inputs, kind)
        else:
            scores, known = self.earlier.of(features)
            tally.lap("compare")
            tally.carried += int(known.sum())
            unknown = ~known
            scores[unknown] = scores_in_parts(self.scorer, inputs.filter(pa.array(unknown)), kind)
        tally.lap("score")
        return scores

    def _postprocessed(self, features: pa.Table, scores: Scores, tally: _Tally) -> pa.Table:
        spec, key = self.pipeline.spec, self.pipeline.spec.source.key
        name = f"{spec.name}/{spec.postprocess.sql if spec.postprocess else 'predictions'}"
        found = postprocess(self.pipeline, scored_rows(features, scores, spec.prediction))
        schema = check_columns(found, spec.prediction_table, asset=ASSET, accept=ANY_LAYOUT)
        require_passed([schema], spec.name, self.window, source=name)
        rows = sort_by(conform(found, spec.prediction_table), key)
        checks = (
            schema,
            check_values(rows, blocking_alone(spec.prediction_table), key=key, asset=ASSET),
            check_score_kept(rows, scores, spec),
            *check_key_streams(
                lambda: iter([features]), lambda: iter([rows]), key=key, asset=ASSET
            ),
        )
        require_passed(checks, spec.name, self.window, source=name)
        tally.checks.extend(checks)
        tally.spans.append(KeySpan.of(rows.select(list(key))))
        return rows


def scores_in_parts(scorer: Scorer, rows: pa.Table, kind: Kind = BINARY) -> Scores:
    """Score rows; where memory does not suffice, half of them at a time, and so on.

    Raises:
        MemoryError: Not even `SMALLEST_PART` rows fit.
    """
    try:
        return score_rows(scorer, rows, kind)
    except MemoryError:
        half = rows.num_rows // 2
        if half < SMALLEST_PART:
            raise
    return np.concatenate(
        [
            scores_in_parts(scorer, rows.slice(0, half), kind),
            scores_in_parts(scorer, rows.slice(half), kind),
        ]
    )


@dataclass
class _Tally:
    """What adds up over the row groups of a shard, or over one of them."""

    checks: list[CheckResult] = field(default_factory=list[CheckResult])
    spans: list[KeySpan] = field(default_factory=list[KeySpan])
    observed: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    scores: np.ndarray = field(default_factory=lambda: count_scores(np.empty(0)))
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    carried: int = 0
    _since: float = field(default_factory=time.monotonic)

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def add(self, part: _Tally) -> None:
        """Add a row group; what this thread does next begins now."""
        self.checks.extend(part.checks)
        self.spans.extend(part.spans)
        for name, counts in part.observed.items():
            self.observed[name] = self.observed.get(name, 0) + counts
        self.scores = self.scores + part.scores
        for stage, seconds in part.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.carried += part.carried
        self._since = time.monotonic()

    def observe(self, profile: Profile, features: pa.Table, score: str, scores: Scores) -> None:
        columns = {name: features.column(name) for name in features.column_names}
        leading = leading_scores(scores)
        self.observed = observe(profile, {**columns, score: pa.array(leading)})
        self.scores = count_scores(leading)
