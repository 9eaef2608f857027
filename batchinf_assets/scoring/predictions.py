"""The predictions of a pipeline: the table that readers see, and the candidate beside it.

A candidate is a scored revision whose files lie in the table's folder but are not part of it yet;
`publishing` adds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import compress
from operator import not_

import numpy as np
import pyarrow as pa

from batchinf_assets.attempts import predictions_table
from batchinf_assets.checks import Violation
from batchinf_assets.cores import usable_cores
from batchinf_assets.errors import WindowMissing
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import holds, read_parquet
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.checkpoints import Checkpoint, Checkpoints
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "predictions"

REVISION, ROWS = "batchinf.revision", "batchinf.rows"
"""What the table's own log says of a publication; by the rows it is known that there are none."""


def manifests(project: Project, spec: PipelineSpec) -> ManifestStore:
    """Return the pipeline's manifests."""
    return ManifestStore(project.lake / spec.name / "_manifests")


def revision_folder(project: Project, spec: PipelineSpec, window: Window, revision: str) -> Place:
    """Return where the files of a revision lie."""
    return predictions_table(project, spec).folder_of(window) / revision


def checkpoints_of(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Checkpoints:
    """Return what finished shards of a revision left behind."""
    table = predictions_table(project, spec)
    folder = project.lake / spec.name / "_checkpoints" / window.folder_name / revision
    return Checkpoints(folder=folder, table=table.folder, revision=revision)


def published_revision(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the revision that readers see, or None where nothing is published or was withdrawn."""
    files = predictions_table(project, spec).files_of(window)
    return files[0].parent.name if files else empty_revision(project, spec, window)


def empty_revision(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the published revision of a window that shows no file; None unless it has no rows.

    The log alone tells a revision without rows from a window that was withdrawn, or whose rows
    another program deleted.
    """
    commit = predictions_table(project, spec).commit_metadata(window)
    return commit.get(REVISION) if commit.get(ROWS) == "0" else None


def candidate(project: Project, spec: PipelineSpec, window: Window) -> Manifest:
    """Return the manifest to judge: the window's draft, or else what is published already.

    Raises:
        WindowMissing: The window was never scored.
        ManifestInvalid: The manifest is missing or unreadable.
    """
    store = manifests(project, spec)
    draft = store.draft(window)
    if draft is not None:
        return draft
    revision = published_revision(project, spec, window)
    if revision is None:
        raise WindowMissing(
            f"Window {window} of {spec.name} was not scored.",
            next_step=f"Materialize {spec.name}/predictions for {window} first.",
        )
    return store.read(window, revision)


def prediction_rows(project: Project, spec: PipelineSpec, manifest: Manifest) -> pa.Table:
    """Read the rows of a revision, published or not, in key order.

    Raises:
        ManifestInvalid: A file is gone or damaged.
    """
    folder = predictions_table(project, spec).folder
    empty = arrow_schema(spec.prediction_table).empty_table()
    parts = [read_parquet(folder / output.path) for output in manifest.outputs]
    # A file of an earlier declaration may lack a column that was added since.
    return pa.concat_tables([empty, *parts], promote_options="default")


def observed_bins(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, profile: Profile
) -> dict[str, list[int]]:
    """Return a revision's rows by bin of the model's profile, as its shards counted them.

    Raises:
        WindowMissing: A shard's checkpoint is gone, or counted by the bins of another profile.
    """
    checkpoints = checkpoints_of(project, spec, window, manifest.revision)
    total = {name: np.zeros(len(each.bin_counts), int) for name, each in profile.subjects.items()}
    for index in range(len(manifest.outputs)):
        found = checkpoints.read(index)
        problem = "is gone" if found is None else _other_bins(found, total)
        if found is None or problem:
            raise WindowMissing(
                f"The checkpoint of shard {index} of window {window} of {spec.name} {problem}.",
                next_step=f"Materialize {spec.name}/predictions for {window} again.",
            )
        for name, counts in found.observed.items():
            total[name] += counts
    return {name: counts.tolist() for name, counts in total.items()}


def _other_bins(found: Checkpoint, bins: Mapping[str, np.ndarray]) -> str | None:
    for name, counts in found.observed.items():
        if name not in bins or len(counts) != len(bins[name]):
            return f"counts rows of {name!r} by other bins than the model's profile has"
    return None


def changed_files(folder: Place, outputs: tuple[OutputRecord, ...]) -> Iterator[Violation]:
    """Name every file that is missing or does not hold the recorded bytes."""
    with ThreadPoolExecutor(usable_cores()) as pool:  # hashing holds no lock
        whole = list(pool.map(partial(_is_whole, folder), outputs))
    for output in compress(outputs, map(not_, whole)):
        if is_file(folder / output.path):
            yield Violation(column=None, rule=f"in file {output.path} as scored (bytes changed)")
        else:
            yield Violation(column=None, rule=f"in file {output.path} (it is missing)")


def _is_whole(folder: Place, output: OutputRecord) -> bool:
    return holds(folder / output.path, output.bytes, output.sha256)
