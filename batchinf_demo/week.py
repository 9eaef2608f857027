"""The demo's main job: land the data, train a first model, publish windows, show what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import click

from batchinf_assets.console import Console, print_table
from batchinf_assets.errors import ModelUnavailable
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.orchestration.runs.execute import Reported, RunReport
from batchinf_assets.project import Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests, prediction_rows, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.register import train_and_register
from batchinf_assets.windows import Window
from batchinf_demo.departures import land_departures
from batchinf_demo.landing import LandedSummary, land

RunWindows = Callable[[Sequence[Window], Reported], RunReport]

WEEK = ("2013-07-01", "2013-07-07")
DAY_OF_HOURS = ("2013-07-04-05:00", "2013-07-04-23:00")
"""Of departure_delays; in the hours before, nobody leaves."""

NEXT_HOURS = """
Next:
  .venv/bin/batchinf run departure_delays 2013-07-05-05:00           the next hour
  .venv/bin/batchinf status departure_delays
  .venv/bin/batchinf manifest departure_delays 2013-07-04-17:00      why these numbers
  .venv/bin/batchinf verify departure_delays --all                   are they still what was scored?
"""

NEXT = """
Next:
  make ui                                                   the asset graph, on port 3000
  .venv/bin/batchinf run flight_delays 2013-07-08           the next day
  .venv/bin/batchinf backfill run flight_delays --from 2013-07-01 --to 2013-07-31
  .venv/bin/batchinf manifest flight_delays 2013-07-04      why these numbers
  .venv/bin/batchinf verify flight_delays --all             are they still what was scored?
"""


def play(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    windows: Sequence[Window],
    run: RunWindows,
    signing_key: Callable[[], SigningKey],
) -> bool:
    """Run the demo and say whether every window was published.

    Raises:
        BatchinfError: Landing or training failed.
    """
    started = time.monotonic()
    console = Console()
    landed = _land(project, pipeline, windows[-1], console)
    click.echo(f"Landed {landed.flights:,} real flights of {landed.days} days of 2013.")
    _ensure_model(project, registry, pipeline, console, signing_key)
    with console.run_progress(len(windows)) as on_event:
        report = run(windows, on_event)
    for reason in [*report.refused.values(), report.failure or ""]:
        click.echo(reason, err=True) if reason else None
    _show(project, pipeline, windows, report.seconds)
    own, total = sum(report.seconds.values()), time.monotonic() - started
    click.echo(
        f"{len(windows)} windows in {total:.1f} s: {own:.1f} s of their own, the rest is landing, "
        "the model, and Dagster's start and bookkeeping."
    )
    click.echo(NEXT_HOURS if _is_hourly(pipeline) else NEXT)
    return report.succeeded


def _is_hourly(pipeline: Pipeline) -> bool:
    return pipeline.spec.window.every == "hour"


def _land(project: Project, pipeline: Pipeline, last: Window, console: Console) -> LandedSummary:
    """Land the year; of hours, with two files each, what training and the windows need."""
    with console.progress("Landing files") as advance:
        if not _is_hourly(pipeline):
            return land(project.landing, on_progress=advance)
        first = pipeline.spec.model.training.start - timedelta(days=1)  # what SQL looks back on
        until = last.start.date() + timedelta(days=1)
        return land_departures(project.landing, first=first, last=until, on_progress=advance)


def _ensure_model(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    console: Console,
    signing_key: Callable[[], SigningKey],
) -> None:
    declared = pipeline.spec.model
    try:
        version = registry.resolve(declared.name, declared.alias)
        click.echo(f"Model {version.name} v{version.version} is registered already.")
    except ModelUnavailable:
        key, now = signing_key(), datetime.now(UTC)
        with console.progress("Training data") as advance:
            trained = train_and_register(project, registry, pipeline, key, advance, now=now)
        version, card = trained.version, trained.card
        decision = Decision(alias=declared.alias, reason="The first model", by="demo", at=now)
        promote(project, registry, [pipeline], key, version, decision)
        click.echo(
            f"Trained {version.name} v{version.version} on {card.training.rows:,} flights, signed "
            f"it with key {key.id}, promoted it to {declared.alias}; it scores by {card.scorer}."
        )


def _show(
    project: Project, pipeline: Pipeline, windows: Sequence[Window], seconds: Mapping[str, float]
) -> None:
    columns = [
        "window",
        "rows",
        "late expected",
        "golden AUROC",
        "drift",
        "seconds of its own",
        "revision",
    ]
    rows = [_row(project, pipeline, window, seconds) for window in windows]
    print_table(f"Published windows of {pipeline.name}", columns, rows)


def _row(
    project: Project, pipeline: Pipeline, window: Window, seconds: Mapping[str, float]
) -> list[object]:
    revision = published_revision(project, pipeline.spec, window)
    if revision is None:
        return [window.key, *["not published", None, None, None, None, None]]
    manifest = manifests(project, pipeline.spec).read(window, revision)
    late = prediction_rows(project, pipeline.spec, manifest).column("late_expected").to_numpy()
    return [
        window.key,
        manifest.counts.scored,
        f"{late.mean():.1%}",
        _auroc(manifest),
        manifest.evaluation.drift_verdict if manifest.evaluation else None,
        f"{seconds.get(window.key, 0.0):.2f}",
        revision,
    ]


def _auroc(manifest: Manifest) -> str | None:
    auroc = manifest.evaluation.golden.get("auroc") if manifest.evaluation else None
    return None if auroc is None else f"{auroc:.4f}"
