"""Whether realised performance is what the declaration asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.evaluation.consequences import PERFORMANCE
from batchinf_assets.evaluation.metrics.figures import Figure, Metrics
from batchinf_assets.evaluation.realised.performance import Performance
from batchinf_assets.evaluation.realised.trailing import Trailing
from batchinf_assets.spec.evaluation import PerformanceSpec, RollbackSpec

MET, IN_DOUBT, NOT_MET, INSUFFICIENT = "met", "in doubt", "not met", "insufficient data"
UNDEFINED = "undefined"


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """What a bound is held against: the window, or several together.

    Attributes:
        name: Such as `this window`.
        rows: Predictions.
        metrics: Over the labelled ones.
    """

    name: str
    rows: int
    metrics: Metrics

    def is_labelled(self, spec: PerformanceSpec) -> bool:
        """Whether enough rows have a label, in number and in share."""
        labelled = self.metrics.rows
        least = spec.min_labelled_share * self.rows
        return labelled >= spec.min_labelled and labelled >= least


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A declared bound on one metric."""

    metric: str
    limit: float
    is_least: bool

    @property
    def rule(self) -> str:
        return f"{self.metric} at {'least' if self.is_least else 'most'} {self.limit:g}"

    def figure(self, scope: _Scope) -> Figure:
        return scope.metrics.measured_figures[self.metric]

    def verdict(self, scope: _Scope) -> str:
        value = self.figure(scope).value
        if not scope.metrics.tells(self.metric):
            return INSUFFICIENT
        if value is None:
            return UNDEFINED
        return MET if self._keeps(value) else self._verdict_beyond(self.figure(scope))

    def _verdict_beyond(self, figure: Figure) -> str:
        if figure.interval is None:
            return INSUFFICIENT
        nearest = figure.interval.high if self.is_least else figure.interval.low
        return IN_DOUBT if self._keeps(nearest) else NOT_MET

    def _keeps(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit


def judge_performance(
    performance: Performance, trailing: Sequence[Trailing], spec: PerformanceSpec
) -> CheckResult:
    """Hold realised metrics against the declared bounds; it never blocks: the window is published.

    A bound is broken where the figure and its whole 95 % interval lie beyond it, and where the
    figure is undefined although there are enough rows of both classes: precision of a model that
    predicts no positive any more. A figure beyond its bound passes as `in doubt` where its interval
    reaches back. What passes as `insufficient data`, as `measured` says: fewer labelled rows than
    declared, or a smaller share; a figure beyond its bound without interval; rows that cannot say
    anything of the figure, such as those of one class of AUROC.

    Args:
        performance: Of the window itself; measured.
        trailing: Of the windows up to it.
        spec: The bounds, and how many rows must have a label.
    """
    judged = [
        (bound, scope, bound.verdict(scope))
        for scope in _scopes(performance, trailing)
        if scope.is_labelled(spec)
        for bound in _bounds(spec)
    ]
    violations = tuple(
        Violation(
            column=None, rule=f"{bound.rule} over {scope.name}", found=said(bound.figure(scope))
        )
        for bound, scope, verdict in judged
        if verdict in (NOT_MET, UNDEFINED)
    )
    return CheckResult(
        name=PERFORMANCE,
        asset=PERFORMANCE,
        passed=not violations,
        blocking=False,
        violations=violations,
        measured={
            "verdict": _worst([verdict for *_, verdict in judged]),
            "labelled": performance.labelled,
            **_shown(performance, trailing, spec),
        },
    )


def is_old_enough(known_after: timedelta | None, spec: RollbackSpec) -> bool:
    """Whether labels have come in long enough for automatic rollback to act on them.

    The labels that are known first are often those of one class. How far they have come is read off
    the labels, never off the clock: a window that is measured late is not complete for that.

    Args:
        known_after: From the window's end to the newest label; without end once all are there,
            None where nobody knows.
        spec: Says how long.
    """
    return not spec.min_age or (known_after is not None and known_after >= spec.min_age)


def said(figure: Figure) -> str:
    """Write a figure with its interval: `0.6213 (0.5904 to 0.6522)`."""
    if figure.value is None:
        return "undefined"
    interval = figure.interval
    ends = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{figure.value:.4f}{ends}"


def _scopes(performance: Performance, trailing: Sequence[Trailing]) -> Iterator[_Scope]:
    if performance.metrics is not None:
        yield _Scope(name="this window", rows=performance.rows, metrics=performance.metrics)
    for each in trailing:
        name = f"the last {each.windows} windows"
        yield _Scope(name=name, rows=each.rows, metrics=each.metrics)


def _bounds(spec: PerformanceSpec) -> Iterator[_Bound]:
    for metric, limit in spec.at_least.items():
        yield _Bound(metric=metric, limit=limit, is_least=True)
    for metric, limit in spec.at_most.items():
        yield _Bound(metric=metric, limit=limit, is_least=False)


def _worst(verdicts: Sequence[str]) -> str:
    worst_first = (NOT_MET, UNDEFINED, IN_DOUBT, MET, INSUFFICIENT)
    return min(verdicts, key=worst_first.index, default=INSUFFICIENT)


def _shown(
    performance: Performance, trailing: Sequence[Trailing], spec: PerformanceSpec
) -> dict[str, str]:
    metrics = {"window": performance.metrics} | {each.name: each.metrics for each in trailing}
    return {
        f"{metric} {scope}": said(found.measured_figures[metric])
        for metric in (*spec.at_least, *spec.at_most)
        for scope, found in metrics.items()
        if found is not None
    }
