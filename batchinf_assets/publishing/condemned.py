"""What the gate asks of condemned revisions; the documents are `scoring.condemnations`' business.

Scoring asks too, before it would write over the files that are kept as evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.manifest import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import Condemnation as Condemnation
from batchinf_assets.scoring.condemnations import (
    RevisionCondemned,
    condemned_revisions,
    refusal,
)
from batchinf_assets.scoring.condemnations import condemned as condemned
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

ASSET = "published"


def require_not_condemned(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> None:
    """Do nothing where a revision may be shown to readers.

    Raises:
        RevisionCondemned: Somebody condemned it; carries the failed `gate`.
        ManifestInvalid: A document about it is damaged.
    """
    found = condemned(project, spec, window, revision)
    if found is None:
        return
    refused = refusal(project, spec, window, found)
    raise RevisionCondemned(
        refused.message, next_step=refused.next_step, checks=[_failed_gate(found)]
    )


def condemned_manifests(project: Project, spec: PipelineSpec, window: Window) -> Iterator[Manifest]:
    """Yield the manifests of a window's condemned revisions, as far as they can be read.

    Raises:
        ManifestInvalid: A document that condemns is damaged.
    """
    for revision in sorted(condemned_revisions(project, spec, window)):
        with suppress(ManifestInvalid):
            yield manifests(project, spec).read(window, revision)


def _failed_gate(found: Condemnation) -> CheckResult:
    rule = f"of a revision that nobody condemned ({found})"
    return CheckResult(
        name="gate",
        asset=ASSET,
        passed=False,
        violations=(Violation(column=None, rule=rule),),
        measured={"revision": found.revision},
    )
