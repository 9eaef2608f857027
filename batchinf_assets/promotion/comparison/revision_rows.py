"""One pass over the rows of two revisions, side by side: everything that is counted on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from batchinf_assets.checks import SAMPLE_KEYS
from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.evaluation.comparison.deltas import changed_rows
from batchinf_assets.evaluation.comparison.distributions import Distributions
from batchinf_assets.evaluation.comparison.held import RowHolder, segment_columns
from batchinf_assets.evaluation.comparison.inputs import FeatureTally
from batchinf_assets.evaluation.comparison.labels import WindowLabels, read_labels
from batchinf_assets.evaluation.comparison.pairs import Pairs, ScoredRows, scores_of
from batchinf_assets.promotion.comparison.past import Past
from batchinf_assets.spec.pipeline import PipelineSpec


@dataclass
class RowsOfOne:
    """Rows whose key the other revision lacks.

    Attributes:
        rows: Their count.
        keys: The first of them, as text.
    """

    rows: int = 0
    keys: tuple[str, ...] = ()

    def add(self, rows: pa.Table, key: tuple[str, ...]) -> None:
        """Count the next ones."""
        self.rows += rows.num_rows
        if rows.num_rows and len(self.keys) < SAMPLE_KEYS:
            self.keys = (*self.keys, *sample_keys(rows, key))[:SAMPLE_KEYS]


@dataclass
class RevisionRows:
    """What is counted of paired rows.

    Attributes:
        key: The key columns.
        labels: What outcomes say of the rows.
        holder: Scores, labels and segments of the rows that both have.
        features: What changed in the features.
        distributions: Rows by bin; None where there are no bins.
        only_a: Rows that only the one revision has.
        only_b: Rows that only the other has.
        rows: Rows that both have.
        changed_alone: Of these, those whose score differs although their features are the same.
    """

    key: tuple[str, ...]
    labels: WindowLabels
    holder: RowHolder
    features: FeatureTally
    distributions: Distributions | None
    only_a: RowsOfOne = field(default_factory=RowsOfOne)
    only_b: RowsOfOne = field(default_factory=RowsOfOne)
    rows: int = 0
    changed_alone: int = 0

    @classmethod
    def of(cls, spec: PipelineSpec, past: Past, a: ScoredRows, b: ScoredRows) -> RevisionRows:
        """Begin to count.

        Args:
            spec: The pipeline as it is declared now.
            past: What is known of the two.
            a: The rows of the one.
            b: Those of the other.
        """
        inputs = past.inputs
        return cls(
            key=spec.source.key,
            labels=read_labels(inputs.project, spec, inputs.window),
            holder=RowHolder(spec.source.key, segment_columns(spec), spec.prediction.classes),
            features=FeatureTally.of(a, b, inputs.features_by_view()),
            distributions=Distributions(past.profile, a.score) if past.profile else None,
        )

    def add(self, pairs: Pairs) -> None:
        """Count the next pairs."""
        other_features = self.features.add(pairs)
        other_score = changed_rows(scores_of(pairs.a), scores_of(pairs.b))
        self.changed_alone += int((other_score & ~other_features).sum())
        self.rows += pairs.a.num_rows
        self.holder.add(pairs.a, pairs.b, self.labels.of(pairs.b))
        self.only_a.add(pairs.only_a, self.key)
        self.only_b.add(pairs.only_b, self.key)
        if self.distributions:
            self.distributions.add_a(pairs.a, pairs.only_a)
            self.distributions.add_b(pairs.b, pairs.only_b)
