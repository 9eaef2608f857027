"""The gate: may this revision be published? It believes files and figures, never a colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from batchinf_assets.checks import CheckResult, Violation, summarize
from batchinf_assets.contracts.declared_checks import declared_checks
from batchinf_assets.errors import WindowRefused
from batchinf_assets.evaluation.consequences import (
    EVALUATION,
    VERDICTS,
    consequence,
    is_verdict,
)
from batchinf_assets.features.build import feature_definition, features_contract, load_features
from batchinf_assets.lake.place import path_within
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.verdicts_of_now import unexcused_failures, with_verdicts_of_now
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import promoted_model
from batchinf_assets.scoring.predictions import (
    changed_files,
    predictions_table,
    revision_folder,
)
from batchinf_assets.scoring.revision import derived_revision, scoring_settings
from batchinf_assets.scoring.shards import file_name
from batchinf_assets.snapshots.freeze import load_snapshot, source_contract
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

REQUIRED_CHECKS: dict[str, tuple[str, ...]] = {
    "snapshot": ("schema", "contract", "unique_key", "in_window"),
    "features": ("schema", "contract", "unique_key", "row_conservation"),
    "predictions": ("schema", "contract", "unique_key", "row_conservation"),
    "evaluation": ("golden_quality",),
}
"""What every published revision has on record, whichever version published it."""


def required_checks(spec: PipelineSpec) -> dict[str, tuple[str, ...]]:
    """Return the checks that a revision under this declaration has on record, by asset.

    All of them block but the verdicts of evaluation, which must be there whatever follows from
    them.
    """
    declared = {
        asset: [name for name, blocks in checks.items() if blocks]
        for asset, checks in declared_checks(spec).items()
    }
    declared[EVALUATION] = list(VERDICTS)
    return {
        asset: tuple(dict.fromkeys((*names, *declared.get(asset, ()))))
        for asset, names in REQUIRED_CHECKS.items()
    }


def blocking_checks(spec: PipelineSpec) -> dict[str, tuple[str, ...]]:
    """Return those of `required_checks` whose failure keeps a window back, by asset."""
    verdicts = tuple(name for name in VERDICTS if consequence(name, spec) == "block")
    return {**required_checks(spec), EVALUATION: verdicts}


def judge_revision(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    manifest: Manifest,
    *,
    now: datetime,
    signed: bool = False,
) -> CheckResult:
    """Decide whether a revision may be published.

    It must be about this window, under the declaration and the model of now; every required check
    must be on record, and those that block passed or, if they are verdicts of evaluation, are
    overridden; the inputs must still be the window's current ones, every row must be accounted for,
    and every file must hold the bytes that were scored.

    Args:
        project: Where the tables are.
        registry: Where the model of now is named.
        pipeline: The declaration of now.
        window: The window.
        manifest: Of the revision.
        now: When keys and promotions must hold.
        signed: Whether the manifest's signature was verified.

    Raises:
        WindowMissing: The window lost its snapshot or features.
        ManifestInvalid: An override is damaged.
        ModelUnavailable: The registry no longer has the declared model.
        ModelRefused: The model is no longer signed and promoted.
    """
    spec = pipeline.spec
    judged = with_verdicts_of_now(project, spec, window, manifest, signed=signed)
    with ThreadPoolExecutor(1) as beside:  # hashing waits for nothing that is asked meanwhile
        folder = predictions_table(project, spec).folder
        changed = beside.submit(lambda: [*changed_files(folder, manifest.outputs)])
        violations = (
            *_identity(pipeline, window, manifest),
            *_places(project, spec, window, manifest),
            *_model(registry, spec, manifest, now),
            *unmet_checks(judged, required_checks(spec)),
            *_inputs(project, spec, window, manifest),
            *miscounts(manifest),
            *changed.result(),
        )
    return CheckResult(
        name="gate",
        asset="published",
        passed=not violations,
        violations=violations,
        measured={
            "revision": manifest.revision,
            "checks": len(manifest.checks),
            **{f"overridden/{o.check}": f"{o.by}: {o.reason}" for o in judged.overrides},
        },
    )


def require_open(
    gate: CheckResult,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    *,
    visible: bool = False,
) -> None:
    """Stop a window whose gate is closed, and say what may open it.

    Args:
        gate: The decision.
        spec: The pipeline.
        window: The window.
        manifest: What was decided on, as `with_verdicts_of_now` returns it.
        visible: Whether readers see it.

    Raises:
        WindowRefused: The gate is closed.
    """
    if gate.passed:
        return
    failures = unexcused_failures(manifest)
    verdicts = [check for check in failures if is_verdict(check)]
    found = {violation for check in verdicts for violation in check.violations}
    next_step = "Correct the data or its declaration in defs.yaml, then run the window again."
    if verdicts and found.issuperset(gate.violations):
        named = f"{spec.name} {window} --check {verdicts[0].name}"
        next_step = (
            "Score it with a better model, or look at it and let this revision pass: "
            f"`batchinf override {named} --reason TEXT`."
        )
        if visible:
            back = f"batchinf rollback {spec.name} {window} --from {manifest.revision}"
            next_step = f"Readers see it: take it back, `{back} --reason TEXT`. {next_step}"
    raise WindowRefused(
        f"{spec.name} {window} {gate.asset}: revision {manifest.revision}: {summarize([gate])}.",
        next_step=next_step,
        checks=(gate,),
    )


def miscounts(manifest: Manifest) -> Iterator[Violation]:
    """Name every row count of a manifest that contradicts another."""
    counts = manifest.counts
    written = sum(output.rows for output in manifest.outputs)
    snapshot, features = manifest.snapshot, manifest.features
    ways = {
        counts.rows_in,
        counts.scored + counts.quarantined,
        snapshot.rows_in,
        snapshot.quarantined + features.rows + features.quarantined,
    }
    if len(ways) > 1 or counts.quarantined != snapshot.quarantined + features.quarantined:
        yield Violation(column=None, rule=f"all accounted for ({counts.model_dump()})")
    if any((snapshot.rejected, features.rejected)) != (manifest.quarantine is not None):
        yield Violation(column=None, rule="a quarantine file that tells of quarantined rows")
    if written != counts.scored:
        yield Violation(column=None, rule=f"{counts.scored} in the files ({written} found)")


def unmet_checks(
    manifest: Manifest, required: Mapping[str, Sequence[str]] = REQUIRED_CHECKS
) -> Iterator[Violation]:
    """Name every check that failed and was not overridden, and every required one not on record."""
    for failure in unexcused_failures(manifest):
        name = f"{failure.asset}/{failure.name}"
        yield from failure.violations or (Violation(column=None, rule=f"within {name}"),)
    on_record = {(c.asset, c.name) for c in manifest.checks if _counts_as_checked(c)}
    for asset, names in required.items():
        for name in names:
            if (asset, name) not in on_record:
                yield Violation(column=None, rule=f"checked by {asset}/{name} (not on record)")


def _counts_as_checked(check: CheckResult) -> bool:
    """Say whether a check is more than a failure that somebody made a warning."""
    return check.passed or check.blocking or is_verdict(check)


def _identity(pipeline: Pipeline, window: Window, manifest: Manifest) -> Iterator[Violation]:
    about = (manifest.pipeline, manifest.window.key)
    if about != (pipeline.name, window.key):
        yield Violation(column=None, rule=f"of {pipeline.name} {window} (found {' '.join(about)})")
    if derived_revision(manifest) != manifest.revision:
        yield Violation(column=None, rule=f"of revision {derived_revision(manifest)}")
    declared = (feature_definition(pipeline), scoring_settings(pipeline))
    scored = (manifest.features.definition, manifest.settings)
    if declared != scored or not _under_contract(pipeline.spec, manifest):
        yield Violation(column=None, rule="scored under the current declaration (it changed since)")


def _under_contract(spec: PipelineSpec, manifest: Manifest) -> bool:
    judged = (manifest.snapshot.contract, manifest.features.contract)
    return judged == (source_contract(spec), features_contract(spec))


def _places(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[Violation]:
    """Files elsewhere may be those of another window, or be removed as nobody's."""
    folder = revision_folder(project, spec, window, manifest.revision)
    for index, output in enumerate(manifest.outputs):
        place = folder / file_name(index)
        expected = path_within(place, predictions_table(project, spec).folder)
        if output.path != expected:
            yield Violation(column=None, rule=f"in file {expected} (found {output.path})")


def _model(
    registry: Registry, spec: PipelineSpec, manifest: Manifest, now: datetime
) -> Iterator[Violation]:
    version = promoted_model(registry, spec.model.name, spec.model.alias, now).version
    if version.digest != manifest.model.digest:
        current = f"{version.name} v{version.version}"
        yield Violation(column=None, rule=f"scored by {current} (found v{manifest.model.version})")


def _inputs(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[Violation]:
    snapshot = load_snapshot(project, spec, window).record
    if snapshot.content != manifest.snapshot.content:
        yield Violation(column=None, rule="scored from the current snapshot (it is newer)")
    features = load_features(project, spec, window).record
    if features.content != manifest.features.content:
        yield Violation(column=None, rule="scored from the current features (they are newer)")
