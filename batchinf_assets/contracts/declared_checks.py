"""Which checks a declaration asks for: those that `snapshot` and `features` then report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchinf_assets.contracts.in_window import IN_WINDOW
from batchinf_assets.contracts.table_rules import FRESHNESS, RULES, VOLUME
from batchinf_assets.contracts.verdict import CONTRACT, QUARANTINE, WARNINGS
from batchinf_assets.spec.contract import ColumnSpec, QuarantineSpec, RuleSpec
from batchinf_assets.spec.pipeline import PipelineSpec


def declared_checks(spec: PipelineSpec) -> dict[str, dict[str, bool]]:
    """Return, by asset and check, whether a failure blocks; what is not declared is not there."""
    source, features = spec.source, spec.features
    return {
        "snapshot": {
            "schema": True,
            "new_columns": False,
            **dict(_of_rows(source.columns, source.rules, source.quarantine)),
            "unique_key": True,
            IN_WINDOW: True,
            **({VOLUME: source.volume.on_break == "block"} if source.volume else {}),
            **({FRESHNESS: source.freshness.on_break == "block"} if source.freshness else {}),
        },
        "features": {
            "schema": True,
            **dict(_of_rows(features.columns, features.rules, features.quarantine)),
            "unique_key": True,
            "row_conservation": True,
            "inputs_present": False,
        },
    }


def _of_rows(
    columns: Mapping[str, ColumnSpec],
    rules: tuple[RuleSpec, ...],
    quarantine: QuarantineSpec | None,
) -> Iterator[tuple[str, bool]]:
    yield CONTRACT, True
    if any(rule.per == "table" and rule.on_break != "warn" for rule in rules):
        yield RULES, True
    if any(declared.on_break == "warn" for declared in (*columns.values(), *rules)):
        yield WARNINGS, False
    if quarantine is not None:
        yield QUARANTINE, False
