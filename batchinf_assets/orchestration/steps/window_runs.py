"""Run one step over the windows of a run, so that each window's status in Dagster is its own.

Dagster gives a step of a range run one outcome for all its partitions. Here every good window logs
its own materialization, every refused one its failed checks and the reason, and the step hands the
good ones on; the last step of the run then fails if any window was refused. A refused window stays
unmaterialized, a good one never waits for a bad neighbour. See `docs/decisions/`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)
from dagster._core.definitions.source_asset import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as LOGGED_BY_THE_STEP_ITSELF,
)

from batchinf_assets.checks import CheckResult, summarize
from batchinf_assets.errors import BatchinfError, Preempted, WindowRefused
from batchinf_assets.orchestration.event_log import stored_together
from batchinf_assets.orchestration.metadata.names import NEXT_STEP, PREEMPTED, REFUSED, SECONDS
from batchinf_assets.orchestration.metadata.results import check_metadata
from batchinf_assets.orchestration.steps.in_order import OneWindow, Outcome, in_order
from batchinf_assets.orchestration.steps.provenance import provenance_tags, window_tags
from batchinf_assets.orchestration.steps.tries import WindowResult
from batchinf_assets.orchestration.steps.workers import Hands
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

# Dagster warns of every blocking check that yields no output. Ours are logged window by window,
# and `publishing.gate` stops what they found: the warning would be untrue.
logging.getLogger("dagster._core.execution.plan.active").addFilter(
    lambda record: "emitted no result in step" not in record.getMessage()
)

SHOWN_FAILURES = 3

FollowUp = Callable[[Window, WindowResult], WindowResult]
"""Does what only the run itself can do about a window that was worked on."""


def run_windows(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    work: OneWindow,
    follow_up: FollowUp,
    hands: Hands,
) -> Iterator[dg.Output[None]]:
    """Run a step for every window of this run that earlier steps did not refuse.

    Args:
        context: The step's context; it has one asset.
        pipeline: Whose windows they are.
        work: Works on one window, in a thread of its own where there are several hands.
        follow_up: Goes on with what came of it, here.
        hands: Who works.

    Raises:
        dg.Failure: No window came through, or this is the run's last step and one was refused, or
            the process was asked to leave.
    """
    key = context.asset_key
    refused, tags = refusals(context), provenance_tags(context)
    windows = [pipeline.spec.window.window(p) for p in context.partition_keys if p not in refused]
    with closing(in_order(windows, work, hands)) as outcomes:
        for outcome in outcomes:
            partition, found = outcome.window.key, _followed_up(outcome, follow_up)
            if isinstance(found, BatchinfError):
                refused[partition] = str(found)
                _log_refusal(context, partition, found)
            else:
                _log_result(context, partition, found, tags, seconds=outcome.seconds)
    if refused and (len(refused) == len(context.partition_keys) or _is_last(context)):
        raise dg.Failure(_sentence(refused), allow_retries=False)
    output = context.op_execution_context.assets_def.get_output_name_for_asset_key(key)
    yield dg.Output(None, output_name=output, metadata={LOGGED_BY_THE_STEP_ITSELF: True})


def require_asset(context: dg.AssetExecutionContext) -> None:
    """Require that the step was asked for its asset: "Execute all" on the UI's Checks tab is not.

    Raises:
        dg.Failure: It was asked for checks alone, of one window or of none.
    """
    if not context.selected_asset_keys:
        sentence = "These checks run with their asset. Materialize the window instead."
        raise dg.Failure(sentence, allow_retries=False)


def _followed_up(outcome: Outcome, follow_up: FollowUp) -> WindowResult | BatchinfError:
    try:
        if isinstance(outcome.found, BatchinfError):
            raise outcome.found
        return follow_up(outcome.window, outcome.found)
    except Preempted as error:
        raise dg.Failure(str(error), metadata={PREEMPTED: True}, allow_retries=True) from None
    except BatchinfError as error:
        return error


@contextmanager
def failing_clearly() -> Generator[None]:
    """Turn a failure that has a name into one that Dagster shows as its sentence alone.

    Dagster keeps the whole chain of causes, and a library's message may quote an address with a
    password in it: so the chain ends here.
    """
    try:
        yield
    except BatchinfError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def refusals(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Return the windows that earlier steps of this run refused, each with the reason."""
    events = context.instance.all_logs(
        context.run.run_id, of_type={dg.DagsterEventType.ASSET_OBSERVATION}
    )
    found: dict[str, str] = {}
    for event in events:
        observation = event.asset_observation
        if observation and observation.partition and REFUSED in observation.metadata:
            found[observation.partition] = str(observation.metadata[REFUSED].value)
    return {key: found[key] for key in context.partition_keys if key in found}


def _log_result(
    context: dg.AssetExecutionContext,
    partition: str,
    result: WindowResult,
    tags: Mapping[str, str],
    *,
    seconds: float,
) -> None:
    metadata: Mapping[str, dg.MetadataValue] = {
        **result.metadata,
        SECONDS: dg.MetadataValue.float(round(seconds, 4)),
    }
    event = (
        dg.AssetObservation(context.asset_key, partition=partition, metadata=metadata)
        if result.data_version is None
        else dg.AssetMaterialization(
            context.asset_key,
            partition=partition,
            metadata=metadata,
            tags=window_tags(tags, context.asset_key, result.data_version, result.inputs),
        )
    )
    context.log_event(event)
    _log_checks(context, partition, result.checks)


def _log_refusal(context: dg.AssetExecutionContext, partition: str, error: BatchinfError) -> None:
    if isinstance(error, WindowRefused):
        own = [check for check in error.checks if check.asset == context.asset_key.path[-1]]
        _log_checks(context, partition, own)
    context.log.error(f"{partition}: {error}")
    context.log_event(
        dg.AssetObservation(
            context.asset_key,
            partition=partition,
            description=described(error.message),
            metadata={REFUSED: str(error), NEXT_STEP: error.next_step},
        )
    )


def _log_checks(
    context: dg.AssetExecutionContext, partition: str, checks: Sequence[CheckResult]
) -> None:
    filters = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=[partition])
    latest = context.instance.fetch_materializations(filters, limit=1).records
    # Dagster shows a window's check only while it names the window's latest materialization.
    target = [
        Target(storage_id=each.storage_id, run_id=each.run_id, timestamp=each.timestamp)
        for each in latest
    ]
    with stored_together(context.instance.event_log_storage):
        for check in checks:
            context.log_event(
                # log_event takes it, its annotation only does not say so.
                dg.AssetCheckEvaluation(  # pyright: ignore[reportArgumentType]
                    asset_key=context.asset_key,
                    check_name=check.name,
                    passed=check.passed,
                    partition=partition,
                    blocking=check.blocking,
                    severity=dg.AssetCheckSeverity.ERROR
                    if check.blocking
                    else dg.AssetCheckSeverity.WARN,
                    target_materialization_data=target[0] if target else None,
                    metadata=check_metadata(check),
                    description=described(summarize([check])) or None,
                )
            )


def described(text: str) -> str:
    """Keep foreign text from loading a picture: Dagster's UI renders descriptions as Markdown."""
    return text.replace("[", r"\[")


def _is_last(context: dg.AssetExecutionContext) -> bool:
    layer = context.job_def.asset_layer
    children = layer.get(context.asset_key).child_keys
    return children.isdisjoint(layer.executable_asset_keys)


def _sentence(refused: Mapping[str, str]) -> str:
    shown = [f"{key}: {reason}" for key, reason in list(refused.items())[:SHOWN_FAILURES]]
    if len(refused) == 1:
        ((key, reason),) = refused.items()
        return reason if key in reason else shown[0]
    rest = f" (and {len(refused) - SHOWN_FAILURES} more)" if len(refused) > SHOWN_FAILURES else ""
    return f"{len(refused)} windows were refused. {' '.join(shown)}{rest}"
