"""The keys of a revision, read from its files: the snapshot's, each once, whatever counters say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.key_order import check_key_streams
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "published"


def output_files(project: Project, spec: PipelineSpec, manifest: Manifest) -> list[RowGroups]:
    """Return the files of a revision, in key order."""
    folder = predictions_table(project, spec).folder
    return [RowGroups(folder / output.path) for output in manifest.outputs]


def check_kept_keys(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> tuple[CheckResult, CheckResult]:
    """Hold the keys in the files of a revision against those of the snapshot that it names.

    Reads the key columns alone, a row group at a time.

    Returns:
        `unique_key` and `row_conservation`, the latter with `rows_in` and `rows_out`.

    Raises:
        ManifestInvalid: A file is gone or damaged.
    """
    key = spec.source.key
    snapshot = frozen_rows(project, spec, window, manifest.snapshot.digest)
    files = output_files(project, spec, manifest)

    def scored() -> Iterator[pa.Table]:
        return chain.from_iterable(file.all(key) for file in files)

    return check_key_streams(lambda: snapshot.all(key), scored, key=key, asset=ASSET)
