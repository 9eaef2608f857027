"""Commands on windows: run them, and see what became of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import (
    as_json,
    complain,
    here,
    job_of,
    open_instance,
    open_registry,
)
from batchinf_assets.console import Console, print_json, print_table
from batchinf_assets.errors import (
    GoldenSetInvalid,
    KeyringInvalid,
    ModelRefused,
    ModelUnavailable,
    Preempted,
    StorageRefused,
    StorageUnavailable,
    UsageError,
)
from batchinf_assets.lake.presence import Presence
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets.manifest.judgement import GoldenSetRecord
    from batchinf_assets.orchestration.runs.execute import RunReport
    from batchinf_assets.publishing.status.window_history import SeenRevision
    from batchinf_assets.publishing.status.window_status import WindowStatus

REVISION = re.compile(r"[0-9a-f]{16}")

SHOWN_WINDOWS = 3


@click.command()
@click.argument("pipeline")
@click.argument("window")
@as_json
def run(*, pipeline: str, window: str, json_: bool) -> None:
    """Materialize one window here, the whole graph, through Dagster.

    WINDOW is a window's key, such as 2013-07-01.
    """
    declared = load_pipeline(pipeline)
    asked = [declared.spec.window.window(window)]
    declared.spec.window.require_due(asked, datetime.now(UTC))
    report = run_here(declared, asked, shown=not json_)
    if json_:
        print_json(asdict(report))
    sys.exit(exit_code([report]))


@click.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@as_json
def status(*, pipeline: str, window: str | None, json_: bool) -> None:
    """Show the windows of PIPELINE: revision, published or not, why not.

    Also which revision is pending and how many of its shards are missing, how the last attempt
    failed, who works on a window now, which windows are given up as their runs kept dying, which
    landed files were removed after they were frozen, and which windows were evaluated by another
    golden set than the one in force. Of WINDOW, every revision that readers saw: what `compare
    --revision` and `rollback --to` take.
    """
    from batchinf_assets.orchestration.runs.refusals import standing_refusals
    from batchinf_assets.publishing.status.statuses import pipeline_status
    from batchinf_assets.publishing.status.window_history import seen_revisions

    spec, project = load_pipeline(pipeline).spec, here()
    asked = spec.window.window(window) if window is not None else None
    presence = Presence.of(project.lake / spec.name)
    with open_instance(project) as instance:
        refused = standing_refusals(instance, spec)
    waits_for, now = _no_model(project, spec), datetime.now(UTC)
    landed, golden = _landed(project, spec), _golden_set(project, spec)
    with presence.required():
        windows = pipeline_status(
            project, spec, refused, waits_for, now=now, landed=landed, golden=golden
        )
        seen = [] if asked is None else seen_revisions(project, spec, asked)
    if asked is not None:
        _tell_one(spec, asked, windows, seen, json_=json_)
    elif json_:
        print_json([asdict(window) for window in windows])
    else:
        _tell_all(project, spec, windows)


def _landed(project: Project, spec: PipelineSpec) -> frozenset[str] | None:
    """Return the windows whose file lies in the landing folder; say so where nobody knows."""
    from batchinf_assets.snapshots.listing import landed_windows
    from batchinf_assets.snapshots.source import landing_of

    try:
        found, why = landed_windows(project.landing, spec.source.files, spec.window), "is not there"
    except (StorageRefused, StorageUnavailable) as error:
        found, why = None, f"cannot be listed ({error.message.removesuffix('.')})"
    if found is None:
        folder = landing_of(project).shown
        complain(f"The landing folder {folder} {why}: which landed files are gone is unknown.")
    return found


def _golden_set(project: Project, spec: PipelineSpec) -> GoldenSetRecord | None:
    """Return the golden set in force; say so where nobody knows."""
    from batchinf_assets.evaluation.golden.golden_set import golden_set_in_force

    try:
        return golden_set_in_force(project, spec)
    except GoldenSetInvalid as error:
        complain(f"By which golden set windows were evaluated is not compared: {error}")
    return None


def _tell_all(project: Project, spec: PipelineSpec, windows: Sequence[WindowStatus]) -> None:
    if not windows:
        click.echo(
            f"No window of {spec.name} was run yet in the lake {project.shown(project.lake)}. "
            f"Run one: `batchinf run {spec.name} WINDOW`."
        )
        return
    print_table(
        f"{spec.name}: {sum(w.revision is not None for w in windows)} of {len(windows)} published",
        ["window", "state", "rows", "quarantined", "revision", "model", "drift", "held back"],
        [
            [w.window, _state(w), w.rows, w.quarantined, w.revision, w.model, w.drift, _notes(w)]
            for w in windows
        ],
    )
    other = [window.window for window in windows if window.golden_set == "other"]
    if other:
        click.echo(_evaluated_otherwise(spec, other, len(windows)))


def _evaluated_otherwise(spec: PipelineSpec, found: Sequence[str], windows: int) -> str:
    """Say which windows have figures of another golden set, and how to get those of this one."""
    told = (
        "Evaluated by another golden set than the one in force, so that figures of the two do not "
        f"compare: {len(found)} of {windows} windows, {found[0]} to {found[-1]}. To evaluate them "
        f"again, which scores nothing, materialize {spec.name}/evaluation (docs/golden-set.md)."
    )
    if spec.gate.blocks and "evaluation" in spec.rollback.causes:
        told += " `rollback.automatic` takes back what fails by it."
    return told


def _tell_one(
    spec: PipelineSpec,
    window: Window,
    windows: Sequence[WindowStatus],
    seen: Sequence[SeenRevision],
    *,
    json_: bool,
) -> None:
    own = [each for each in windows if each.window == window.key]
    if json_:
        document = asdict(own[0]) if own else {"window": window.key, "state": "not run"}
        print_json({**document, "seen": [asdict(each) for each in seen]})
        return
    for each in own:
        click.echo(f"{spec.name} {window}: {_state(each)}. {_notes(each) or ''}".rstrip())
    if not seen:
        click.echo(f"Readers saw no revision of {spec.name} {window} yet.")
        return
    print_table(
        "Revisions that readers saw, the one shown last first",
        ["revision", "standing", "published", "rows", "model", "last verdict"],
        [[r.revision, r.standing, _minute(r.published_at), r.rows, r.model, r.said] for r in seen],
    )


def _minute(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}"


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--revision", help="Another revision than the published one.")
@as_json
def manifest(*, pipeline: str, window: str, revision: str | None, json_: bool) -> None:  # noqa: ARG001 - it always is JSON
    """Print the manifest of the published revision of WINDOW as JSON."""
    from batchinf_assets.errors import WindowMissing
    from batchinf_assets.scoring.predictions import manifests, published_revision

    spec, project = load_pipeline(pipeline).spec, here()
    found = spec.window.window(window)
    if revision is not None and not REVISION.fullmatch(revision):
        raise UsageError(
            f"'{revision[:40]}' is no revision.",
            next_step="Revisions have 16 hex digits; `batchinf status` shows the published ones.",
        )
    chosen = revision or published_revision(project, spec, found)
    if chosen is None:
        raise WindowMissing(
            f"Window {window} of {pipeline} is not published.",
            next_step=f"Run it: `batchinf run {pipeline} {window}`.",
        )
    click.echo(manifests(project, spec).read(found, chosen).to_json(), nl=False)


def _state(window: WindowStatus) -> str:
    failure = window.last_failure
    code = (failure.reason_code or "") if failure else ""
    if window.given_up and window.state != "given up":
        return f"{window.state}, given up"
    if code == "held_for_approval":
        return f"{window.state}, held"
    if code.startswith("run_over_cap/"):
        return f"{window.state}, over its cap"
    stale = ["trailing stale"] if window.trailing == "stale" else []
    other = ["other golden set"] if window.golden_set == "other" else []
    return ", ".join([window.state, *stale, *other])


def _notes(window: WindowStatus) -> str | None:
    """Say what keeps a window from going on, and who is at it."""
    gone = window.source_gone and f"{window.source_gone} was removed after it was frozen."
    notes = (window.held_by, window.given_up, window.pending, window.held_back, gone)
    return " ".join(str(note) for note in notes if note) or None


def _no_model(project: Project, spec: PipelineSpec) -> str | None:
    """Say why no model may score now; None where one may."""
    from batchinf_assets.registry.trust import promoted_model

    registry, now = open_registry(project), datetime.now(UTC)
    try:
        promoted_model(registry, spec.model.name, spec.model.alias, now)
    except (ModelRefused, ModelUnavailable, KeyringInvalid) as error:
        return str(error)
    return None


def run_here(pipeline: Pipeline, windows: Sequence[Window], *, shown: bool) -> RunReport:
    """Materialize windows that follow one another in this process, and tell what became of them."""
    from batchinf_assets.orchestration.runs.execute import run_job
    from batchinf_assets.orchestration.steps.hands import prepare_hands

    # Loading definitions asks the instance that was entered last, so it is entered first.
    with open_instance(here()) as instance:
        prepare_hands(pipeline.spec, windows)
        job = job_of(pipeline)
        with Console(shown=shown).run_progress(len(windows)) as on_event:
            report = run_job(job, instance, windows, on_event)
    if shown:
        _tell(report, windows)
    return report


def exit_code(reports: Sequence[RunReport]) -> int:
    """Return what the process ends with after these runs."""
    if any(report.preempted for report in reports):
        return Preempted.exit_code
    return 0 if all(report.succeeded for report in reports) else 1


def _tell(report: RunReport, windows: Sequence[Window]) -> None:
    for reason in dict.fromkeys(report.refused.values()):
        complain(reason)
    if report.crashed or not (report.succeeded or report.refused):
        complain(report.failure or "The run failed.")
    # A refused window may well be published: by an earlier run, or with its outcomes refused.
    what = "published" if report.succeeded else "came through"
    click.echo(f"{len(report.done)} of {len(windows)} windows {what}. Run {report.run_id}.")
    for check, found in report.warned.items():
        click.echo(_warning(check, found))


def _warning(check: str, found: Mapping[str, str]) -> str:
    windows = list(found)
    more = len(windows) - SHOWN_WINDOWS
    named = ", ".join(windows[:SHOWN_WINDOWS]) + (f" and {more} more" if more > 0 else "")
    return f"{check} warns of {named}: {found[windows[0]]}."
