"""What was found of it before it was published, and what somebody let pass."""

from __future__ import annotations

from pydantic import (
    AwareDatetime,
    Field,
)

from batchinf_assets.manifest.values import Count, Digest, Text, Value
from batchinf_assets.spec.contract import Name


class GoldenSetRecord(Value):
    """The golden set that a revision was measured on.

    Attributes:
        sha256: Of its file.
        version: As its provenance says; None where there is none.
        drawn_at: When it was drawn; None where nobody knows.
    """

    sha256: Digest
    version: Text | None = None
    drawn_at: AwareDatetime | None = None


class EarlierWindowsRecord(Value):
    """How many earlier windows a drift reference was asked for, and what became of them.

    Attributes:
        counted: Those whose rows make the reference.
        candidates: Those of them that were scored and evaluated, and of which nothing was
            published yet.
        other_profile: Left out, because their bins are those of another model's profile.
        held_back: Left out, because a check keeps their only revision from being published.
        absent: Left out, because nothing is published or scored, or nothing was sketched.
    """

    counted: Count = 0
    candidates: Count = 0
    other_profile: Count = 0
    held_back: Count = 0
    absent: Count = 0


class EvaluationRecord(Value):
    """What evaluation measured on this revision.

    Attributes:
        golden: Golden metrics by name, with `rows` and `positives`; None is undefined.
        golden_intervals: Their 95 % intervals, lower end first; None where there is none.
        golden_set: What they were measured on; None where it is not known.
        golden_set_end: Where the last window ended that the golden set was drawn from; None where
            nobody knows.
        psi: Population stability index against training by feature, and of the score.
        drift: Verdict against training by feature, and of the score.
        drift_verdict: The worst against any reference.
        drift_by_reference: Verdicts by feature, and of the score, against each reference.
        drift_windows: How many windows of each reference told how far windows usually differ; 0
            where that is not known and rows were taken as independent.
        earlier_windows: What the references consist of that are not the training rows.
        estimated: Metrics expected before any outcome is known; None is undefined.
    """

    golden: dict[str, float | int | None]
    golden_intervals: dict[str, tuple[float, float] | None] = Field(
        default_factory=dict[str, tuple[float, float] | None]
    )
    golden_set: GoldenSetRecord | None = None
    golden_set_end: AwareDatetime | None = None
    psi: dict[str, float | None]
    drift: dict[str, Text] = Field(default_factory=dict[str, Text])
    drift_verdict: str
    drift_by_reference: dict[Name, dict[str, Text]] = Field(
        default_factory=dict[str, dict[str, str]]
    )
    drift_windows: dict[Name, Count] = Field(default_factory=dict[str, int])
    earlier_windows: dict[Name, EarlierWindowsRecord] = Field(
        default_factory=dict[str, EarlierWindowsRecord]
    )
    estimated: dict[str, float | None] = Field(default_factory=dict[str, float | None])


class OverrideRecord(Value):
    """A failed verdict that somebody let pass, for this revision only.

    Attributes:
        check: The check of the evaluation.
        by: Who.
        reason: Why.
        at: When.
    """

    check: Name
    by: Text
    reason: Text
    at: AwareDatetime
