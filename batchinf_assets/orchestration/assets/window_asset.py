"""How an asset with windows is made of a step that works on one window."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import dagster as dg

from batchinf_assets.attempts import Attempt, attempting, close_killed
from batchinf_assets.errors import WorkerDied
from batchinf_assets.orchestration.assets.late_windows import window_condition
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.checks import check_specs
from batchinf_assets.orchestration.steps.errands import Errand, Step
from batchinf_assets.orchestration.steps.hands import hands_of
from batchinf_assets.orchestration.steps.isolation import Contained, isolated
from batchinf_assets.orchestration.steps.pools import pool_of
from batchinf_assets.orchestration.steps.provenance import code_version
from batchinf_assets.orchestration.steps.run_budgets import budget_of
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.orchestration.steps.window_runs import require_asset, run_windows
from batchinf_assets.orchestration.steps.workers import Hands
from batchinf_assets.publishing.backfill.caps import Budget
from batchinf_assets.publishing.backfill.pace import BY_ROW
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

AttemptStep = Callable[[Workplace, Pipeline, Attempt, Window], WindowResult]

FollowUp = Callable[[Workplace, Pipeline, Try, Window, WindowResult], WindowResult]

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
        step: Works on one window; a function of a module, as other processes call it too.
        kinds: What Dagster shows of how it is made.
    """
    return window_asset(pipeline, name, upstream, partial(_attempted, name, step), kinds)


def _attempted(
    name: str,
    step: AttemptStep,
    workplace: Workplace,
    pipeline: Pipeline,
    tried: Try,
    window: Window,
) -> WindowResult:
    with attempt_at(name, pipeline, workplace, tried, window) as attempt:
        return step(workplace, pipeline, attempt, window)


@contextmanager
def attempt_at(
    name: str, pipeline: Pipeline, workplace: Workplace, tried: Try, window: Window
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
        attempt.order = tried.order
        if name in BY_ROW:  # what is scored may be published, whatever that takes
            attempt.require_left = tried.require_left
        attempt.require_left()
        yield attempt


def nothing_to_follow_up(
    _workplace: Workplace, _pipeline: Pipeline, _tried: Try, _window: Window, result: WindowResult
) -> WindowResult:
    """Return what came of the window as it is."""
    return result


def window_asset(
    pipeline: Pipeline,
    name: str,
    upstream: Sequence[str],
    step: Step,
    kinds: set[str],
    follow_up: FollowUp = nothing_to_follow_up,
) -> dg.AssetsDefinition:
    """Make an asset out of a step that is told of its try; see above.

    Args:
        pipeline: Whose it is.
        name: The asset's name.
        upstream: As above.
        step: Works on one window, in whatever process.
        kinds: As above.
        follow_up: Goes on with what came of a window where Dagster can be told of it.
    """
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
        require_asset(context)
        windows = [spec.window.window(each) for each in context.partition_keys]
        run = _StepRun(
            name=name,
            step=step,
            follow_up=follow_up,
            workplace=workplace,
            pipeline=pipeline,
            run_id=context.run.run_id,
            contained=isolated(context, spec),
            budget=budget_of(context, pipeline, workplace.project()),
            hands=hands_of(workplace, pipeline, windows),
        )
        yield from run_windows(context, pipeline, run.work, run.go_on, run.hands)

    return asset


@dataclass(frozen=True, kw_only=True)
class _StepRun:
    """One step of one run: what its windows have in common."""

    name: str
    step: Step
    follow_up: FollowUp
    workplace: Workplace
    pipeline: Pipeline
    run_id: str
    contained: Contained
    budget: Budget
    hands: Hands

    def work(self, window: Window, order: Order) -> WindowResult:
        """Work on a window, in whatever process."""
        return self.contained(window, lambda again: self._handed_over(window, order, again))

    def go_on(self, window: Window, result: WindowResult) -> WindowResult:
        """Go on with what came of a window, in the run's own process."""

        def act(again: int) -> WindowResult:
            tried = self._try(OneByOne(), again)
            return self.follow_up(self.workplace, self.pipeline, tried, window, result)

        return self.contained(window, act)

    def _handed_over(self, window: Window, order: Order, again: int) -> WindowResult:
        errand = Errand(step=self.step, run_id=self.run_id, again=again, window=window)
        try:
            return self.hands.work(errand, self._try(order, again))
        except WorkerDied:  # or it would look as if the run had died
            project, spec = self.workplace.project(), self.pipeline.spec
            close_killed(project, spec, window, run_id=self.run_id, stage=self.name)
            raise

    def _try(self, order: Order, again: int) -> Try:
        return Try(
            run_id=self.run_id, again=again, order=order, require_left=self.budget.require_left
        )
