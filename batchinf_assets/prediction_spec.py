"""What a user declares of the model's output, and what its kind decides.

How each kind is measured is in `evaluation.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from batchinf_assets.contract_spec import ColumnType, Declared, Name
from batchinf_assets.evaluation_spec import Error, Fit, Lean, Loss, Metric, Quality

KindName = Literal["binary", "regression"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a model says of a row, and what follows for whoever reads it.

    Attributes:
        name: As it is declared.
        metrics: What it is measured by.
        headline: Those of them that are shown where there is room for a few, the first of them
            where there is room for one.
        margins: How much worse than the champion a candidate may be, where nothing is declared.
        label: Type of the label.
        meaning: What the score is, in words.
        model: What a fitted model is, in words.
        gives: What it gives for a row, in words.
        remedy: How to come by one.
        outputs: Numbers that the model gives for a row; the last one is the score.
        low: What a score is at least, where nothing is declared; None for no bound.
        high: What it is at most.
        has_classes: Whether rows fall into two classes: only then there are a decision, labels
            that flip, a rarer class, and an estimate before outcomes are known.
    """

    name: KindName
    metrics: tuple[Metric, ...]
    headline: tuple[Metric, ...]
    margins: Mapping[Metric, float]
    label: ColumnType
    meaning: Literal["probability of the label", "predicted number"]
    model: str
    gives: str
    remedy: str
    outputs: int
    low: float | None
    high: float | None
    has_classes: bool


BINARY = Kind(
    name="binary",
    metrics=(*get_args(Quality), *get_args(Loss)),
    headline=("auroc", "precision", "recall", "brier"),
    margins={"auroc": 0.01, "brier": 0.005},
    label="bool",
    meaning="probability of the label",
    model="binary classifier",
    gives="two probabilities per row",
    remedy="Train on rows with both labels",
    outputs=2,
    low=0.0,
    high=1.0,
    has_classes=True,
)

REGRESSION = Kind(
    name="regression",
    metrics=(*get_args(Error), *get_args(Fit), *get_args(Lean)),
    headline=("mae", "rmse", "r_squared", "quantile_loss", "bias"),
    margins={"r_squared": 0.01},
    label="float64",
    meaning="predicted number",
    model="regressor",
    gives="one number per row",
    remedy="Train a regressor",
    outputs=1,
    low=None,
    high=None,
    has_classes=False,
)

KINDS: Mapping[KindName, Kind] = {kind.name: kind for kind in (BINARY, REGRESSION)}


class PredictionSpec(Declared):
    """The model's output column."""

    column: Name
    kind: KindName = Field(
        default="binary",
        description="What the column holds: the probability that the label is true, or the "
        "predicted number of a regression.",
    )
    min: float | None = Field(
        default=None, description="By default 0 for a probability, none for a number."
    )
    max: float | None = Field(
        default=None, description="By default 1 for a probability, none for a number."
    )
    quantile: float = Field(
        default=0.5, gt=0, lt=1, description="Of a regression's metric `quantile_loss`."
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _several_classes_are_not_served(cls, kind: Any) -> Any:
        if kind in ("multiclass", "classes"):
            raise ValueError("a model of several classes cannot be declared: binary or regression")
        return kind

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> PredictionSpec:
        low, high = self.bounds
        if low is not None and high is not None and low > high:
            raise ValueError(f"min {low:g} is above max {high:g}")
        return self

    @property
    def of(self) -> Kind:
        """What the kind decides."""
        return KINDS[self.kind]

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """What a score is at least, and at most; None where there is no bound."""
        low = self.of.low if self.min is None else self.min
        high = self.of.high if self.max is None else self.max
        return low, high
