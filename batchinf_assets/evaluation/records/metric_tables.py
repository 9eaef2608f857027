"""The tables `evaluation` and `performance`: figures as rows, those of earlier versions included.

What becomes a row is decided in `evaluation_records` and `performance_records`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.evaluation.records.figure_records import METRIC_KEY, METRIC_SCHEMA
from batchinf_assets.lake.digest import content_digest, json_sha256
from batchinf_assets.lake.files import read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

_MEANT_THEN = {"measure": "psi", "reference": "training"}
"""What a drift row of the first versions was about: it had no column to say so."""


class MetricTable(WindowTable):
    """A table of `METRIC_SCHEMA`, one row per figure.

    Args:
        folder: The table's root.
    """

    def __init__(self, folder: Place) -> None:
        super().__init__(folder, METRIC_SCHEMA)

    def read(self, window: Window) -> pa.Table | None:
        """Read the figures of a window, or None where none were kept.

        Returns:
            Rows of `METRIC_SCHEMA`, whichever version wrote them.

        Raises:
            ManifestInvalid: The table's log or a file is damaged.
        """
        files = self.files_of(window)
        return pa.concat_tables([read_figures(path) for path in files]) if files else None

    def keep_figures(
        self,
        window: Window,
        rows: pa.Table,
        footer: Mapping[str, Any],
        *,
        made_of: str | None = None,
        token: int = 1,
    ) -> Place:
        """Make these figures those of a window, as `keep` does.

        Args:
            window: The window.
            rows: Rows of `METRIC_SCHEMA`.
            footer: What the file says of itself.
            made_of: Of which windows' labelled rows trailing figures were made, as
                `trailing_state` names it; part of the file's name, so that a listing tells it.
            token: Which attempt at the window writes; see `lake.lease`.

        Raises:
            Fenced: The log knows a higher token for the window.
            LostRace: Another writer replaced the same window meanwhile.
        """
        name = json_sha256([content_digest(rows, METRIC_KEY), dict(footer)])[:16]
        whole = f"{name}-{made_of}" if made_of else name
        return self.keep(window, whole, rows, footer, token=token)


def metric_table(project: Project, spec: PipelineSpec, name: str) -> MetricTable:
    """Return the table `evaluation` or `performance`."""
    return MetricTable(project.lake / spec.name / name)


def history_of(path: Place) -> str | None:
    """Return of what the trailing figures in a file were made, if it has any and says so."""
    return path.stem.partition("-")[2] or None


def read_figures(path: Place) -> pa.Table:
    """Read the figures of one file as rows of `METRIC_SCHEMA`, whichever version wrote it.

    Raises:
        ManifestInvalid: The file is gone or damaged.
    """
    rows = read_parquet(path)
    return pa.table([_column(rows, field) for field in METRIC_SCHEMA], schema=METRIC_SCHEMA)


def _column(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name in rows.column_names:
        return rows.column(field.name).cast(field.type)
    nothing = pa.nulls(rows.num_rows, field.type)
    if field.name not in _MEANT_THEN:
        return nothing
    drift = pc.equal(rows.column("subject_kind"), "drift")
    return pc.if_else(drift, pa.scalar(_MEANT_THEN[field.name], field.type), nothing)
