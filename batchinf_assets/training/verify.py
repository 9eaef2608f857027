"""Hold a registered model's scorers together again: the stored one, which scores, and the model."""

from __future__ import annotations

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.evaluation.golden.golden_set import read_golden_set
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import Artifact, require_outputs, require_schema
from batchinf_assets.registry.card import ScorerFile
from batchinf_assets.registry.sandbox import Limits
from batchinf_assets.scoring.fast import LINEAR, TREES
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.examine import SCORER_FILES, Findings, Job, examine_model


def verify_model(project: Project, pipeline: Pipeline, artifact: Artifact) -> Findings:
    """Examine a verified artifact again, in a sandbox, for the features as declared now.

    Where the card names a fast scorer, its stored files are held against the model. One that this
    machine does not have is not tried: the model itself scores then.

    Raises:
        ModelRefused: It does not fit the features, or no longer loads or scores; or the scorer that
            scores with it gives other answers (PARITY).
        GoldenSetInvalid: The golden set is missing or does not fit the features.
    """
    spec, card = pipeline.spec, artifact.card
    columns = dict(spec.features.columns)
    require_schema(artifact, columns)
    require_outputs(artifact, spec.prediction)
    golden = read_golden_set(project, spec).rows
    stored: dict[ScorerFile, bytes] = {
        name: artifact.contents[name] for name in SCORER_FILES if name in artifact.contents
    }
    findings = examine_model(
        artifact.contents[card.model_file],
        job=Job(
            columns=columns,
            decision=spec.golden.decision,
            kind=spec.prediction.kind,
            classes=spec.prediction.classes,
            scorer=card.scorer,
        ),
        rows=golden,
        golden=golden,
        limits=Limits(),
        stored=stored,
    ).findings
    if card.scorer in (TREES, LINEAR):
        _require_parity(artifact, findings)
    return findings


def _require_parity(artifact: Artifact, findings: Findings) -> None:
    card = artifact.card
    record = next((each for each in findings.parity if each.scorer == card.scorer), None)
    if record is not None and record.verdict == "passed":
        return
    reason = record.reason if record else "it was not compared"
    raise ModelRefused(
        f"Model {card.name} v{artifact.statement.version} is scored by {card.scorer}, which does "
        f"not give the model's own answers: {reason}.",
        reason=Refusal.PARITY,
        next_step="Register the model again (`batchinf model register`) and promote that version; "
        "what this one scored is not what the model says.",
    )
