"""Two days in one run: the second is held against the first, which nothing has published yet."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


def with_previous(pipeline: Pipeline) -> Pipeline:
    document = pipeline.spec.model_dump()
    document["drift"] |= {"references": ("training", "previous"), "previous_windows": 1}
    return replace(pipeline, spec=PipelineSpec.model_validate(document))


def test_the_days_of_a_range_are_references_of_each_other(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    own = with_previous(pipeline)
    first, second = own.spec.window.between("2013-07-01", "2013-07-02")
    with disable_dagster_warnings():
        definitions = dg.Definitions.merge(pipeline_definitions(own), shared())
        job = definitions.resolve_job_def(own.name)
    report = run_job(job, instance, [first, second], lambda _window, _asset: None)
    assert report.succeeded, report.failure

    alone, after = (candidate(project, own.spec, window) for window in (first, second))
    assert alone.published_at is not None
    assert alone.evaluation is not None
    assert alone.evaluation.earlier_windows == {"previous": EarlierWindowsRecord(absent=1)}
    found = set(alone.evaluation.drift_by_reference["previous"].values())
    assert found == {"insufficient data", "not judged"}
    (check,) = [check for check in alone.checks if check.name == "drift"]
    assert check.measured["verdict/previous"] == "insufficient data"
    assert alone.evaluation.drift_verdict == check.measured["verdict"] == "insufficient data"

    assert after.evaluation is not None
    expected = EarlierWindowsRecord(counted=1, candidates=1)
    assert after.evaluation.earlier_windows == {"previous": expected}
    assert "insufficient data" not in after.evaluation.drift_by_reference["previous"].values()
