"""The check `drift`: what measured drift means for a window, in the words that people read.

What is measured and how it gets its verdict is in `drift`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.evaluation.consequences import with_consequence
from batchinf_assets.evaluation.drift.measure import (
    Drift,
    drift_windows,
    overall_verdict,
    reference_verdicts,
)
from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.spec.pipeline import PipelineSpec

NO_EARLIER_WINDOWS: Mapping[str, EarlierWindowsRecord] = MappingProxyType({})


def judge_drift(
    drifts: Iterable[Drift],
    spec: PipelineSpec,
    earlier: Mapping[str, EarlierWindowsRecord] = NO_EARLIER_WINDOWS,
) -> CheckResult:
    """Report every major drift; whether it holds a window back is declared in `gate.drift`.

    `measured` holds the overall verdict, that of each reference, whether it is known how far its
    windows usually differ, how many windows made it and were left out (of a season also how many it
    needs), and the judged subject with the largest stability index, with its reference, if there is
    one: a window with too few rows passes, under the verdict `insufficient data`.

    Args:
        drifts: What was measured.
        spec: Declares the bounds, and what a failure leads to.
        earlier: What the references other than training consist of.
    """
    measured = tuple(drifts)
    violations = tuple(
        Violation(column=drift.subject, rule=_rule(drift, spec))
        for drift in measured
        if drift.verdict == "major"
    )
    result = CheckResult(
        name="drift",
        asset="evaluation",
        passed=not violations,
        violations=violations,
        measured={
            "verdict": overall_verdict(measured),
            **{f"verdict/{name}": each for name, each in reference_verdicts(measured).items()},
            **{f"rows/{name}": _taken_as(each) for name, each in drift_windows(measured).items()},
            **_windows(earlier, spec),
            **_worst(measured),
        },
    )
    return with_consequence(result, spec)


def _taken_as(windows: int) -> str:
    return f"compared with {windows} windows" if windows else "taken as independent"


def _rule(drift: Drift, spec: PipelineSpec) -> str:
    bounds = spec.drift.bounds_of(drift.subject)
    usual = _usually(drift.usual_psi)
    said = [f"PSI {drift.psi:.2f}, major from {bounds.major:g}{usual}"]
    if drift.wasserstein is not None:
        shift, usual = (
            f"{drift.wasserstein:.2f} standard deviations",
            _usually(drift.usual_wasserstein),
        )
        said.append(f"shift {shift}, major from {bounds.major_shift:g}{usual}")
    return f"stable against {drift.reference} ({'; '.join(said)})"


def _usually(distance: float | None) -> str:
    return "" if distance is None else f", nine of ten windows keep {distance:.2f}"


def _windows(
    earlier: Mapping[str, EarlierWindowsRecord], spec: PipelineSpec
) -> dict[str, int | float | str]:
    said: dict[str, int | float | str] = {}
    for name, record in earlier.items():
        why = {
            "of another profile": record.other_profile,
            "held back": record.held_back,
            "absent": record.absent,
        }
        left_out = ", ".join(f"{count} {reason}" for reason, count in why.items() if count)
        said |= {f"windows/{name}": record.counted, f"unpublished/{name}": record.candidates}
        said |= {f"left_out/{name}": left_out or "none"}
        if name == "season":
            said |= {"least_windows/season": spec.drift.season_windows}
    return said


def _worst(drifts: Iterable[Drift]) -> dict[str, int | float | str]:
    judged = {
        (d.subject, d.reference): d.psi
        for d in drifts
        if d.verdict != "not judged" and d.psi is not None
    }
    if not judged:
        return {}
    subject, reference = worst = max(judged, key=lambda each: judged[each])
    return {"worst_subject": subject, "worst_psi": judged[worst], "worst_against": reference}
