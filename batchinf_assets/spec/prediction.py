"""What a user declares of the model's output, and what its kind decides.

How each kind is measured is in `metrics.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from batchinf_assets.spec.contract import ColumnSpec, ColumnType, Declared, Name
from batchinf_assets.spec.evaluation import Agreement, Error, Fit, Lean, Loss, Metric, Quality

KindName = Literal["binary", "regression", "multiclass"]

Meaning = Literal["probability of the label", "predicted number", "probability of a class"]

MOST_CLASSES = 50


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
        outputs: Numbers that the model gives for a row; of two the last one is the score.
        classes: Those of a label of several classes, as they are declared; else empty.
        low: What a score is at least, where nothing is declared; None for no bound.
        high: What it is at most.
        classifies: Whether the model is a classifier.
        has_classes: Whether rows fall into two classes: only then there are a decision, labels
            that flip, a rarer class, and an estimate before outcomes are known.
        unestimated: Why nothing is estimated before outcomes are known; empty where it is.
    """

    name: KindName
    metrics: tuple[Metric, ...]
    headline: tuple[Metric, ...]
    margins: Mapping[Metric, float]
    label: ColumnType
    meaning: Meaning
    model: str
    gives: str
    remedy: str
    outputs: int
    low: float | None
    high: float | None
    classifies: bool
    has_classes: bool
    unestimated: str = ""
    classes: tuple[str, ...] = ()

    def of_classes(self, classes: tuple[str, ...]) -> Kind:
        """Return the kind for declared classes; itself without any."""
        return replace(self, classes=classes, outputs=len(classes)) if classes else self

    @property
    def places(self) -> tuple[int, ...]:
        """Where the scores of a row stand among the model's outputs.

        A model gives its classes in the order of their names, as scikit-learn does.
        """
        by_name = sorted(self.classes)
        return tuple(by_name.index(name) for name in self.classes) or (self.outputs - 1,)


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
    classifies=True,
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
    classifies=False,
    has_classes=False,
    unestimated="only outcomes tell how far off a predicted number is",
)

MULTICLASS = Kind(
    name="multiclass",
    metrics=("accuracy", *get_args(Agreement), "log_loss"),
    headline=("accuracy", "macro_f1", "weighted_f1", "log_loss"),
    margins={"accuracy": 0.01},
    label="string",
    meaning="probability of a class",
    model="classifier of several classes",
    gives="a probability of each declared class per row, in the order of their names",
    remedy="Train on rows of every declared class",
    outputs=0,
    low=0.0,
    high=1.0,
    classifies=True,
    has_classes=False,
    unestimated="nothing is estimated for several classes",
)

KINDS: Mapping[KindName, Kind] = {kind.name: kind for kind in (BINARY, REGRESSION, MULTICLASS)}


class PredictionSpec(Declared):
    """The model's output column."""

    column: Name
    kind: KindName = Field(
        default="binary",
        description="What the column holds: the probability that the label is true, the "
        "predicted number of a regression, or the most probable of several classes.",
    )
    classes: Annotated[tuple[Name, ...], Field(max_length=MOST_CLASSES)] = Field(
        default=(), description="Of kind `multiclass`, three or more: what a label is one of."
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

    @model_validator(mode="after")
    def _several_classes_are_named(self) -> PredictionSpec:
        several = self.kind == MULTICLASS.name
        if self.classes and not several:
            raise ValueError(f"classes are declared, but the kind is {self.kind}, not multiclass")
        if several and (len(self.classes) < 3 or len({*self.classes}) < len(self.classes)):
            raise ValueError(
                "kind multiclass needs three or more different classes; two are kind binary"
            )
        return self

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> PredictionSpec:
        low, high = self.bounds
        if low is not None and high is not None and low > high:
            raise ValueError(f"min {low:g} is above max {high:g}")
        return self

    @property
    def of(self) -> Kind:
        """What the kind decides."""
        return KINDS[self.kind].of_classes(self.classes)

    @property
    def score(self) -> Name:
        """The column of numbers that stands for a row: of several classes the largest one."""
        return f"{self.column}_probability" if self.classes else self.column

    @property
    def given(self) -> tuple[Name, ...]:
        """The columns that hold what the model gives for a row, one per class of several."""
        return tuple(f"{self.score}_{name}" for name in self.classes) or (self.score,)

    @property
    def columns(self) -> dict[Name, ColumnSpec]:
        """The columns that come of the model: of several classes the predicted one first."""
        low, high = self.bounds
        number = ColumnSpec(type="float64", min=low, max=high)
        said = {self.column: ColumnSpec(type="string", allowed=self.classes)}
        numbers = dict.fromkeys((self.score, *self.given), number)
        return {**said, **numbers} if self.classes else numbers

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """What a score is at least, and at most; None where there is no bound."""
        low = self.of.low if self.min is None else self.min
        high = self.of.high if self.max is None else self.max
        return low, high
