"""A withdrawn window in Dagster: a run of `published` for that window alone, which fails by design.

Dagster's own storages cannot take a materialization away, and a window that was materialized stays
green whatever is said of it later. What turns it red is a newer attempt that came to nothing.
What the withdrawal itself changes is `publishing.rollback`'s business.
"""

from collections.abc import Iterator

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.steps.checks import check_specs
from batchinf_assets.orchestration.steps.window_runs import described
from batchinf_assets.publishing.announcements import Announcement
from batchinf_assets.spec.pipeline import PipelineSpec

WITHDRAWN = "withdrawn"
PUBLISHED = "published"
ANNOUNCED = "batchinf/announced"
"""Tag of the run that fails by design: of which withdrawal it tells."""


def show_withdrawn(instance: dg.DagsterInstance, spec: PipelineSpec, told: Announcement) -> str:
    """Let Dagster show a window that readers see nothing of as failed, with who did it and why.

    The window stays so until another materialization: one that publishes it anew, or that
    reinstates what was withdrawn.

    Args:
        instance: Where the run is recorded.
        spec: The pipeline.
        told: The withdrawal, as it was announced.

    Returns:
        The run's id.
    """
    job = _job(spec, told)
    result = job.execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
        partition_key=told.window,
        # Not a failure that anything could mend by running again.
        tags={MAX_RETRIES_TAG: "0", ANNOUNCED: _digest(told)},
    )
    return result.run_id


def is_shown_withdrawn(
    instance: dg.DagsterInstance, spec: PipelineSpec, told: Announcement
) -> bool:
    """Say whether `show_withdrawn` came to its end for this very withdrawal."""
    failed = dg.RunsFilter(
        job_name=f"{spec.name}_{WITHDRAWN}",
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={ANNOUNCED: _digest(told)},
    )
    return instance.get_runs_count(failed) > 0


def _digest(told: Announcement) -> str:
    return json_sha256(told.model_dump(mode="json", by_alias=True))


def _job(spec: PipelineSpec, told: Announcement) -> dg.JobDefinition:
    key, partitions = asset_key(spec.name, PUBLISHED), partitions_of(spec.window)
    checks = check_specs(key, partitions, spec)

    @dg.multi_asset(
        name=f"{spec.name}__{WITHDRAWN}",
        specs=[dg.AssetSpec(key, partitions_def=partitions)],
        check_specs=checks,
    )
    def withdrawn() -> Iterator[dg.AssetCheckResult]:
        for check in checks:
            yield dg.AssetCheckResult(
                passed=False,
                asset_key=key,
                check_name=check.name,
                description=described(str(told)),
            )
        raise dg.Failure(str(told), allow_retries=False)

    name = f"{spec.name}_{WITHDRAWN}"
    job = dg.define_asset_job(name, selection=[key], tags={"team": spec.team})
    return dg.Definitions(assets=[withdrawn], jobs=[job]).resolve_job_def(name)
