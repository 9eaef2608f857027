"""Hold a registered model's scorers together again, as at its registration."""

from __future__ import annotations

from batchinf_assets.evaluation.golden import read_golden_set
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import Artifact, require_schema
from batchinf_assets.registry.sandbox import Limits
from batchinf_assets.spec import Pipeline
from batchinf_assets.training.examine import Findings, Job, examine_model


def verify_model(project: Project, pipeline: Pipeline, artifact: Artifact) -> Findings:
    """Examine a verified artifact again, in a sandbox, for the features as declared now.

    Raises:
        ModelRefused: It does not fit the features, or no longer loads or scores.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
    """
    spec = pipeline.spec
    require_schema(artifact, spec.features.columns)
    golden = read_golden_set(project.root / spec.golden.file, spec)
    return examine_model(
        artifact.contents[artifact.card.model_file],
        job=Job(columns=dict(spec.features.columns), decision=spec.golden.decision),
        rows=golden,
        golden=golden,
        limits=Limits(),
    ).findings
