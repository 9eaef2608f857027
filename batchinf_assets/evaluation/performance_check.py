"""Whether realised performance is what the declaration asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.evaluation.binary import BinaryMetrics
from batchinf_assets.evaluation.consequences import PERFORMANCE
from batchinf_assets.evaluation.figures import Figure
from batchinf_assets.evaluation.performance import Performance
from batchinf_assets.evaluation.trailing import Trailing
from batchinf_assets.evaluation_spec import PerformanceSpec

MET, IN_DOUBT, NOT_MET, INSUFFICIENT = "met", "in doubt", "not met", "insufficient data"


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A declared bound on one metric."""

    metric: str
    limit: float
    is_least: bool

    @property
    def rule(self) -> str:
        return f"{self.metric} at {'least' if self.is_least else 'most'} {self.limit:g}"

    def verdict(self, figure: Figure) -> str:
        if figure.value is None:
            return INSUFFICIENT
        if self._keeps(figure.value):
            return MET
        interval = figure.interval
        nearest = interval and (interval.high if self.is_least else interval.low)
        return IN_DOUBT if nearest is not None and self._keeps(nearest) else NOT_MET

    def _keeps(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit


def judge_performance(
    performance: Performance, trailing: Sequence[Trailing], spec: PerformanceSpec
) -> CheckResult:
    """Hold realised metrics against the declared bounds; it never blocks: the window is published.

    A bound is broken where the figure and its whole 95 % interval lie beyond it. A figure beyond it
    with an interval that reaches back passes as `in doubt`. Fewer labelled rows than declared, and
    a figure that is undefined, pass as `insufficient data`: `measured` says so.

    Args:
        performance: Of the window itself; measured.
        trailing: Of the windows up to it.
        spec: The bounds, and the least labelled rows.
    """
    scopes = {"this window": performance.metrics}
    scopes |= {f"the last {each.windows} windows": each.metrics for each in trailing}
    judged = [
        (bound, scope, figure, bound.verdict(figure))
        for scope, metrics in scopes.items()
        if metrics is not None and metrics.rows >= spec.min_labelled
        for bound, figure in _bounded(metrics, spec)
    ]
    violations = tuple(
        Violation(column=None, rule=f"{bound.rule} over {scope}", found=said(figure))
        for bound, scope, figure, verdict in judged
        if verdict == NOT_MET
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


def said(figure: Figure) -> str:
    """Write a figure with its interval: `0.6213 (0.5904 to 0.6522)`."""
    if figure.value is None:
        return "undefined"
    interval = figure.interval
    ends = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{figure.value:.4f}{ends}"


def _bounded(metrics: BinaryMetrics, spec: PerformanceSpec) -> Iterator[tuple[_Bound, Figure]]:
    figures = metrics.measured_figures
    for metric, limit in spec.at_least.items():
        yield _Bound(metric=metric, limit=limit, is_least=True), figures[metric]
    for metric, limit in spec.at_most.items():
        yield _Bound(metric=metric, limit=limit, is_least=False), figures[metric]


def _worst(verdicts: Sequence[str]) -> str:
    worst_first = (NOT_MET, IN_DOUBT, MET, INSUFFICIENT)
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
