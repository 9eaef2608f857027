"""Failed performance whose consequences were not drawn: runs are asked for again, and not for ever.

A run that measures a window opens tickets and takes revisions back. One that fails on the way
leaves figures that say so; the outcomes sensor asks for another run, at most once an hour.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

import dagster as dg

from batchinf_assets.evaluation.realised.measured import Measured, measured_in
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import open_cause
from batchinf_assets.spec.pipeline import PipelineSpec

CHECK = "follow_up"
FOLLOW_UP = "batchinf/follow_up"
"""Tag of the runs that were asked for: of which figures."""

FOLLOW_UP_RUNS = 24
"""Runs for one revision and its outcomes, so a day of them; after that a ticket tells."""


def follow_up_requests(
    instance: dg.DagsterInstance,
    project: Project,
    spec: PipelineSpec,
    figures: Mapping[str, Place],
    visible: Mapping[str, str],
    now: datetime,
) -> Iterator[dg.RunRequest]:
    """Ask for windows whose figures failed and had no consequence yet, or leave them to people.

    Args:
        instance: Knows which runs were asked for before.
        project: Where tickets are.
        spec: The pipeline.
        figures: The file of figures by window key.
        visible: The revision that readers see by window key.
        now: The time; a run key lasts for an hour.

    Raises:
        ManifestInvalid: A file of figures is damaged.
        OSError: A ticket cannot be written.
    """
    for key, file in figures.items():
        found = measured_in(file)
        if found.revision != visible[key] or found.followed_up:
            continue
        name = f"{key}:{found.outcomes}:{found.revision}"
        asked = dg.RunsFilter(tags={FOLLOW_UP: name})
        if instance.get_runs_count(asked) >= FOLLOW_UP_RUNS:
            open_cause(project, spec, CHECK, _cause(spec, key, found), now)
            continue
        yield dg.RunRequest(
            partition_key=key, run_key=f"{name}:{now:%Y%m%d%H}", tags={FOLLOW_UP: name}
        )


def _cause(spec: PipelineSpec, window: str, found: Measured) -> str:
    outcomes = (found.outcomes or "none")[:16]
    back = f"batchinf rollback {spec.name} {window} --from {found.revision} --reason TEXT"
    return (
        f"{FOLLOW_UP_RUNS} runs failed to do what follows from the performance of revision "
        f"{found.revision} of window {window} (outcomes {outcomes}); no other is asked for. Read "
        f"their logs; take it back by hand (`{back}`), or materialize {spec.name}/performance"
    )
