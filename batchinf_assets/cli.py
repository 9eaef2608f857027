"""The operator's commands, over the same functions as the assets.

Exit codes: 0 fine, 1 the thing checked is not fine, 2 wrong use.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING

import click
import yaml

from batchinf_assets import __version__
from batchinf_assets.console import (
    Console,
    bar,
    one_line,
    print_json,
    print_table,
)
from batchinf_assets.errors import BatchinfError, UsageError
from batchinf_assets.project import Project
from batchinf_assets.spec import Pipeline, load_pipeline, pipeline_names
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    import dagster as dg

    from batchinf_assets.orchestration.execute import RunReport
    from batchinf_assets.registry.registry import ModelVersion, Registry

REVISION = re.compile(r"[0-9a-f]{16}")

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


class _Commands(click.Group):
    """Commands whose failures are one line; a traceback only with `--debug`."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (BatchinfError, OSError) as error:
            if ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            _complain(_sentence(error))
            ctx.exit(error.exit_code if isinstance(error, BatchinfError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchinf")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
def main(*, debug: bool) -> None:  # noqa: ARG001 - read by _Commands
    """Batch inference whose every published number can be traced, verified and repeated."""
    # Start-up makes hundreds of thousands of objects that all stay. Looking through them for
    # garbage again and again took an eighth of a one-window run.
    gc.set_threshold(100_000, 20, 100)


@main.command()
@click.argument("pipeline")
@click.argument("window")
@as_json
def run(*, pipeline: str, window: str, json_: bool) -> None:
    """Materialize one window here, the whole graph, through Dagster.

    WINDOW is a window's key, such as 2013-07-01.
    """
    declared = load_pipeline(pipeline)
    _run(declared, [declared.spec.window.window(window)], json_=json_)


@main.group()
def backfill() -> None:
    """Run many windows."""


@backfill.command("run")
@click.argument("pipeline")
@click.option("--from", "first", required=True, help="First window.")
@click.option("--to", "last", required=True, help="Last window, itself included.")
@as_json
def backfill_run(*, pipeline: str, first: str, last: str, json_: bool) -> None:
    """Materialize a range of windows here, in one run; a refused window stops no other."""
    declared = load_pipeline(pipeline)
    _run(declared, declared.spec.window.between(first, last), json_=json_)


@main.command()
@click.argument("pipeline")
@as_json
def status(*, pipeline: str, json_: bool) -> None:
    """Show the windows of PIPELINE: revision, published or not, why not."""
    from batchinf_assets.orchestration.refusals import standing_refusals
    from batchinf_assets.publishing.status import pipeline_status

    spec, project = load_pipeline(pipeline).spec, _project()
    windows = pipeline_status(project, spec, standing_refusals(_instance(project), spec))
    if json_:
        print_json([asdict(window) for window in windows])
        return
    if not windows:
        click.echo(
            f"No window of {spec.name} was run yet. Run one: `batchinf run {spec.name} WINDOW`."
        )
        return
    print_table(
        f"{spec.name}: {sum(w.revision is not None for w in windows)} of {len(windows)} published",
        ["window", "state", "rows", "revision", "model", "drift", "held back"],
        [[w.window, w.state, w.rows, w.revision, w.model, w.drift, w.held_back] for w in windows],
    )


@main.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--revision", help="Another revision than the published one.")
@as_json
def manifest(*, pipeline: str, window: str, revision: str | None, json_: bool) -> None:  # noqa: ARG001 - it always is JSON
    """Print the manifest of the published revision of WINDOW as JSON."""
    from batchinf_assets.errors import WindowMissing
    from batchinf_assets.scoring.predictions import manifests, published_revision

    spec, project = load_pipeline(pipeline).spec, _project()
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


@main.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@click.option("--all", "all_", is_flag=True, help="Every published window.")
@as_json
def verify(*, pipeline: str, window: str | None, all_: bool, json_: bool) -> None:
    """Verify what is published: exit 0 only if every digest, count and key holds."""
    from batchinf_assets.publishing.verify import undeclared, verify_window
    from batchinf_assets.scoring.predictions import predictions_table

    if (window is None) != all_:
        raise UsageError("verify needs one window or --all.", next_step="See `batchinf verify -h`.")
    spec, project = load_pipeline(pipeline).spec, _project()
    keys = sorted(predictions_table(project, spec).files()) if window is None else [window]
    if not keys:
        raise UsageError(
            f"Nothing of {pipeline} is published, so there is nothing to verify.",
            next_step=f"Run a window: `batchinf run {pipeline} WINDOW`.",
        )
    registry = _registry(project)
    verified = [
        verify_window(project, registry, spec, spec.window.window(key))
        if window is not None or spec.window.has(key)
        else undeclared(key)
        for key in bar(keys, "Verifying", shown=not json_)
    ]
    failed = [found for found in verified if not found.holds]
    if json_:
        print_json([{**asdict(found), "holds": found.holds} for found in verified])
    for found in failed if not json_ else ():
        for problem in found.problems:
            _complain(f"{found.window}: {problem}")
    if not json_:
        click.echo(f"{len(verified) - len(failed)} of {len(verified)} windows verify.")
    sys.exit(1 if failed else 0)


@main.group()
def model() -> None:
    """Register models and list them."""


@model.command("register")
@click.argument("pipeline")
@as_json
def model_register(*, pipeline: str, json_: bool) -> None:
    """Train PIPELINE's model on its declared windows and register it under its alias."""
    from batchinf_assets.training.train import train_and_register

    declared, project = load_pipeline(pipeline), _project()
    with Console(shown=not json_).progress("Training data") as advance:
        trained = train_and_register(project, _registry(project), declared, advance)
    if json_:
        print_json({**_model_row(trained.version), "training": trained.training.model_dump()})
        return
    click.echo(
        f"Registered {trained.version.name} v{trained.version.version} "
        f"({', '.join(trained.version.aliases)}), digest {trained.version.digest[:16]}: "
        f"{trained.training.rows} rows, {trained.training.positives} positive, "
        f"training AUROC {trained.metrics.auroc:.4f}."
    )


@model.command("list")
@click.argument("pipeline", required=False)
@as_json
def model_list(*, pipeline: str | None, json_: bool) -> None:
    """List the registered models of PIPELINE, or of all pipelines."""
    registry = _registry(_project())
    names = [
        load_pipeline(p).spec.model.name for p in ([pipeline] if pipeline else pipeline_names())
    ]
    versions = [version for name in names for version in registry.versions(name)]
    if json_:
        print_json([_model_row(version) for version in versions])
        return
    if not versions:
        click.echo("No model is registered yet. Register one: `batchinf model register PIPELINE`.")
        return
    print_table(
        f"{len(versions)} model version{'s' if len(versions) != 1 else ''}",
        ["name", "version", "aliases", "digest", "created", "training AUROC"],
        [
            [
                v.name,
                v.version,
                ", ".join(v.aliases),
                v.digest[:16],
                f"{v.created_at:%Y-%m-%d %H:%M}",
                v.metrics.get("auroc"),
            ]
            for v in versions
        ],
    )


@main.group()
def demo() -> None:
    """Play the demo's outside world, or all of it."""


@demo.command("land")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day, itself included.")
@click.option("--flights/--no-flights", default=True, help="Drop scheduled flights.")
@click.option("--outcomes/--no-outcomes", default=True, help="Drop outcomes.")
@as_json
def demo_land(
    *,
    first: datetime | None,
    last: datetime | None,
    flights: bool,
    outcomes: bool,
    json_: bool,
) -> None:
    """Drop real flights, weather, planes and outcomes of 2013 where upstream systems would."""
    from batchinf_demo.landing import land

    project = _project()
    with Console(shown=not json_).progress("Landing files") as advance:
        landed = land(
            project.landing,
            first=_day(first),
            last=_day(last),
            flights=flights,
            outcomes=outcomes,
            on_progress=advance,
        )
    if json_:
        print_json(asdict(landed))
        return
    click.echo(
        f"{landed.days} days in {project.shown(project.landing)}: {landed.flights} flights, "
        f"{landed.outcomes} outcomes; {landed.files_written} files written, "
        f"{landed.files_unchanged} unchanged."
    )


@demo.command("run")
@click.option("--from", "first", default="2013-07-01", help="First window.")
@click.option("--to", "last", default="2013-07-07", help="Last window.")
def demo_run(*, first: str, last: str) -> None:
    """Land the data, train a first model, publish a week and show it."""
    from batchinf_assets.orchestration.execute import run_job
    from batchinf_demo.week import play

    declared, project = load_pipeline("flight_delays"), _project()
    windows = declared.spec.window.between(first, last)
    job, instance = _job(declared), _instance(project)
    published = play(
        project,
        _registry(project),
        declared,
        windows,
        lambda chosen, on_event: run_job(job, instance, chosen, on_event),
    )
    sys.exit(0 if published else 1)


def _run(pipeline: Pipeline, windows: Sequence[Window], *, json_: bool) -> None:
    from batchinf_assets.orchestration.execute import run_job

    project, job = _project(), _job(pipeline)
    with Console(shown=not json_).run_progress(len(windows)) as on_event:
        report = run_job(job, _instance(project), windows, on_event)
    if json_:
        print_json(asdict(report))
    else:
        _tell(report, windows)
    sys.exit(0 if report.succeeded else 1)


def _job(pipeline: Pipeline) -> dg.JobDefinition:
    """Return the pipeline's job out of its own definitions: a broken neighbour stops it not."""
    import dagster as dg
    from dagster_shared.utils.warnings import disable_dagster_warnings

    from batchinf_assets.orchestration.component import pipeline_definitions
    from batchinf_assets.orchestration.resources import shared

    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        own = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
        return own.resolve_job_def(pipeline.name)


def _tell(report: RunReport, windows: Sequence[Window]) -> None:
    for reason in dict.fromkeys(report.refused.values()):
        _complain(reason)
    if report.crashed or not (report.succeeded or report.refused):
        _complain(report.failure or "The run failed.")
    # A refused window may well be published: by an earlier run, or with its outcomes refused.
    what = "published" if report.succeeded else "came through"
    click.echo(f"{len(report.done)} of {len(windows)} windows {what}. Run {report.run_id}.")


def _complain(sentence: str) -> None:
    click.echo(f"batchinf: {one_line(sentence)}", err=True)


def _sentence(error: BatchinfError | OSError) -> str:
    if isinstance(error, BatchinfError):
        return str(error)
    return f"{error}. Check that the path is right and that this user may write there."


def _model_row(version: ModelVersion) -> dict[str, object]:
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "created_at": version.created_at.isoformat(),
        "metrics": dict(version.metrics),
    }


def _project() -> Project:
    project = Project.here(os.environ)
    if project.lake.exists() and not project.lake.is_dir():
        raise UsageError(
            f"The lake {project.shown(project.lake)} is no folder.",
            next_step="Set BATCHINF_LAKE to a folder.",
        )
    return project


def _registry(project: Project) -> Registry:
    from batchinf_assets.registry.registry import Registry

    return Registry.at(project.lake, os.environ)


def _instance(project: Project) -> dg.DagsterInstance:
    import dagster as dg

    project.dagster_home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(project.dagster_home)
    try:
        return dg.DagsterInstance.get()
    except (dg.DagsterError, yaml.YAMLError) as error:
        raise UsageError(
            f"{project.shown(project.dagster_home / 'dagster.yaml')} is no Dagster configuration: "
            f"{one_line(str(error))[:300]}.",
            next_step="Correct it, or copy the one at the root of the checkout.",
        ) from error


def _day(value: datetime | None) -> date | None:
    return value.date() if value else None
