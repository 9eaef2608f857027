"""Which rows keep their contract: judged slice by slice, on all cores, with bounded memory.

Rules of single columns are `contracts.schema`'s, rules in SQL `contracts.sql_rules`'; what broken
rules add up to is `contracts.verdict`'s. Nothing is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa

from batchinf_assets.contracts.in_window import inside, rows_outside
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.schema import pandera_schema, rule_texts
from batchinf_assets.contracts.sql_rules import require_condition, rows_breaking, rule_text
from batchinf_assets.contracts.validate import BrokenRule, Unclear, broken_values
from batchinf_assets.contracts.value_rules import ValueSets, value_sets
from batchinf_assets.contracts.verdict import Judged, Rule, Verdict
from batchinf_assets.windows import Window

SLICE_ROWS = 131_072
"""Rows that are judged at a time; one column of them fits a core's cache."""


def judge_rows(
    rows: pa.Table,
    contract: RowContract,
    *,
    known: Mapping[str, pa.Array] = MappingProxyType({}),
    window: Window | None = None,
) -> Judged:
    """Judge conformed rows by their contract.

    Beside the rows it holds what a few slices need, the distinct values of columns that must be
    `unique`, copies of the slices from which rows were set aside, and one line per such row (10,000
    for what else they break). Where more rows are set aside than `max_share` allows, `contract`
    fails, and 10,000 lines in all are enough.

    Args:
        rows: The rows, all of the table.
        contract: What is declared of them.
        known: Values of the reference of each column with `known_in`, by the column's name.
        window: The window that the times of `contract.time` lie in; without it none is asked for.

    Raises:
        InvalidSpec: RE2 refuses a pattern, a rule's SQL is no condition over a row, or the
            reference of a column was not given.
        FeatureSqlFailed: DuckDB refuses a rule's SQL.
        pandera.errors.SchemaError: The rows are not conformed.
    """
    for rule in contract.row_rules:
        require_condition(rule, contract.asset)
    sets = value_sets(rows, contract.columns, known)
    judge = _Judge(contract=contract, sets=sets, window=window)
    in_window = inside(window) if contract.time and window else None
    verdict = Verdict(contract, order=judge.order, in_window=in_window, total=rows.num_rows)
    for group in _groups(_side_by_side(judge.screened, rows)):
        for piece, broken in zip(group, judge.broken(group), strict=True):
            verdict.add(piece.start, piece.rows, broken)
    return verdict.judged(rows)


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """A slice, and what is known of it before pandera is asked.

    Attributes:
        start: Position of its first row in the table.
        rows: The slice.
        unclear: What pandera has to judge.
        broken: The broken rules that are not pandera's.
    """

    start: int
    rows: pa.Table
    unclear: Unclear
    broken: list[BrokenRule]

    @property
    def wrong(self) -> int:
        """Rows in which something may be wrong; one that breaks several rules counts for each."""
        return self.unclear.rows.size + sum(each.rows.size for each in self.broken)


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Finds what slices break."""

    contract: RowContract
    sets: ValueSets
    window: Window | None

    def screened(self, start: int, rows: pa.Table) -> _Slice:
        """Screen a slice; several threads do this at once."""
        return _Slice(
            start=start,
            rows=rows,
            unclear=Unclear.of(rows, self.contract.columns, self.sets),
            broken=[each for each in self._about_rows(rows) if each.rows.size],
        )

    def broken(self, slices: Sequence[_Slice]) -> Iterator[list[BrokenRule]]:
        """Give the broken rules of each slice in the order in which they are reported."""
        tables, unclear = [each.rows for each in slices], [each.unclear for each in slices]
        by_pandera = broken_values(tables, unclear, self.sets)
        for each, values in zip(slices, by_pandera, strict=True):
            found = [*values, *each.broken]
            yield sorted(found, key=lambda broken: self.order.index((broken.column, broken.rule)))

    def _about_rows(self, rows: pa.Table) -> Iterator[BrokenRule]:
        time, window = self.contract.time, self.window
        if time is not None and window is not None:
            outside = rows_outside(rows.column(time), window)
            yield BrokenRule(column=time, rule=inside(window), rows=outside)
        for rule in self.contract.row_rules:
            positions = rows_breaking(rule, rows, self.contract.asset)
            yield BrokenRule(column=None, rule=rule_text(rule), rows=positions)

    @cached_property
    def order(self) -> list[Rule]:
        """Every rule, in the order in which they are reported."""
        schema = pandera_schema(self.contract.columns, self.sets)
        rules: list[Rule] = []
        for name in self.contract.columns:
            rules += [(name, text) for text in ("present", *rule_texts(schema, name))]
            if name == self.contract.time and self.window is not None:
                rules.append((name, inside(self.window)))
        return [*rules, *((None, rule_text(rule)) for rule in self.contract.row_rules)]


def _side_by_side(screen: Callable[[int, pa.Table], _Slice], rows: pa.Table) -> Iterator[_Slice]:
    """Screen the slices of a table and give them in their order; few are under way at a time."""
    if rows.num_rows <= SLICE_ROWS:
        yield screen(0, rows)
        return
    cores = pa.cpu_count()
    waiting: deque[Future[_Slice]] = deque()
    with ThreadPoolExecutor(cores) as threads:
        for start in range(0, rows.num_rows, SLICE_ROWS):
            waiting.append(threads.submit(screen, start, rows.slice(start, SLICE_ROWS)))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _groups(slices: Iterator[_Slice]) -> Iterator[list[_Slice]]:
    """Put slices together in which no more rows are wrong than one slice has."""
    group: list[_Slice] = []
    wrong = 0
    for each in slices:
        wrong += each.wrong
        if group and wrong > SLICE_ROWS:
            yield group
            group, wrong = [], each.wrong
        group.append(each)
    if group:
        yield group
