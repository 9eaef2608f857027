"""Rules over a whole table of a window: how many rows, how new, and conditions in SQL."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.row_texts import value_texts
from batchinf_assets.contracts.sql_rules import rule_text, table_breaks
from batchinf_assets.contracts.verdict import WARNINGS
from batchinf_assets.spec.contract import FreshnessSpec, RuleSpec, VolumeSpec
from batchinf_assets.windows import Window

VOLUME, FRESHNESS, RULES = "volume", "freshness", "rules"


def check_volume(rows: int, before: Sequence[int], spec: VolumeSpec, *, asset: str) -> CheckResult:
    """Check a window's row count against the median of the windows before it.

    Args:
        rows: The window's row count.
        before: Row counts of earlier windows, as far as they are known, the newest last; at most
            `spec.windows` of them count.
        spec: What is declared.
        asset: The asset that is checked.

    Returns:
        `volume`. Where fewer than `spec.min_windows` are known it passes, and `measured["state"]`
        says that nothing was judged.
    """
    known = before[-spec.windows :]
    measured: dict[str, int | float | str] = {"rows": rows, "known_windows": len(known)}
    if len(known) < spec.min_windows:
        return _check(VOLUME, asset, spec.on_break, None, {**measured, "state": "too few windows"})
    median = statistics.median(known)
    least, most = spec.at_least * median, spec.at_most * median
    rule = (
        f"in [{least:.10g}, {most:.10g}] rows, {spec.at_least:g} to {spec.at_most:g} times the "
        f"median {median:.10g} of {len(known)} windows before"
    )
    broken = None if least <= rows <= most else Violation(column=None, rule=rule, found=str(rows))
    return _check(VOLUME, asset, spec.on_break, broken, {**measured, "median": median})


def check_freshness(
    rows: pa.Table, spec: FreshnessSpec, window: Window, *, asset: str
) -> CheckResult:
    """Check that the newest row of a window reaches near the window's end.

    Args:
        rows: Conformed rows.
        spec: What is declared.
        window: The window.
        asset: The asset that is checked.

    Returns:
        `freshness`; rows without any time are not fresh.
    """
    newest = pc.max(rows.column(spec.column))
    due = pa.scalar(window.end - spec.within, newest.type)
    fresh = bool(pc.greater_equal(newest, due).as_py())
    found = value_texts(pa.chunked_array([[newest.value]], pa.int64()).cast(newest.type))[0]
    text = found or "no time"
    rule = f"at least one time at {(window.end - spec.within).isoformat()} or later"
    broken = None if fresh else Violation(column=spec.column, rule=rule, found=f"{text} as newest")
    measured: dict[str, int | float | str] = {"rows": rows.num_rows, "newest": text}
    return _check(FRESHNESS, asset, spec.on_break, broken, measured)


def check_table_rules(
    rows: pa.Table, rules: Sequence[RuleSpec], *, asset: str
) -> tuple[CheckResult, ...]:
    """Check the conditions over a whole table; those per row are left to `contracts.judge`.

    DuckDB holds what their aggregates need.

    Args:
        rows: Conformed rows.
        rules: All rules of the table.
        asset: The asset that is checked, and the table's name in the SQL.

    Returns:
        `rules` where a rule per table blocks, and `warnings` where one warns.

    Raises:
        InvalidSpec: A rule's SQL is no condition.
        FeatureSqlFailed: DuckDB refuses it, such as a column outside an aggregate.
    """
    per_table = [rule for rule in rules if rule.per == "table"]
    blocking = [rule for rule in per_table if rule.on_break != "warn"]
    warning = [rule for rule in per_table if rule.on_break == "warn"]
    checks = [(RULES, blocking), (WARNINGS, warning)]
    return tuple(_check_rules(name, rows, asked, asset) for name, asked in checks if asked)


def _check_rules(name: str, rows: pa.Table, rules: Sequence[RuleSpec], asset: str) -> CheckResult:
    broken = tuple(
        Violation(column=None, rule=rule_text(rule), found="a table that breaks it")
        for rule in rules
        if table_breaks(rule, rows, asset)
    )
    return CheckResult(
        name=name,
        asset=asset,
        passed=not broken,
        blocking=name == RULES,
        violations=broken,
        measured={"table_rules": len(rules)},
    )


def _check(
    name: str,
    asset: str,
    on_break: str,
    broken: Violation | None,
    measured: dict[str, int | float | str],
) -> CheckResult:
    return CheckResult(
        name=name,
        asset=asset,
        passed=broken is None,
        blocking=on_break == "block",
        violations=() if broken is None else (broken,),
        measured=measured,
    )
