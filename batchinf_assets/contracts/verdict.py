"""What the broken rules of slices add up to: accepted and rejected rows, and the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.checks import SAMPLE_KEYS, CheckResult, Violation, merge_checks
from batchinf_assets.contracts.in_window import IN_WINDOW, check_in_window
from batchinf_assets.contracts.rejected import RejectedLines
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.contracts.validate import BrokenRule

CONTRACT, WARNINGS, QUARANTINE = "contract", "warnings", "quarantine"

Rule = tuple[str | None, str]
"""A rule as its column and its words."""

ROWS_WORTH_A_PIECE = 4_096
"""A column in pieces of fewer rows is slower to read than a copy is to make."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A table by its contract: accepted and distinct rejected rows are all that were judged.

    Attributes:
        accepted: The rows that break no rule which sets rows aside, in their order.
        rejected: What the other rows break; see `contracts.rejected.REJECTED`. Each of them has a
            line, unless there are so many that `contract` fails.
        checks: `contract`, which blocks, with rows, rejected and share; `in_window` where a window
            was given, which blocks; `warnings` where a rule can warn; `quarantine` where one is
            declared, with the lines kept and left off.
    """

    accepted: pa.Table
    rejected: pa.Table
    checks: tuple[CheckResult, ...]


class Verdict:
    """Adds slices up, in the order of the table."""

    def __init__(
        self, contract: RowContract, *, order: list[Rule], in_window: str | None, total: int
    ) -> None:
        """Begin a table.

        Args:
            contract: What is declared of its rows.
            order: Every rule, in the order in which they are reported.
            in_window: The rule of the time column in words, if there is one.
            total: Rows of the table.
        """
        self._contract, self._order, self._in_window = contract, order, in_window
        self._total, self._rejected = total, 0
        self._lines = RejectedLines(contract.key)
        self._accepted: list[pa.Table] = []
        self._checks: list[CheckResult] = []

    def add(self, start: int, rows: pa.Table, broken: Sequence[BrokenRule]) -> None:
        """Take the next slice, where it starts in the table, and what it breaks."""
        severity = self._contract.severity
        self._set_aside(start, rows, [each for each in broken if severity(each) == "quarantine"])
        found: dict[str, list[Violation]] = {name: [] for name in self._names}
        for each in broken:
            found[self._name(each)].append(each.violation(rows, self._contract.key))
        self._checks += [
            CheckResult(
                name=name,
                asset=self._contract.asset,
                passed=not violations,
                blocking=name in (CONTRACT, IN_WINDOW),
                violations=tuple(violations),
                measured={"rows": rows.num_rows},
            )
            for name, violations in found.items()
        ]

    def judged(self, rows: pa.Table) -> Judged:
        """Return the result; `rows` are all the slices."""
        checks = {each.name: self._ordered(each) for each in merge_checks(self._checks)}
        rejected = self._lines.table()
        reasons = checks[QUARANTINE].violations if QUARANTINE in checks else ()
        checks[CONTRACT] = self._with_share(checks[CONTRACT], rejected, reasons)
        if QUARANTINE in checks:
            lines = {"lines": self._lines.count, "lines_left_off": self._lines.left_off}
            measured = {"rows": self._total, "rejected": self._rejected, **lines}
            checks[QUARANTINE] = replace(checks[QUARANTINE], measured=measured)
        if IN_WINDOW in checks:
            left, outside = self._total - self._rejected, checks[IN_WINDOW].violations
            checks[IN_WINDOW] = check_in_window(left, outside, self._contract.asset)
        accepted = pa.concat_tables(self._accepted) if self._rejected else rows
        return Judged(accepted=accepted, rejected=rejected, checks=tuple(checks.values()))

    def _set_aside(self, start: int, rows: pa.Table, broken: Sequence[BrokenRule]) -> None:
        if not broken:
            self._accepted.append(rows)
            return
        rejected = np.unique(np.concatenate([each.rows for each in broken]))
        self._rejected += rejected.size
        self._lines.add(rows, start, broken, every_row=not self._too_many)
        self._accepted += _without(rows, rejected)

    @property
    def _names(self) -> list[str]:
        names = [CONTRACT]
        names += [IN_WINDOW] if self._in_window is not None else []
        names += [WARNINGS] if "warn" in self._contract.severities.values() else []
        return [*names, QUARANTINE] if self._contract.quarantine is not None else names

    def _name(self, broken: BrokenRule) -> str:
        severity = self._contract.severity(broken)
        if severity == "block":
            return IN_WINDOW if broken.rule == self._in_window else CONTRACT
        return WARNINGS if severity == "warn" else QUARANTINE

    @property
    def _share(self) -> float:
        return self._rejected / self._total if self._total else 0.0

    @property
    def _too_many(self) -> bool:
        declared = self._contract.quarantine
        return declared is not None and self._share > declared.max_share

    def _with_share(
        self, contract: CheckResult, rejected: pa.Table, reasons: Sequence[Violation]
    ) -> CheckResult:
        measured = {"rows": self._total, "rejected": self._rejected, "share": self._share}
        declared, violations = self._contract.quarantine, contract.violations
        if declared is not None and self._too_many:
            # A row's lines are neighbours, and the first rows' stand first.
            keys = dict.fromkeys(rejected.column("key").slice(0, 10 * SAMPLE_KEYS).to_pylist())
            too_many = Violation(
                column=None,
                rule=f"at most {_percent(declared.max_share)} of the rows set aside",
                count=self._rejected,
                samples=tuple(keys)[:SAMPLE_KEYS],
                found=f"{self._rejected} of {self._total} ({_percent(self._share)})",
            )
            most_first = sorted(reasons, key=lambda reason: -reason.count)
            violations = (*violations, too_many, *most_first)
        return replace(contract, passed=not violations, violations=violations, measured=measured)

    def _ordered(self, check: CheckResult) -> CheckResult:
        """Put what later slices broke first in its place."""
        found = sorted(check.violations, key=lambda v: self._order.index((v.column, v.rule)))
        return replace(check, violations=tuple(found))


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _without(rows: pa.Table, rejected: npt.NDArray[np.int64]) -> list[pa.Table]:
    """Leave rows out: where they are few, by pointing at what lies between them."""
    if rejected.size * ROWS_WORTH_A_PIECE > rows.num_rows:
        kept = np.ones(rows.num_rows, dtype=bool)
        kept[rejected] = False
        return [rows.filter(pa.array(kept))]
    edges = [-1, *rejected.tolist(), rows.num_rows]
    return [rows.slice(a + 1, b - a - 1) for a, b in pairwise(edges) if b - a > 1]
