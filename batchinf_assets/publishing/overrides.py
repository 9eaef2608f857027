"""Overrides of the gate: a verdict of the evaluation that somebody lets pass, for one revision.

One small document per window, revision, check and what that check found, written once and never
replaced: worse figures of the same revision, as of another golden set or under other bounds, need
another override. It is not signed by itself: whoever may write the lake may override, and the
manifest of the revision, which is signed, tells who did and why. Only what evaluation says about
quality can be let pass; contracts, keys, signatures and models cannot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.checks import CheckResult, blocking_failures
from batchinf_assets.errors import LostRace, UsageError
from batchinf_assets.evaluation.consequences import VERDICTS, held_against_figures, is_verdict
from batchinf_assets.evaluation.later_evaluations import with_last_evaluation
from batchinf_assets.lake.decisions import Decision, keep_decision, read_decision
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EvaluationRecord, OverrideRecord
from batchinf_assets.manifest.values import Digest, RevisionId
from batchinf_assets.project import Project
from batchinf_assets.publishing.reasons import reasoned
from batchinf_assets.scoring.predictions import candidate
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_overrides"

DIGITS = 6
"""Of a figure that tell a worse one from the same one."""


class Override(Decision):
    """An override as it is kept.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        revision: The only revision that it counts for.
        failure: Digest of what was found and looked at; it counts for nothing else.
        override: Of which check, by whom, why and when.
    """

    pipeline: Name
    window: str
    revision: RevisionId
    failure: Digest
    override: OverrideRecord

    @property
    def check(self) -> str:
        """The verdict that it is about."""
        return self.override.check


@dataclass(frozen=True, kw_only=True)
class HeldVerdicts:
    """What evaluation holds against a window's candidate.

    Attributes:
        window: The window.
        revision: The candidate.
        failures: The failed verdicts that block.
        digests: Of what each of them found, by the verdict's name.
        overrides: Those of them that somebody let pass already.
    """

    window: Window
    revision: str
    failures: tuple[CheckResult, ...]
    digests: Mapping[str, str]
    overrides: tuple[OverrideRecord, ...]


def held_verdicts(project: Project, spec: PipelineSpec, window: Window) -> HeldVerdicts:
    """Return the failed verdicts that keep a window's candidate from being published.

    Of a revision that readers see they are those of its last evaluation, which may take it back.

    Raises:
        WindowMissing: The window was never scored.
        ManifestInvalid: A manifest or an override is damaged.
    """
    manifest = candidate(project, spec, window)
    if manifest.published_at is not None:
        manifest = with_last_evaluation(project, spec, window, manifest)
    failures = failed_verdicts(manifest, spec, window)
    digests = failure_digests(failures, manifest.evaluation)
    return HeldVerdicts(
        window=window,
        revision=manifest.revision,
        failures=failures,
        digests=digests,
        overrides=read_overrides(project, spec, window, manifest.revision, digests),
    )


def failed_verdicts(
    manifest: Manifest, spec: PipelineSpec, window: Window
) -> tuple[CheckResult, ...]:
    """Return the verdicts of evaluation that block a revision under the declaration of now."""
    checks = held_against_figures(manifest.checks, manifest.evaluation, spec, window_end=window.end)
    return tuple(check for check in blocking_failures(checks) if is_verdict(check))


def failure_digests(
    failures: Iterable[CheckResult], record: EvaluationRecord | None
) -> dict[str, str]:
    """Return by name what an override of a failed verdict binds to, each as 64 hex digits.

    Digested are the broken rules in words, and the figures on record that they were judged by, to
    `DIGITS` digits: words round, and are not held against the figures where a verdict says itself
    that it failed. What no broken rule is about, and what another library or machine makes of a
    last digit, binds nothing.

    Args:
        failures: Failed verdicts of one revision.
        record: What evaluation measured on it.
    """
    rules: dict[str, list[list[str | None]]] = {}
    for check in failures:
        own = rules.setdefault(check.name, [])
        own.extend([found.column, found.rule, found.found] for found in check.violations)
    return {
        name: json_sha256([name, own, _figures(name, record, {str(rule[1]) for rule in own})])
        for name, own in rules.items()
    }


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
    project: Project,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    failures: Mapping[str, str],
) -> tuple[OverrideRecord, ...]:
    """Return the overrides of a revision's failed verdicts, in the order of `VERDICTS`.

    Args:
        project: Where the documents are.
        spec: The pipeline.
        window: The window.
        revision: The revision.
        failures: What its verdicts found, as `failure_digests` returns it.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    found = (
        _read(project, spec, window, revision, check, failures[check])
        for check in VERDICTS
        if check in failures
    )
    return tuple(record for record in found if record is not None)


def write_override(
    project: Project, spec: PipelineSpec, held: HeldVerdicts, record: OverrideRecord
) -> None:
    """Keep an override; a no-op where this very one is kept already.

    Args:
        project: Where the documents are.
        spec: The pipeline.
        held: What was looked at; the override counts for nothing else.
        record: The override of one of these verdicts.

    Raises:
        LostRace: Somebody overrode the check meanwhile; that override stays.
        ManifestInvalid: There is one, and it is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    window, revision, failure = held.window, held.revision, held.digests[record.check]
    document = Override(
        pipeline=spec.name,
        window=window.key,
        revision=revision,
        failure=failure,
        override=record,
    )
    if not keep_decision(_place(project, spec, window, revision, record.check, failure), document):
        first = _read(project, spec, window, revision, record.check, failure)
        raise _too_late(spec, window, record.check, first)


def _figures(
    name: str, record: EvaluationRecord | None, rules: Collection[str]
) -> dict[str, str | dict[str, str]]:
    """Return what a verdict is judged by, each figure as text: it may be no number."""
    if record is None:
        return {}
    if name == "drift":
        verdicts = {"drift": record.drift, "by_reference": record.drift_by_reference}
        return {"psi": _texts(record.psi), **{about: repr(v) for about, v in verdicts.items()}}
    broken = {rule.partition(" ")[0] for rule in rules}
    judged = {metric: value for metric, value in record.golden.items() if metric in broken}
    return {
        "golden_set": repr(record.golden_set),
        "golden_set_end": repr(record.golden_set_end),
        "golden": _texts(judged or record.golden),
    }


def _texts(figures: Mapping[str, float | int | None]) -> dict[str, str]:
    return {
        name: f"{value:.{DIGITS}g}" if isinstance(value, float) else repr(value)
        for name, value in figures.items()
    }


def _read(
    project: Project, spec: PipelineSpec, window: Window, revision: str, check: str, failure: str
) -> OverrideRecord | None:
    found = read_decision(
        _place(project, spec, window, revision, check, failure),
        Override,
        "override of what its name says",
        next_step="Restore it from a backup, or remove it and override again.",
        pipeline=spec.name,
        window=window.key,
        revision=revision,
        failure=failure,
        check=check,
    )
    return found.override if found else None


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
    project: Project, spec: PipelineSpec, window: Window, revision: str, check: str, failure: str
) -> Place:
    folder = project.lake / spec.name / FOLDER / window.folder_name
    return folder / f"{revision}-{check}-{failure[:16]}.json"
