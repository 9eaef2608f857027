"""What a published revision was found to be when it was evaluated again, if that differs.

One document per revision, `<lake>/<pipeline>/_evaluations/<window>/<revision>.json`, of the last
time: `evaluate_again` makes what it holds. It is not signed: whoever may write the lake may take a
revision away from readers in other ways too, and nothing is published for what it says. The format
in prose is `docs/formats/rollback.md`.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime

from batchinf_assets.checks import CheckResult, as_written
from batchinf_assets.evaluation.consequences import EVALUATION, is_verdict
from batchinf_assets.evaluation.evaluate_again import LaterVerdicts
from batchinf_assets.lake.decisions import Decision, read_decision
from batchinf_assets.lake.fence import Fence
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.manifest.values import RevisionId
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_evaluations"


class LaterEvaluation(Decision):
    """An evaluation of a revision after it was published.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        revision: The revision.
        at: When.
        evaluation: The figures.
        checks: The verdicts on them.
    """

    pipeline: Name
    window: str
    revision: RevisionId
    at: AwareDatetime
    evaluation: EvaluationRecord
    checks: tuple[CheckResult, ...]

    def to_json(self) -> bytes:
        """Return the bytes that are kept: as in manifests, by whose figures overrides bind."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def keep_later_evaluation(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    found: LaterVerdicts,
    *,
    lease: Fence,
    at: datetime,
) -> None:
    """Keep what a revision came to; a no-op where that is what is on record of it already.

    Args:
        project: Where the document is.
        spec: The pipeline.
        window: The window.
        manifest: As it was signed.
        found: What it comes to now.
        lease: The attempt's hold on the window.
        at: When.

    Raises:
        LostRace: Another attempt has taken the window over.
        ManifestInvalid: What is kept already is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    last = with_last_evaluation(project, spec, window, manifest)
    recorded, new = last.evaluation, _document(spec, window, manifest, found, at)
    checks = tuple(check for check in last.checks if is_verdict(check))
    if recorded is not None and _same(new, recorded, checks):
        return
    lease.require_held()
    write_bytes(_place(project, spec, window, manifest.revision), new.to_json())


def with_last_evaluation(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest
) -> Manifest:
    """Return the manifest of a revision with the last evaluation that was made of it.

    That of a draft is the one that it has.

    Raises:
        ManifestInvalid: The document is damaged, or about something else.
    """
    if manifest.published_at is None:
        return manifest
    place = _place(project, spec, window, manifest.revision)
    found = read_decision(
        place,
        LaterEvaluation,
        "evaluation of the revision that its name says",
        next_step=f"Remove it, and materialize {spec.name}/{EVALUATION} for {window} again.",
        pipeline=spec.name,
        window=window.key,
        revision=manifest.revision,
    )
    if found is None:
        return manifest
    return LaterVerdicts(record=found.evaluation, checks=found.checks, measures=None).of(manifest)


def _document(
    spec: PipelineSpec, window: Window, manifest: Manifest, found: LaterVerdicts, at: datetime
) -> LaterEvaluation:
    return LaterEvaluation(
        pipeline=spec.name,
        window=window.key,
        revision=manifest.revision,
        at=at,
        evaluation=found.record,
        checks=tuple(map(as_written, found.checks)),
    )


def _same(new: LaterEvaluation, record: EvaluationRecord, checks: tuple[CheckResult, ...]) -> bool:
    last = new.model_copy(update={"evaluation": record, "checks": tuple(map(as_written, checks))})
    return last.to_json() == new.to_json()


def _place(project: Project, spec: PipelineSpec, window: Window, revision: str) -> Place:
    return project.lake / spec.name / FOLDER / window.folder_name / f"{revision}.json"
