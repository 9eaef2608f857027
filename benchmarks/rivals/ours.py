"""Our side: predictions, evaluation and publishing of the window, with every guarantee on.

The three steps are those of the three assets, each under the window's lease and in the ledger.
Start-up is what every side has: imports, the model, its kernels. That the model is signed and
promoted is verified again inside the clock, as for every window.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from batchinf_assets.attempts import attempting
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.scoring.model import ScoringModel, scoring_model
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.scoring.score import score_window
from benchmarks.rivals.bare import tree_scorer, warm
from benchmarks.rivals.job import Stopwatch, answer, read_job
from benchmarks.scoring_world import ScoringWorld

READY = "ready"
"""Printed before the clock runs, for who wants to kill this process while it scores."""


def main() -> None:
    """Score and publish the window."""
    job = read_job()
    world = ScoringWorld(root=Path(job.root), rows=job.rows)
    run_id = sys.argv[2] if len(sys.argv) > 2 else "benchmark"
    warm(tree_scorer(world))
    print(READY, flush=True)
    watch = Stopwatch()
    model = scoring_model(world.registry, world.pipeline, datetime.now(UTC))
    reused = _predictions(world, model, run_id)
    watch.lap("predictions")
    _evaluation(world, model, run_id)
    watch.lap("evaluation")
    _published(world, run_id)
    watch.lap("published")
    table = predictions_table(world.project, world.pipeline.spec)
    files = list(map(str, table.files_of(world.window)))
    answer(watch, files=files, reused=reused)


def _predictions(world: ScoringWorld, model: ScoringModel, run_id: str) -> int:
    project, pipeline, window = world.project, world.pipeline, world.window
    stage = "predictions"
    with attempting(project, pipeline.spec, window, run_id=run_id, stage=stage) as attempt:
        now = datetime.now(UTC)
        manifest = score_window(project, pipeline, window, model, attempt=attempt, now=now)
    return manifest.shards.reused if manifest.shards else 0


def _evaluation(world: ScoringWorld, model: ScoringModel, run_id: str) -> None:
    project, spec, window = world.project, world.pipeline.spec, world.window
    with attempting(project, spec, window, run_id=run_id, stage="evaluation"):
        evaluate_window(project, spec, window, model)


def _published(world: ScoringWorld, run_id: str) -> None:
    project, pipeline, window = world.project, world.pipeline, world.window
    key = load_signing_key(project.keys, {})
    stage = "published"
    with attempting(project, pipeline.spec, window, run_id=run_id, stage=stage) as attempt:
        publication = publish_window(
            project,
            world.registry,
            pipeline,
            window,
            key=key,
            lease=attempt,
            now=datetime.now(UTC),
        )
        attempt.published(publication.manifest, publication.sha256, changed=publication.changed)


if __name__ == "__main__":
    main()
