"""Whether declared rules can be judged at all, found out before any row lands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchinf_assets.contracts.sql_rules import rows_breaking, table_breaks
from batchinf_assets.contracts.value_rules import require_expressions
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import ColumnSpec, RuleSpec
from batchinf_assets.spec.pipeline import PipelineSpec


def require_sound_rules(spec: PipelineSpec) -> None:
    """Require that DuckDB understands each rule over the declared columns, and RE2 each pattern.

    Rules are tried on a table without rows: what one cannot make of certain values shows later.

    Raises:
        InvalidSpec: A rule is no condition, or a pattern no expression.
        FeatureSqlFailed: DuckDB refuses a rule, such as a column that is not declared.
    """
    source, features = spec.source, spec.features
    extra = spec.postprocess.columns if spec.postprocess else {}
    for columns in (source.columns, features.columns, extra):
        require_expressions(columns)
    _try_rules("snapshot", source.columns, source.rules)
    _try_rules("features", spec.feature_table, features.rules)


def _try_rules(asset: str, columns: Mapping[str, ColumnSpec], rules: Iterable[RuleSpec]) -> None:
    nothing = arrow_schema(columns).empty_table()
    for rule in rules:
        if rule.per == "row":
            rows_breaking(rule, nothing, asset)
        else:
            table_breaks(rule, nothing, asset)
