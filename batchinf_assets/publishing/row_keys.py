"""The rows of a revision, read from its files: within the contract, and each of the snapshot once.

What counters and checks on record say is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from batchinf_assets.checks import CheckResult, Violation, merge_checks
from batchinf_assets.contracts.key_order import KeyStream, check_key_streams
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.lake.row_groups import RowGroups, ahead
from batchinf_assets.lake.schema import arrow_schema
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
    files = output_files(project, spec, manifest)

    def scored() -> Iterator[pa.Table]:
        return ahead(chain.from_iterable(file.all(key) for file in files))

    return _check_keys(project, spec, window, manifest, scored)


def check_rows(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> tuple[CheckResult, ...]:
    """Hold the rows in a revision's files against contract and snapshot, whatever is on record.

    Reads the files once, a row group at a time.

    Returns:
        `schema`, `contract`, `unique_key` and `row_conservation`; the latter two only where every
        file has the declared columns.

    Raises:
        ManifestInvalid: A file is gone or damaged.
    """
    files, declared = output_files(project, spec, manifest), spec.prediction_table
    schemas = [_check_schema(file, arrow_schema(declared)) for file in files]
    if not all(check.passed for check in schemas):
        return tuple(merge_checks(schemas))
    contract: list[CheckResult] = []

    def scored() -> Iterator[pa.Table]:
        contract.clear()
        for rows in ahead(chain.from_iterable(file.all() for file in files)):
            contract.append(check_values(rows, declared, key=spec.source.key, asset=ASSET))
            yield rows

    keys = _check_keys(project, spec, window, manifest, scored)
    return (*merge_checks([*schemas, *contract]), *keys)


def _check_keys(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, scored: KeyStream
) -> tuple[CheckResult, CheckResult]:
    key = spec.source.key
    snapshot = frozen_rows(project, spec, window, manifest.snapshot.digest)
    return check_key_streams(lambda: ahead(snapshot.all(key)), scored, key=key, asset=ASSET)


def _check_schema(file: RowGroups, declared: pa.Schema) -> CheckResult:
    """One file with another type in a column would make the whole table unreadable."""
    found = file.schema
    rule = f"of columns {_columns(declared)} in {file.place.name} (found {_columns(found)})"
    same = found.equals(declared)
    violations = () if same else (Violation(column=None, rule=rule),)
    return CheckResult(name="schema", asset=ASSET, passed=same, violations=violations)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name[:40]} {field.type}" for field in schema)
