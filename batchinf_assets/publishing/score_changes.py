"""Which scores a published revision changed, as a Delta table: one file per step between revisions.

Only rows whose score changed, that are new or that are gone are in it. A file is written once and
never changed; a window keeps those of all its corrections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import pyarrow as pa

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.fence import Fence
from batchinf_assets.lake.files import DataFile, is_readable
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.lake.matching import (
    Block,
    chosen_rows,
    match_rows,
    same_rows,
    side_by_side,
    unmatched_rows,
)
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups, ahead, write_row_groups
from batchinf_assets.lake.schema import ARROW_TYPES, arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_commits import Commit
from batchinf_assets.lake.table_writer import COMMIT_KEY
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import REVISION
from batchinf_assets.publishing.visible import publications
from batchinf_assets.scoring.predictions import changed_files, manifests, predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

TABLE = "score_changes"
PUBLICATION = "batchinf.publication"
"""In a commit: which one of the predictions table it goes up to. Revisions alone do not tell, as
data that is corrected back and forth publishes the same ones again."""


@dataclass(frozen=True, kw_only=True)
class ScoreChanges:
    """What a revision changed for readers.

    Attributes:
        revision: The published revision.
        supersedes: The one before it.
        rows: Rows with another score, new and removed ones; None where it is not known.
        problem: Why it is not known, as a sentence.
        earlier: Steps that a run before left out and this one made up for, the oldest first.
    """

    revision: str
    supersedes: str
    rows: int | None
    problem: str | None = None
    earlier: tuple[ScoreChanges, ...] = ()


def score_changes_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the table: the two revisions, the key, the score before and after."""
    return WindowTable(project.lake / spec.name / TABLE, score_changes_schema(spec))


def score_changes_schema(spec: PipelineSpec) -> pa.Schema:
    """Return the columns; the scores are null where the row is new or gone."""
    score = ARROW_TYPES["float64"]
    return pa.schema(
        [
            pa.field("revision", pa.string(), nullable=False),
            pa.field("supersedes", pa.string(), nullable=False),
            *arrow_schema(spec.key_columns),
            pa.field("score_before", score),
            pa.field("score_after", score),
        ]
    )


def keep_score_changes(
    project: Project, spec: PipelineSpec, window: Window, *, lease: Fence
) -> ScoreChanges | None:
    """Write what the published revision changed; a no-op where that is written already.

    Called once a revision is visible. A run that dies in between leaves it to the next one, which
    writes all steps since the last that was kept, in one commit. A step before the last whose files
    can no longer be compared is passed over and named in `earlier`.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        lease: The attempt's hold on the window.

    Returns:
        What changed last; None for the first revision of a window.

    Raises:
        ManifestInvalid: A table's log or the published revision is damaged.
        LostRace: Another run took the window over.
        OSError: The disk is full or the folder cannot be written.
    """
    table = score_changes_table(project, spec)
    visible = table.files_of(window)
    kept = table.commit_metadata(window).get(PUBLICATION) if visible else None
    shown = _last_publications(project, spec, window, kept)
    steps = _steps(shown)
    if not steps:
        return None
    keeping = _Keeping(project=project, spec=spec, window=window, visible=frozenset(visible))
    *before, last = [*keeping.made_up(steps[:-1]), keeping.kept(*steps[-1])]
    files = [step.file for step in (*before, last) if step.file is not None]
    if files:
        lease.require_held()
        newest = shown[0].metadata
        metadata = {REVISION: newest[REVISION], PUBLICATION: newest.get(COMMIT_KEY, "")}
        table.commit(window, [*map(_described, visible), *files], metadata, token=lease.token)
    return replace(last.changes, earlier=tuple(step.changes for step in before))


def _last_publications(
    project: Project, spec: PipelineSpec, window: Window, kept: str | None
) -> list[Commit]:
    """Return publications of a window, the newest first: two revisions, and on to the one kept.

    Where none is kept, it goes on to the first; mostly without reading the log to its beginning.
    """
    store, found = manifests(project, spec), list[Commit]()
    unseen = set(store.revisions(window))
    if len(unseen) < 2:
        return []
    shown, met = set[str](), False
    for commit in publications(project, spec, window):
        revision = commit.metadata[REVISION]
        found.append(commit)
        shown.add(revision)
        met = met or (kept is not None and commit.metadata.get(COMMIT_KEY) == kept)
        first = kept is None and shown >= unseen and not _corrects(store, window, revision)
        if len(shown) > 1 and (met or first):
            break
    return found


def _corrects(store: ManifestStore, window: Window, revision: str) -> bool:
    """Say whether a revision may have superseded another one; an unreadable manifest says so."""
    try:
        changes = store.read(window, revision).changes
    except ManifestInvalid:
        return True
    return changes is not None and changes.supersedes is not None


def _steps(shown: Sequence[Commit]) -> list[tuple[str, str]]:
    """Return each step from a revision to the one after it, in the order of their last time."""
    revisions = [commit.metadata[REVISION] for commit in shown]
    steps = [(before, after) for after, before in pairwise(revisions) if before != after]
    return list(dict.fromkeys(steps))[::-1]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A step, and its file where the table is to show it from now on."""

    changes: ScoreChanges
    file: DataFile | None = None


@dataclass(frozen=True, kw_only=True)
class _Keeping:
    project: Project
    spec: PipelineSpec
    window: Window
    visible: frozenset[Place]

    def made_up(self, steps: Iterable[tuple[str, str]]) -> Iterator[_Kept]:
        """Write the steps that the table does not show; what cannot be compared stops none."""
        for supersedes, revision in steps:
            if self._path(supersedes, revision) in self.visible:
                continue
            try:
                yield self.kept(supersedes, revision)
            except ManifestInvalid as error:
                yield _unknown(supersedes, revision, error.message)

    def kept(self, supersedes: str, revision: str) -> _Kept:
        """Write a step unless it is whole already.

        Raises:
            ManifestInvalid: The files of the later revision are gone or damaged.
        """
        path = self._path(supersedes, revision)
        if path in self.visible and is_readable(path):
            rows = sum(RowGroups(path).rows)
            return _Kept(changes=ScoreChanges(revision=revision, supersedes=supersedes, rows=rows))
        before, after = self._outputs(supersedes), self._outputs(revision)
        if before is None:
            problem = f"The files of revision {supersedes} are gone or damaged."
            return _unknown(supersedes, revision, problem)
        if after is None:
            raise ManifestInvalid(
                f"The files of revision {revision} of window {self.window} are gone or damaged.",
                next_step=f"Run the window again: `batchinf run {self.spec.name} {self.window}`.",
            )
        if not all(self._comparable(file) for file in (*before, *after)):
            problem = f"Revisions {supersedes} and {revision} have other columns than are compared."
            return _unknown(supersedes, revision, problem)
        changed = _changed(before, after, self.spec, supersedes, revision)
        file = write_row_groups(path, score_changes_schema(self.spec), changed)
        return _Kept(
            changes=ScoreChanges(revision=revision, supersedes=supersedes, rows=file.rows),
            file=None if path in self.visible else file,
        )

    def _path(self, supersedes: str, revision: str) -> Place:
        folder = score_changes_table(self.project, self.spec).folder_of(self.window)
        return folder / f"{supersedes}-{revision}.parquet"

    def _outputs(self, revision: str) -> list[RowGroups] | None:
        """Return the files of a revision, or None where they are not what its manifest names."""
        folder = predictions_table(self.project, self.spec).folder
        try:
            manifest = manifests(self.project, self.spec).read(self.window, revision)
        except ManifestInvalid:
            return None
        if any(changed_files(folder, manifest.outputs)):
            return None
        return [RowGroups(folder / output.path) for output in manifest.outputs]

    def _comparable(self, file: RowGroups) -> bool:
        compared = {*self.spec.source.key, self.spec.prediction.score}
        return compared <= set(file.schema.names)


def _unknown(supersedes: str, revision: str, problem: str) -> _Kept:
    return _Kept(
        changes=ScoreChanges(revision=revision, supersedes=supersedes, rows=None, problem=problem)
    )


def _changed(
    before: Sequence[RowGroups],
    after: Sequence[RowGroups],
    spec: PipelineSpec,
    supersedes: str,
    revision: str,
) -> Iterator[pa.Table]:
    key, score = spec.source.key, spec.prediction.score
    schema = score_changes_schema(spec)
    old, new = (ahead(_rows(files, [*key, score])) for files in (before, after))
    for block in side_by_side(old, new, key):
        rows = _deltas(block, key, score)
        ids = {"revision": revision, "supersedes": supersedes}
        columns = {name: pa.array([text] * rows.num_rows) for name, text in ids.items()}
        for name in rows.column_names:
            columns[name] = rows.column(name)
        yield pa.table(columns).select(schema.names).cast(schema)


def _rows(files: Iterable[RowGroups], columns: Sequence[str]) -> Iterator[pa.Table]:
    return chain.from_iterable(file.all(columns) for file in files)


def _deltas(block: Block, key: Sequence[str], score: str) -> pa.Table:
    """Return key, score before and score after of the rows that differ, in key order."""
    old, new = match_rows(block.before, block.after, key)
    before, after = chosen_rows(block.before, old), chosen_rows(block.after, new)
    other = pa.array(~same_rows(before, after, [score]))
    gone, added = unmatched_rows(block.before, old), unmatched_rows(block.after, new)
    parts = [
        _delta(after.filter(other), key, before.filter(other).column(score), score),
        _delta(gone, key, gone.column(score), None),
        _delta(added, key, None, score),
    ]
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in key])


def _delta(
    rows: pa.Table, key: Sequence[str], before: pa.ChunkedArray | None, after: str | None
) -> pa.Table:
    nothing = pa.nulls(rows.num_rows, pa.float64())
    columns = {name: rows.column(name) for name in key}
    columns["score_before"] = nothing if before is None else before
    columns["score_after"] = nothing if after is None else rows.column(after)
    return pa.table(columns)


def _described(path: Place) -> DataFile:
    """Describe a file that the table shows."""
    return DataFile(
        path=path,
        rows=sum(RowGroups(path).rows),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )
