"""What changed in the features of two revisions, and the landed files that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.evaluation.comparison.causes import StaleInput
from batchinf_assets.evaluation.comparison.changed_columns import (
    ChangedColumns,
    ColumnTally,
    any_of,
)
from batchinf_assets.evaluation.comparison.observation_age import (
    MOST_ROWS,
    ChangedRows,
    ObservationAge,
    observation_age,
)
from batchinf_assets.evaluation.comparison.pairs import Pairs, ScoredRows
from batchinf_assets.evaluation.comparison.stale_inputs import (
    InputDifference,
    features_behind,
    input_differences,
)
from batchinf_assets.features.lineage import Origin
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import frozen_rows, landing_of
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ComparedInputs:
    """Two revisions, and the files that differ behind their features.

    Attributes:
        project: Where the tables and the landed files are.
        spec: The pipeline as it was declared.
        window: The window.
        a: The manifest of the one revision.
        b: That of the other.
        origins: The view columns behind each feature; empty where they are not known.
    """

    project: Project
    spec: PipelineSpec
    window: Window
    a: Manifest
    b: Manifest
    origins: Mapping[str, tuple[Origin, ...]]

    @property
    def differences(self) -> tuple[InputDifference, ...]:
        """The landed files that differ, by view."""
        return input_differences(self.spec, self.a, self.b)

    def features_by_view(self) -> dict[str, tuple[str, ...]]:
        """Return the features that the differing files may have changed."""
        same_rows = self.a.snapshot.digest == self.b.snapshot.digest
        same_sql = self.a.features.definition == self.b.features.definition
        views = (difference.view for difference in self.differences)
        return features_behind(self.origins, views, only_inputs_differ=same_rows and same_sql)

    def stale(self, found: ChangedColumns, changed: Mapping[str, Sample]) -> Iterator[StaleInput]:
        """Say what the differing files did; those that changed no feature did nothing."""
        behind = self.features_by_view()
        for files in self.differences:
            own = {*behind[files.view]}
            features = tuple(each.column for each in found.columns if each.column in own)
            if features:
                yield StaleInput(
                    files=files,
                    features=features,
                    rows_changed=found.by_group[files.view],
                    rows=found.rows,
                    age=self._age(files, changed[files.view]),
                )

    def _age(self, files: InputDifference, sample: Sample) -> ObservationAge | None:
        reference = self.spec.references.get(files.view)
        if reference is None:
            return None
        fresh, stale = sample.b, sample.a
        manifest = self.b
        if files.behind == "b":
            fresh, stale, manifest = stale, fresh, self.a
        seen = {file.path: file for file in manifest.features.references}[reference.file]
        try:
            snapshot = frozen_rows(self.project, self.spec, self.window, manifest.snapshot)
            rows = pa.concat_tables(snapshot.all())
        except ManifestInvalid:  # gone or damaged since: the age is not known
            return None
        return observation_age(
            landing_of(self.project),
            self.spec,
            reference,
            seen,
            ChangedRows(snapshot=rows, stale=stale, fresh=fresh),
            _plain_columns(self.origins, files.view, stale.column_names),
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first rows that changed, on both sides."""

    a: pa.Table
    b: pa.Table


@dataclass
class FeatureTally:
    """Counts what changed in the features over a stream of pairs, and keeps some of the rows.

    Attributes:
        columns: The counts.
        by_view: Features by view, of which changed rows are kept.
    """

    columns: ColumnTally
    by_view: Mapping[str, tuple[str, ...]]
    _kept: dict[str, list[tuple[pa.Table, pa.Table]]] = field(
        default_factory=dict[str, list[tuple[pa.Table, pa.Table]]]
    )

    @classmethod
    def of(
        cls, a: ScoredRows, b: ScoredRows, by_view: Mapping[str, tuple[str, ...]]
    ) -> FeatureTally:
        """Begin to count."""
        one, other = a.features.file.schema, b.features.file.schema
        return cls(ColumnTally.of(one, other, by_view, besides={*a.key}), by_view)

    def add(self, pairs: Pairs) -> Booleans:
        """Count the next pairs; return which rows have another value in some feature."""
        changed = self.columns.add(pairs.a, pairs.b)
        for view, features in self.by_view.items():
            kept = self._kept.setdefault(view, [])
            room = MOST_ROWS - sum(a.num_rows for a, _ in kept)
            flags = any_of((changed[f] for f in features if f in changed), pairs.a.num_rows)
            places = pa.array(np.flatnonzero(flags)[:room])
            if len(places):
                kept.append((pairs.a.take(places), pairs.b.take(places)))
        return any_of(changed.values(), pairs.a.num_rows)

    def samples(self) -> dict[str, Sample]:
        """Return the changed rows that were kept, by view."""
        return {
            view: Sample(
                a=pa.concat_tables(a for a, _ in kept), b=pa.concat_tables(b for _, b in kept)
            )
            for view, kept in self._kept.items()
            if kept
        }


def _plain_columns(
    origins: Mapping[str, tuple[Origin, ...]], view: str, present: list[str]
) -> dict[str, str]:
    """Return the view's column by the feature that is made from it alone."""
    return {
        feature: own[0].column
        for feature, own in origins.items()
        if feature in present and len(own) == 1 and own[0].view == view
    }
