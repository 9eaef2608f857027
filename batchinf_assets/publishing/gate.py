"""The gate: may this revision be published? It believes files and figures, never a colour."""

from __future__ import annotations

from collections.abc import Iterator

from batchinf_assets.checks import CheckResult, Violation, blocking_failures
from batchinf_assets.features.build import load_features
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import changed_files, predictions_table
from batchinf_assets.snapshots.freeze import load_snapshot
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

REQUIRED_CHECKS: dict[str, tuple[str, ...]] = {
    "snapshot": ("schema", "contract", "unique_key", "in_window"),
    "features": ("schema", "contract", "unique_key", "row_conservation"),
    "predictions": ("schema", "contract", "unique_key", "row_conservation"),
    "evaluation": ("golden_quality",),
}


def judge_revision(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> CheckResult:
    """Decide whether a revision may be published.

    Every required check must be on record as passed, the inputs must still be the window's current
    ones, every row must be accounted for, and every file must hold the bytes that were scored.

    Raises:
        WindowMissing: The window lost its snapshot or features.
    """
    violations = (
        *_checks(manifest),
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


def miscounts(manifest: Manifest) -> Iterator[Violation]:
    """Name every row count of a manifest that contradicts another."""
    counts = manifest.counts
    written = sum(output.rows for output in manifest.outputs)
    known = {manifest.snapshot.rows, counts.rows_in, manifest.features.rows}
    if known != {counts.scored + counts.quarantined}:
        yield Violation(column=None, rule=f"all accounted for ({counts.model_dump()})")
    if written != counts.scored:
        yield Violation(column=None, rule=f"{counts.scored} in the files ({written} found)")


def _checks(manifest: Manifest) -> Iterator[Violation]:
    for failure in blocking_failures(manifest.checks):
        name = f"{failure.asset}/{failure.name}"
        yield from failure.violations or (Violation(column=None, rule=f"within {name}"),)
    on_record = {(c.asset, c.name) for c in manifest.checks if c.passed or c.blocking}
    for asset, names in REQUIRED_CHECKS.items():
        for name in names:
            if (asset, name) not in on_record:
                yield Violation(column=None, rule=f"checked by {asset}/{name} (not on record)")


def _inputs(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Iterator[Violation]:
    if load_snapshot(project, spec, window).record.digest != manifest.snapshot.digest:
        yield Violation(column=None, rule="scored from the current snapshot (it is newer)")
    if load_features(project, spec, window).record.digest != manifest.features.digest:
        yield Violation(column=None, rule="scored from the current features (they are newer)")
