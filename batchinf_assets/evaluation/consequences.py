"""What a failed verdict leads to, and whether verdicts on record fit the figures beside them.

The verdicts themselves are made by `golden`, `golden_set`, `drift` and `performance`; that a window
stays back is decided in `publishing.gate`, tickets are kept by `tickets.tickets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.spec.evaluation import Consequence
from batchinf_assets.spec.pipeline import PipelineSpec

EVALUATION = "evaluation"
VERDICTS = ("golden_quality", "golden_set", "drift")
"""The checks that every evaluation leaves, in the order in which they are shown."""

PERFORMANCE = "performance"
"""The one verdict on what is published already; asset and check have this name."""

MAJOR = "major"

AtLeast = TypeVar("AtLeast", bound=str)
AtMost = TypeVar("AtMost", bound=str)


def consequence(check_name: str, spec: PipelineSpec) -> Consequence:
    """Return what the declaration says of a failed check.

    Args:
        check_name: One of `VERDICTS`, or `performance`.
        spec: The pipeline.

    Raises:
        ValueError: No declaration says what a check of this name leads to.
    """
    if check_name not in (*VERDICTS, PERFORMANCE):
        raise ValueError(f"the gate declares nothing of a check '{check_name}'")
    return getattr(spec.gate, check_name)


def with_consequence(check: CheckResult, spec: PipelineSpec) -> CheckResult:
    """Return a verdict that blocks if, and only if, the declaration says so.

    Raises:
        ValueError: No declaration says what a check of this name leads to.
    """
    return replace(check, blocking=consequence(check.name, spec) == "block")


def judges_performance(spec: PipelineSpec) -> bool:
    """Say whether realised performance has a verdict: without bounds it could never fail."""
    return bool(spec.performance.at_least or spec.performance.at_most)


def is_verdict(check: CheckResult) -> bool:
    """Say whether a check on record is one of `VERDICTS`, and not a namesake of another asset."""
    return check.asset == EVALUATION and check.name in VERDICTS


def broken_bounds(
    figures: Mapping[str, float | int | None],
    *,
    at_least: Mapping[AtLeast, float],
    at_most: Mapping[AtMost, float],
) -> Iterator[Violation]:
    """Name every declared bound that a figure breaks; an undefined or absent figure breaks its own.

    Args:
        figures: Figures by name; None is undefined.
        at_least: Lower bounds by name.
        at_most: Upper bounds by name.
    """
    for name, low in at_least.items():
        found = figures.get(name)
        if found is None or not found >= low:
            yield Violation(column=None, rule=f"{name} at least {low:g} ({_said(found)})")
    for name, high in at_most.items():
        found = figures.get(name)
        if found is None or not found <= high:
            yield Violation(column=None, rule=f"{name} at most {high:g} ({_said(found)})")


def held_against_figures(
    checks: Iterable[CheckResult],
    record: EvaluationRecord | None,
    spec: PipelineSpec,
    *,
    window_end: datetime,
) -> tuple[CheckResult, ...]:
    """Return the checks with every verdict judged once more by the figures that stand beside it.

    A verdict that passed fails where its figures break the declaration of now, and each verdict
    blocks as the declaration of now says. One that failed stays failed. Held against figures are
    the bounds of the golden metrics, age and rarer class of the golden set, and the verdicts by
    reference and column. A population stability index alone makes no verdict: how sure it is, is
    not on record.

    Args:
        checks: All checks on record of one revision; those of other assets stay as they are.
        record: What evaluation measured on it; without one no bound is kept.
        spec: The pipeline.
        window_end: Where the window of the revision ends.
    """
    found: dict[str, tuple[Violation, ...]] = {
        "golden_quality": tuple(_golden_quality(record, spec)),
        "golden_set": tuple(_golden_set(record, spec, window_end)),
        "drift": tuple(_drift(record)),
    }
    return tuple(
        with_consequence(_judged(check, found[check.name]), spec) if is_verdict(check) else check
        for check in checks
    )


def _judged(check: CheckResult, found: tuple[Violation, ...]) -> CheckResult:
    if not check.passed or not found:
        return check
    return replace(check, passed=False, violations=found)


def _golden_quality(record: EvaluationRecord | None, spec: PipelineSpec) -> Iterator[Violation]:
    figures = record.golden if record else {}
    bounds = spec.golden
    return broken_bounds(figures, at_least=bounds.at_least, at_most=bounds.at_most)


def _golden_set(
    record: EvaluationRecord | None, spec: PipelineSpec, window_end: datetime
) -> Iterator[Violation]:
    yield from _age(record, spec, window_end)
    golden = record.golden if record else {}
    rows, positives = golden.get("rows"), golden.get("positives")
    if rows and not spec.prediction.of.has_classes:
        return
    if not rows or positives is None:
        yield Violation(column=None, rule="measured on a golden set whose rows are on record")
        return
    share, least = min(positives, rows - positives) / rows, spec.golden.min_class_share
    if share < least:
        rule = f"share of the rarer class at least {least:g} (found {share:.4f})"
        yield Violation(column=None, rule=rule)


def _age(
    record: EvaluationRecord | None, spec: PipelineSpec, window_end: datetime
) -> Iterator[Violation]:
    drawn_until, most = record.golden_set_end if record else None, spec.golden.max_age_days
    rule = f"a golden set at most {most} days older than the window"
    if drawn_until is None:
        yield Violation(column=None, rule=rule, found="no age on record")
    elif window_end - drawn_until > timedelta(days=most):
        yield Violation(column=None, rule=rule, found=f"{(window_end - drawn_until).days}")


def _drift(record: EvaluationRecord | None) -> Iterator[Violation]:
    if record is None:
        yield Violation(column=None, rule="measured for drift")
        return
    verdicts = (("training", record.drift), *record.drift_by_reference.items())
    moved = dict.fromkeys(
        (reference, name)
        for reference, found in verdicts
        for name, verdict in found.items()
        if verdict == MAJOR
    )
    for reference, name in moved:
        yield Violation(column=name, rule=f"no major drift against {reference}")
    if record.drift_verdict == MAJOR and not moved:
        yield Violation(column=None, rule="no major drift")


def _said(found: float | None) -> str:
    return "undefined" if found is None else f"found {found:.4f}"
