"""Which scores a published revision changed, as a Delta table: one file per step between revisions.

Only rows whose score changed, that are new or that are gone are in it. A file is written once and
never changed; a window keeps those of all its corrections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import DataFile, is_readable
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
from batchinf_assets.project import Project
from batchinf_assets.publishing.fence import Fence
from batchinf_assets.publishing.publish import REVISION
from batchinf_assets.publishing.visible import publications
from batchinf_assets.scoring.predictions import changed_files, manifests, predictions_table
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

TABLE = "score_changes"


@dataclass(frozen=True, kw_only=True)
class ScoreChanges:
    """What a revision changed for readers.

    Attributes:
        revision: The published revision.
        supersedes: The one before it.
        rows: Rows with another score, new and removed ones; None where it is not known.
        problem: Why it is not known, as a sentence.
    """

    revision: str
    supersedes: str
    rows: int | None
    problem: str | None = None


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

    Called once a revision is visible. A run that dies in between leaves it to the next one.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        lease: The attempt's hold on the window.

    Returns:
        What changed; None for the first revision of a window.

    Raises:
        ManifestInvalid: A table's log or the published revision is damaged.
        LostRace: Another run took the window over.
        OSError: The disk is full or the folder cannot be written.
    """
    step = _last_step(project, spec, window)
    if step is None:
        return None
    supersedes, revision = step
    table = score_changes_table(project, spec)
    path = table.folder_of(window) / f"{supersedes}-{revision}.parquet"
    visible = table.files_of(window)
    if path in visible and is_readable(path):
        rows = sum(RowGroups(path).rows)
        return ScoreChanges(revision=revision, supersedes=supersedes, rows=rows)
    before, after = (_outputs(project, spec, window, each) for each in step)
    if before is None:
        problem = f"The files of revision {supersedes} are gone or damaged."
        return ScoreChanges(revision=revision, supersedes=supersedes, rows=None, problem=problem)
    if after is None:
        raise ManifestInvalid(
            f"The files of revision {revision} of window {window} are gone or damaged.",
            next_step=f"Run the window again: `batchinf run {spec.name} {window}`.",
        )
    changed = _changed(before, after, spec, supersedes, revision)
    file = write_row_groups(path, score_changes_schema(spec), changed)
    if path not in visible:
        lease.require_held()
        kept = [_kept(each) for each in visible]
        table.commit(window, [*kept, file], {REVISION: revision}, token=lease.token)
    return ScoreChanges(revision=revision, supersedes=supersedes, rows=file.rows)


def _last_step(project: Project, spec: PipelineSpec, window: Window) -> tuple[str, str] | None:
    """Return the last two revisions that the table's log knows of a window, in their order."""
    if len(manifests(project, spec).revisions(window)) < 2:
        return None  # without reading the log back to its beginning
    shown = (commit.metadata[REVISION] for commit in publications(project, spec, window))
    newest = next(shown, None)
    before = next((revision for revision in shown if revision != newest), None)
    return (before, newest) if before is not None and newest is not None else None


def _outputs(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> list[RowGroups] | None:
    """Return the files of a revision, or None where they are not what its manifest names."""
    folder = predictions_table(project, spec).folder
    try:
        manifest = manifests(project, spec).read(window, revision)
    except ManifestInvalid:
        return None
    if any(changed_files(folder, manifest.outputs)):
        return None
    return [RowGroups(folder / output.path) for output in manifest.outputs]


def _changed(
    before: Sequence[RowGroups],
    after: Sequence[RowGroups],
    spec: PipelineSpec,
    supersedes: str,
    revision: str,
) -> Iterator[pa.Table]:
    key, score = spec.source.key, spec.prediction.column
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


def _kept(path: Place) -> DataFile:
    """Describe a file that the table shows."""
    return DataFile(
        path=path,
        rows=sum(RowGroups(path).rows),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )
