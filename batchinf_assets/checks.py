"""What a check found: plain values that manifests keep and Dagster's asset checks show.

The rules themselves live in `contracts` and `evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

SAMPLE_KEYS = 5


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule.

    Attributes:
        column: The column, or None for a rule over whole rows.
        rule: The rule in words, with its bound: `at most 1.0`.
        count: Rows that break it; 0 where the rule is about the table and not about rows.
        samples: At most five keys of such rows, each written as `column=value, …`.
    """

    column: str | None
    rule: str
    count: int = 0
    samples: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"column '{self.column}'" if self.column else "rows"
        rows = f": {self.count} row{'s' if self.count != 1 else ''}" if self.count else ""
        keys = f" (first: {self.samples[0]})" if self.samples else ""
        return f"{where} must be {self.rule}{rows}{keys}"


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
    shown = "; ".join(found[:3])
    return f"{shown}; and {len(found) - 3} more" if len(found) > 3 else shown


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
    return replace(first, count=first.count + second.count, samples=samples)
