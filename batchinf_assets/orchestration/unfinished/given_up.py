"""Windows that the sensor for unfinished windows gives up, as Dagster and a ticket show them.

When a window is given up is planned by `relaunches`; the state and its ticket are
`status.given_up`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import dagster as dg

from batchinf_assets.errors import LostRace
from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.metadata.names import REFUSED
from batchinf_assets.orchestration.rollback.roll_back import TAKEN_BACK
from batchinf_assets.orchestration.unfinished.relaunches import DeadRun
from batchinf_assets.project import Project
from batchinf_assets.publishing.status.given_up import (
    PUBLISHED,
    Ending,
    GivenUp,
    close_given_up,
    is_told,
    open_given_up,
    open_windows,
)
from batchinf_assets.spec.pipeline import PipelineSpec

GIVEN_UP = "batchinf/given_up"

RECORDS = 100
"""The newest events of a window that are looked at."""


def tell_given_up(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    found: Mapping[str, DeadRun],
    now: datetime,
) -> Iterator[str]:
    """Show each window that is given up on its asset, open its ticket, and yield the sentence.

    Who dies in between shows it once more; the ticket is opened once.

    Args:
        instance: Where it is shown.
        project: Where the tickets are.
        spec: The pipeline.
        found: Windows, each with its last dead run.
        now: The time.
    """
    for window, dead in found.items():
        each = GivenUp(
            pipeline=spec.name,
            window=window,
            asset=_goal(dead),
            run_id=dead.run_id,
            before=dead.relaunches,
            since=now,
        )
        if is_told(project, spec, each):
            continue
        instance.report_runless_asset_event(_observed(each))
        open_given_up(project, spec, each)
        yield f"{window}: {each}"


def clear_given_up(
    instance: dg.DagsterInstance, project: Project, spec: PipelineSpec, now: datetime
) -> Iterator[str]:
    """Close the tickets of windows that came through, or were taken back, since.

    Yields:
        What is said of each.

    Raises:
        ManifestInvalid: A ticket is damaged.
    """
    for each in open_windows(project, spec):
        ending = _ending(instance, each)
        if ending is None:
            continue
        try:
            close_given_up(project, spec, each, ending, now)
        except LostRace:  # somebody closed it just now
            continue
        yield f"{each.window} {ending}: its ticket {each.ticket.id} is closed."


def _goal(dead: DeadRun) -> str:
    """Return the asset that shows whether a later run did what this one was to do."""
    return PUBLISHED if not dead.assets or PUBLISHED in dead.assets else dead.assets[-1]


def _ending(instance: dg.DagsterInstance, given_up: GivenUp) -> Ending | None:
    since = dg.AssetRecordsFilter(
        asset_key=asset_key(given_up.pipeline, given_up.asset),
        asset_partitions=[given_up.window],
        after_timestamp=given_up.since.timestamp(),
    )
    made = instance.fetch_materializations(since, RECORDS).records
    said = [set(each.asset_materialization.metadata) for each in made if each.asset_materialization]
    if any(TAKEN_BACK not in each for each in said):
        return "came through"
    # What came through and has no result, such as `performance` without outcomes, is observed.
    observed = instance.fetch_observations(since, RECORDS).records
    seen = [set(each.asset_observation.metadata) for each in observed if each.asset_observation]
    if any(not {REFUSED, GIVEN_UP, TAKEN_BACK} & each for each in seen):
        return "came through"
    return "was taken back" if said else None


def _observed(given_up: GivenUp) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key(given_up.pipeline, given_up.asset),
        partition=given_up.window,
        description=str(given_up),
        metadata={
            GIVEN_UP: str(given_up),
            "window": given_up.window,
            "run": dg.MetadataValue.dagster_run(given_up.run_id),
            "ticket": given_up.ticket.id,
        },
    )
