"""What a user declares of the model: how it is trained, promoted and challenged."""

from __future__ import annotations

from datetime import date

from pydantic import (
    Field,
    model_validator,
)

from batchinf_assets.spec.contract import (
    ColumnSpec,
    Declared,
    Name,
    RelativePath,
)
from batchinf_assets.spec.evaluation import (
    Ranked,
)


class TrainingSpec(Declared):
    """Windows to learn from, and the file whose `train(features, labels)` learns."""

    script: RelativePath = "train.py"
    start: date
    end: date = Field(description="Day after the last training window.")

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> TrainingSpec:
        if self.end <= self.start:
            raise ValueError("training.end must be after training.start")
        return self


class CanarySpec(Declared):
    """A share of a recent window, scored by candidate and champion before a promotion."""

    share: float = Field(default=0.2, gt=0, le=1, description="Of the window's rows, by key.")
    max_shift: float = Field(
        default=0.05,
        gt=0,
        description="Largest difference of the mean scores; of a regression in standard deviations "
        "of the champion's.",
    )
    max_flips: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="Largest share of rows whose label changes; a regression has no such.",
    )
    segments: tuple[Name, ...] = Field(default=(), description="Features to report by.")


class PromotionSpec(Declared):
    """What a candidate must show before it becomes the champion."""

    margin: dict[Ranked, float] | None = Field(
        default=None,
        min_length=1,
        description="How much worse than the champion a golden metric may be; by default AUROC by "
        "0.01 and the Brier score by 0.005, of a regression R² by 0.01.",
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="Of the bootstrap interval.")
    resamples: int = Field(default=1000, ge=100, le=100_000)
    canary: CanarySpec = CanarySpec()

    @model_validator(mode="after")
    def _margins_are_not_negative(self) -> PromotionSpec:
        for metric, margin in (self.margin or {}).items():
            if margin < 0:
                raise ValueError(f"the margin of {metric} is negative")
        return self


class ChallengerSpec(Declared):
    """A candidate that is trained again and again, on windows that roll with what has landed."""

    windows: int = Field(ge=1, description="Windows to learn from, the newest with outcomes last.")
    holdout: int = Field(ge=1, description="Newer windows, to compare with the champion on.")


class RescoreSpec(Declared):
    """What is scored again once another model is promoted, or gone back to."""

    windows: int = Field(ge=1, le=1000, description="The newest published windows.")


class ModelSpec(Declared):
    """Which registered model scores, and how a first one is made."""

    name: Name
    alias: Name = "champion"
    training: TrainingSpec
    valid_days: int = Field(default=365, ge=1, description="How long a signature counts.")
    promotion: PromotionSpec = PromotionSpec()
    challenger: ChallengerSpec | None = None
    rescore: RescoreSpec | None = Field(
        default=None, description="By default nothing: `backfill plan` names what is stale."
    )


class PostprocessSpec(Declared):
    """Row-wise SQL over `scored`, run shard by shard; adds columns to the prediction."""

    sql: RelativePath = "postprocess.sql"
    columns: dict[Name, ColumnSpec]
