"""The gate: may this revision be published? It believes files and figures, never a colour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from batchinf_assets.checks import CheckResult, Violation, blocking_failures
from batchinf_assets.features.build import feature_definition, load_features
from batchinf_assets.lake.place import path_within
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import promoted_model
from batchinf_assets.scoring.predictions import (
    changed_files,
    predictions_table,
    revision_folder,
)
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.scoring.shards import file_name
from batchinf_assets.snapshots.freeze import load_snapshot
from batchinf_assets.spec import Pipeline, PipelineSpec
from batchinf_assets.windows import Window

REQUIRED_CHECKS: dict[str, tuple[str, ...]] = {
    "snapshot": ("schema", "contract", "unique_key", "in_window"),
    "features": ("schema", "contract", "unique_key", "row_conservation"),
    "predictions": ("schema", "contract", "unique_key", "row_conservation"),
    "evaluation": ("golden_quality",),
}


def judge_revision(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    manifest: Manifest,
    *,
    now: datetime,
) -> CheckResult:
    """Decide whether a revision may be published.

    It must be about this window, under the declaration and the model of now; every required check
    must be on record as passed, the inputs must still be the window's current ones, every row must
    be accounted for, and every file must hold the bytes that were scored.

    Raises:
        WindowMissing: The window lost its snapshot or features.
        ModelUnavailable: The registry no longer has the declared model.
        ModelRefused: The model is no longer signed and promoted.
    """
    spec = pipeline.spec
    violations = (
        *_identity(pipeline, window, manifest),
        *_places(project, spec, window, manifest),
        *_model(registry, spec, manifest, now),
        *unmet_checks(manifest),
        *_inputs(project, spec, window, manifest),
        *miscounts(manifest),
        *changed_files(predictions_table(project, spec).folder, manifest.outputs),
    )
    return CheckResult(
        name="gate",
        asset="published",
        passed=not violations,
        violations=violations,
        measured={"revision": manifest.revision, "checks": len(manifest.checks)},
    )


def derived_revision(manifest: Manifest) -> str:
    """Return the id that a manifest's own contents give."""
    return revision_id(
        snapshot=manifest.snapshot.digest,
        features=manifest.features.digest,
        definition=manifest.features.definition,
        model=manifest.model.digest,
        settings=manifest.settings,
        code=manifest.code,
    )


def miscounts(manifest: Manifest) -> Iterator[Violation]:
    """Name every row count of a manifest that contradicts another."""
    counts = manifest.counts
    written = sum(output.rows for output in manifest.outputs)
    known = {manifest.snapshot.rows, counts.rows_in, manifest.features.rows}
    if known != {counts.scored + counts.quarantined}:
        yield Violation(column=None, rule=f"all accounted for ({counts.model_dump()})")
    if written != counts.scored:
        yield Violation(column=None, rule=f"{counts.scored} in the files ({written} found)")


def unmet_checks(manifest: Manifest) -> Iterator[Violation]:
    """Name every check that failed, and every required one that is not on record."""
    for failure in blocking_failures(manifest.checks):
        name = f"{failure.asset}/{failure.name}"
        yield from failure.violations or (Violation(column=None, rule=f"within {name}"),)
    on_record = {(c.asset, c.name) for c in manifest.checks if c.passed or c.blocking}
    for asset, names in REQUIRED_CHECKS.items():
        for name in names:
            if (asset, name) not in on_record:
                yield Violation(column=None, rule=f"checked by {asset}/{name} (not on record)")


def _identity(pipeline: Pipeline, window: Window, manifest: Manifest) -> Iterator[Violation]:
    about = (manifest.pipeline, manifest.window.key)
    if about != (pipeline.name, window.key):
        yield Violation(column=None, rule=f"of {pipeline.name} {window} (found {' '.join(about)})")
    if derived_revision(manifest) != manifest.revision:
        yield Violation(column=None, rule=f"of revision {derived_revision(manifest)}")
    declared = (feature_definition(pipeline), scoring_settings(pipeline))
    if declared != (manifest.features.definition, manifest.settings):
        yield Violation(column=None, rule="scored under the current declaration (it changed since)")


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
    if load_snapshot(project, spec, window).record.digest != manifest.snapshot.digest:
        yield Violation(column=None, rule="scored from the current snapshot (it is newer)")
    if load_features(project, spec, window).record.digest != manifest.features.digest:
        yield Violation(column=None, rule="scored from the current features (they are newer)")
