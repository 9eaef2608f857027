"""What condemned a revision, measured again before a rollback that died is begun anew.

Files may have been restored meanwhile, an override given, or outcomes corrected: then the verdict
is taken back, as nothing is left to act on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from batchinf_assets.attempts import attempting
from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import LostRace
from batchinf_assets.evaluation.consequences import judges_performance
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.recorded_figures import recorded_figures
from batchinf_assets.publishing.rollback.automatic import BY, SAID
from batchinf_assets.publishing.rollback.damage import check_damage
from batchinf_assets.publishing.rollback.plan import seen_revision
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.verdicts_of_now import failed_since
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.condemnations import Condemnation, condemned, say
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.spec.evaluation import RollbackCause
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import ROLLBACK
from batchinf_assets.windows import Window


def found_again(
    project: Project,
    registry: Registry,
    spec: PipelineSpec,
    window: Window,
    cause: RollbackCause,
    before: Condemnation,
) -> CheckResult | None:
    """Measure once more what condemned a revision that readers see.

    Args:
        project: Where the tables are.
        registry: Whose keys and models count.
        spec: The pipeline, with the bounds and overrides of now.
        window: The window.
        cause: What condemned it.
        before: The verdict, with the check as it failed then.

    Returns:
        The check as it fails now; None where it no longer does.

    Raises:
        BatchinfError: It cannot be measured here and now, so that nobody knows.
        OSError: A file is there and cannot be read.
    """

    def damage() -> CheckResult | None:
        return check_damage(project, registry, spec, window, before.revision)

    def evaluation() -> CheckResult | None:
        return failed_since(project, registry, spec, window, before.revision)

    def performance() -> CheckResult | None:
        # Outcomes that are gone say nothing else than what they said.
        own = measure_performance(project, spec, window).own_check
        return own or (before.check if judges_performance(spec) else None)

    measures: dict[RollbackCause, Callable[[], CheckResult | None]] = {
        "verification": damage,
        "evaluation": evaluation,
        "performance": performance,
    }
    found = measures[cause]()
    return None if found is None or found.passed else found


def lift(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    cause: RollbackCause,
    before: Condemnation,
    *,
    run_id: str,
    now: datetime,
) -> Rollback:
    """Take the verdict on a revision that readers see back, as its cause no longer holds.

    Args:
        project: Where the verdicts are.
        spec: The pipeline.
        window: The window.
        cause: What condemned it.
        before: The verdict.
        run_id: The run that the ledger names.
        now: The time.

    Raises:
        LostRace: Somebody works on the window, or judged or changed it meanwhile.
        BatchinfError: What else `attempting` raises.
    """
    reason = f"{SAID[cause]} before the commit: what condemned it no longer holds."
    with attempting(project, spec, window, run_id=run_id, stage=ROLLBACK) as attempt:
        _require_unchanged(project, spec, window, before)
        said = Condemnation(
            pipeline=spec.name,
            window=window.key,
            revision=before.revision,
            verdict="reinstated",
            by=BY,
            reason=reason,
            at=now,
            figures=recorded_figures(project, spec, window, before.revision),
        )
        say(project, spec, window, said)
        manifest = manifests(project, spec).read(window, before.revision)
        attempt.took_back(f"reinstated/{cause}", reason, manifest)
    seen = seen_revision(project, spec, window, before.revision)
    return Rollback(state="reinstated", window=window.key, before=seen, after=seen, told=None)


def _require_unchanged(
    project: Project, spec: PipelineSpec, window: Window, before: Condemnation
) -> None:
    is_seen = published_revision(project, spec, window) == before.revision
    if is_seen and condemned(project, spec, window, before.revision) == before:
        return
    raise LostRace(
        f"Somebody judged or changed window {window} of {spec.name} meanwhile.",
        next_step="Nothing was changed; look at it again.",
    )
