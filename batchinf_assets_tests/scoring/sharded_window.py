"""A real window in small shards, scored under a lease and on record, by somebody who watches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchinf_assets.attempts import attempting, recorder_of
from batchinf_assets.features.build import load_features
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.checkpoints import Checkpoints
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import checkpoints_of, predictions_table
from batchinf_assets.scoring.score import score_window
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.scoring.watched_scorer import Watch, watched

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
ROWS, SHARD_ROWS, SHARDS = 737, 25, 30
PATIENCE_SECONDS = 60.0


def in_shards_of(pipeline: Pipeline, rows: int) -> Pipeline:
    """Return the pipeline with shards of another size."""
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"shard_rows": rows}))


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Scores the window in one lake, under a lease and on record."""

    project: Project
    pipeline: Pipeline
    window: Window
    model: ScoringModel

    def score(
        self, watch: Watch | None = None, *, for_threads: bool = True, run_id: str = "run"
    ) -> Manifest:
        project, spec = self.project, self.pipeline.spec
        model = watched(self.model, watch, for_threads=for_threads) if watch else self.model
        with attempting(project, spec, self.window, run_id=run_id, stage="predictions") as attempt:
            return score_window(
                project, self.pipeline, self.window, model, attempt=attempt, now=NOW
            )

    def rows_scored(self) -> tuple[Manifest, int]:
        """Score, and count the rows that the model was asked about."""
        counts: list[int] = []
        return self.score(lambda rows: counts.append(rows.num_rows)), sum(counts)

    def files(self, manifest: Manifest) -> dict[str, bytes]:
        folder = Path(str(predictions_table(self.project, self.pipeline.spec).folder))
        return {output.path: (folder / output.path).read_bytes() for output in manifest.outputs}

    def file(self, manifest: Manifest, index: int) -> Path:
        folder = predictions_table(self.project, self.pipeline.spec).folder
        return Path(str(folder / manifest.outputs[index].path))

    def checkpoint(self, manifest: Manifest, index: int) -> Path:
        return Path(str(self.checkpoints(manifest.revision).folder)) / f"{index:05d}.json"

    def checkpoints(self, revision: str) -> Checkpoints:
        return checkpoints_of(self.project, self.pipeline.spec, self.window, revision)

    def features_of(self, index: int) -> pa.Table:
        """Return what the scorer is given of a shard."""
        features = load_features(self.project, self.pipeline.spec, self.window).rows
        names = list(self.pipeline.spec.features.columns)
        return features.select(names).slice(index * SHARD_ROWS, SHARD_ROWS)

    def recorded(self) -> dict[str, Any]:
        """Return the ledger's record of the last attempt."""
        return self.all_recorded()[-1]

    def all_recorded(self) -> list[dict[str, Any]]:
        """Return the ledger's records, in their order."""
        assert recorder_of(self.project).flush(PATIENCE_SECONDS) == 0
        return Ledger(self.project.lake).read().to_pylist()
