"""Quality on the golden set: a fixed labelled sample that every revision's code scores again.

The set itself is `golden.golden_set`'s; `realised.performance` holds the same metrics over
outcomes that arrived later.
"""

from __future__ import annotations

from batchinf_assets.checks import CheckResult
from batchinf_assets.evaluation.consequences import broken_bounds, consequence
from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.spec.pipeline import PipelineSpec

CHECK = "golden_quality"


def judge_golden(metrics: Metrics, spec: PipelineSpec) -> CheckResult:
    """Hold the golden metrics against the declared bounds; an undefined figure breaks its bound.

    Args:
        metrics: Of the model's scores on the golden set.
        spec: Declares the bounds, and what a failure leads to.
    """
    declared = spec.golden
    violations = tuple(
        broken_bounds(metrics.figures, at_least=declared.at_least, at_most=declared.at_most)
    )
    figures = {
        name: "undefined" if value is None else value for name, value in metrics.figures.items()
    }
    return CheckResult(
        name=CHECK,
        asset="evaluation",
        passed=not violations,
        blocking=consequence(CHECK, spec) == "block",
        violations=violations,
        measured={"rows": metrics.rows, **metrics.counts, **figures},
    )
