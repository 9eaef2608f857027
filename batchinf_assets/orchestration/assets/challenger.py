"""The challenger of a pipeline: an asset that trains, registers and compares, and never promotes.

Which windows it learns from and what it is held against is in `promotion.challenger`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from batchinf_assets.orchestration.keys import CHALLENGER, asset_key
from batchinf_assets.orchestration.metadata.models import challenger_metadata
from batchinf_assets.orchestration.metadata.results import view_key
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.provenance import code_version
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.promotion.challenger import train_challenger
from batchinf_assets.spec.load import Pipeline

LOGGED_EVERY = 10


def challenger_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Train a challenger on the newest windows; its data version is the artifact's digest."""
    spec = pipeline.spec
    landed = ("source", *(["outcomes"] if spec.outcomes else []), *spec.references)

    @dg.asset(
        key=asset_key(spec.name, CHALLENGER),
        deps=[view_key(pipeline, name) for name in landed],
        description="A model of the newest windows beside the champion; promotes nothing.",
        group_name=f"{spec.name}_training",
        owners=[spec.owner, f"team:{spec.team}"],
        kinds={"mlflow", "scikitlearn"},
        code_version=code_version(pipeline, CHALLENGER),
        op_tags={"team": spec.team},
        pool=spec.name,
    )
    def challenger(
        context: dg.AssetExecutionContext, workplace: Workplace
    ) -> dg.MaterializeResult[Any]:
        project, registry, now = workplace.project(), workplace.registry(), datetime.now(UTC)
        with failing_clearly():
            key, advance = workplace.signing_key(), _progress(context)
            found = train_challenger(project, registry, pipeline, key, advance, now=now)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(found.registered.version.digest),
            metadata=challenger_metadata(spec, registry, found),
        )

    return challenger


def _progress(context: dg.AssetExecutionContext) -> Callable[[int, int], None]:
    def advance(done: int, windows: int) -> None:
        if done == windows or done % LOGGED_EVERY == 0:
            context.log.info(f"{done} of {windows} windows are labelled.")

    return advance
