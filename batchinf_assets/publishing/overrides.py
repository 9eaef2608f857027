"""Overrides of the gate: a verdict of the evaluation that somebody lets pass, for one revision.

One small document per window, revision and check, written once and never replaced. It is not signed
by itself: whoever may write the lake may override, and the manifest of the revision, which is
signed, tells who did and why. Only what evaluation says about quality can be let pass; contracts,
keys, signatures and models cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.checks import CheckResult, blocking_failures
from batchinf_assets.contract_spec import Name
from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.evaluation.consequences import VERDICTS, held_against_figures, is_verdict
from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest import Manifest, OverrideRecord, RevisionId
from batchinf_assets.project import Project
from batchinf_assets.publishing.reasons import reasoned
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_overrides"
LARGEST_OVERRIDE = 65_536


class Override(BaseModel):
    """An override as it is kept.

    Attributes:
        format_version: Of this document.
        pipeline: The pipeline.
        window: The window's key.
        revision: The only revision that it counts for.
        override: Of which check, by whom, why and when.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    pipeline: Name
    window: str
    revision: RevisionId
    override: OverrideRecord


@dataclass(frozen=True, kw_only=True)
class HeldVerdicts:
    """What evaluation holds against a window's candidate.

    Attributes:
        window: The window.
        revision: The candidate.
        failures: The failed verdicts that block.
        overrides: Those of them that somebody let pass already.
    """

    window: Window
    revision: str
    failures: tuple[CheckResult, ...]
    overrides: tuple[OverrideRecord, ...]


def held_verdicts(project: Project, spec: PipelineSpec, window: Window) -> HeldVerdicts:
    """Return the failed verdicts that keep a window's candidate from being published.

    Raises:
        WindowMissing: The window was never scored.
        ManifestInvalid: A manifest or an override is damaged.
    """
    manifest = candidate(project, spec, window)
    failures = failed_verdicts(manifest, spec)
    return HeldVerdicts(
        window=window,
        revision=manifest.revision,
        failures=failures,
        overrides=read_overrides(project, spec, window, manifest.revision) if failures else (),
    )


def failed_verdicts(manifest: Manifest, spec: PipelineSpec) -> tuple[CheckResult, ...]:
    """Return the verdicts of evaluation that block a revision under the declaration of now."""
    checks = held_against_figures(manifest.checks, manifest.evaluation, spec)
    return tuple(check for check in blocking_failures(checks) if is_verdict(check))


def new_override(
    held: HeldVerdicts, check: str, *, by: str, reason: str, at: datetime
) -> OverrideRecord:
    """Return the override of one verdict that holds a window back.

    Raises:
        UsageError: The check is none that can be overridden, or does not hold the window back; or
            `by` or `reason` does not say anything that a manifest can hold.
    """
    require_overridable(check)
    _require_held(held, check)
    return reasoned(OverrideRecord, "override", by=by, reason=reason, at=at, check=check)


def require_overridable(check: str) -> None:
    """Refuse to talk about an override of what nobody may let pass.

    Raises:
        UsageError: The check is no verdict of evaluation.
    """
    if check not in VERDICTS:
        raise UsageError(
            f"Check '{check[:64]}' cannot be overridden: contracts, keys, signatures and models "
            "hold for everybody.",
            next_step=f"What evaluation says can be: {', '.join(VERDICTS)}.",
        )


def read_overrides(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> tuple[OverrideRecord, ...]:
    """Return the overrides of a revision, in the order of `VERDICTS`.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    found = (_read(project, spec, window, revision, check) for check in VERDICTS)
    return tuple(record for record in found if record is not None)


def write_override(
    project: Project, spec: PipelineSpec, window: Window, revision: str, record: OverrideRecord
) -> None:
    """Keep an override; a no-op where this very one is kept already.

    Raises:
        LostRace: Somebody overrode the check meanwhile; that override stays.
        ManifestInvalid: There is one, and it is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    document = Override(pipeline=spec.name, window=window.key, revision=revision, override=record)
    content = canonical_json(document.model_dump(mode="json")) + b"\n"
    try:
        create(_place(project, spec, window, revision, record.check), content)
    except FileExistsError as error:
        first = _read(project, spec, window, revision, record.check)
        if first != record:  # else the store took it, and the answer was lost
            raise _too_late(spec, window, record.check, first) from error


def _read(
    project: Project, spec: PipelineSpec, window: Window, revision: str, check: str
) -> OverrideRecord | None:
    place = _place(project, spec, window, revision, check)
    try:
        found = Override.model_validate_json(read_bounded(place, LARGEST_OVERRIDE))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise _invalid(place) from error
    about = (found.pipeline, found.window, found.revision, found.override.check)
    if about != (spec.name, window.key, revision, check):
        raise _invalid(place)
    return found.override


def _require_held(held: HeldVerdicts, check: str) -> None:
    failed = [failure.name for failure in held.failures]
    if check not in failed:
        raise UsageError(
            f"{check} does not hold revision {held.revision} of window {held.window} back.",
            next_step=f"What does: {', '.join(failed) or 'no verdict of its evaluation'}.",
        )


def _too_late(
    spec: PipelineSpec, window: Window, check: str, first: OverrideRecord | None
) -> LostRace:
    who = f"{first.by} did so first ({first.reason})" if first else "somebody was at it"
    return LostRace(
        f"{check} of window {window} of {spec.name} was not overridden anew: {who}.",
        next_step=f"Run the window: `batchinf run {spec.name} {window}`.",
    )


def _place(
    project: Project, spec: PipelineSpec, window: Window, revision: str, check: str
) -> Place:
    folder = project.lake / spec.name / FOLDER / window.folder_name
    return folder / f"{revision}-{check}.json"


def _invalid(place: Place) -> ManifestInvalid:
    return ManifestInvalid(
        f"{place} is no override of what its name says.",
        next_step="Restore it from a backup, or remove it and override again.",
    )
