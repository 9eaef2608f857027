"""What drift says of every real day of 2013: how often it would have alarmed somebody, and when.

Three questions, each answered twice: by what the windows told at registration, and as if rows were
independent.

- the training quarter itself, January to March, by the model that learned it.
- its days unseen: in turn, every third day is judged by a model that learned the others.
- April to December by the model of the quarter, month by month: here the season really moves.

A day is judged by all of its flights, learned are those whose outcome is known and that are not in
the golden set, as registration does. Nothing is timed.

    python -m benchmarks.drift_days
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.drift.measure import Drift, measure_drift, overall_verdict
from batchinf_assets.features.build import compute_features
from batchinf_assets.features.labels import LABEL
from batchinf_assets.features.views import build_views
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.snapshots.freeze import landing_of, read_source
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import LabelledRows, training_rows
from batchinf_assets.training.reference import training_reference
from batchinf_assets.training.register import declared_windows
from batchinf_assets.training.train import training_function
from batchinf_assets.windows import Window
from batchinf_demo.landing import land

FOLDS = 3
VERDICTS = ("stable", "moderate", "major")


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A model and its training reference."""

    estimator: Any
    profile: Profile
    spec: PipelineSpec

    @property
    def of_independent_rows(self) -> Learned:
        """The same as it was before windows told anything."""
        rows, subjects = self.profile.rows, self.profile.subjects
        return replace(self, profile=Profile(rows=rows, subjects=subjects))

    def judge(self, rows: pa.Table) -> tuple[Drift, ...]:
        """Score a day and measure it."""
        names, score = self.spec.features.columns, self.spec.prediction.column
        columns = {name: rows.column(name) for name in names}
        scores = pa.array(scored(self.estimator, rows, self.spec))
        observed = self.profile.observe({**columns, score: scores})
        return measure_drift(observed, rows.num_rows, self.profile, spec=self.spec)


def main() -> None:
    """Answer the questions."""
    pipeline = load_pipeline("flight_delays")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        places = {name: root / name for name in ("lake", "landing", "dagster_home", "keys")}
        project = Project(root=CHECKOUT, **places)
        land(project.landing)
        year = pipeline.spec.window.between("2013-01-01", "2013-12-31")
        days = {window.key: flights(project, pipeline, window) for window in year}
        quarter = declared_windows(pipeline)
        labelled = training_rows(project, pipeline, quarter, lambda _done, _all: None)
    print("share of days     windows known                 rows as independent")
    print("                  " + "  ".join(f"{name:>8}" for name in VERDICTS * 2))
    learned = learn(pipeline, labelled)
    tell("its own quarter", [(learned, days[window.key]) for window in quarter])
    tell(
        "unseen days",
        [each for fold in range(FOLDS) for each in unseen(pipeline, labelled, quarter, days, fold)],
    )
    for month in range(4, 13):
        own = [rows for key, rows in days.items() if key.startswith(f"2013-{month:02}")]
        tell(f"2013-{month:02}", [(learned, rows) for rows in own])


def flights(project: Project, pipeline: Pipeline, window: Window) -> pa.Table:
    """Make the features of a day's flights, as scoring does."""
    rows = read_source(project, pipeline.spec, window).rows
    views = build_views(landing_of(project), pipeline.spec, window, rows)
    return compute_features(pipeline, window, views).rows


def learn(pipeline: Pipeline, labelled: LabelledRows) -> Learned:
    """Train a model and make its reference, as registration does."""
    frame = model_frame(labelled.rows, pipeline.spec.features.columns)
    estimator = training_function(pipeline)(frame, labelled.rows.column(LABEL).to_pandas())
    scores = scored(estimator, labelled.rows, pipeline.spec)
    profile = training_reference(labelled, scores, pipeline.spec)
    return Learned(estimator=estimator, profile=profile, spec=pipeline.spec)


def scored(estimator: Any, rows: pa.Table, spec: PipelineSpec) -> np.ndarray:
    """Return the scores of rows."""
    return estimator.predict_proba(model_frame(rows, spec.features.columns))[:, 1]


def unseen(
    pipeline: Pipeline,
    labelled: LabelledRows,
    windows: Sequence[Window],
    days: Mapping[str, pa.Table],
    fold: int,
) -> list[tuple[Learned, pa.Table]]:
    """Return every third day, with a model that learned the days between."""
    kept = [rows for place, (_, rows) in enumerate(labelled.by_window()) if place % FOLDS != fold]
    window_rows = tuple(rows.num_rows for rows in kept)
    others = replace(labelled, rows=pa.concat_tables(kept), window_rows=window_rows)
    learned = learn(pipeline, others)
    return [
        (learned, days[window.key]) for place, window in enumerate(windows) if place % FOLDS == fold
    ]


def tell(name: str, judged: Sequence[tuple[Learned, pa.Table]]) -> None:
    """Print the shares of verdicts, by windows and by rows, and who moved."""
    known = [learned.judge(rows) for learned, rows in judged]
    alone = [learned.of_independent_rows.judge(rows) for learned, rows in judged]
    found = [*shares(known), *shares(alone)]
    moved = Counter(
        f"{drift.subject} {drift.verdict}"
        for drifts in known
        for drift in drifts
        if drift.verdict in VERDICTS[1:]
    )
    said = ", ".join(f"{what} {count}" for what, count in moved.most_common())
    print(f"{name:<16}  " + "  ".join(f"{share:8.1%}" for share in found) + f"  {said}")


def shares(days: Iterable[tuple[Drift, ...]]) -> list[float]:
    """Return the share of days that are stable, moderate and major."""
    verdicts = [overall_verdict(drifts) for drifts in days]
    return [verdicts.count(verdict) / len(verdicts) for verdict in VERDICTS]


if __name__ == "__main__":
    main()
