"""Labelled feature rows of past windows, made by the very SQL and views that scoring uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.golden.golden_set import read_golden_keys
from batchinf_assets.features.build import compute_features
from batchinf_assets.features.labels import LABEL, label_rows, landed_outcomes, require_outcomes
from batchinf_assets.features.views import build_views
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import landing_of, read_source
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Rows whose outcome is known.

    Attributes:
        rows: Key, features and a boolean `label`, in window order and sorted by key within one.
        window_rows: How many of them each window has.
        unlabelled: Rows left out because their outcome has no label.
        golden: Rows left out because they are in the golden set.
    """

    rows: pa.Table
    window_rows: tuple[int, ...]
    unlabelled: int
    golden: int = 0

    @property
    def windows(self) -> int:
        """How many windows they come from."""
        return len(self.window_rows)

    def by_window(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each window, after the number of those before them."""
        ends = accumulate(self.window_rows)
        for end, count in zip(ends, self.window_rows, strict=True):
            yield end - count, self.rows.slice(end - count, count)


def training_rows(
    project: Project,
    pipeline: Pipeline,
    windows: Sequence[Window],
    on_progress: Callable[[int, int], None],
) -> LabelledRows:
    """Make the labelled features of some windows without the rows of the golden set.

    A model that had learned golden rows would be measured on what it remembers.

    Raises:
        GoldenSetInvalid: The golden set is missing, or lacks the key columns.
        InvalidSpec: The pipeline declares no outcomes.
        LandedFileMissing: A source, reference or outcome file has not landed.
        WindowRefused: One of them breaks its contract.
    """
    spec = pipeline.spec
    golden = read_golden_keys(project, spec)  # before the long reading
    return _without(labelled_rows(project, pipeline, windows, on_progress), golden)


def labelled_rows(
    project: Project,
    pipeline: Pipeline,
    windows: Sequence[Window],
    on_progress: Callable[[int, int], None],
) -> LabelledRows:
    """Make the labelled features of some windows from what landed.

    Raises:
        InvalidSpec: The pipeline declares no outcomes.
        LandedFileMissing: A source, reference or outcome file has not landed.
        WindowRefused: One of them breaks its contract.
    """
    spec = pipeline.spec
    require_outcomes(spec)
    parts: list[pa.Table] = []
    total = 0
    for done, window in enumerate(windows, start=1):
        features = _features(project, pipeline, window)
        total += features.num_rows
        _, outcomes = landed_outcomes(project, spec, window)
        parts.append(_labelled(features, label_rows(spec, outcomes), spec))
        on_progress(done, len(windows))
    rows = pa.concat_tables(parts)
    return LabelledRows(
        rows=rows,
        window_rows=tuple(part.num_rows for part in parts),
        unlabelled=total - rows.num_rows,
    )


def _features(project: Project, pipeline: Pipeline, window: Window) -> pa.Table:
    rows = read_source(project, pipeline.spec, window).rows
    views = build_views(landing_of(project), pipeline.spec, window, rows)
    return compute_features(pipeline, window, views).rows


def _without(labelled: LabelledRows, golden: pa.Table) -> LabelledRows:
    key = golden.column_names
    places = pa.array(np.arange(labelled.rows.num_rows))
    found = query(
        f"""
        SELECT _place FROM numbered SEMI JOIN golden
        USING ({", ".join(quoted(name) for name in key)})
        """,  # noqa: S608 - every name is quoted
        # Declared names start with a letter, so `_place` is free.
        {"numbered": labelled.rows.select(key).append_column("_place", places), "golden": golden},
    )
    kept = np.ones(labelled.rows.num_rows, dtype=np.bool_)
    kept[found.column("_place").to_numpy()] = False
    window_rows = tuple(
        int(np.count_nonzero(kept[start : start + part.num_rows]))
        for start, part in labelled.by_window()
    )
    rows = labelled.rows.filter(pa.array(kept))
    return replace(labelled, rows=rows, window_rows=window_rows, golden=found.num_rows)


def _labelled(features: pa.Table, labels: pa.Table, spec: PipelineSpec) -> pa.Table:
    key = ", ".join(quoted(name) for name in spec.source.key)
    columns = ", ".join(f"f.{quoted(name)}" for name in spec.feature_table)
    return query(
        f"""
        SELECT {columns}, l.{LABEL}
        FROM features AS f JOIN labels AS l USING ({key})
        ORDER BY {key}
        """,  # noqa: S608 - every name is quoted
        {"features": features, "labels": labels},
    )
