"""A real scorer that somebody watches: to count rows, to fail at some of them, or to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.scorer import Outputs, Scorer

Watch = Callable[[pa.Table], object]
"""Sees the features of every call before they are scored, on the thread that scores."""


@dataclass(frozen=True, kw_only=True)
class WatchedScorer:
    """Passes every call on.

    Attributes:
        inner: What computes the scores.
        watch: Called first; what it raises comes out of the scorer.
        for_threads: Whether several threads may use it, if `inner` lets them.
    """

    inner: Scorer
    watch: Watch
    for_threads: bool = True

    @property
    def name(self) -> str:
        return self.inner.name

    def outputs(self, features: pa.Table) -> Outputs:
        self.watch(features)
        return self.inner.outputs(features)

    def for_workers(self) -> Scorer | None:
        beside_others = self.inner.for_workers()
        if beside_others is None or not self.for_threads:
            return None
        return replace(self, inner=beside_others)


def watched(model: ScoringModel, watch: Watch, *, for_threads: bool = True) -> ScoringModel:
    """Return the model with its scorer watched."""
    scorer = WatchedScorer(inner=model.scorer, watch=watch, for_threads=for_threads)
    return replace(model, scorer=scorer)
