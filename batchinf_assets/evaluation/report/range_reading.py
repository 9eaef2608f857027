"""What is known of each window of a range, and of the attempts that did not come through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.evaluation.drift.sketches import Sketches, read_sketches
from batchinf_assets.evaluation.later_evaluations import with_last_evaluation
from batchinf_assets.evaluation.realised.labelled_scores import LabelledScores, read_labelled_scores
from batchinf_assets.evaluation.realised.trailing_state import TrailingState, trailing_states
from batchinf_assets.evaluation.records.metric_tables import metric_table, read_figures
from batchinf_assets.evaluation.report.places import (
    Link,
    link_to,
    manifest_link,
    window_report_place,
    without_places,
)
from batchinf_assets.evaluation.report.readings import Reading, Row, reading_of
from batchinf_assets.evaluation.report.spreads import training_profile
from batchinf_assets.evaluation.report.standing import Standing, standing_of
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.predictions import empty_revision, manifests, predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window

READERS = 8
"""Windows read at once, because each takes S3 a moment."""

FINE = frozenset({"published", "unchanged", "scored"})
"""How an attempt ends that came as far as it was meant to."""


@dataclass(frozen=True, kw_only=True)
class WindowReading:
    """One window: the revision that readers see, or else what there is instead.

    Attributes:
        window: Which.
        manifest: Of that revision; None where nothing was ever scored.
        standing: Where it stands; None without a revision.
        reading: What was measured on it.
        sketches: Its rows by bin; None where none were kept.
        labelled: Its labelled rows by score; None where none were kept.
        manifest_link: Where its manifest lies.
        report_link: Where its own report lies; None where none was written.
        trailing_state: Whether its figures over several windows are those of what is on record by
            now; None where there are none, or nothing was kept that tells.
        problem: Why it could not be read, as a sentence.
    """

    window: Window
    manifest: Manifest | None = None
    standing: Standing | None = None
    reading: Reading = field(default_factory=Reading)
    sketches: Sketches | None = None
    labelled: LabelledScores | None = None
    manifest_link: Link | None = None
    report_link: Link | None = None
    trailing_state: TrailingState | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """An attempt at a window that did not come through, or took a revision back.

    Attributes:
        window: The window's key.
        state: How it ended, as the ledger calls it.
        stage: The asset in which it ended.
        revision: What it worked on; None where it did not get that far.
        reason: Why, as a sentence; None where nobody said.
        ended_at: When.
    """

    window: str
    state: str
    stage: str
    revision: str | None
    reason: str | None
    ended_at: datetime


def read_range(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], page: Place
) -> list[WindowReading]:
    """Read what is known of windows, in order; one that is damaged says so and hides no other.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        windows: The windows.
        page: Where the page will lie that links to them.

    Raises:
        ManifestInvalid: A table's log is damaged.
    """
    published = predictions_table(project, spec).files()
    tables = _Tables(
        published={key: files[0].parent.name for key, files in published.items()},
        evaluation=metric_table(project, spec, "evaluation").files(),
        performance=metric_table(project, spec, "performance").files(),
        labelled={each.window.key: each for each in read_labelled_scores(project, spec, windows)},
        trailing=trailing_states(project, spec, windows),
    )
    with ThreadPoolExecutor(READERS) as readers:
        read = partial(_read_even_if_damaged, project, spec, page, tables)
        found = list(readers.map(read, windows))
    shown = {each.window.key: each.manifest.revision for each in found if each.manifest}
    sketches = read_sketches(project, spec, windows, revisions=shown)
    return [_with_sketches(each, sketches) for each in found]


def known_profiles(project: Project, found: Sequence[WindowReading]) -> dict[str, Profile]:
    """Return the profiles of the models that scored, by digest, as far as they are known."""
    models = {each.manifest.model.digest: each.manifest for each in found if each.manifest}
    profiles = [training_profile(project, manifest) for manifest in models.values()]
    return {profile.digest: profile for profile in profiles if profile is not None}


def read_troubles(project: Project, spec: PipelineSpec, windows: Sequence[Window]) -> list[Trouble]:
    """Read the attempts at windows that did not come through, and rollbacks, by window and time.

    Raises:
        ManifestInvalid: The ledger is damaged.
    """
    wanted = {window.key for window in windows}
    rows = Ledger(project.lake).read(spec.name).to_pylist()
    fields = ("window", "state", "stage", "revision", "ended_at")
    return [
        Trouble(
            **{name: row[name] for name in fields},
            reason=without_places(project, row["reason"]) if row["reason"] else None,
        )
        for row in rows
        if row["window"] in wanted and row["state"] not in FINE
    ]


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """What is looked up once for all windows."""

    published: Mapping[str, str]
    evaluation: Mapping[str, Sequence[Place]]
    performance: Mapping[str, Sequence[Place]]
    labelled: Mapping[str, LabelledScores]
    trailing: Mapping[str, TrailingState]


def _read_even_if_damaged(
    project: Project, spec: PipelineSpec, page: Place, tables: _Tables, window: Window
) -> WindowReading:
    try:
        return _read(project, spec, page, tables, window)
    except ManifestInvalid as error:
        return WindowReading(window=window, problem=without_places(project, str(error)))


def _read(
    project: Project, spec: PipelineSpec, page: Place, tables: _Tables, window: Window
) -> WindowReading:
    visible = tables.published.get(window.key) or empty_revision(project, spec, window)
    manifest = shown_manifest(project, spec, window, visible)
    if manifest is None:
        return WindowReading(window=window)
    manifest = with_last_evaluation(project, spec, window, manifest)
    labelled = tables.labelled.get(window.key)
    own_report = window_report_place(project, spec, window, manifest.revision)
    return WindowReading(
        window=window,
        manifest=manifest,
        standing=standing_of(project, spec, window, manifest, visible),
        reading=reading_of(
            manifest.revision,
            manifest.evaluation,
            evaluation=_rows(tables.evaluation.get(window.key, ())),
            performance=_rows(tables.performance.get(window.key, ())),
        ),
        labelled=labelled if labelled and labelled.measured.revision == manifest.revision else None,
        manifest_link=manifest_link(project, spec, window, manifest, page),
        report_link=link_to(project, own_report, page) if is_file(own_report) else None,
        trailing_state=tables.trailing.get(window.key),
    )


def shown_manifest(
    project: Project, spec: PipelineSpec, window: Window, visible: str | None
) -> Manifest | None:
    """Return what readers see, else what was last scored, else the newest that was taken back."""
    store = manifests(project, spec)
    if visible is not None:
        return store.read(window, visible)
    draft = store.draft(window)
    if draft is not None:
        return draft
    kept = [store.read(window, revision) for revision in store.revisions(window)]
    return max(kept, key=lambda each: each.published_at or each.scored_at, default=None)


def _rows(files: Sequence[Place]) -> Iterator[Row]:
    for path in files:
        yield from read_figures(path).to_pylist()


def _with_sketches(found: WindowReading, sketches: Mapping[str, Sketches]) -> WindowReading:
    return replace(found, sketches=sketches.get(found.window.key))
