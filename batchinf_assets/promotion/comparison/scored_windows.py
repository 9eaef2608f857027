"""The features of published windows, scored with two models. Nothing is written to the lake."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchinf_assets.errors import BatchinfError, UsageError, WindowMissing
from batchinf_assets.evaluation.comparison.deltas import (
    mean_of,
    most_changed,
    row_distance,
    signed_mean,
)
from batchinf_assets.evaluation.comparison.held import (
    HeldRows,
    RowHolder,
    joined,
    segment_columns,
)
from batchinf_assets.evaluation.comparison.labels import WindowLabels, read_labels
from batchinf_assets.evaluation.comparison.pairs import SCORE, feature_rows_of
from batchinf_assets.evaluation.metrics.flips import Flips
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.promotion.comparison.segment_times import (
    FeatureSample,
    SegmentTime,
    segment_times,
)
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.scoring.said import score_array
from batchinf_assets.scoring.shard_scoring import scores_in_parts
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

MOST_SCORES = 40_000_000
"""Of all windows and both models together: about half a gigabyte of scores, labels and segments."""


@dataclass(frozen=True, kw_only=True)
class WindowDeltas:
    """One window of a comparison of models.

    Attributes:
        window: Its key.
        revision: The published revision whose features were scored.
        rows: Its rows.
        mean: Mean of b - a over their scores; None of several classes.
        mean_absolute: Mean of how far rows moved.
        flips: Labels that flip; None of numbers, which have none.
    """

    window: str
    revision: str
    rows: int
    mean: float | None
    mean_absolute: float | None
    flips: Flips | None


@dataclass(frozen=True, kw_only=True)
class ScoredWindow:
    """A window that both models scored.

    Attributes:
        deltas: How they differ on it.
        rows: Its rows.
        labels: What outcomes say of them.
    """

    deltas: WindowDeltas
    rows: HeldRows
    labels: WindowLabels


@dataclass(kw_only=True)
class ScoredWindows:
    """Published windows whose features two models score, one after the other.

    Attributes:
        project: Where the tables and the landed files are.
        registry: Whose keys count.
        pipeline: The pipeline.
        a: The one model.
        b: The other.
        found: The windows that were scored.
        left_out: Why others were not, by window.
        sample: The first of their features.
    """

    project: Project
    registry: Registry
    pipeline: Pipeline
    a: ScoringModel
    b: ScoringModel
    found: list[ScoredWindow] = field(default_factory=list[ScoredWindow])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    sample: FeatureSample = field(default_factory=FeatureSample)

    def add(self, window: Window) -> None:
        """Score a window with both; one that cannot be scored hides no other.

        Raises:
            UsageError: All windows together have more than `MOST_SCORES`.
        """
        try:
            found = self._scored(window)
        except BatchinfError as error:
            self.left_out[window.key] = error.message
            return
        self.found.append(found)
        rows = sum(each.deltas.rows for each in self.found)
        most = MOST_SCORES // (2 * len(self.pipeline.spec.prediction.given))
        if rows > most:
            raise UsageError(
                f"The windows up to {window} hold {rows:,} rows; {most:,} are compared at once.",
                next_step="Name fewer windows.",
            )

    def require_some(self) -> None:
        """Require at least one window.

        Raises:
            WindowMissing: None could be scored; says why of the first.
        """
        if not self.found:
            reasons = [f"{key}: {reason}" for key, reason in self.left_out.items()]
            raise WindowMissing(
                f"No window of {self.pipeline.name} could be scored ({reasons[0]}).",
                next_step="Name windows that are published: `batchinf status` shows them.",
            )

    def held(self) -> HeldRows:
        """Return the rows of all windows."""
        largest = most_changed(row for each in self.found for row in each.rows.largest)
        return joined([each.rows for each in self.found], largest)

    def segment_times(self) -> tuple[SegmentTime, ...]:
        """Time both models on the sample, by the segments that the comparison reports."""
        rows = self.sample.rows()
        columns = [c for c in segment_columns(self.pipeline.spec) if c in rows.column_names]
        return segment_times(self.a.scorer, self.b.scorer, rows, columns)

    def _scored(self, window: Window) -> ScoredWindow:
        spec, kind = self.pipeline.spec, self.pipeline.spec.prediction.of
        declared, manifest = spec.features.columns, self._published(window)
        labels = read_labels(self.project, spec, window)
        holder = RowHolder(spec.source.key, segment_columns(spec), spec.prediction.classes)
        for rows in feature_rows_of(self.project, spec, window, manifest).tables():
            inputs = rows.select([name for name in declared if name in rows.column_names])
            one, other = (
                rows.append_column(SCORE, score_array(scores_in_parts(model.scorer, inputs, kind)))
                for model in (self.a, self.b)
            )
            holder.add(one, other, labels.of(rows))
            self.sample.add(inputs)
        held = holder.held()
        return ScoredWindow(
            deltas=WindowDeltas(
                window=window.key,
                revision=manifest.revision,
                rows=len(held.a),
                mean=signed_mean(held.a, held.b),
                mean_absolute=mean_of(row_distance(held.a, held.b)),
                flips=task_of(spec).flips(held.a, held.b),
            ),
            rows=held,
            labels=labels,
        )

    def _published(self, window: Window) -> Manifest:
        spec = self.pipeline.spec
        revision = published_revision(self.project, spec, window)
        if revision is None:
            raise WindowMissing(
                "Nothing is published.", next_step=f"Run it: `batchinf run {spec.name} {window}`."
            )
        store, keyring = manifests(self.project, spec), read_keyring(self.registry.keys)
        return read_signed_manifest(store, window, revision, keyring).manifest
