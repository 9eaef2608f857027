"""Rows that were set aside, and why: a Delta table with one file per window.

The file holds the lines of two assets, `snapshot` and `features`. Which rows they are and what is
wrong with them is decided in `contracts.judge`; that every row is accounted for is
`publishing.row_keys`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import ManifestInvalid, WindowMissing
from batchinf_assets.lake.digest import content_digest, file_sha256
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import DataFile, is_readable, read_parquet
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.manifest.files import QuarantineRecord
from batchinf_assets.manifest.inputs import SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

TABLE = "quarantine"
REASONS = ("row", "key", "rule", "column", "value")
"""What is said of a row; `row` is its place among the judged rows of its asset, in key order."""

SCHEMA = pa.schema(
    [
        pa.field("asset", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("value", pa.string()),
        pa.field("revision", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """The rows that one asset of one window set aside.

    Attributes:
        asset: Which asset judged them: `snapshot` or `features`.
        reasons: One line per row and broken rule, with the columns of `REASONS`, in their order.
    """

    asset: str
    reasons: pa.Table

    @classmethod
    def of(cls, asset: str, rejected: pa.Table) -> SetAside:
        """Take what a judgement rejected, in whatever order it did."""
        columns = [rejected.column(name).cast(SCHEMA.field(name).type) for name in REASONS]
        reasons = pa.Table.from_arrays(columns, schema=_schema(REASONS))
        return cls(asset=asset, reasons=reasons.sort_by([(name, "ascending") for name in REASONS]))

    @property
    def rows(self) -> pa.Array:
        """The places of the rows among those that were judged, ascending, each once."""
        return pc.unique(self.reasons.column("row"))

    @property
    def count(self) -> int:
        """How many rows were set aside."""
        return len(self.rows)

    @property
    def digest(self) -> str | None:
        """Content digest of the reasons, as 64 hex digits; None where no row was set aside."""
        return content_digest(self.reasons, REASONS) if self.reasons.num_rows else None

    def lines(self, revision: str) -> pa.Table:
        """Return the lines to keep.

        Args:
            revision: Digest of the rows that the asset kept.
        """
        count = self.reasons.num_rows
        ends = [pa.array([text] * count, pa.string()) for text in (self.asset, revision[:16])]
        arrays = [ends[0], *self.reasons.columns, ends[1]]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def quarantine_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's quarantine table."""
    return WindowTable(project.lake / spec.name / TABLE, SCHEMA)


def keep_snapshot_lines(
    project: Project, spec: PipelineSpec, window: Window, found: SetAside, digest: str
) -> None:
    """Make the table tell what the snapshot of a window set aside.

    Lines of the features stay as long as the snapshot's are what they were.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        found: What was set aside.
        digest: Of the rows that are frozen.

    Raises:
        LostRace: Another run replaced the window's lines meanwhile.
    """
    lines = found.lines(digest)
    shown = _shown(project, spec, window)
    if shown is None or not lines_of(shown, found.asset).equals(lines):
        _keep(project, spec, window, lines)


def keep_features_lines(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    snapshot: SnapshotRecord,
    found: SetAside,
    digest: str,
) -> None:
    """Make the table tell what snapshot and features of a window set aside.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        snapshot: The snapshot that the features were made from.
        found: What the features set aside.
        digest: Of the feature rows.

    Raises:
        WindowMissing: The table does not hold the snapshot's lines.
        LostRace: Another run replaced the window's lines meanwhile.
    """
    before = SCHEMA.empty_table()
    if snapshot.rejected is not None:
        shown = _shown(project, spec, window)
        before = lines_of(shown if shown is not None else before, "snapshot")
        if reasons_digest(before) != snapshot.rejected:
            raise WindowMissing(
                f"The quarantine of window {window} of {spec.name} lacks what its snapshot set "
                "aside.",
                next_step=f"Materialize {spec.name}/snapshot for {window} first.",
            )
    _keep(project, spec, window, pa.concat_tables([before, found.lines(digest)]))


def quarantine_record(
    project: Project, spec: PipelineSpec, window: Window, rejected: Sequence[str | None]
) -> QuarantineRecord | None:
    """Describe the file that says which rows of a window were set aside.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        rejected: Digests of what snapshot and features said, in this order.

    Returns:
        None where no row was set aside.

    Raises:
        WindowMissing: The table tells of other rows.
        ManifestInvalid: Its file is damaged.
    """
    if not any(rejected):
        return None
    table = quarantine_table(project, spec)
    for path in table.files_of(window):
        lines = read_parquet(path)
        parts = [lines_of(lines, asset) for asset in ("snapshot", "features")]
        if [reasons_digest(part) for part in parts] == list(rejected):
            return QuarantineRecord(
                path=path_within(path, table.folder),
                sha256=file_sha256(path),
                bytes=path.stat().st_size,
                lines=lines.num_rows,
            )
    raise WindowMissing(
        f"The quarantine of window {window} of {spec.name} tells of other rows than those that "
        "were set aside.",
        next_step=f"Materialize {spec.name}/snapshot and {spec.name}/features for {window} first.",
    )


def recorded_place(project: Project, spec: PipelineSpec, record: QuarantineRecord) -> Place:
    """Return where the file lies that a manifest names, visible or replaced since."""
    return quarantine_table(project, spec).folder / record.path


def lines_of(lines: pa.Table, asset: str) -> pa.Table:
    """Return the lines of one asset."""
    return lines.filter(pc.equal(lines.column("asset"), asset)).combine_chunks()


def reasons_digest(lines: pa.Table) -> str | None:
    """Return the digest of lines of one asset, as `SetAside.digest` gives it."""
    return content_digest(lines.select(list(REASONS)), REASONS) if lines.num_rows else None


def _shown(project: Project, spec: PipelineSpec, window: Window) -> pa.Table | None:
    """Read what the table shows; nothing where it has to be written anew."""
    try:
        return quarantine_table(project, spec).read(window)
    except ManifestInvalid:
        return None


def _keep(project: Project, spec: PipelineSpec, window: Window, lines: pa.Table) -> None:
    """Make these lines the window's, with no file where there never was one to replace.

    A file that is there already keeps its bytes: manifests name them.
    """
    table = quarantine_table(project, spec)
    visible = table.files_of(window)
    if not lines.num_rows and not visible:
        return
    name = content_digest(lines, SCHEMA.names)[:16]
    path = table.path(window, name)
    if visible != (path,) and is_file(path) and is_readable(path):
        size, sha256 = path.stat().st_size, file_sha256(path)
        kept = DataFile(path=path, rows=lines.num_rows, bytes=size, sha256=sha256)
        table.commit(window, [kept], {"batchinf.name": name})
    else:
        table.keep(window, name, lines, {})


def _schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema([SCHEMA.field(name) for name in names])
