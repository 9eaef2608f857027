"""How an asset with windows is made of a step that works on one window."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import dagster as dg

from batchinf_assets.attempts import Attempt, attempting
from batchinf_assets.orchestration.checks import check_specs
from batchinf_assets.orchestration.isolation import Try, isolated
from batchinf_assets.orchestration.late_windows import window_condition
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.pools import pool_of
from batchinf_assets.orchestration.provenance import code_version
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.run_budgets import budget_of
from batchinf_assets.orchestration.window_runs import WindowResult, run_windows
from batchinf_assets.publishing.backfill.caps import Budget
from batchinf_assets.publishing.backfill.pace import BY_ROW
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

Step = Callable[[Workplace, Budget, Try, Window], WindowResult]
AttemptStep = Callable[[Workplace, Attempt, Window], WindowResult]

ASSET_DESCRIPTIONS = {
    "snapshot": "Landed rows, frozen under a content digest.",
    "features": "Model-ready rows; nothing from the future.",
    "predictions": "Scored rows that no reader sees yet.",
    "evaluation": "Golden metrics and drift of what was scored.",
    "published": "The revision that readers see, with its manifest.",
    "performance": "Predictions against outcomes landed since.",
}


def attempted_asset(
    pipeline: Pipeline, name: str, upstream: Sequence[str], step: AttemptStep, kinds: set[str]
) -> dg.AssetsDefinition:
    """Make an asset whose every window is worked on under its lease, and recorded.

    Args:
        pipeline: Whose it is.
        name: The asset's name; the stage of the attempt has the same.
        upstream: Paths of the assets that it is made of, below the pipeline's name.
        step: Works on one window.
        kinds: What Dagster shows of how it is made.
    """

    def attempted(workplace: Workplace, budget: Budget, tried: Try, window: Window) -> WindowResult:
        with attempt_at(name, pipeline, workplace, budget, tried, window) as attempt:
            return step(workplace, attempt, window)

    return window_asset(pipeline, name, upstream, attempted, kinds)


@contextmanager
def attempt_at(
    name: str, pipeline: Pipeline, workplace: Workplace, budget: Budget, tried: Try, window: Window
) -> Generator[Attempt]:
    """Hold a window for one try at one asset, which is recorded, within what its run may take."""
    with attempting(
        workplace.project(),
        pipeline.spec,
        window,
        run_id=tried.run_id,
        stage=name,
        again=tried.again,
    ) as attempt:
        if name in BY_ROW:  # what is scored may be published, whatever that takes
            attempt.require_left = budget.require_left
        attempt.require_left()
        yield attempt


def window_asset(
    pipeline: Pipeline, name: str, upstream: Sequence[str], step: Step, kinds: set[str]
) -> dg.AssetsDefinition:
    """Make an asset out of a step that is told its run's budget and its try; see above."""
    spec, partitions = pipeline.spec, partitions_of(pipeline.spec.window)
    key = dg.AssetKey([spec.name, name])

    # One asset per definition, yet a multi_asset: only there may declared checks be reported
    # window by window instead of as one output for the whole range.
    @dg.multi_asset(
        name=f"{spec.name}__{name}",
        specs=[
            dg.AssetSpec(
                key,
                deps=[dg.AssetKey([spec.name, *path.split("/")]) for path in upstream],
                description=ASSET_DESCRIPTIONS[name],
                group_name=spec.name,
                owners=[spec.owner, f"team:{spec.team}"],
                kinds=kinds,
                code_version=code_version(pipeline, name),
                partitions_def=partitions,
                automation_condition=window_condition(spec, name),
            )
        ],
        check_specs=check_specs(key, partitions, spec),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(spec.backfill.chunk),
        pool=pool_of(spec.name, name),
    )
    def asset(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[dg.Output[None]]:
        budget = budget_of(context, pipeline, workplace.project())
        one = isolated(context, spec, partial(step, workplace, budget))
        yield from run_windows(context, pipeline, one)

    return asset
