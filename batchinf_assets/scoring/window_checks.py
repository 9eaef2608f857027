"""The checks of a whole window's predictions, out of those of its shards.

One shard is checked by `scoring.shard_scoring`; files and rows are read again before they are
published, in `publishing.row_keys`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from batchinf_assets.checks import CheckResult, Violation, merge_checks
from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns
from batchinf_assets.contracts.key_order import check_key_streams
from batchinf_assets.contracts.validate import check_values
from batchinf_assets.contracts.value_rules import blocking_alone
from batchinf_assets.features.build import Features
from batchinf_assets.lake.order import spans_ascend
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.scoring.checkpoints import Checkpoint
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import ASSET
from batchinf_assets.spec.load import Pipeline


def check_shards(
    pipeline: Pipeline, features: Features, table: Place, checkpoints: Sequence[Checkpoint]
) -> tuple[CheckResult, ...]:
    """Put the shards' checks together; keys of different row groups meet only where these touch.

    Args:
        pipeline: The pipeline.
        features: What was scored.
        table: The folder that output paths count from.
        checkpoints: One per shard, in order.
    """
    if not checkpoints:
        return _check_nothing(pipeline)
    checks = merge_checks(check for checkpoint in checkpoints for check in checkpoint.checks)
    if spans_ascend(chain.from_iterable(checkpoint.keys for checkpoint in checkpoints)):
        return tuple(checks)
    key = pipeline.spec.source.key
    outputs = [RowGroups(table / checkpoint.output.path) for checkpoint in checkpoints]
    over_shards = check_key_streams(
        lambda: features.groups.all(key),
        lambda: chain.from_iterable(output.all(key) for output in outputs),
        key=key,
        asset=ASSET,
    )
    named = {check.name for check in over_shards}
    return (*(check for check in checks if check.name not in named), *over_shards)


def check_accounted(check: CheckResult, counts: CountsRecord) -> CheckResult:
    """Let the check of row conservation count from what landed: rows in = scored + quarantined.

    Args:
        check: What was checked of the keys that came out; any other check stays as it is.
        counts: Of the revision; `scored` is not asked.
    """
    if check.name != "row_conservation":
        return check
    scored = check.measured["rows_out"]
    measured = {"rows_in": counts.rows_in, "scored": scored, "quarantined": counts.quarantined}
    if scored == counts.rows_in - counts.quarantined:
        return replace(check, measured=measured)
    lost = Violation(
        column=None,
        rule=f"{counts.rows_in} rows scored or quarantined",
        found=f"{scored} and {counts.quarantined}",
    )
    return replace(check, passed=False, violations=(*check.violations, lost), measured=measured)


def check_trained_features(features: Features, model: ScoringModel) -> CheckResult:
    """Warn of features that are not those of the model's training, their columns being the same.

    Somebody changed the SQL, or what it reads: scores may be right or not, no schema tells.
    """
    learned, made = model.artifact.card.feature_definition, features.record.definition
    rule = (
        f"features made by the definition that {model.version.name} v{model.version.version} "
        "learned from: register a new model, or accept the difference"
    )
    return CheckResult(
        name="trained_features",
        asset=ASSET,
        passed=learned == made,
        blocking=False,
        violations=() if learned == made else (Violation(column=None, rule=rule),),
        measured={"learned": learned, "scored": made},
    )


def _check_nothing(pipeline: Pipeline) -> tuple[CheckResult, ...]:
    """Check an empty window as a shard without rows: every check is on record, of zero rows."""
    spec, key = pipeline.spec, pipeline.spec.source.key
    rows = arrow_schema(spec.prediction_table).empty_table()
    return (
        check_columns(rows, spec.prediction_table, asset=ASSET, accept=ANY_LAYOUT),
        check_values(rows, blocking_alone(spec.prediction_table), key=key, asset=ASSET),
        *check_key_streams(lambda: iter([rows]), lambda: iter([rows]), key=key, asset=ASSET),
    )
