"""Condemned revisions: documents that say a revision must not be shown again, or that it may.

The first document of a revision is `<revision>.json`, each later one `<revision>.<n>.json`; the
last one counts, and none is ever replaced or removed. They are not signed: whoever may write the
lake may take a revision away from readers in other ways too, only a signed manifest lets a revision
be shown at all, and taking back must not wait for somebody with a key. The format in prose is
`docs/formats/rollback.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from pydantic import AwareDatetime, Field

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import LostRace, ManifestInvalid, WindowRefused
from batchinf_assets.lake.decisions import (
    LARGEST_DECISION,
    Decision,
    keep_decision,
    read_decision,
)
from batchinf_assets.lake.entries import entries
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.values import RevisionId, Text
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.scoring.revision import derived_revision, scored_by
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_condemned"
_NAME = re.compile(r"(?P<revision>[0-9a-f]{16})(\.(?P<number>[1-9][0-9]*))?\.json")


class RevisionCondemned(WindowRefused):
    """Somebody condemned the revision; it is not made, and not shown, again."""


class Condemnation(Decision):
    """What somebody said of a revision.

    Attributes:
        pipeline: The pipeline.
        window: The window's key.
        revision: The revision.
        verdict: `condemned`: readers must not see it; `reinstated`: they may again.
        by: Who said so.
        reason: Why.
        at: When.
        check: The failed check that condemned it, with its figures as they were then: the tables
            tell of what readers see now. None where a person decided.
        figures: Realised performance of the revision as it was on record then, whoever decided;
            empty where nothing was, None where that could not be read.
    """

    pipeline: Name
    window: str
    revision: RevisionId
    verdict: Literal["condemned", "reinstated"]
    by: Text
    reason: Text
    at: AwareDatetime
    check: CheckResult | None = None
    figures: dict[str, int | float | str] | None = Field(
        default_factory=dict[str, int | float | str]
    )

    def __str__(self) -> str:
        return f"{self.by} {self.verdict} it on {self.at:%Y-%m-%d %H:%M %Z}: {self.reason}"


def condemned(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Condemnation | None:
    """Return why a revision must not be shown, or None where it may be.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    places = _documents(project, spec, window).get(revision)
    last = _read(places[max(places)], spec, window, revision) if places else None
    return last if last and last.verdict == "condemned" else None


def condemned_inputs(
    project: Project, spec: PipelineSpec, window: Window, made: Manifest
) -> Condemnation | None:
    """Return why a revision must not be made, or None where it may be.

    Condemned is, beside the very revision, what other code made of the same inputs with the same
    model and post-processing: a deployment gives the same rows another id. What readers see now is
    judged by its id alone: going back from what new code made may have led to it.

    Args:
        project: Where the verdicts and the condemned manifests are.
        spec: The pipeline.
        window: The window.
        made: A draft, or what was published.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    itself = condemned(project, spec, window, made.revision)
    if itself is not None or published_revision(project, spec, window) == made.revision:
        return itself
    for manifest in condemned_manifests(project, spec, window):
        if derived_revision(scored_by(manifest, made.code, made.settings.shard_rows)) == (
            derived_revision(made)
        ):
            return condemned(project, spec, window, manifest.revision)
    return None


def condemned_manifests(project: Project, spec: PipelineSpec, window: Window) -> Iterator[Manifest]:
    """Yield the manifests of a window's condemned revisions, as far as they can be read.

    Raises:
        ManifestInvalid: A document that condemns is damaged.
    """
    for revision in sorted(condemned_revisions(project, spec, window)):
        with suppress(ManifestInvalid):
            yield manifests(project, spec).read(window, revision)


def verdicts(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> tuple[Condemnation, ...]:
    """Return everything that was said of a revision, the oldest first.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    places = _documents(project, spec, window).get(revision, {})
    return tuple(_read(places[number], spec, window, revision) for number in sorted(places))


def condemned_revisions(project: Project, spec: PipelineSpec, window: Window) -> frozenset[str]:
    """Return the revisions of a window that must not be shown.

    Raises:
        ManifestInvalid: A document is damaged, or about something else.
    """
    known = _documents(project, spec, window)
    return frozenset(each for each in known if condemned(project, spec, window, each))


def require_not_condemned(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> None:
    """Do nothing where a revision that was published may be shown again.

    Raises:
        RevisionCondemned: Somebody condemned it; carries no check.
        ManifestInvalid: A document is damaged, or about something else.
    """
    found = condemned(project, spec, window, revision)
    if found is not None:
        raise refusal(project, spec, window, found)


def require_inputs_not_condemned(
    project: Project, spec: PipelineSpec, window: Window, made: Manifest
) -> None:
    """Do nothing where a revision may be made.

    Raises:
        RevisionCondemned: Somebody condemned it, or what other code made of its inputs; carries no
            check.
        ManifestInvalid: A document is damaged, or about something else.
    """
    found = condemned_inputs(project, spec, window, made)
    if found is not None:
        raise refusal(project, spec, window, found, made.revision)


def refusal(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    found: Condemnation,
    made: str | None = None,
) -> RevisionCondemned:
    """Return the refusal to make or to show a revision that was condemned.

    Args:
        project: Where predictions are.
        spec: The pipeline.
        window: The window.
        found: The verdict.
        made: The revision that is refused; the condemned one if None.
    """
    if made not in (None, found.revision):
        return _refusal_of_inputs(spec, window, found, made)
    rollback = f"batchinf rollback {spec.name} {window}"
    seen = published_revision(project, spec, window) == found.revision
    finish = f"Readers see it still: repeat `{rollback} --reason TEXT`. " if seen else ""
    return RevisionCondemned(
        f"{spec.name} {window}: revision {found.revision} was condemned, {found}.",
        next_step=f"{finish}Correct the data, or promote another model, and run the window again: "
        f"that is another revision. Or take it back: `{rollback} --to {found.revision} "
        "--reinstate --reason TEXT`.",
        checks=(),
    )


def _refusal_of_inputs(
    spec: PipelineSpec, window: Window, found: Condemnation, made: str | None
) -> RevisionCondemned:
    back = f"batchinf rollback {spec.name} {window} --to {found.revision} --reinstate --reason TEXT"
    return RevisionCondemned(
        f"{spec.name} {window}: revision {made} has the same inputs and the same model as revision "
        f"{found.revision}, which was condemned, {found}; only the code differs.",
        next_step="Correct the data, or promote another model, and run the window again. Or take "
        f"the verdict back: `{back}`; then other code may score it again too.",
        checks=(),
    )


def say(project: Project, spec: PipelineSpec, window: Window, said: Condemnation) -> None:
    """Keep what was said of a revision; a no-op where the same verdict counts already.

    Raises:
        LostRace: Somebody else said something of it at the same time.
        ManifestInvalid: A document is damaged, or about something else.
        OSError: The disk is full or the folder cannot be written.
    """
    places = _documents(project, spec, window).get(said.revision, {})
    last = max(places, default=0)
    if last and _read(places[last], spec, window, said.revision).verdict == said.verdict:
        return
    place = _place(project, spec, window, said.revision, last + 1)
    if not keep_decision(place, _readable(said)):
        raise LostRace(
            f"Somebody else judged revision {said.revision} of window {window} meanwhile.",
            next_step="Nothing was changed; look at it and decide again.",
        )


def _readable(said: Condemnation) -> Condemnation:
    """Return a verdict of which a check that would make it unreadable tells its reason alone."""
    size = len(said.to_json())
    if size < LARGEST_DECISION or said.check is None:
        return said
    cut = replace(said.check, violations=(), measured={"omitted": f"{size} bytes"})
    return said.model_copy(update={"check": cut})


def _documents(project: Project, spec: PipelineSpec, window: Window) -> dict[str, dict[int, Place]]:
    """Return the documents of a window by revision and number."""
    found: dict[str, dict[int, Place]] = {}
    for place in entries(_folder(project, spec, window), "*.json"):
        if name := _NAME.fullmatch(place.name):
            found.setdefault(name["revision"], {})[int(name["number"] or 1)] = place
    return found


def _folder(project: Project, spec: PipelineSpec, window: Window) -> Place:
    return project.lake / spec.name / FOLDER / window.folder_name


def _place(
    project: Project, spec: PipelineSpec, window: Window, revision: str, number: int
) -> Place:
    name = f"{revision}.json" if number == 1 else f"{revision}.{number}.json"
    return _folder(project, spec, window) / name


def _read(place: Place, spec: PipelineSpec, window: Window, revision: str) -> Condemnation:
    what = "verdict on the revision that its name says"
    about = {"pipeline": spec.name, "window": window.key, "revision": revision}
    found = read_decision(place, Condemnation, what, **about)
    if found is None:
        raise FileNotFoundError(f"{place} was removed while it was read")
    return found
