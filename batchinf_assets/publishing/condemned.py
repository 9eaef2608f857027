"""What the gate asks of condemned revisions; the documents are `scoring.condemnations`' business.

Scoring asks too, before it would write over the files that are kept as evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import Condemnation as Condemnation
from batchinf_assets.scoring.condemnations import (
    RevisionCondemned,
    condemned_inputs,
    refusal,
)
from batchinf_assets.scoring.condemnations import condemned as condemned
from batchinf_assets.scoring.condemnations import condemned_manifests as condemned_manifests
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "published"


def require_not_condemned(
    project: Project, spec: PipelineSpec, window: Window, made: Manifest
) -> None:
    """Do nothing where a revision may be shown to readers.

    Raises:
        RevisionCondemned: Somebody condemned it, or what other code made of its inputs; carries
            the failed `gate`.
        ManifestInvalid: A document about it is damaged.
    """
    found = condemned_inputs(project, spec, window, made)
    if found is None:
        return
    refused = refusal(project, spec, window, found, made.revision)
    raise RevisionCondemned(
        refused.message, next_step=refused.next_step, checks=[_failed_gate(found, made.revision)]
    )


def refused_later(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    found: Condemnation,
    checks: Sequence[CheckResult],
) -> RevisionCondemned:
    """Return the refusal of a window whose published revision was condemned by these checks."""
    refused = refusal(project, spec, window, found)
    return RevisionCondemned(refused.message, next_step=refused.next_step, checks=checks)


def _failed_gate(found: Condemnation, made: str) -> CheckResult:
    rule = f"of a revision that nobody condemned ({found})"
    return CheckResult(
        name="gate",
        asset=ASSET,
        passed=False,
        violations=(Violation(column=None, rule=rule),),
        measured={"revision": made, "condemned": found.revision},
    )
