"""Commands of the demo: the outside world of flight_delays, and all of it played at once."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import (
    as_json,
    here,
    job_of,
    open_instance,
    open_registry,
    signing_key,
)
from batchinf_assets.console import Console, print_json
from batchinf_assets.lake.entries import exists
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline

if TYPE_CHECKING:
    from batchinf_assets.registry.keys import SigningKey


@click.group()
def demo() -> None:
    """Play the demo's outside world, or all of it."""


@demo.command("land")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day, itself included.")
@click.option("--flights/--no-flights", default=True, help="Drop scheduled flights.")
@click.option("--outcomes/--no-outcomes", default=True, help="Drop outcomes.")
@click.option("--hourly", is_flag=True, help="Drop departures hour by hour instead.")
@as_json
def demo_land(
    *,
    first: datetime | None,
    last: datetime | None,
    flights: bool,
    outcomes: bool,
    hourly: bool,
    json_: bool,
) -> None:
    """Drop real flights, weather, planes and outcomes of 2013 where upstream systems would."""
    from batchinf_demo.departures import land_departures
    from batchinf_demo.landing import land

    project = here()
    drop = partial(land_departures if hourly else land, project.landing)
    with Console(shown=not json_).progress("Landing files") as advance:
        landed = drop(
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
@click.option("--from", "first", help="First window.")
@click.option("--to", "last", help="Last window.")
@click.option("--hourly", is_flag=True, help="Hours of departure_delays instead.")
def demo_run(*, first: str | None, last: str | None, hourly: bool) -> None:
    """Land the data, train a first model, publish a week and show it."""
    from batchinf_assets.orchestration.runs.execute import run_job
    from batchinf_assets.orchestration.steps.hands import prepare_hands
    from batchinf_demo.week import DAY_OF_HOURS, WEEK, play

    declared = load_pipeline("departure_delays" if hourly else "flight_delays")
    project = here()
    usual_first, usual_last = DAY_OF_HOURS if hourly else WEEK
    windows = declared.spec.window.between(first or usual_first, last or usual_last)
    with open_instance(project) as instance:
        prepare_hands(declared.spec, windows)
        job = job_of(declared)
        published = play(
            project,
            open_registry(project),
            declared,
            windows,
            lambda chosen, on_event: run_job(job, instance, chosen, on_event),
            lambda: _demo_key(project),
        )
    sys.exit(0 if published else 1)


def _demo_key(project: Project) -> SigningKey:
    """Return the key to sign with; the demo makes one where nothing was ever trusted."""
    from batchinf_assets.registry.keyring import KEYRING_FILE, init_keys

    if exists(project.keys / KEYRING_FILE):
        return signing_key(project)
    now = datetime.now(UTC)
    return init_keys(project.keys, not_before=now, not_after=now + timedelta(days=730))


def _day(value: datetime | None) -> date | None:
    return value.date() if value else None
