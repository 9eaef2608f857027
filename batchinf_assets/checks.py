"""What a check found: plain values that manifests keep and Dagster's asset checks show.

The rules themselves live in `contracts` and `evaluation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

SAMPLE_KEYS = 10

LONGEST_TEXT = 80
"""Characters of a foreign text that a message quotes."""

_SPELLED_OUT = 3
_RANGE = re.compile(r"\b(in \[|inside|at least|at most|one of)")
_FORMULA = re.compile(r"(?![+-]?(\d[\d.e+-]*|inf|nan)?$)[=+@-]")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule.

    Attributes:
        column: The column, or None for a rule over whole rows or the table.
        rule: What is expected, in words, with its bound: `at most 1.0`.
        count: Rows that break it; 0 where the rule is about the table and not about rows.
        samples: Keys of at most `SAMPLE_KEYS` such rows, each written as `column=value, …`.
        found: What is there instead, in words; None where the count of rows says it.
    """

    column: str | None
    rule: str
    count: int = 0
    samples: tuple[str, ...] = ()
    found: str | None = None

    def __str__(self) -> str:
        where = f"column {self.column}: " if self.column else "rows: " if self.count else ""
        there = self.found or self._counted()
        found = f", found {there}" if there else ""
        keys = f" (e.g. {'; '.join(self.samples[:_SPELLED_OUT])})" if self.samples else ""
        return f"{where}expected {self.rule}{found}{keys}"

    def _counted(self) -> str | None:
        if not self.count:
            return None
        one = self.count == 1
        if self.rule == "not null":
            return f"{self.count} null{'' if one else 's'}"
        breaks = "outside" if _RANGE.search(self.rule) else f"that break{'s' if one else ''} it"
        return f"{self.count} row{'' if one else 's'} {breaks}"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of one named check on one window.

    Attributes:
        name: The check's name within its asset.
        asset: The asset's name within its pipeline, such as `features`.
        passed: False as soon as there is a violation.
        blocking: Whether a failure keeps the window from being written or published.
        violations: Each broken rule.
        measured: Figures worth showing, such as row counts.
    """

    name: str
    asset: str
    passed: bool
    blocking: bool = True
    violations: tuple[Violation, ...] = ()
    measured: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])


def blocking_failures(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """Return the failed checks that must keep a window back."""
    return [check for check in checks if check.blocking and not check.passed]


def summarize(failures: Iterable[CheckResult]) -> str:
    """Say in one clause what failed, the first three violations spelled out."""
    found = [str(v) for failure in failures for v in failure.violations]
    shown, rest = "; ".join(found[:_SPELLED_OUT]), len(found) - _SPELLED_OUT
    return f"{shown}; and {rest} more" if rest > 0 else shown


def writable(value: float | str) -> float | str:
    """Return a figure for a document: JSON has no word for one that is not finite."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def as_written(check: CheckResult) -> CheckResult:
    """Return a check for a document, with each of its figures `writable`."""
    return replace(check, measured={name: writable(v) for name, v in check.measured.items()})


def merge_checks(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """Make one result per check out of those of several shards.

    Counts and numeric figures add up, the first samples are kept, one failure fails the whole.
    """
    by_name: dict[str, list[CheckResult]] = {}
    for check in checks:
        by_name.setdefault(check.name, []).append(check)
    return [_merged(group) for group in by_name.values()]


def _merged(group: list[CheckResult]) -> CheckResult:
    broken: dict[tuple[str | None, str], Violation] = {}
    measured: dict[str, int | float | str] = {}
    for check in group:
        for violation in check.violations:
            rule = (violation.column, violation.rule)
            broken[rule] = _added(broken[rule], violation) if rule in broken else violation
        for name, value in check.measured.items():
            before = measured.get(name)
            if isinstance(value, int | float) and isinstance(before, int | float):
                measured[name] = before + value
            else:
                measured[name] = value
    return replace(
        group[0],
        passed=all(check.passed for check in group),
        violations=tuple(broken.values()),
        measured=measured,
    )


def _added(first: Violation, second: Violation) -> Violation:
    samples = (*first.samples, *second.samples)[:SAMPLE_KEYS]
    found = first.found if first.found == second.found else None
    return replace(first, count=first.count + second.count, samples=samples, found=found)


def quoted(text: str, *, longest: int = LONGEST_TEXT) -> str:
    r"""Return a foreign name or value as plain text that is safe wherever it is shown.

    It is cut at `longest` characters. What cannot be printed, what opens or closes markup and
    what makes a formula of a spreadsheet's cell is written as in a Python literal: `\x3c`.
    """
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    plain = "".join(c if c.isprintable() and c not in "<>" else _escaped(c) for c in cut)
    return _escaped(plain[0]) + plain[1:] if _FORMULA.match(plain) else plain


def _escaped(character: str) -> str:
    return repr(character)[1:-1] if not character.isprintable() else f"\\x{ord(character):02x}"
