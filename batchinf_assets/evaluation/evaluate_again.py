"""Judge a published revision once more: by the golden set, the bounds and the neighbours of now.

Its signed manifest keeps the evaluation that it was published with; what is found later is kept by
`later_evaluations`, and what follows from it is the business of `publishing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import GoldenSetInvalid, ManifestInvalid
from batchinf_assets.evaluation.consequences import EVALUATION, is_verdict
from batchinf_assets.evaluation.drift.measure import Drift
from batchinf_assets.evaluation.drift.references import earlier_windows
from batchinf_assets.evaluation.drift.sketches import read_sketches
from batchinf_assets.evaluation.evaluate import (
    Measures,
    drifts_of,
    evaluation_record,
    verdicts,
)
from batchinf_assets.evaluation.golden.golden_provenance import RESTORE, provenance_path
from batchinf_assets.evaluation.golden.golden_run import GoldenMeasures, measure_golden
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EarlierWindowsRecord, EvaluationRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import model_of
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

DRIFT = "drift"
_OF_GOLDEN = ("golden", "golden_intervals", "golden_set", "golden_set_end")


@dataclass(frozen=True, kw_only=True)
class LaterVerdicts:
    """What a published revision comes to now.

    Attributes:
        record: The figures.
        checks: `golden_quality`, `golden_set` and `drift`.
        measures: What they were made of; None where drift could not be measured again, as nothing
            was kept of the revision's distributions, and the recorded drift stands.
    """

    record: EvaluationRecord
    checks: tuple[CheckResult, ...]
    measures: Measures | None

    def of(self, manifest: Manifest) -> Manifest:
        """Return a manifest with this evaluation in the place of the one that was signed."""
        others = (check for check in manifest.checks if check.asset != EVALUATION)
        changes = {"evaluation": self.record, "checks": (*others, *self.checks)}
        return manifest.model_copy(update=changes)


def judge_again(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, manifest: Manifest
) -> LaterVerdicts:
    """Measure a published revision by what lies there now; nothing is written.

    The golden set is scored by the very model of the revision. Drift is measured from the sketches
    that were kept of it, so neither its rows nor its checkpoints are needed.

    Args:
        project: Where the golden set and the sketches are.
        registry: Where its model is.
        spec: The declaration of now.
        window: The window.
        manifest: Of the revision; its estimate stays, as that was made before any outcome.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: Its model is not what was signed, or does not fit the declaration of now.
        GoldenSetInvalid: The golden set is missing or does not fit the features, or the provenance
            is gone that it had when the revision was evaluated.
        ManifestInvalid: A table's log or a file is damaged, or no evaluation is on record.
    """
    recorded = manifest.evaluation
    if recorded is None:
        raise ManifestInvalid(
            f"Revision {manifest.revision} of window {window} was published without an evaluation.",
            next_step=f"Run the window again: `batchinf run {spec.name} {window}`.",
        )
    model = model_of(registry, spec, manifest)
    golden = measure_golden(project, spec, model)
    _require_provenance(project, spec, window, recorded, golden)
    drift = _drift(project, spec, window, manifest, model.artifact.profile)
    measures = Measures(
        golden=golden,
        drifts=drift.drifts if drift else (),
        earlier=drift.earlier if drift else {},
        estimated=recorded.estimated,
    )
    record, checks = evaluation_record(measures), verdicts(measures, spec, window)
    if drift is not None:
        return LaterVerdicts(record=record, checks=checks, measures=measures)
    found = {name: getattr(record, name) for name in _OF_GOLDEN}
    stands = (check for check in manifest.checks if is_verdict(check) and check.name == DRIFT)
    return LaterVerdicts(
        record=recorded.model_copy(update=found),
        checks=(*(check for check in checks if check.name != DRIFT), *stands),
        measures=None,
    )


def _require_provenance(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    recorded: EvaluationRecord,
    golden: GoldenMeasures,
) -> None:
    """What was lost since says nothing of the revision, so it is no verdict on it."""
    before = recorded.golden_set
    if before is None or before.version is None or golden.golden.provenance is not None:
        return
    path = project.root / spec.golden.file
    raise GoldenSetInvalid(
        f"Golden set {path} has lost its provenance {provenance_path(path)}, which it had when "
        f"window {window} of {spec.name} was evaluated.",
        next_step=RESTORE,
    )


@dataclass(frozen=True, kw_only=True)
class _Drift:
    drifts: tuple[Drift, ...]
    earlier: dict[str, EarlierWindowsRecord]


def _drift(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, profile: Profile
) -> _Drift | None:
    """Measure drift from what is kept of a revision; None where that has other bins, or is gone."""
    revision = {window.key: manifest.revision}
    sketches = read_sketches(project, spec, [window], revisions=revision).get(window.key)
    if sketches is None or sketches.profile != profile.digest:
        return None
    observed = {name: each.bin_counts for name, each in sketches.subjects.items()}
    earlier = earlier_windows(project, spec, window, profile)
    return _Drift(
        drifts=drifts_of(observed, manifest.counts.scored, profile, spec, earlier),
        earlier={name: each.record for name, each in earlier.items()},
    )
