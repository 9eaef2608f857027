"""What evaluation holds against a revision now: by its last figures, bounds and overrides.

Verdicts are held against the figures beside them; `gate` decides what follows before a revision is
published, `automatic` what follows afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from batchinf_assets.checks import CheckResult, blocking_failures
from batchinf_assets.evaluation.consequences import VERDICTS, held_against_figures, is_verdict
from batchinf_assets.evaluation.evaluate_again import judge_again
from batchinf_assets.evaluation.later_evaluations import with_last_evaluation
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.overrides import failure_digests, read_overrides
from batchinf_assets.publishing.signed import read_signed_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def with_verdicts_of_now(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    *,
    signed: bool = False,
) -> Manifest:
    """Return a manifest whose verdicts fit its figures, the declaration and the overrides of now.

    Of one that was signed the figures are those of its last evaluation, which may be later ones.

    Verdicts are held against the figures beside them; each blocks as it is declared now; and of
    those that do and failed, the manifest names who let them pass. Whoever only writes `passed`
    or an override into a draft gains nothing.

    Args:
        project: Where the overrides are.
        spec: The declaration of now.
        window: The window.
        manifest: A draft, or what was signed.
        signed: Whether its signature was verified: then the overrides that it names count too.

    Raises:
        ManifestInvalid: An override is damaged.
    """
    if signed:
        last = with_last_evaluation(project, spec, window, manifest)
        return with_overrides(project, spec, window, last, signed=manifest)
    return with_overrides(project, spec, window, manifest)


def with_overrides(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    *,
    signed: Manifest | None = None,
) -> Manifest:
    """Return a manifest with its verdicts of now, and the overrides of those that failed.

    Args:
        project: Where the overrides are.
        spec: The declaration of now.
        window: The window.
        manifest: With the evaluation that counts.
        signed: As it was signed and verified: the overrides that it names count too, each for the
            very failure that it was given for.

    Raises:
        ManifestInvalid: An override is damaged.
    """
    figures = manifest.evaluation
    checks = held_against_figures(manifest.checks, figures, spec, window_end=window.end)
    failed = _failed(checks, figures)
    kept = [
        *read_overrides(
            project, spec, window, manifest.revision, _reworded(checks, manifest, spec)
        ),
        *read_overrides(project, spec, window, manifest.revision, failed),
    ]
    if signed is not None:
        then = _failed(signed.checks, signed.evaluation)
        kept += [
            each for each in signed.overrides if then.get(each.check) == failed.get(each.check)
        ]
    overrides = {record.check: record for record in kept}
    let_pass = tuple(overrides[name] for name in VERDICTS if name in failed and name in overrides)
    return manifest.model_copy(update={"checks": checks, "overrides": let_pass})


def failed_evaluation(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, manifest: Manifest
) -> list[CheckResult]:
    """Return the verdicts that would keep a published revision back if it came now.

    Those that somebody let pass, as they fail now, do not count. Nothing is written.

    Args:
        project: Where the golden set, the sketches and the overrides are.
        registry: Where its model is.
        spec: The declaration of now.
        window: The window.
        manifest: As it was signed and verified.

    Raises:
        BatchinfError: What `judge_again` raises.
    """
    later = judge_again(project, registry, spec, window, manifest).of(manifest)
    judged = with_overrides(project, spec, window, later, signed=manifest)
    return [check for check in unexcused_failures(judged) if is_verdict(check)]


def failed_since(
    project: Project, registry: Registry, spec: PipelineSpec, window: Window, revision: str
) -> CheckResult | None:
    """Return what the last evaluation of a published revision holds against it, as one check.

    It has the name of the first failed verdict that blocks and that nobody let pass, and the broken
    rules of all of them. None where there is no such.

    Raises:
        KeyringInvalid: There is no keyring.
        ManifestInvalid: The manifest is not signed by a trusted key, or an override is damaged.
    """
    keyring, store = read_keyring(registry.keys), manifests(project, spec)
    signed = read_signed_manifest(store, window, revision, keyring).manifest
    judged = with_verdicts_of_now(project, spec, window, signed, signed=True)
    failed = [check for check in unexcused_failures(judged) if is_verdict(check)]
    if not failed:
        return None
    return replace(failed[0], violations=tuple(v for check in failed for v in check.violations))


def unexcused_failures(manifest: Manifest) -> list[CheckResult]:
    """Return the failed blocking checks of a manifest without those that its overrides let pass.

    Only a verdict of evaluation can be let pass: an override of any other check counts for nothing.
    """
    let_pass = {record.check for record in manifest.overrides}
    failures = blocking_failures(manifest.checks)
    return [check for check in failures if not (is_verdict(check) and check.name in let_pass)]


def _failed(checks: Iterable[CheckResult], figures: EvaluationRecord | None) -> dict[str, str]:
    """Return by name what an override of each failed verdict that blocks binds to."""
    verdicts = [check for check in blocking_failures(checks) if is_verdict(check)]
    return failure_digests(verdicts, figures)


def _reworded(
    checks: Iterable[CheckResult], manifest: Manifest, spec: PipelineSpec
) -> dict[str, str]:
    """Return what overrides bind to that were given by the figures before evaluation ran again.

    Evaluation says of the same figures in other words why they fail.
    """
    failed = {check.name: len(check.violations) for check in blocking_failures(checks)}
    verdicts = [replace(check, passed=True) for check in checks if is_verdict(check)]
    end, figures = manifest.window.end, manifest.evaluation
    held = held_against_figures(verdicts, figures, spec, window_end=end)
    return _failed(
        [each for each in held if failed.get(each.name) == len(each.violations)], figures
    )
