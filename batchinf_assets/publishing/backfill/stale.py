"""Which windows are stale and why: what is published, held against what a run would make now.

Nothing is run and nothing is written. Of a window its manifest is read, and footers where that
leaves a question; a landed file is read once for its digest. `stale_reasons` compares. A landed
file that cannot be read is a reason of the windows that need it and stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from threading import Lock
from typing import TypeVar

from batchinf_assets.code_version import running_code
from batchinf_assets.errors import (
    HeldForApproval,
    LandedFileMissing,
    LandedFileUnreadable,
    ManifestInvalid,
    WindowRefused,
)
from batchinf_assets.features.build import (
    FeaturesFooter,
    feature_definition,
    features_contract,
    features_table,
)
from batchinf_assets.lake.files import read_described
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.at_once import at_once
from batchinf_assets.publishing.backfill.pace import Pace, measured_pace
from batchinf_assets.publishing.backfill.plan import Plan, WindowPlan, asked_windows, runs_of
from batchinf_assets.publishing.backfill.saved_plan import landed_as, present_digest
from batchinf_assets.publishing.backfill.stale_reasons import (
    ModelNow,
    Present,
    Reason,
    Stale,
    cannot_be_read,
    declared_differences,
    file_differences,
)
from batchinf_assets.publishing.condemned import condemned_manifests
from batchinf_assets.publishing.status.statuses import FAILURES
from batchinf_assets.publishing.visible import published_revisions
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.scoring.revision import derived_revision, scored_by, scoring_settings
from batchinf_assets.snapshots.freeze import (
    SnapshotFooter,
    frozen_before,
    record_of,
    snapshot_table,
)
from batchinf_assets.snapshots.landed_digests import LandedDigests
from batchinf_assets.snapshots.landed_rows import landed_rows
from batchinf_assets.snapshots.lateness import require_accepted, same_content
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.snapshots.source import read_source, source_contract
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import AttemptRecord, reason_code
from batchinf_assets.telemetry.ledger import Ledger, latest_attempts
from batchinf_assets.windows import Window

Footer = TypeVar("Footer", FeaturesFooter, SnapshotFooter)

Refused = WindowRefused | LandedFileMissing | LandedFileUnreadable

READERS = 8
HELD = reason_code(HeldForApproval("", next_step=""))


def plan_backfill(
    project: Project,
    pipeline: Pipeline,
    model: ModelNow | None,
    *,
    first: Window | None = None,
    last: Window | None = None,
    on_window: Callable[[int, int], None] = lambda _done, _all: None,
) -> Plan:
    """Find out which windows are stale, of all that landed or ever ran.

    Args:
        project: Where tables, ledger and landed files are.
        pipeline: The pipeline as it is declared now.
        model: The model that may score; None where none may.
        first: No window before this one.
        last: No window after this one.
        on_window: Hears how many windows were looked at, and of how many.

    Raises:
        ManifestInvalid: A table's log, the ledger or an approval is damaged.
        UnknownWindow: `last` is before `first`.
        OSError: The lake cannot be read.
    """
    look = _Look.at(project, pipeline, model)
    asked = asked_windows(pipeline.spec, look.known, first, last)
    known = [window for window in asked if window.key in look.known]
    found: list[WindowPlan] = []
    with ThreadPoolExecutor(READERS) as readers:
        for plan in readers.map(look.plan, known):
            found.append(plan)
            on_window(len(found), len(known))
    absent = tuple(window.key for window in asked if window.key not in look.known)
    return Plan(
        windows=tuple(_beside_others(pipeline.spec, found)),
        absent=absent,
        pace=look.pace,
        present=present_digest(project, pipeline.spec, look.present),
    )


def _beside_others(spec: PipelineSpec, plans: Sequence[WindowPlan]) -> Iterator[WindowPlan]:
    """Count as a window's seconds what it adds to its run, whose windows share the machine."""
    to_run = {plan.window: plan for plan in plans if plan.runs}
    sharing = {
        window.key: at_once(spec, [to_run[each.key].rows for each in run])
        for run in runs_of(spec, to_run, spec.backfill.chunk)
        for window in run
    }
    for plan in plans:
        seconds = None if plan.seconds is None else plan.seconds / sharing.get(plan.window, 1)
        yield replace(plan, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What is known of all windows before one is looked at."""

    project: Project
    spec: PipelineSpec
    present: Present
    landed: Mapping[str, Place]
    digests: LandedDigests
    published: Mapping[str, str]
    snapshots: Mapping[str, tuple[Place, ...]]
    features: Mapping[str, tuple[Place, ...]]
    last_attempts: Mapping[str, AttemptRecord]
    pace: Pace | None
    reading: Lock = field(default_factory=Lock)

    @classmethod
    def at(cls, project: Project, pipeline: Pipeline, model: ModelNow | None) -> _Look:
        spec = pipeline.spec
        attempts = Ledger(project.lake).read(spec.name)
        return cls(
            project=project,
            spec=spec,
            present=Present(
                contracts=(source_contract(spec), features_contract(spec)),
                definition=feature_definition(pipeline),
                model=model,
                settings=scoring_settings(pipeline),
                code=running_code(),
            ),
            landed=landed_files(project.landing, spec.source.files, spec.window),
            digests=LandedDigests(project.landing),
            published=published_revisions(project, spec),
            snapshots=snapshot_table(project, spec).files(),
            features=features_table(project, spec).files(),
            last_attempts=latest_attempts(attempts),
            pace=measured_pace(attempts.to_pylist()),
        )

    @cached_property
    def known(self) -> frozenset[str]:
        """Windows that landed or ever ran, and are declared still."""
        ran = {*self.snapshots, *self.published, *self.last_attempts}
        return frozenset(key for key in {*self.landed, *ran} if self.spec.window.has(key))

    def plan(self, window: Window) -> WindowPlan:
        made, unreadable = self._published(window)
        found = {*unreadable, *self._why(window, made), *self._condemned(window)}
        why = sorted(found, key=_rank)
        rows = self._rows(window, made)
        return WindowPlan(
            window=window.key,
            why=tuple(why),
            rows=rows,
            seconds=None if self.pace is None or rows is None else self.pace.seconds(rows),
            landed=window.key in self.landed,
            landed_as=landed_as(self.landed.get(window.key)),
        )

    def _published(self, window: Window) -> tuple[Manifest | None, tuple[Stale, ...]]:
        revision = self.published.get(window.key)
        if revision is None:
            return None, ()
        try:
            return manifests(self.project, self.spec).read(window, revision), ()
        except ManifestInvalid:
            problem = "the manifest of what is published is missing or unreadable"
            return None, (Stale(reason=Reason.UNREADABLE, detail=problem),)

    def _condemned(self, window: Window) -> Iterator[Stale]:
        for manifest in condemned_manifests(self.project, self.spec, window):
            now = self.present
            again = scored_by(manifest, now.code, now.settings.shard_rows)
            if not any(self._differences(window, again)):
                detail = f"a run would make revision {manifest.revision} again"
                if derived_revision(again) != manifest.revision:
                    detail += ", by other code"
                yield Stale(reason=Reason.CONDEMNED, detail=detail)

    def _why(self, window: Window, made: Manifest | None) -> Iterator[Stale]:
        if window.key in self.landed and window.key not in self.published:
            yield Stale(reason=Reason.MISSING, detail="landed, not published")
        yield from self._differences(window, made)
        yield from self._failed(window)

    def _differences(self, window: Window, made: Manifest | None) -> Iterator[Stale]:
        if made is not None:
            yield from declared_differences(made, self.present)
            yield from self._inputs(window, made)
        if window.key in self.landed:
            yield from self._corrected(window, made)

    def _inputs(self, window: Window, made: Manifest) -> Iterator[Stale]:
        found = list(file_differences(self.spec, made.features, self.digests.sha256))
        footer = self._footer(self.features, window, FeaturesFooter) if found else None
        # Other files that give the same features make no new revision, and no new manifest.
        if footer and footer.snapshot == made.snapshot.digest and _same(footer.record, made):
            found = list(file_differences(self.spec, footer.record, self.digests.sha256))
        yield from found

    def _corrected(self, window: Window, made: Manifest | None) -> Iterator[Stale]:
        """Compare rows where the landed file is another one: it may well hold the same."""
        path, name = self.landed[window.key], self._landed_name(window)
        try:
            sha256, at = self.digests.sha256(name), landed_at(path)
        except OSError as error:
            yield cannot_be_read(name, error)
            return
        if self._same_bytes(window, made, sha256):
            return
        landed = self._landed_record(window)
        if not isinstance(landed, SnapshotRecord):
            if made:
                refused = f"and would be refused: {reason_code(landed)}"
                yield Stale(reason=Reason.DATA, detail=f"{name} changed, {refused}")
            return
        if made and not same_content(landed, made.snapshot):
            yield Stale(reason=Reason.DATA, detail=f"{name} changed")
        if self._is_held(window, landed, at):
            yield Stale(reason=Reason.HELD, detail="corrected data waits for an approval")

    def _same_bytes(self, window: Window, made: Manifest | None, sha256: str | None) -> bool:
        """Say whether what landed is what was frozen and published; true where nothing was."""
        footer = self._footer(self.snapshots, window, SnapshotFooter)
        known = [footer.record] if footer else []
        if made is not None:
            known.append(made.snapshot)
        lost = not known and window.key in self.snapshots
        return not lost and all(record.source.sha256 == sha256 for record in known)

    def _is_held(self, window: Window, landed: SnapshotRecord, at: datetime) -> bool:
        before, lost = frozen_before(self.project, self.spec, window, landed)
        try:
            require_accepted(self.project, self.spec, window, landed, before, at, lost=lost)
        except HeldForApproval:
            return True
        return False

    def _landed_record(self, window: Window) -> SnapshotRecord | Refused:
        """Return what landed as it would be frozen, or why not; its volume is not judged."""
        with self.reading:  # one file at a time, however large
            try:
                return record_of(self.spec, read_source(self.project, self.spec, window))
            except (WindowRefused, LandedFileMissing, LandedFileUnreadable) as error:
                return error

    def _failed(self, window: Window) -> Iterator[Stale]:
        last = self.last_attempts.get(window.key)
        if last and last.state in FAILURES and last.reason_code != HELD:
            code = last.reason_code or "for an unknown reason"
            yield Stale(reason=Reason.FAILED, detail=f"{last.state} in {last.stage}: {code}")

    def _footer(
        self, files: Mapping[str, tuple[Place, ...]], window: Window, kind: type[Footer]
    ) -> Footer | None:
        places = files.get(window.key)
        try:
            return read_described(places[0], kind) if places else None
        except ManifestInvalid:  # a run makes it anew
            return None

    def _landed_name(self, window: Window) -> str:
        return path_within(self.landed[window.key], self.project.landing)

    def _rows(self, window: Window, made: Manifest | None) -> int | None:
        path = self.landed.get(window.key)
        landed = landed_rows(path) if path else None
        return landed if landed is not None or made is None else made.counts.rows_in


def _same(record: FeaturesRecord, made: Manifest) -> bool:
    return (record.digest, record.rejected) == (made.features.digest, made.features.rejected)


def _rank(stale: Stale) -> tuple[int, str]:
    return list(Reason).index(stale.reason), stale.detail
