"""What a new revision of a window corrects, and whether it may keep scores of the published one.

Nothing is carried from what does not verify: output files are held to the digests of a signed
manifest, features to their content digest. Where that fails, or the scores would not be the same
bit by bit, every row is scored and the manifest says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.features.build import made_rows
from batchinf_assets.lake.digest import RowsDigest
from batchinf_assets.lake.order import KeySpan, spans_ascend
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups, ahead
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.means import CodeRecord
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.carried import EarlierScores, ScoredGroup
from batchinf_assets.scoring.predictions import changed_files, predictions_table
from batchinf_assets.scoring.scorer import SklearnScorer
from batchinf_assets.snapshots.changes import RowChanges, compare_rows
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

WORTH_CARRYING = 0.5
"""Share of changed rows up to which earlier scores are looked up.

Verifying and looking up a row of twenty features took 0.5 µs of a core, scoring it 0.1 µs (compiled
trees) to 1.3 µs (ONNX): above this share not even the slowest scorer wins much.
"""


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """The revision that readers see while another one is made.

    Attributes:
        revision: Its id.
        manifest: Its manifest; None where its signature, or the table's log, does not hold.
    """

    revision: str
    manifest: Manifest | None


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a revision corrects.

    Attributes:
        changes: What it supersedes, and which rows changed; nothing is counted as carried yet.
        earlier: Where scores may be looked up; None where every row is to be scored.
    """

    changes: ChangesRecord
    earlier: EarlierScores | None = None

    def scored(self, rows: int, carried: int) -> ChangesRecord:
        """Return the record of a revision of so many rows, once it is scored."""
        found = self.changes
        if found.supersedes is None:
            return found
        # An earlier attempt may have carried scores from files that were damaged since.
        source = found.carried_from or (found.supersedes if carried else None)
        counts = {"carried": carried, "scored_again": rows - carried}
        return found.model_copy(update={"carried_from": source, **counts})


def correct(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    draft: Manifest,
    features: RowGroups,
    superseded: Superseded | None,
) -> Correction:
    """Compare a revision with the one that readers see, before it is scored.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        draft: What is known of the new revision.
        features: Its feature rows.
        superseded: The published revision; None where there is none.
    """
    if superseded is None or superseded.revision == draft.revision:
        return Correction(changes=ChangesRecord())
    if superseded.manifest is None:
        reason = "the manifest of the published revision does not verify"
        return Correction(changes=ChangesRecord(supersedes=superseded.revision, reason=reason))
    correcting = _Correcting(
        project=project,
        spec=spec,
        window=window,
        old=superseded.manifest,
        new=draft,
        features=features,
    )
    return correcting.correction()


@dataclass(frozen=True, kw_only=True)
class _Correcting:
    project: Project
    spec: PipelineSpec
    window: Window
    old: Manifest
    new: Manifest
    features: RowGroups

    def correction(self) -> Correction:
        found = self._changed_rows()
        reason = next(self._obstacles(found), None)
        groups = None if reason else self._groups()
        if groups is None:
            reason = (
                reason or "the published revision's features are gone, damaged or other columns"
            )
            return Correction(changes=self._record(found, None, reason))
        earlier = EarlierScores(
            groups=tuple(groups),
            key=self.spec.source.key,
            inputs=tuple(self.spec.features.columns),
            given=self.spec.prediction.given,
        )
        changes = self._record(found, self.old.revision, None)
        return Correction(changes=changes, earlier=earlier)

    def _record(
        self, found: RowChanges | None, carried_from: str | None, reason: str | None
    ) -> ChangesRecord:
        return ChangesRecord(
            supersedes=self.old.revision,
            carried_from=carried_from,
            reason=reason,
            rows_added=found.added if found else None,
            rows_changed=found.changed if found else None,
            rows_removed=found.removed if found else None,
        )

    def _changed_rows(self) -> RowChanges | None:
        """Compare the snapshots; None where the earlier one cannot be read."""
        old, new = self.old.snapshot, self.new.snapshot
        if old.digest == new.digest:
            return RowChanges(added=0, removed=0, changed=0, unchanged=new.rows)
        before, after = (
            frozen_rows(self.project, self.spec, self.window, record) for record in (old, new)
        )
        try:
            return compare_rows(before, after, self.spec.source.key)
        except (ManifestInvalid, ValueError, KeyError):  # gone, damaged, or of other key columns
            return None

    def _obstacles(self, found: RowChanges | None) -> Iterator[str]:
        """Yield why every row is to be scored, what is quick to tell first."""
        if _code(self.old.code) != _code(self.new.code):
            yield "the published revision was scored by other code"
        models = [(each.model.digest, each.model.scorer) for each in (self.old, self.new)]
        if models[0] != models[1]:
            yield "the published revision was scored by another model"
        if self.old.settings != self.new.settings:
            yield "the published revision was scored under other settings"
        if self.new.model.scorer == SklearnScorer.name:
            yield "scikit-learn's scores may depend on how many rows are scored at once"
        if found is not None and found.share > WORTH_CARRYING:
            yield "most rows changed"
        if any(changed_files(self._table, self.old.outputs)):
            yield "the published files are damaged"

    def _groups(self) -> list[ScoredGroup] | None:
        """Pair the row groups of the old features and predictions; None where they do not hold."""
        features = made_rows(
            self.project, self.spec, self.window, self.old.features, self.old.snapshot.digest
        )
        try:
            spans = self._spans(features)
            predictions = list(self._prediction_groups())
        except (ManifestInvalid, TypeError, ValueError):
            return None
        if spans is None or [rows for _, _, rows in predictions] != [span.rows for span in spans]:
            return None
        return [
            ScoredGroup(
                span=span,
                features=features,
                feature_group=index,
                predictions=file,
                prediction_group=group,
            )
            for index, (span, (file, group, _)) in enumerate(zip(spans, predictions, strict=True))
        ]

    def _spans(self, features: RowGroups) -> list[KeySpan] | None:
        """Return the keys of each row group, if these are the rows that the manifest names."""
        if not self._same_columns(features):
            return None
        key, spans = list(self.spec.source.key), list[KeySpan]()
        digest = RowsDigest(features.schema, key, threads=pa.cpu_count())
        for rows in ahead(features.all()):
            digest.update(rows)
            spans.append(KeySpan.of(rows.select(key)))
        same = digest.hexdigest() == self.old.features.digest
        return spans if same and spans_ascend(spans) else None

    def _same_columns(self, features: RowGroups) -> bool:
        names = list(self.spec.feature_table)
        old, new = features.schema, self.features.schema
        return set(names) <= set(old.names) and _types(old, names) == _types(new, names)

    def _prediction_groups(self) -> Iterator[tuple[RowGroups, int, int]]:
        for output in self.old.outputs:
            file = RowGroups(self._table / output.path)
            yield from ((file, group, rows) for group, rows in enumerate(file.rows))

    @property
    def _table(self) -> Place:
        return predictions_table(self.project, self.spec).folder


def _types(schema: pa.Schema, names: Sequence[str]) -> list[pa.DataType]:
    return [schema.field(name).type for name in names]


def _code(code: CodeRecord) -> tuple[str, str, dict[str, str]]:
    """What decides rows; see `scoring.revision`."""
    return code.source, code.python, code.libraries
