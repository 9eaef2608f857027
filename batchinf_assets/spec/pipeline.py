"""The whole of `defs.yaml`, and what must hold between its parts.

Nothing here reads data or knows Dagster; `orchestration.component` hands the same model to Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from batchinf_assets.seasons import require_season
from batchinf_assets.spec.contract import (
    ColumnSpec,
    Declared,
    Name,
    require_plain,
)
from batchinf_assets.spec.evaluation import (
    DriftSpec,
    GateSpec,
    GoldenSpec,
    Metric,
    PerformanceSpec,
    RetrainingSpec,
    RollbackSpec,
)
from batchinf_assets.spec.model import ModelSpec, PostprocessSpec
from batchinf_assets.spec.prediction import PredictionSpec
from batchinf_assets.spec.run import BackfillSpec, CapsSpec, PriceSpec, RetrySpec
from batchinf_assets.spec.source import FeaturesSpec, OutcomesSpec, ReferenceSpec, SourceSpec
from batchinf_assets.windows import WindowSpec


class RetentionSpec(Declared):
    """How long maintenance keeps what no reader sees; what is published stays whatever its age."""

    superseded_days: int = Field(
        default=90, ge=0, le=36_500, description="How long a revision stays that was replaced."
    )
    staging_days: int = Field(
        default=2, ge=1, le=365, description="How long files stay that no manifest names."
    )
    compact_below_mb: int = Field(
        default=16, ge=1, le=1024, description="Smaller files of the ledger are put together."
    )


class PipelineSpec(Declared):
    """One model's batch scoring, declared once."""

    name: Name
    description: str
    owner: str = Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", description="An email address.")
    team: Name
    window: WindowSpec
    schedule: str | None = Field(
        default=None,
        description="Cron, in the windows' time zone; not together with `automation: declarative`.",
    )
    automation: Literal["sensor", "declarative"] = Field(
        default="sensor",
        description="Who has landed windows run: the landing sensor, which asks for each landing "
        "once, or Dagster's conditions on the assets.",
    )
    deadline: timedelta | None = Field(
        default=None,
        ge=timedelta(0),
        description="How long after a window is due its source may land, as in PT6H; later, a "
        "ticket is opened.",
    )
    source: SourceSpec
    outcomes: OutcomesSpec | None = None
    references: dict[Name, ReferenceSpec] = Field(default_factory=dict)
    features: FeaturesSpec
    model: ModelSpec
    prediction: PredictionSpec
    postprocess: PostprocessSpec | None = None
    golden: GoldenSpec
    drift: DriftSpec = DriftSpec()
    performance: PerformanceSpec = PerformanceSpec()
    gate: GateSpec = GateSpec()
    rollback: RollbackSpec = RollbackSpec()
    retraining: RetrainingSpec | None = None
    shard_rows: int = Field(default=524_288, ge=1, description="Rows per shard and output file.")
    retention: RetentionSpec = RetentionSpec()
    backfill: BackfillSpec = BackfillSpec()
    retries: RetrySpec = RetrySpec()
    caps: CapsSpec = CapsSpec()
    price: PriceSpec | None = None

    @model_validator(mode="after")
    def _names_do_not_collide(self) -> PipelineSpec:
        reserved = {"snapshot", "source", "outcomes", "scored"} & set(self.references)
        if reserved:
            raise ValueError(f"references cannot be called {', '.join(sorted(reserved))}")
        extra = self.postprocess.columns if self.postprocess else {}
        outputs = {*self.prediction.columns, *extra}
        for taken in (*self.source.key, "window"):
            if taken in self.features.columns or taken in outputs:
                raise ValueError(f"'{taken}' is taken: features and predictions carry it already")
        twice = {*self.prediction.columns} & {*extra, *self.features.columns}
        if twice:
            raise ValueError(f"'{min(twice)}' names the score and another column")
        for label in ("label", self.golden.label):
            if label in self.feature_table:
                raise ValueError(f"'{label}' names the label: no key or feature has that name")
        if self.outcomes and not set(self.source.key) <= set(self.outcomes.columns):
            raise ValueError("outcomes.columns must contain every source.key column")
        return self

    @model_validator(mode="after")
    def _seasons_tell_windows_apart(self) -> PipelineSpec:
        require_season(self.drift.season, self.window, "drift.season")
        volume = self.source.volume
        require_season(volume.alike if volume else None, self.window, "source.volume.alike")
        return self

    @model_validator(mode="after")
    def _segments_are_features(self) -> PipelineSpec:
        declared = {
            "model.promotion.canary": self.model.promotion.canary.segments,
            "golden": self.golden.segments,
            "performance": self.performance.segments,
        }
        for where, segments in declared.items():
            for segment in segments:
                if segment not in self.features.columns:
                    raise ValueError(f"{where}.segments names '{segment}', no feature")
        return self

    @model_validator(mode="after")
    def _metrics_are_those_of_the_kind(self) -> PipelineSpec:
        kind = self.prediction.of
        declared = {
            "golden.at_least": self.golden.at_least,
            "golden.at_most": self.golden.at_most,
            "performance.at_least": self.performance.at_least,
            "performance.at_most": self.performance.at_most,
            "model.promotion.margin": self.model.promotion.margin or {},
        }
        for where, metrics in declared.items():
            for metric in metrics:
                if metric not in kind.metrics:
                    raise ValueError(f"{where} names '{metric}', no metric of kind {kind.name}")
        return self

    @model_validator(mode="after")
    def _numbers_have_no_classes(self) -> PipelineSpec:
        kind, canary = self.prediction.of, self.model.promotion.canary
        declared = {
            "golden.decision": (self.golden, "decision"),
            "golden.min_class_share": (self.golden, "min_class_share"),
            "model.promotion.canary.max_flips": (canary, "max_flips"),
        }
        for where, (section, name) in declared.items():
            default = type(section).model_fields[name].default
            if not kind.has_classes and getattr(section, name) != default:
                lacks = "more than two classes" if kind.classes else "no classes"
                raise ValueError(f"{where} is declared, but kind {kind.name} has {lacks}")
        return self

    @model_validator(mode="after")
    def _what_is_acted_on_is_declared(self) -> PipelineSpec:
        for name in self.drift.columns:
            if name not in {*self.features.columns, self.prediction.score}:
                raise ValueError(f"drift.columns names '{name}', neither a feature nor the score")
        bounds = self.performance.at_least or self.performance.at_most
        acted_on = "performance" in self.rollback.causes
        if self.outcomes is None and (bounds or acted_on):
            raise ValueError("performance is bounded, but no outcomes are declared")
        if acted_on and not bounds:
            raise ValueError("rollback.automatic needs bounds in performance")
        if "evaluation" in self.rollback.causes and not self.gate.blocks:
            raise ValueError("rollback.automatic names evaluation, but no verdict of gate blocks")
        if self.retraining is not None and self.model.challenger is None:
            raise ValueError("retraining needs model.challenger")
        return self

    @model_validator(mode="after")
    def _a_landing_is_asked_for_once(self) -> PipelineSpec:
        if self.automation == "declarative" and self.schedule is not None:
            raise ValueError(
                "schedule would run what automation: declarative runs by itself: leave one out"
            )
        return self

    @model_validator(mode="after")
    def _rules_are_followed_where_they_are_declared(self) -> PipelineSpec:
        looked_up = ("on_break", "known_in", "unique")
        require_plain(self.outcomes.columns if self.outcomes else {}, "outcomes", *looked_up)
        for name, reference in self.references.items():
            require_plain(reference.columns, f"references.{name}", *looked_up)
        extra = self.postprocess.columns if self.postprocess else {}
        require_plain(extra, "postprocess", *looked_up)
        return self

    @model_validator(mode="after")
    def _references_hold_what_is_looked_up(self) -> PipelineSpec:
        for name, column in (*self.source.columns.items(), *self.features.columns.items()):
            if column.known_in is None:
                continue
            reference, _, looked_up = column.known_in.partition(".")
            declared = self.references.get(reference)
            if declared is None or looked_up not in declared.columns:
                raise ValueError(f"column '{name}': known_in names '{column.known_in}', no column")
            if declared.columns[looked_up].type != column.type:
                raise ValueError(f"column '{name}' and {column.known_in} differ in type")
        return self

    @model_validator(mode="after")
    def _as_of_rows_can_be_matched(self) -> PipelineSpec:
        for name, reference in self.references.items():
            for column in reference.as_of.match if reference.as_of else ():
                if column not in self.source.columns:
                    raise ValueError(f"references.{name} matches on '{column}', no source column")
        return self

    @property
    def key_columns(self) -> dict[str, ColumnSpec]:
        """The identifying columns, in the declared order."""
        return {name: self.source.columns[name] for name in self.source.key}

    @property
    def feature_table(self) -> dict[str, ColumnSpec]:
        """Columns of the features table: key, then features."""
        return {**self.key_columns, **self.features.columns}

    @property
    def prediction_table(self) -> dict[str, ColumnSpec]:
        """Columns of the predictions table: key, score, post-processed columns."""
        extra = self.postprocess.columns if self.postprocess else {}
        return {**self.key_columns, **self.prediction.columns, **extra}

    @property
    def decision(self) -> float | None:
        """The score that counts as positive; None where rows fall into no classes."""
        return self.golden.decision if self.prediction.of.has_classes else None

    @property
    def margins(self) -> Mapping[Metric, float]:
        """How much worse than the champion a golden metric may be, declared or by default."""
        declared = self.model.promotion.margin
        return self.prediction.of.margins if declared is None else {**declared}
