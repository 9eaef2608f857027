"""What is declared of each row of a table, and what becomes of rows that break it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from batchinf_assets.contracts.sql_rules import rule_text
from batchinf_assets.contracts.validate import BrokenRule
from batchinf_assets.spec.contract import (
    ColumnSpec,
    OnBreak,
    QuarantineSpec,
    RuleSpec,
    default_on_break,
)


@dataclass(frozen=True, kw_only=True)
class RowContract:
    """What is declared of each row of a table.

    Attributes:
        asset: The table's asset.
        columns: Each column's spec by name.
        key: Columns that identify a row.
        rules: Rules in SQL; those per table are not asked here.
        quarantine: Whether rows may be set aside, and how many.
        time: The column whose values lie inside the window, if one must.
    """

    asset: str
    columns: Mapping[str, ColumnSpec]
    key: tuple[str, ...]
    rules: tuple[RuleSpec, ...] = ()
    quarantine: QuarantineSpec | None = None
    time: str | None = None

    @cached_property
    def row_rules(self) -> tuple[RuleSpec, ...]:
        """The rules that are asked of each row."""
        return tuple(rule for rule in self.rules if rule.per == "row")

    @cached_property
    def severities(self) -> Mapping[str, OnBreak]:
        """What becomes of a row, by the column or the rule in words that it breaks."""
        found: dict[str, OnBreak] = {}
        for name, column in self.columns.items():
            found[name] = self._severity(column.on_break)
        for rule in self.row_rules:
            found[rule_text(rule)] = self._severity(rule.on_break)
        return found

    def severity(self, broken: BrokenRule) -> OnBreak:
        """Return what becomes of the rows; a column that is missing blocks."""
        return self.severities[broken.column or broken.rule] if broken.rows.size else "block"

    def _severity(self, declared: OnBreak | None) -> OnBreak:
        # A key column brings the severity of the source to tables that set no row aside.
        if declared is None or (declared == "quarantine" and self.quarantine is None):
            return default_on_break(self.quarantine)
        return declared
