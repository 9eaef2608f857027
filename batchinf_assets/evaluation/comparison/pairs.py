"""Scored rows of two sides put side by side by key, a row group of each at a time.

What the pairs say is measured in `deltas` and `changed_columns`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import BatchinfError, ManifestInvalid
from batchinf_assets.features.build import made_rows
from batchinf_assets.lake.digest import RowsDigest
from batchinf_assets.lake.matching import chosen_rows, match_rows, side_by_side, unmatched_rows
from batchinf_assets.lake.order import plain_layout
from batchinf_assets.lake.row_groups import RowGroups, ahead
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import changed_files, predictions_table
from batchinf_assets.scoring.said import score_array
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

SCORE = "the score"  # no column's name has a space


class NotComparable(BatchinfError):
    """What is to be compared has no key in common."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of two sides between the same two keys.

    Attributes:
        a: Rows of the one side whose key the other has too.
        b: Those of the other, row by row beside them.
        only_a: Rows whose key only the one side has.
        only_b: Rows whose key only the other has.
    """

    a: pa.Table
    b: pa.Table
    only_a: pa.Table
    only_b: pa.Table


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """The rows that a revision was scored from, in key order.

    Attributes:
        file: The file that holds them.
        digest: Content digest that they must have.
        key: The key columns.
    """

    file: RowGroups
    digest: str
    key: tuple[str, ...]

    def tables(self) -> Iterator[pa.Table]:
        """Yield key and features, a row group at a time.

        Raises:
            ManifestInvalid: The file is gone or damaged, or holds other rows than were scored.
        """
        digest = RowsDigest(self.file.schema, self.key)
        for rows in self.file.all():
            try:
                digest.update(rows)
            except (TypeError, ValueError) as error:
                raise self.other_rows() from error
            yield rows
        if digest.hexdigest() != self.digest:
            raise self.other_rows()

    def other_rows(self) -> ManifestInvalid:
        """Return the error that says that these are not the rows of the revision."""
        return ManifestInvalid(
            f"{self.file.place} does not hold the features that were scored.",
            next_step="Restore the file from a backup.",
        )


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """The rows of one revision: key, features and score, in key order.

    Attributes:
        features: What was scored.
        outputs: The files of the revision.
        score: What the files call the score.
        given: The columns of the files that hold what the model gave: the score, or of several
            classes a probability for each.
    """

    features: FeatureRows
    outputs: tuple[RowGroups, ...]
    score: str
    given: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns."""
        return self.features.key

    def tables(self) -> Iterator[pa.Table]:
        """Yield key, features and `SCORE`, a row group at a time.

        Of several classes `SCORE` is a list of their probabilities.

        Raises:
            ManifestInvalid: A file is gone or damaged, holds other rows than were scored, or
                features and scores have not the same keys.
        """
        scores = chain.from_iterable(file.all([*self.key, *self.given]) for file in self.outputs)
        for found in paired(ahead(self.features.tables()), ahead(scores), self.key):
            if found.only_a.num_rows or found.only_b.num_rows:
                raise self.features.other_rows()
            yield found.a.append_column(SCORE, self._scores(found.b))

    def _scores(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        if len(self.given) == 1:
            return rows.column(self.given[0])
        by_class = [np.asarray(rows.column(name), dtype=np.float64) for name in self.given]
        return score_array(np.stack(by_class, axis=1))


def feature_rows_of(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> FeatureRows:
    """Return the rows that a revision was scored from.

    Raises:
        ManifestInvalid: The file is gone or damaged.
        NotComparable: The rows have another key than is declared now.
    """
    file = made_rows(project, spec, window, manifest.features, manifest.snapshot.digest)
    missing = [name for name in spec.source.key if name not in file.schema.names]
    if missing:
        raise NotComparable(
            f"Revision {manifest.revision} of window {window} has no key column '{missing[0]}'.",
            next_step="Compare revisions that were made under the key that is declared now.",
        )
    return FeatureRows(file=file, digest=manifest.features.digest, key=spec.source.key)


def scored_rows_of(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> ScoredRows:
    """Return the rows of a revision; its output files are held to their digests.

    Raises:
        ManifestInvalid: A file is gone or damaged.
        NotComparable: The rows have another key, or other classes, than are declared now.
    """
    folder = predictions_table(project, spec).folder
    problems = [violation.rule for violation in changed_files(folder, manifest.outputs)]
    if problems:
        raise ManifestInvalid(
            f"Revision {manifest.revision} of window {window}: rows must be {problems[0]}.",
            next_step=f"See `batchinf verify {spec.name} {window} --revision {manifest.revision}`.",
        )
    score = manifest.settings.prediction_column
    rows = ScoredRows(
        features=feature_rows_of(project, spec, window, manifest),
        outputs=tuple(RowGroups(folder / output.path) for output in manifest.outputs),
        score=score,
        given=spec.prediction.given if spec.prediction.classes else (score,),
    )
    for file in rows.outputs:
        missing = [name for name in rows.given if name not in file.schema.names]
        if missing:
            raise NotComparable(
                f"Revision {manifest.revision} of window {window} has no column '{missing[0]}'.",
                next_step="Compare revisions that were made under the classes that are declared "
                "now.",
            )
    return rows


def scores_of(rows: pa.Table) -> npt.NDArray[np.float64]:
    """Return the `SCORE` of rows, (rows,); of several classes (rows, classes)."""
    column = rows.column(SCORE)
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column, dtype=np.float64)
    flat = np.asarray(pc.list_flatten(column), dtype=np.float64)
    return flat.reshape(rows.num_rows, column.type.list_size)


def require_same_key(a: ScoredRows, b: ScoredRows) -> None:
    """Require key columns of the same types.

    Raises:
        NotComparable: They differ.
    """
    for name in a.key:
        one, other = (_plain_type(side.features.file.schema, name) for side in (a, b))
        if one != other:
            raise NotComparable(
                f"Key column '{name}' has type {one} in one revision and {other} in the other.",
                next_step="Compare revisions that were made under one declaration of the key.",
            )


def paired(a: Iterator[pa.Table], b: Iterator[pa.Table], key: Sequence[str]) -> Iterator[Pairs]:
    """Match two streams that ascend by key; holds one table of each at a time.

    Args:
        a: The one stream, table by table.
        b: The other; its key has the same types.
        key: The key columns.
    """
    for block in side_by_side(a, b, key):
        old, new = match_rows(block.before, block.after, key)
        yield Pairs(
            a=chosen_rows(block.before, old),
            b=chosen_rows(block.after, new),
            only_a=unmatched_rows(block.before, old),
            only_b=unmatched_rows(block.after, new),
        )


def _plain_type(schema: pa.Schema, name: str) -> pa.DataType:
    return plain_layout(pa.chunked_array([], schema.field(name).type)).type
