"""The golden set scored by the very code that scores windows, and measured once per process."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from batchinf_assets.evaluation.golden.golden_provenance import provenance_path
from batchinf_assets.evaluation.golden.golden_set import GoldenSet, read_golden_set
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.lake.digest import file_sha256, json_sha256
from batchinf_assets.lake.entries import is_file
from batchinf_assets.project import Project
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.said import score_array
from batchinf_assets.scoring.scorer import Scorer, score_rows
from batchinf_assets.spec.pipeline import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class GoldenMeasures:
    """What a model shows on the golden set.

    Attributes:
        golden: The set.
        metrics: Over all its rows.
        segments: By declared segment.
        calibration: How far scores mean what they say.
    """

    golden: GoldenSet
    metrics: Metrics
    segments: tuple[SegmentMetrics, ...]
    calibration: tuple[CalibrationBin, ...]


def measure_golden(project: Project, spec: PipelineSpec, model: ScoringModel) -> GoldenMeasures:
    """Score the golden set with the scoring code and measure it, once per process and model.

    Raises:
        GoldenSetInvalid: The golden set is missing or does not fit the features.
    """
    path = project.root / spec.golden.file
    return _measured(
        _GoldenRun(
            model=model.version.digest,
            files=(_digest(path), _digest(provenance_path(path))),
            declared=json_sha256(
                spec.model_dump(mode="json", include={"golden", "features", "prediction"})
            ),
            project=project,
            spec=spec,
            scorer=model.scorer,
        )
    )


@dataclass(frozen=True, kw_only=True)
class _GoldenRun:
    """What golden metrics depend on; two runs are the same where the first three are."""

    model: str
    files: tuple[str | None, str | None]
    declared: str
    project: Project = field(compare=False)
    spec: PipelineSpec = field(compare=False)
    scorer: Scorer = field(compare=False)


def _digest(path: Path) -> str | None:
    return file_sha256(path) if is_file(path) else None


@lru_cache(maxsize=8)
def _measured(run: _GoldenRun) -> GoldenMeasures:
    golden, declared = read_golden_set(run.project, run.spec), run.spec.golden
    features = golden.rows.select(list(run.spec.features.columns))
    scores = score_array(score_rows(run.scorer, features, run.spec.prediction.of))
    labels = golden.rows.column(declared.label)
    task = task_of(run.spec)
    return GoldenMeasures(
        golden=golden,
        metrics=task.measure(labels, scores),
        segments=task.by_segment(labels, scores, features.select(declared.segments)),
        calibration=task.curve(task.keep(labels, scores)),
    )
