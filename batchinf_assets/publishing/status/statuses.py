"""Where each window of a pipeline stands: what is visible, what is pending, what failed, and why.

Folders are listed once for all windows; of a window only the documents that are there are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from batchinf_assets.checks import blocking_failures, summarize
from batchinf_assets.errors import ManifestInvalid, UnknownWindow
from batchinf_assets.evaluation.golden.golden_set import compared
from batchinf_assets.evaluation.later_evaluations import FOLDER as EVALUATIONS
from batchinf_assets.evaluation.later_evaluations import with_last_evaluation
from batchinf_assets.evaluation.realised.trailing_state import TrailingState, trailing_states
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.features.build import features_table
from batchinf_assets.lake.lease import LeaseInvalid
from batchinf_assets.lake.manifests import DRAFT
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import GoldenSetRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import last_announcement
from batchinf_assets.publishing.status.given_up import is_over, open_windows
from batchinf_assets.publishing.status.overdue import overdue_windows
from batchinf_assets.publishing.status.window_remarks import with_given_up, with_gone, with_overdue
from batchinf_assets.publishing.status.window_status import (
    Holder,
    LastFailure,
    PendingRevision,
    State,
    WindowStatus,
)
from batchinf_assets.publishing.stored_files import (
    CHECKPOINTS,
    LEASES,
    MANIFESTS,
    all_files,
    pipeline_folder,
    window_of,
)
from batchinf_assets.publishing.upkeep.maintenance_lease import live_lease
from batchinf_assets.publishing.visible import visible_files
from batchinf_assets.scoring.condemnations import FOLDER as CONDEMNED
from batchinf_assets.scoring.condemnations import condemned
from batchinf_assets.scoring.predictions import empty_revision, manifests
from batchinf_assets.scoring.shards import plan_shards
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window, folder_name_of

FAILURES = frozenset({"refused", "failed", "lost_race", "preempted", "killed"})
READERS = 8
"""Windows looked at at once, because each takes S3 a moment."""


def pipeline_status(
    project: Project,
    spec: PipelineSpec,
    refused: Mapping[str, str],
    no_model: str | None = None,
    *,
    now: datetime,
    landed: Set[str] | None = None,
    golden: GoldenSetRecord | None = None,
) -> list[WindowStatus]:
    """Return every window that anything is known of, in order.

    A window whose manifest is missing or unreadable says so and hides no other.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        refused: Windows whose last attempt was refused, with the reason.
        no_model: Why no model may score now, if none may: what windows with features wait for.
        now: The time, which tells whether who holds a lease still lives.
        landed: Windows whose file lies in the landing folder; None where nobody knows.
        golden: The golden set in force; None where nobody knows.

    Raises:
        ManifestInvalid: A table's log, the ledger, or a ticket is damaged, or a log is gone.
    """
    known = _known(project, spec, refused, golden)
    windows = {folder_name_of(key): key for key in (*known.reached, *known.published)}
    windows = {name: spec.window.key_of_folder(name) for name in known.folders} | windows
    names = sorted(windows)
    with ThreadPoolExecutor(READERS) as readers:
        look = partial(_status_even_if_damaged, known, now)
        found = list(readers.map(look, names, map(windows.__getitem__, names)))
    shown = [
        replace(status, held_back=no_model)
        if status.state == "features ready" and status.held_back is None
        else status
        for status in found
        if status.state != "started" or status.held_by or status.pending  # else just an old lease
    ]
    gone = known.frozen - landed if landed is not None else frozenset[str]()
    given_up = [
        each
        for each in open_windows(project, spec)
        if not is_over(each, known.attempts.get(each.window))
    ]
    remarked = with_given_up(with_gone(shown, spec, gone), given_up)
    return with_overdue(remarked, overdue_windows(project, spec, now))


@dataclass(kw_only=True)
class _Folders:
    """What the folders of a window hold, by its listing."""

    draft: bool = False
    areas: set[str] = field(default_factory=set[str])
    revisions: set[str] = field(default_factory=set[str])
    checkpoints: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of all windows before one is looked at."""

    project: Project
    spec: PipelineSpec
    refused: Mapping[str, str]
    reached: Mapping[str, State]
    published: Mapping[str, str]
    frozen: Set[str]
    features: Mapping[str, tuple[Place, ...]]
    measured: frozenset[str]
    trailing: Mapping[str, TrailingState]
    folders: Mapping[str, _Folders]
    attempts: Mapping[str, AttemptRecord]
    golden: GoldenSetRecord | None


def _known(
    project: Project,
    spec: PipelineSpec,
    refused: Mapping[str, str],
    golden: GoldenSetRecord | None,
) -> _Known:
    attempts = Ledger(project.lake).latest(spec.name)
    failed = [key for key, attempt in attempts.items() if attempt.state in FAILURES]
    features = features_table(project, spec).files()
    frozen = snapshot_table(project, spec).files().keys()
    reached: dict[str, State] = {
        **dict.fromkeys(failed, "failed"),
        **dict.fromkeys(refused, "refused"),
        **dict.fromkeys(frozen, "snapshot taken"),
        **dict.fromkeys(features, "features ready"),
    }
    published = visible_files(project, spec)
    return _Known(
        project=project,
        spec=spec,
        refused=refused,
        reached=reached,
        published={key: files[0].parent.name for key, files in published.items()},
        frozen=frozen,
        features=features,
        measured=frozenset(metric_table(project, spec, "performance").files()),
        trailing=trailing_states(project, spec),
        folders=_list_folders(project, spec),
        attempts=attempts,
        golden=golden,
    )


def _list_folders(project: Project, spec: PipelineSpec) -> dict[str, _Folders]:
    found: dict[str, _Folders] = {}
    for area in (MANIFESTS, CHECKPOINTS, LEASES, CONDEMNED, EVALUATIONS):
        folder = pipeline_folder(project, spec) / area
        for place in all_files(folder):
            if place.suffix != ".json" or place.name.startswith("."):
                continue
            parts = path_within(place, folder).split("/")
            folders = found.setdefault(parts[0].removesuffix(".json"), _Folders())
            folders.areas.add(area)
            if area == CHECKPOINTS:
                folders.checkpoints[parts[1]] = folders.checkpoints.get(parts[1], 0) + 1
            elif area == MANIFESTS and place.name == DRAFT:
                folders.draft = True
            elif area == MANIFESTS:
                folders.revisions.add(place.stem)
    return found


def _status_even_if_damaged(known: _Known, now: datetime, name: str, key: str) -> WindowStatus:
    try:
        window = window_of(known.spec, name)
        return _status(known, window, known.folders.get(name, _Folders()), now)
    except (ManifestInvalid, LeaseInvalid, UnknownWindow) as error:
        return _bare(known, key, str(error))


def _bare(known: _Known, key: str, problem: str) -> WindowStatus:
    revision = known.published.get(key)
    state: State = "published" if revision else known.reached.get(key, "scored")
    return WindowStatus(window=key, state=state, revision=revision, held_back=problem)


def _status(known: _Known, window: Window, folders: _Folders, now: datetime) -> WindowStatus:
    store = manifests(known.project, known.spec)
    draft = store.draft(window) if folders.draft else None
    failure = _failure(known.attempts.get(window.key))
    standing = WindowStatus(
        window=window.key,
        state=_state(known.reached.get(window.key), folders),
        revisions=len(folders.revisions),
        pending=_pending(known, window, folders, draft),
        last_failure=failure,
        held_by=_holder(known, window, now) if LEASES in folders.areas else None,
        held_back=known.refused.get(window.key) or (str(failure) if failure else _reason(draft)),
    )
    standing = _taken_back(known, window, standing) if CONDEMNED in folders.areas else standing
    revision = known.published.get(window.key)
    if revision is None and folders.revisions:
        revision = empty_revision(known.project, known.spec, window)
    if revision is None:
        return standing
    manifest = store.read(window, revision)
    standing = _shown(known, window, revision, standing) if CONDEMNED in folders.areas else standing
    last = manifest
    if EVALUATIONS in folders.areas:
        last = with_last_evaluation(known.project, known.spec, window, manifest)
    figures = last.evaluation
    visible: tuple[State, ...] = ("rolled back", "condemned, still visible")
    return replace(
        standing,
        state=standing.state if standing.state in visible else "published",
        revision=revision,
        rows=manifest.counts.scored,
        quarantined=manifest.counts.quarantined,
        model=f"{manifest.model.name} v{manifest.model.version}",
        drift=figures.drift_verdict if figures else None,
        golden_set=compared(figures and figures.golden_set, known.golden) if known.golden else None,
        performance=window.key in known.measured,
        trailing=known.trailing.get(window.key),
    )


def _taken_back(known: _Known, window: Window, standing: WindowStatus) -> WindowStatus:
    """Say that readers see what they do because something was taken back, where it is so."""
    last = last_announcement(known.project, known.spec, window)
    if last is None or last.event == "reinstated":
        return standing
    state: State = "withdrawn" if last.event == "withdrawn" else "rolled back"
    return replace(standing, state=state, held_back=standing.held_back or f"{last}.")


def _shown(known: _Known, window: Window, revision: str, standing: WindowStatus) -> WindowStatus:
    """Say that readers see a condemned revision, where a rollback was not finished."""
    found = condemned(known.project, known.spec, window, revision)
    if found is None:
        return standing
    sentence = f"Readers see revision {revision} still, though {found}."
    return replace(standing, state="condemned, still visible", held_back=sentence)


def _state(reached: State | None, folders: _Folders) -> State:
    if folders.draft or (reached is None and folders.revisions):
        return "scored"
    return reached or "started"


def _failure(attempt: AttemptRecord | None) -> LastFailure | None:
    if attempt is None or attempt.state not in FAILURES:
        return None
    return LastFailure(
        state=attempt.state,
        reason_code=attempt.reason_code,
        reason=attempt.reason,
        stage=attempt.stage,
        run_id=attempt.run_id,
        ended_at=attempt.ended_at,
    )


def _holder(known: _Known, window: Window, now: datetime) -> Holder | None:
    lease = live_lease(known.project, known.spec, window, now)
    if lease is None:
        return None
    return Holder(
        run_id=lease.holder, worker=str(lease.worker), stage=lease.stage, since=lease.since
    )


def _pending(
    known: _Known, window: Window, folders: _Folders, draft: Manifest | None
) -> PendingRevision | None:
    begun = {
        revision: finished
        for revision, finished in folders.checkpoints.items()
        if revision not in folders.revisions
    }
    if draft and draft.revision != known.published.get(window.key):
        revision, shards = draft.revision, len(draft.outputs)
    elif begun:
        revision = max(begun, key=lambda each: (begun[each], each))
        shards = _planned_shards(known, window)
    else:
        return None
    finished = folders.checkpoints.get(revision, 0)
    if shards is None or finished > shards:  # the features were made anew since
        return PendingRevision(revision=revision, shards=None, missing=None)
    return PendingRevision(revision=revision, shards=shards, missing=shards - finished)


def _planned_shards(known: _Known, window: Window) -> int | None:
    files = known.features.get(window.key)
    return len(plan_shards(RowGroups(files[0]).rows, known.spec.shard_rows)) if files else None


def _reason(draft: Manifest | None) -> str | None:
    if draft is None:
        return None
    failures = blocking_failures(draft.checks)
    return summarize(failures) if failures else f"Revision {draft.revision} awaits publishing."
