"""Count scores in equal bins of [0, 1] while a shard is scored: what quality is estimated from.

The bins are the same for every model, unlike those of its profile, which `scoring.observed` counts.
What the counts say is the business of `metrics.estimate`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from batchinf_assets.errors import WindowMissing
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import checkpoints_of
from batchinf_assets.scoring.scorer import Scores
from batchinf_assets.scoring.trees.compiled import kernel
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

SCORE_BINS = 200
"""Decisions in hundredths are edges of these bins, so what is predicted is counted exactly."""

Counts = npt.NDArray[np.int64]


def bin_edges(bins: int) -> npt.NDArray[np.float64]:
    """Return the bins + 1 edges of equal bins of [0, 1]; edge k is the number nearest k / bins."""
    return np.arange(bins + 1) / bins


_EDGES = bin_edges(SCORE_BINS)


def count_scores(scores: Scores) -> Counts:
    """Count scores by bin: int64, `SCORE_BINS` + 1 long; the counts add up to all scores.

    Bin k counts edge k <= score < edge k + 1, the last one 1.0 too, exactly: no score counts beside
    its bin because a product was rounded. The last count is of scores outside [0, 1] and of NaN.
    """
    counts = np.zeros(SCORE_BINS + 1, dtype=np.int64)
    _count(np.ascontiguousarray(scores, dtype=np.float64), _EDGES, counts)
    return counts


def observed_scores(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> tuple[int, ...] | None:
    """Return a revision's scores by bin, as its shards counted them.

    Returns:
        Counts as of `count_scores`; None where a shard was scored by a version of this package that
        did not count, or counted in other bins.

    Raises:
        WindowMissing: A shard's checkpoint is gone.
    """
    checkpoints = checkpoints_of(project, spec, window, manifest.revision)
    total = np.zeros(SCORE_BINS + 1, dtype=np.int64)
    for index in range(len(manifest.outputs)):
        found = checkpoints.read(index)
        if found is None:
            raise WindowMissing(
                f"The checkpoint of shard {index} of window {window} of {spec.name} is gone.",
                next_step=f"Materialize {spec.name}/predictions for {window} again.",
            )
        if found.scores is None or len(found.scores) != len(total):
            return None
        total += np.asarray(found.scores, dtype=np.int64)
    return tuple(total.tolist())


@kernel
def _count(scores, edges, counts):  # pyright: ignore
    bins = len(edges) - 1
    for row in range(len(scores)):
        score = scores[row]
        place = bins
        if score >= 0.0 and score <= 1.0:  # NaN is neither
            place = min(np.int64(score * bins), bins - 1)
            if score < edges[place]:
                place -= 1
            elif place < bins - 1 and score >= edges[place + 1]:
                place += 1
        counts[place] += 1
