"""What of a window must stay: what readers see, and what a manifest names that is not too old.

A manifest stays while its revision is published, and for `superseded_days` after it was replaced,
so that it can be verified, replayed and gone back to. That of a revision which was condemned stays
as long as it is condemned: it is evidence. Everything that a manifest names stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from batchinf_assets.evaluation.drift.sketches import sketch_table
from batchinf_assets.evaluation.realised.labelled_scores import labelled_scores_table
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.features.build import features_table, made_rows
from batchinf_assets.lake.manifests import DRAFT as DRAFT_FILE
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_commits import Commit, read_commits
from batchinf_assets.lake.table_log import has_log, open_table
from batchinf_assets.lake.table_writer import WINDOW_KEY
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.score_changes import score_changes_table
from batchinf_assets.scoring.condemnations import condemned_revisions
from batchinf_assets.scoring.predictions import ASSET as PREDICTIONS
from batchinf_assets.scoring.predictions import REVISION, manifests, predictions_table
from batchinf_assets.snapshots.freeze import frozen_rows, snapshot_table
from batchinf_assets.snapshots.quarantine import quarantine_table, recorded_place
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

DRAFT = DRAFT_FILE.removesuffix(".json")


@dataclass(frozen=True, kw_only=True)
class History:
    """What the log of the predictions table says of revisions.

    Attributes:
        shown: The published revision by window key, also where it has no rows.
        replaced: When a revision last stopped being published, by window key and revision; one may
            have been published again since.
    """

    shown: Mapping[str, str]
    replaced: Mapping[tuple[str, str], datetime]


@dataclass(frozen=True, kw_only=True)
class Visible:
    """What the tables of a pipeline show.

    Attributes:
        logged: The tables that have a log; of others nobody knows which files are theirs.
        files: Every file that a table shows.
        revisions: The published revision by window key.
    """

    logged: frozenset[str]
    files: frozenset[Place]
    revisions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the manifests of a window still need.

    Attributes:
        files: Files that a manifest or draft which stays names.
        revisions: All revisions that have a manifest.
        expired: Those of them whose manifest goes, each with the time when it was replaced.
        draft: The revision of the draft that stays, if there is one.
    """

    files: frozenset[Place]
    revisions: frozenset[str]
    expired: Mapping[str, datetime]
    draft: str | None

    @property
    def finished(self) -> frozenset[str]:
        """Revisions that nobody has to go on with."""
        return self.revisions - {self.draft or ""}


def visible_files(project: Project, spec: PipelineSpec) -> Visible:
    """Ask every table of a pipeline what it shows now.

    Raises:
        ManifestInvalid: A log is damaged.
    """
    tables = {table.name: table for table in _tables(project, spec)}
    shown = {name: table.files() for name, table in tables.items()}
    published = shown[PREDICTIONS]
    return Visible(
        logged=frozenset(name for name, table in tables.items() if has_log(table.folder)),
        files=frozenset(
            file for files in shown.values() for each in files.values() for file in each
        ),
        revisions={key: files[0].parent.name for key, files in published.items()},
    )


def publication_history(project: Project, spec: PipelineSpec) -> History:
    """Read from the log what was published when; every commit is read.

    Raises:
        ManifestInvalid: The log is damaged.
    """
    folder = predictions_table(project, spec).folder
    replaced: dict[tuple[str, str], datetime] = {}
    shown: dict[str, str] = {}
    for commit in read_commits(folder, range(open_table(folder).version() + 1)):
        key, revision = (commit.metadata.get(name) for name in (WINDOW_KEY, REVISION))
        if key is None:
            continue
        if before := shown.pop(key, None):
            replaced[key, before] = _time_of(commit)
        if revision is not None:  # else it was withdrawn
            shown[key] = revision
    return History(shown=shown, replaced=replaced)


def needs_of_window(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    documents: Mapping[str, datetime],
    visible: Visible,
    history: Callable[[], History],
    *,
    now: datetime,
) -> Needs:
    """Read the manifests of a window and say what they need.

    Args:
        project: Where they are.
        spec: The pipeline, with its retention.
        window: The window.
        documents: When each of its manifests was written, by revision, and its draft, by `draft`.
        visible: What the tables show.
        history: Gives what the log says; asked only where a manifest may be too old.
        now: The time.

    Raises:
        ManifestInvalid: A manifest cannot be read, so that nobody knows what it needs.
    """
    store = manifests(project, spec)
    oldest = now - timedelta(days=spec.retention.superseded_days)
    revisions = frozenset(documents) - {DRAFT}
    found = [store.read(window, revision) for revision in sorted(revisions)]
    evidence = condemned_revisions(project, spec, window)
    replaced = [manifest for manifest in found if manifest.revision not in evidence]
    expired = dict(_expired(replaced, visible, history, oldest))
    staying = [manifest for manifest in found if manifest.revision not in expired]
    pending = store.draft(window) if documents.get(DRAFT, oldest) > oldest else None
    return Needs(
        files=_named(project, spec, window, [*staying, *([pending] if pending else [])]),
        revisions=revisions,
        expired=expired,
        draft=pending.revision if pending else None,
    )


def _expired(
    found: Iterable[Manifest], visible: Visible, history: Callable[[], History], oldest: datetime
) -> Iterator[tuple[str, datetime]]:
    if PREDICTIONS not in visible.logged:  # nobody knows what is published
        return
    for manifest in found:
        key, since = manifest.window.key, manifest.published_at
        if manifest.revision == visible.revisions.get(key) or since is None or since >= oldest:
            continue
        known = history()
        since = max(since, known.replaced.get((key, manifest.revision), since))
        if known.shown.get(key) != manifest.revision and since < oldest:
            yield manifest.revision, since


def _named(
    project: Project, spec: PipelineSpec, window: Window, staying: Iterable[Manifest]
) -> frozenset[Place]:
    """Collect the files that manifests name: outputs by path, inputs by digest."""
    folder = predictions_table(project, spec).folder
    named: set[Place] = set()
    for manifest in staying:
        digest = manifest.snapshot.digest
        named.update(folder / output.path for output in manifest.outputs)
        named.add(frozen_rows(project, spec, window, manifest.snapshot).place)
        named.add(made_rows(project, spec, window, manifest.features, digest).place)
        if manifest.quarantine is not None:
            named.add(recorded_place(project, spec, manifest.quarantine))
    return frozenset(named)


def _tables(project: Project, spec: PipelineSpec) -> list[WindowTable]:
    return [
        snapshot_table(project, spec),
        features_table(project, spec),
        quarantine_table(project, spec),
        predictions_table(project, spec),
        metric_table(project, spec, "evaluation"),
        metric_table(project, spec, "performance"),
        score_changes_table(project, spec),
        sketch_table(project, spec),
        labelled_scores_table(project, spec),
    ]


def _time_of(commit: Commit) -> datetime:
    """Return when a commit was made; one that does not say keeps what it replaced for ever."""
    milliseconds = commit.metadata.get("timestamp", "")
    if not milliseconds.isdigit():
        return datetime.max.replace(tzinfo=UTC)
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
