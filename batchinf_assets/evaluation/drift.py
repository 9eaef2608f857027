"""Drift: how far a window's features and scores moved from the rows that the model learned from.

The reference is `registry.profile`; what a label says about the scores is in `golden` and
`performance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contract_spec import NUMERIC
from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.query import query, sql_beside
from batchinf_assets.registry.profile import CategoryCounts, NumericBins, Profile
from batchinf_assets.spec import PipelineSpec

POPULATION_STABILITY_SQL = sql_beside(__file__, "population_stability.sql")

PROPORTION_FLOOR = 1e-4
"""Smallest proportion in the index: an empty bin would make it infinite."""

BINS = pa.schema(
    [
        ("subject", pa.string()),
        ("bin", pa.int64()),
        ("training_rows", pa.int64()),
        ("window_rows", pa.int64()),
    ]
)

Verdict = Literal["stable", "moderate", "major", "insufficient data", "not judged"]

WORST_FIRST: tuple[Verdict, ...] = (
    "major",
    "moderate",
    "stable",
    "insufficient data",
    "not judged",
)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one subject moved.

    Attributes:
        subject: A feature, or the score's column.
        psi: Population stability index, at least 0; None for a window without rows.
        rows: The window's rows.
        verdict: What the index means under the pipeline's bounds.
    """

    subject: str
    psi: float | None
    rows: int
    verdict: Verdict


def measure_drift(
    observed: Mapping[str, Sequence[int]], rows: int, profile: Profile, *, spec: PipelineSpec
) -> tuple[Drift, ...]:
    """Measure every feature, then the score, against training.

    The population stability index is the sum over bins of (p - q) ln(p / q), with p the window's
    and q training's proportion, each at least 1e-4 (Siddiqi 2006, Credit Risk Scorecards). Missing
    is a bin, and so are all categories that the profile does not name.

    Args:
        observed: The window's rows by bin number of each feature and of the score, as
            `Profile.observe` counts them.
        rows: The window's rows; each subject's counts add up to it.
        profile: The model's training reference.
        spec: Declares the features and the bounds.

    Raises:
        ModelRefused: The profile lacks a feature or the score, or knows it as another kind.
        ValueError: The counts of a subject do not add up to the rows.
    """
    references = _references(profile, spec)
    for subject in references:
        if sum(observed[subject]) != rows:
            raise ValueError(f"{sum(observed[subject])} values of '{subject}' for {rows} rows")
    psi = population_stability(observed, references)
    return tuple(
        Drift(
            subject=subject,
            psi=psi[subject],
            rows=rows,
            verdict=_verdict(subject, psi[subject], rows, spec),
        )
        for subject in psi
    )


def judge_drift(drifts: Iterable[Drift], spec: PipelineSpec) -> CheckResult:
    """Report every major drift; it never holds a window back.

    `measured` holds the overall verdict and the worst judged subject with its index, if there is
    one: a window with too few rows passes, under the verdict `insufficient data`.
    """
    measured = tuple(drifts)
    violations = tuple(
        Violation(
            column=drift.subject,
            rule=f"stable against training (PSI {drift.psi:.2f}, major from {spec.drift.major:g})",
        )
        for drift in measured
        if drift.verdict == "major"
    )
    return CheckResult(
        name="drift",
        asset="evaluation",
        passed=not violations,
        blocking=False,
        violations=violations,
        measured={"verdict": overall_verdict(measured), **_worst(measured)},
    )


def overall_verdict(drifts: Iterable[Drift]) -> str:
    """Return the worst verdict of the judged subjects, `not judged` if there are none."""
    return min((drift.verdict for drift in drifts), key=WORST_FIRST.index, default="not judged")


def population_stability(
    observed: Mapping[str, Sequence[int]],
    references: Mapping[str, NumericBins | CategoryCounts],
) -> dict[str, float | None]:
    """Return the index of each subject from counts by bin number; None where nothing was observed.

    The formula is in `measure_drift`.
    """
    bins = [
        {
            "subject": subject,
            "bin": bin_,
            "training_rows": training_rows,
            "window_rows": window_rows,
        }
        for subject, reference in references.items()
        for bin_, (training_rows, window_rows) in enumerate(
            zip(reference.bin_counts, observed[subject], strict=True)
        )
    ]
    tables = {"bins": pa.Table.from_pylist(bins, schema=BINS)}
    found = query(POPULATION_STABILITY_SQL, tables, {"floor": PROPORTION_FLOOR}).to_pylist()
    psi = {row["subject"]: row["psi"] for row in found}
    return {name: psi[name] for name in references}


def _worst(drifts: Iterable[Drift]) -> dict[str, int | float | str]:
    judged = {d.subject: d.psi for d in drifts if d.verdict != "not judged" and d.psi is not None}
    if not judged:
        return {}
    worst = max(judged, key=lambda subject: judged[subject])
    return {"worst_subject": worst, "worst_psi": judged[worst]}


def _verdict(subject: str, psi: float | None, rows: int, spec: PipelineSpec) -> Verdict:
    feature = spec.features.columns.get(subject)
    if feature is not None and not feature.drift:
        return "not judged"
    if psi is None or rows < spec.drift.min_rows:
        return "insufficient data"
    if psi >= spec.drift.major:
        return "major"
    return "moderate" if psi >= spec.drift.moderate else "stable"


def _references(profile: Profile, spec: PipelineSpec) -> dict[str, NumericBins | CategoryCounts]:
    numeric = {name: column.type in NUMERIC for name, column in spec.features.columns.items()}
    numeric[spec.prediction.column] = True
    for name, is_number in numeric.items():
        if isinstance(profile.subjects.get(name), NumericBins if is_number else CategoryCounts):
            continue
        raise ModelRefused(
            f"The reference profile of model {spec.model.name} has no "
            f"{'numeric' if is_number else 'categorical'} '{name}'.",
            reason=Refusal.SCHEMA,
            next_step=f"Register a model for the declared features: "
            f"batchinf model register {spec.name}.",
        )
    return {name: profile.subjects[name] for name in numeric}
