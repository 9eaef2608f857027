"""Compare two revisions of a window, and name what made them differ. The lake is only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.comparison.causes import Cause, find_causes
from batchinf_assets.evaluation.comparison.changed_columns import ChangedColumns
from batchinf_assets.evaluation.comparison.class_drift import class_differences, furthest_first
from batchinf_assets.evaluation.comparison.deltas import ScoreDeltas, score_deltas
from batchinf_assets.evaluation.comparison.pairs import (
    paired,
    require_same_key,
    scored_rows_of,
)
from batchinf_assets.evaluation.comparison.stages import StageTime, stage_times
from batchinf_assets.evaluation.drift.distances import Difference
from batchinf_assets.evaluation.metrics.flips import Flips
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.lake.row_groups import ahead
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.promotion.comparison.past import Past, open_past
from batchinf_assets.promotion.comparison.quality import (
    ComparedQuality,
    SegmentComparison,
    compare_quality,
    compare_segments,
)
from batchinf_assets.promotion.comparison.revision_rows import RevisionRows, RowsOfOne
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

OnRows = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RevisionSide:
    """One of the two revisions.

    Attributes:
        revision: Its id.
        model: The model's name and version.
        scored_at: When it was scored.
        published_at: When it was published.
        visible: Whether readers see it now.
        rows: Its rows.
        only_here: Rows whose key the other one lacks.
        only_here_keys: The first of them, as text.
    """

    revision: str
    model: str
    scored_at: datetime
    published_at: datetime | None
    visible: bool
    rows: int
    only_here: int
    only_here_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RevisionComparison:
    """How two revisions of a window differ, and why; differences are those of b minus a.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        a: The one revision.
        b: The other.
        decision: The score that counts as positive; None of numbers and of several classes.
        deltas: How the scores of rows that both have differ.
        changed_alone: Rows whose score differs although their features are the same.
        flips: Labels that flip; None of numbers, which have none.
        quality: Metrics of both, where outcomes have landed.
        segments: By declared segment and value, the most changed first.
        drift: Distance of b's distributions from a's, by feature and for the score, none where
            the model of a cannot be opened any more, which `notes` then say; of several classes
            also for each, over the rows that both have.
        features: The columns that changed.
        stages: Seconds per row, the slowest stage first.
        causes: Why they differ.
        notes: What could not be compared, one sentence each.
    """

    pipeline: str
    window: str
    a: RevisionSide
    b: RevisionSide
    decision: float | None
    deltas: ScoreDeltas
    changed_alone: int
    flips: Flips | None
    quality: ComparedQuality
    segments: tuple[SegmentComparison, ...]
    drift: tuple[Difference, ...]
    features: ChangedColumns
    stages: tuple[StageTime, ...]
    causes: tuple[Cause, ...]
    notes: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Return plain values that JSON can hold, times apart."""
        return asdict(self)


def compare_revisions(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    a: str,
    b: str,
    on_rows: OnRows = lambda _done, _all: None,
) -> RevisionComparison:
    """Compare two published or superseded revisions; holds scores and segments of all rows.

    Args:
        project: Where the tables and the landed files are.
        registry: Whose keys and models count.
        pipeline: The pipeline as it is declared now.
        window: The window.
        a: The one revision; differences are b minus a.
        b: The other.
        on_rows: Told how many rows are compared, of how many.

    Raises:
        UsageError: They are the same one.
        ManifestInvalid: A manifest is not signed, or a file that it names is gone or damaged.
        KeyringInvalid: There is no keyring.
        NotComparable: They were made under different keys or classes.
    """
    if a == b:
        raise UsageError(
            f"{a} is compared with itself.", next_step="Name two revisions of the window."
        )
    store, keyring = manifests(project, pipeline.spec), read_keyring(registry.keys)
    one, other = (read_signed_manifest(store, window, each, keyring).manifest for each in (a, b))
    with TemporaryDirectory(prefix="batchinf-compare-") as folder:
        past = open_past(project, registry, pipeline, window, one, other, Path(folder))
        return _compared(pipeline.spec, past, on_rows)


def _compared(spec: PipelineSpec, past: Past, on_rows: OnRows) -> RevisionComparison:
    inputs = past.inputs
    a, b = (scored_rows_of(inputs.project, spec, inputs.window, m) for m in (inputs.a, inputs.b))
    require_same_key(a, b)
    rows = RevisionRows.of(spec, past, a, b)
    total = max(inputs.a.counts.scored, inputs.b.counts.scored)
    for pairs in paired(ahead(a.tables()), ahead(b.tables()), spec.source.key):
        rows.add(pairs)
        on_rows(rows.rows, total)
    return _measured(spec, past, rows)


def _measured(spec: PipelineSpec, past: Past, rows: RevisionRows) -> RevisionComparison:
    inputs, held = past.inputs, rows.holder.held()
    features, labels = rows.features.columns.found(), rows.labels
    visible = published_revision(inputs.project, spec, inputs.window)
    spread = rows.distributions.differences() if rows.distributions else ()
    by_class = class_differences(held.a, held.b, spec.prediction)
    return RevisionComparison(
        pipeline=spec.name,
        window=inputs.window.key,
        a=_side(inputs.a, rows.only_a, visible),
        b=_side(inputs.b, rows.only_b, visible),
        decision=spec.decision,
        deltas=score_deltas(held.a, held.b, held.largest, spec.prediction.classes),
        changed_alone=rows.changed_alone,
        flips=task_of(spec).flips(held.a, held.b),
        quality=compare_quality(held, spec, labels.state, labels.problem),
        segments=compare_segments(held, spec, labels.state),
        drift=furthest_first((*spread, *by_class)),
        features=features,
        stages=stage_times(inputs.a, inputs.b),
        causes=find_causes(
            inputs.a,
            inputs.b,
            source_rows=past.source_rows,
            features=features,
            stale=tuple(inputs.stale(features, rows.features.samples())),
        ),
        notes=past.notes,
    )


def _side(manifest: Manifest, only_here: RowsOfOne, visible: str | None) -> RevisionSide:
    return RevisionSide(
        revision=manifest.revision,
        model=f"{manifest.model.name} v{manifest.model.version}",
        scored_at=manifest.scored_at,
        published_at=manifest.published_at,
        visible=manifest.revision == visible,
        rows=manifest.counts.scored,
        only_here=only_here.rows,
        only_here_keys=only_here.keys,
    )
