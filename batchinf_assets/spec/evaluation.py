"""What a user declares of quality: golden set, drift, realised performance, and what follows.

Nothing here measures; `evaluation` does, and `publishing` acts on it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from batchinf_assets.seasons import Season
from batchinf_assets.spec.contract import Declared, Name, RelativePath

Quality = Literal["precision", "recall", "f1", "accuracy", "auroc", "average_precision"]
"""Metrics of a binary label where more is better."""

Loss = Literal["log_loss", "brier", "calibration_error"]
"""Metrics of a binary label where less is better."""

Fit = Literal["r_squared"]
"""Metrics of a numeric label where more is better."""

Error = Literal["mae", "rmse", "quantile_loss"]
"""Metrics of a numeric label where less is better."""

Lean = Literal["bias"]
"""Metrics of a numeric label that are the better the nearer to 0."""

Agreement = Literal["macro_f1", "weighted_f1"]
"""Metrics of a label of several classes where more is better; `accuracy` is one too."""

Metric = Quality | Loss | Fit | Error | Lean | Agreement

Ranked = Quality | Loss | Fit | Error | Agreement
"""Metrics of which one of two different figures is the better one, whatever they are."""

AtLeast = Quality | Fit | Lean | Agreement
AtMost = Loss | Error | Lean
"""Metrics that may have a lower, or an upper, bound."""

Consequence = Literal["block", "ticket", "inform"]
"""What a failed check leads to: the window stays back, somebody must look at it, or it is shown."""

RollbackCause = Literal["performance", "evaluation", "verification"]
"""What may condemn a published revision: its outcomes, its evaluation of now, or what `batchinf
verify` finds damaged or revoked."""

DriftReference = Literal["training", "previous", "season"]
"""What a window is held against: the model's training rows, the windows right before it, or those
before it that share its season."""


class GoldenSpec(Declared):
    """A fixed labelled sample, scored with every revision by the same code."""

    file: RelativePath = Field(
        description="Parquet; beside it, under the same name with .json, lies its provenance."
    )
    label: Name = "label"
    decision: float = Field(default=0.5, ge=0, le=1, description="Score that counts as positive.")
    at_least: dict[AtLeast, float] = Field(default_factory=dict)
    at_most: dict[AtMost, float] = Field(default_factory=dict)
    segments: tuple[Name, ...] = Field(default=(), description="Features to report by.")
    max_age_days: int = Field(
        default=365, ge=1, description="An older set, seen from the window's end, is stale."
    )
    min_class_share: float = Field(
        default=0.05, ge=0, le=0.5, description="Least share of the rarer class."
    )


class ColumnDriftSpec(Declared):
    """Bounds of one column, or of the score, where they differ from the pipeline's."""

    moderate: float | None = Field(default=None, gt=0)
    major: float | None = Field(default=None, gt=0)
    moderate_shift: float | None = Field(default=None, gt=0)
    major_shift: float | None = Field(default=None, gt=0)
    min_rows: int | None = Field(default=None, ge=1)


class DriftSpec(Declared):
    """When a distribution counts as moved: far enough, surely enough, and on enough rows."""

    moderate: float = Field(default=0.1, gt=0, description="Population stability index.")
    major: float = Field(default=0.25, gt=0, description="Population stability index.")
    moderate_shift: float = Field(
        default=0.1, gt=0, description="Wasserstein distance in standard deviations."
    )
    major_shift: float = Field(
        default=0.5, gt=0, description="Wasserstein distance in standard deviations."
    )
    min_rows: int = Field(default=200, ge=1, description="Fewer rows: insufficient data.")
    false_alarms: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="False discovery rate over all judged columns (Benjamini and Hochberg).",
    )
    references: tuple[DriftReference, ...] = Field(default=("training",), min_length=1)
    previous_windows: int = Field(
        default=28, ge=1, description="How many windows before make the reference `previous`."
    )
    season: Season | None = Field(
        default=None, description="What the windows of the reference `season` share."
    )
    season_windows: int = Field(
        default=19,
        ge=1,
        description="Fewer earlier windows of the season: too few windows. Fewer than 19 do not "
        "tell how far they differ from each other.",
    )
    columns: dict[Name, ColumnDriftSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> DriftSpec:
        for name, own in (("", ColumnDriftSpec()), *self.columns.items()):
            bounds = self.of(own)
            where = f"columns.{name}: " if name else ""
            if bounds.moderate > bounds.major:
                raise ValueError(
                    f"{where}moderate {bounds.moderate:g} is above major {bounds.major:g}"
                )
            if bounds.moderate_shift > bounds.major_shift:
                raise ValueError(f"{where}moderate_shift is above major_shift")
        if ("season" in self.references) != (self.season is not None):
            raise ValueError(
                "the reference `season` and what it is, such as `season: weekday`, go together"
            )
        return self

    @property
    def needs_earlier_windows(self) -> bool:
        """Whether a window is held against those before it."""
        return any(reference != "training" for reference in self.references)

    @property
    def leading(self) -> DriftReference:
        """What pictures and retraining go by: training where declared, else the first declared."""
        return "training" if "training" in self.references else self.references[0]

    def bounds_of(self, column: str) -> DriftSpec:
        """Return the bounds that count for one column, or for the score."""
        return self.of(self.columns.get(column, ColumnDriftSpec()))

    def of(self, own: ColumnDriftSpec) -> DriftSpec:
        """Return these bounds with a column's own in their place."""
        return self.model_copy(update=own.model_dump(exclude_none=True))


class PerformanceSpec(Declared):
    """What realised outcomes must show, over the trailing windows that have enough of them."""

    at_least: dict[AtLeast, float] = Field(default_factory=dict)
    at_most: dict[AtMost, float] = Field(default_factory=dict)
    min_labelled: int = Field(
        default=200, ge=1, description="Fewer labelled rows: insufficient data."
    )
    min_labelled_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A smaller part of the rows labelled: insufficient data.",
    )
    segments: tuple[Name, ...] = Field(default=(), description="Features to report by.")
    trailing: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(7, 28), min_length=1, description="Windows that are also measured together."
    )


class GateSpec(Declared):
    """What a failed verdict leads to. What concerns rows, files and signatures always blocks."""

    golden_quality: Consequence = "block"
    golden_set: Consequence = "ticket"
    drift: Consequence = "inform"
    performance: Literal["ticket", "inform"] = "ticket"

    @property
    def blocks(self) -> bool:
        """Whether any failed verdict of evaluation keeps a revision from readers."""
        return "block" in (self.golden_quality, self.golden_set, self.drift)


class RollbackSpec(Declared):
    """What happens to a published revision that something condemns later."""

    automatic: bool | tuple[RollbackCause, ...] = Field(
        default=False,
        description="For which causes to go back to an earlier revision without being asked; true "
        "is [performance].",
    )
    withdraw: bool = Field(
        default=False, description="Where there is none before, let readers see nothing."
    )
    min_age: timedelta = Field(
        default=timedelta(days=1),
        ge=timedelta(0),
        description="From the window's end to the newest label, before automatic rollback acts on "
        "performance.",
    )

    @property
    def causes(self) -> frozenset[RollbackCause]:
        """What is acted on without being asked.

        `true` was declared when there was no other cause than performance: it takes back for no
        other one, of which nobody had thought then.
        """
        if isinstance(self.automatic, bool):
            return frozenset(("performance",) if self.automatic else ())
        return frozenset(self.automatic)


class RetrainingSpec(Declared):
    """When a challenger is trained without being asked; it is never promoted by that."""

    drift_windows: int = Field(
        default=5, ge=1, description="Windows in a row with major drift against training."
    )
    performance_windows: int = Field(
        default=3, ge=1, description="Windows in a row below the declared performance."
    )
    cooldown: timedelta = Field(
        default=timedelta(days=14), ge=timedelta(0), description="Between two requests."
    )
