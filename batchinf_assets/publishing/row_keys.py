"""The rows of a revision, read from its files: within the contract, and each of the snapshot once.

What counters and checks on record say is not asked. Rows of the snapshot that are not there must be
told of in the quarantine's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult, Violation, merge_checks
from batchinf_assets.contracts.key_order import KeyStream, check_key_streams
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.contracts.value_rules import blocking_alone
from batchinf_assets.lake.files import holds, read_parquet
from batchinf_assets.lake.row_groups import RowGroups, ahead
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.scoring.window_checks import check_accounted
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.snapshots.quarantine import SCHEMA, lines_of, reasons_digest, recorded_place
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "published"


def output_files(project: Project, spec: PipelineSpec, manifest: Manifest) -> list[RowGroups]:
    """Return the files of a revision, in key order."""
    folder = predictions_table(project, spec).folder
    return [RowGroups(folder / output.path) for output in manifest.outputs]


def check_kept_keys(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> tuple[CheckResult, ...]:
    """Hold the keys in the files of a revision against those of the snapshot that it names.

    Reads the key columns alone, a row group at a time, and the quarantine's file.

    Returns:
        `unique_key` and `row_conservation`, the latter with `rows_in`, `scored` and `quarantined`;
        or `quarantine`, where its file is not what the manifest says.

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
        `schema` and, where every file has the declared columns, `contract` and the results of
        `check_kept_keys`.

    Raises:
        ManifestInvalid: A file is gone or damaged.
    """
    files, declared = output_files(project, spec, manifest), spec.prediction_table
    schemas = [_check_schema(file, arrow_schema(declared)) for file in files]
    if not all(check.passed for check in schemas):
        return tuple(merge_checks(schemas))
    contract: list[CheckResult] = []
    rules = blocking_alone(declared)

    def scored() -> Iterator[pa.Table]:
        contract.clear()
        for rows in ahead(chain.from_iterable(file.all() for file in files)):
            contract.append(check_values(rows, rules, key=spec.source.key, asset=ASSET))
            yield rows

    keys = _check_keys(project, spec, window, manifest, scored)
    return (*merge_checks([*schemas, *contract]), *keys)


def _check_keys(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, scored: KeyStream
) -> tuple[CheckResult, ...]:
    key, quarantine = spec.source.key, read_quarantine(project, spec, manifest)
    if not quarantine.check.passed:
        for _ in scored():  # what else is wrong with the rows is found on the way
            pass
        return (quarantine.check,)
    snapshot = frozen_rows(project, spec, window, manifest.snapshot)

    def expected() -> Iterator[pa.Table]:
        return ahead(without(snapshot.all(key), quarantine.features))

    found = check_key_streams(expected, scored, key=key, asset=ASSET)
    return tuple(check_accounted(check, manifest.counts) for check in found)


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """What the quarantine's file of a revision holds.

    Attributes:
        check: Whether that is what the manifest says.
        features: The places in the snapshot of the rows that were set aside at the features,
            ascending.
    """

    check: CheckResult
    features: npt.NDArray[np.int64]


def read_quarantine(project: Project, spec: PipelineSpec, manifest: Manifest) -> Quarantine:
    """Hold the quarantine's file against the digests and counts of a manifest.

    Raises:
        ManifestInvalid: The file is gone or damaged.
    """
    lines, violations = SCHEMA.empty_table(), list[Violation]()
    if (record := manifest.quarantine) is not None:
        place = recorded_place(project, spec, record)
        if holds(place, record.bytes, record.sha256):
            lines = read_parquet(place)
        else:
            rule = f"in file {record.path} of the quarantine as set aside (missing or changed)"
            violations.append(Violation(column=None, rule=rule))
    told = {asset: lines_of(lines, asset) for asset in ("snapshot", "features")}
    if not violations:
        stages = {"snapshot": manifest.snapshot, "features": manifest.features}
        violations += [v for name in told for v in _other_lines(name, told[name], stages[name])]
    check = CheckResult(
        name="quarantine", asset=ASSET, passed=not violations, violations=tuple(violations)
    )
    return Quarantine(check=check, features=np.unique(told["features"].column("row").to_numpy()))


def _other_lines(
    asset: str, lines: pa.Table, record: SnapshotRecord | FeaturesRecord
) -> Iterator[Violation]:
    rows = pc.count_distinct(lines.column("row")).as_py()
    revisions = pc.unique(lines.column("revision")).to_pylist()
    if reasons_digest(lines) != record.rejected or rows != record.quarantined:
        rule = f"{record.quarantined} that the quarantine tells of for {asset}"
        yield Violation(column=None, rule=rule, found=f"other lines, of {rows} rows")
    elif revisions not in ([], [record.digest[:16]]):
        yield Violation(column=None, rule=f"set aside from {asset} {record.digest[:16]}")


def without(tables: Iterator[pa.Table], rows: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """Leave rows out of a stream.

    Args:
        tables: The stream, table by table.
        rows: Their places in it, ascending.
    """
    start = 0
    for table in tables:
        end = start + table.num_rows
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
        if here.size:
            kept = np.ones(table.num_rows, dtype=np.bool_)
            kept[here] = False
            yield table.filter(pa.array(kept))
        else:
            yield table
        start = end


def _check_schema(file: RowGroups, declared: pa.Schema) -> CheckResult:
    """One file with another type in a column would make the whole table unreadable."""
    found = file.schema
    rule = f"of columns {_columns(declared)} in {file.place.name} (found {_columns(found)})"
    same = found.equals(declared)
    violations = () if same else (Violation(column=None, rule=rule),)
    return CheckResult(name="schema", asset=ASSET, passed=same, violations=violations)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name[:40]} {field.type}" for field in schema)
