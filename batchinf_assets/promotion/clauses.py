"""The clauses of the promotion gate: each judges one measured thing and says so in a sentence.

What they judge is measured in `promotion.bootstrap`, `promotion.canary` and `metrics.binary`;
`registry.promotions` keeps them in the signed record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.promotion.bootstrap import Difference
from batchinf_assets.promotion.canary import CanaryReport, Flips, Segment
from batchinf_assets.registry.artifact import schema_differences
from batchinf_assets.registry.card import ModelCard, ParityRecord
from batchinf_assets.registry.promotion_record import Clause
from batchinf_assets.spec.evaluation import Agreement, Fit, GoldenSpec, Metric, Quality
from batchinf_assets.spec.model import CanarySpec

TITLES: Mapping[Metric, str] = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r_squared": "R²",
    "quantile_loss": "quantile loss",
    "bias": "bias",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}

HIGHER_IS_BETTER: frozenset[Metric] = frozenset(
    (*get_args(Quality), *get_args(Fit), *get_args(Agreement))
)


def first_promotion(model: str, alias: str) -> Clause:
    """State that nothing has the alias yet: no margin and no canary can be measured."""
    return Clause(
        name="first_promotion",
        passed=True,
        sentence=f"No version of {model} is {alias} yet: there is nothing to compare with",
        measured={},
    )


def same_model(version: str) -> Clause:
    """State that the candidate is the champion, signed anew: there is nothing to measure."""
    return Clause(
        name="same_model",
        passed=True,
        sentence=f"The candidate has the very files of the champion, v{version}",
        measured={},
    )


def judge_bounds(metrics: Metrics, spec: GoldenSpec) -> tuple[Clause, ...]:
    """Hold the candidate's own golden metrics against the declared bounds, one clause per bound.

    Without bounds there is one clause, which passes as soon as the golden set has rows.
    """
    bounds = [
        *(_bound(metrics, name, bound, "at least") for name, bound in spec.at_least.items()),
        *(_bound(metrics, name, bound, "at most") for name, bound in spec.at_most.items()),
    ]
    if bounds:
        return tuple(bounds)
    rows = "has no rows" if metrics.rows == 0 else f"has {metrics.rows} rows"
    unbounded = Clause(
        name="golden_bounds",
        passed=metrics.rows > 0,
        sentence=f"The golden set {rows}; no bounds are declared",
        measured={"rows": metrics.rows},
    )
    return (unbounded,)


def judge_margin(
    differences: Mapping[Metric, Difference],
    margins: Mapping[Metric, float],
    *,
    confidence: float,
) -> tuple[Clause, ...]:
    """Ask that no metric is worse than the champion's beyond its margin, one clause per margin.

    The end of the interval on the worse side counts: the low end must be at least -margin where
    higher is better, the high end at most margin for a loss. A metric that was
    not measured, or has no interval, fails.
    """
    return tuple(
        _margin(metric, differences.get(metric), margin, confidence)
        for metric, margin in margins.items()
    )


def judge_canary(report: CanaryReport, spec: CanarySpec) -> tuple[Clause, ...]:
    """Hold mean shift and label flips against their bounds; without rows both fail.

    Where rows fall into no classes no label flips, and the shift is held against its bound in
    standard deviations of the champion's scores.
    """
    if report.flips is None:
        return (_canary_deviation(report, spec),)
    return _canary_shift(report, spec), _canary_flips(report, report.flips, spec)


def judge_schema(candidate: ModelCard, champion: ModelCard) -> Clause:
    """Ask that the candidate reads the champion's columns and writes the champion's."""
    problems = [*schema_differences(champion.input_schema, candidate.input_schema)]
    if candidate.output_schema != champion.output_schema:
        problems.append(f"it writes {_outputs(candidate)}, the champion {_outputs(champion)}")
    found = "; ".join(problems) or f"the same {len(champion.input_schema)}"
    return Clause(
        name="schema",
        passed=not problems,
        sentence=f"Columns of the candidate against the champion's: {found}",
        measured={"differences": len(problems)},
    )


def judge_parity(records: Sequence[ParityRecord], chosen: str) -> Clause:
    """Ask that the scorer chosen for the candidate gives the reference's answers."""
    verdicts = {record.verdict for record in records if record.scorer == chosen}
    return Clause(
        name="parity",
        passed=verdicts == {"passed"},
        sentence="; ".join(_parity(records, chosen)),
        measured={
            "scorer": chosen,
            "tried": len(records),
            "passed": sum(record.verdict == "passed" for record in records),
        },
    )


def _bound(
    metrics: Metrics,
    metric: Metric,
    bound: float,
    side: Literal["at least", "at most"],
) -> Clause:
    found = metrics.figures[metric]
    if found is None:
        passed, said = False, f"is undefined on {metrics.rows} rows"
    else:
        passed = found >= bound if side == "at least" else found <= bound
        said = f"is {found:.{_decimals(found, bound)}f}"
    return Clause(
        name=f"golden_{metric}",
        passed=passed,
        sentence=f"The golden {TITLES[metric]} {said}, {side} {bound:g} is declared",
        measured={"found": found, "bound": bound, "rows": metrics.rows},
    )


def _margin(metric: Metric, found: Difference | None, margin: float, confidence: float) -> Clause:
    worst = _worst_loss(metric, found)
    return Clause(
        name=f"margin_{metric}",
        passed=worst is not None and worst <= margin,
        sentence=_compared(metric, found, margin, confidence),
        measured={
            "champion": found.champion if found else None,
            "candidate": found.candidate if found else None,
            "difference": found.difference if found else None,
            "low": found.low if found else None,
            "high": found.high if found else None,
            "resamples": found.resamples if found else 0,
            "confidence": confidence,
            "margin": margin,
        },
    )


def _worst_loss(metric: Metric, found: Difference | None) -> float | None:
    """Return how much worse than the champion the interval's worse end is; negative if better."""
    if found is None or found.low is None or found.high is None:
        return None
    return -found.low if metric in HIGHER_IS_BETTER else found.high


def _compared(metric: Metric, found: Difference | None, margin: float, confidence: float) -> str:
    title, change = TITLES[metric], "fall" if metric in HIGHER_IS_BETTER else "rise"
    if found is None:
        return f"The golden {title} was not measured"
    if found.champion is None or found.candidate is None or found.difference is None:
        return f"The golden {title} is undefined: {found.reason}"
    worst = _worst_loss(metric, found)
    at = _decimals(margin if worst is None else worst, margin)
    interval = f"no interval ({found.reason})"
    if found.low is not None and found.high is not None:
        interval = f"{100 * confidence:g} % interval [{found.low:+.{at}f}, {found.high:+.{at}f}]"
    return (
        f"The golden {title} is {found.candidate:.{at}f} against the champion's "
        f"{found.champion:.{at}f}: difference {found.difference:+.{at}f}, {interval}, "
        f"may {change} by {margin:.{at}f} at most"
    )


def _canary_shift(report: CanaryReport, spec: CanarySpec) -> Clause:
    shift, before, after = report.mean_shift, report.champion_mean, report.candidate_mean
    if shift is None or before is None or after is None:
        passed, sentence = False, "The canary has no rows: no mean scores to compare"
    else:
        at = _decimals(abs(shift), spec.max_shift)
        passed = abs(shift) <= spec.max_shift
        sentence = (
            f"The mean score of {report.rows} canary rows is {after:.{at}f} against the champion's "
            f"{before:.{at}f}: shift {shift:+.{at}f}, may be {spec.max_shift:.{at}f} at most"
            f"{_farthest(report.segments)}"
        )
    return Clause(
        name="canary_shift",
        passed=passed,
        sentence=sentence,
        measured={
            "rows": report.rows,
            "champion_mean": before,
            "candidate_mean": after,
            "mean_shift": shift,
            "max_shift": spec.max_shift,
        },
    )


def _farthest(segments: Sequence[Segment]) -> str:
    """Point at the segment that moved most; it is reported and not judged."""
    moved = [
        (abs(segment.mean_shift), segment.mean_shift, segment)
        for segment in segments
        if segment.mean_shift is not None
    ]
    if not moved:
        return ""
    _, shift, segment = max(moved, key=lambda entry: entry[0])
    return f" (farthest: {segment.column} '{segment.value}' by {shift:+.3f}, {segment.rows} rows)"


def _canary_deviation(report: CanaryReport, spec: CanarySpec) -> Clause:
    shift, deviation = report.mean_shift, report.champion_deviation
    if shift is None or deviation is None:
        moved, sentence = None, "The canary has no rows: no mean scores to compare"
    elif deviation == 0:
        moved = None if shift else 0.0
        sentence = f"The champion gives every canary row the same score, the candidate {shift:+.3g}"
    else:
        moved = abs(shift) / deviation
        at = _decimals(moved, spec.max_shift)
        sentence = (
            f"The mean score of {report.rows} canary rows shifts by {shift:+.4g}, which is "
            f"{moved:.{at}f} standard deviations of the champion's: may be "
            f"{spec.max_shift:.{at}f} at most{_farthest(report.segments)}"
        )
    return Clause(
        name="canary_shift",
        passed=moved is not None and moved <= spec.max_shift,
        sentence=sentence,
        measured={
            "rows": report.rows,
            "champion_mean": report.champion_mean,
            "candidate_mean": report.candidate_mean,
            "mean_shift": shift,
            "deviations": moved,
            "max_shift": spec.max_shift,
        },
    )


def _canary_flips(report: CanaryReport, flips: Flips, spec: CanarySpec) -> Clause:
    if flips.share is None:
        passed, sentence = False, "The canary has no rows: no labels to compare"
    else:
        at = _decimals(100 * flips.share, 100 * spec.max_flips, fewest=1)
        passed = flips.share <= spec.max_flips
        sentence = (
            f"{flips.count} of {report.rows} canary rows change their label "
            f"({100 * flips.share:.{at}f} %, {flips.up} to true and {flips.down} to false), "
            f"{100 * spec.max_flips:.{at}f} % may at most"
        )
    return Clause(
        name="canary_flips",
        passed=passed,
        sentence=sentence,
        measured={
            "rows": report.rows,
            "flips": flips.count,
            "up": flips.up,
            "down": flips.down,
            "share": flips.share,
            "max_flips": spec.max_flips,
        },
    )


def _outputs(card: ModelCard) -> str:
    return ", ".join(f"'{o.name}' ({o.type}, {o.meaning})" for o in card.output_schema)


def _parity(records: Sequence[ParityRecord], chosen: str) -> Iterator[str]:
    if all(record.scorer != chosen for record in records):
        yield f"Scorer {chosen}, chosen for the candidate, has no parity record"
    for record in records:
        use = ", chosen for the candidate," if record.scorer == chosen else ""
        reason = f" ({record.reason})" if record.reason else ""
        verdict = "passed" if record.verdict == "passed" else "was refused by"
        yield f"Scorer {record.scorer}{use} {verdict} the parity gate{reason}"


def _decimals(figure: float, bound: float, *, fewest: int = 3) -> int:
    """Return how many decimals show the bound itself, and the figure on its side of it."""
    for decimals in range(fewest, 9):
        shows_bound = abs(round(bound, decimals) - bound) < 1e-12
        if shows_bound and (figure == bound or round(figure, decimals) != round(bound, decimals)):
            return decimals
    return 9
