"""What a user declares in `defs.yaml`, as a validated value, and the files that stand beside it.

Nothing here reads data or knows Dagster; `orchestration.component` hands the same model to Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from batchinf_assets.contract_spec import (
    AcceptedChange,
    ColumnSpec,
    CompleteSpec,
    Declared,
    FeatureSpec,
    FreshnessSpec,
    LandedPath,
    LateSpec,
    LimitsSpec,
    Name,
    QuarantineSpec,
    RelativePath,
    RuleSpec,
    VolumeSpec,
    require_consistent,
    require_plain,
)
from batchinf_assets.errors import InvalidSpec, UnknownPipeline
from batchinf_assets.evaluation_spec import (
    DriftSpec,
    GateSpec,
    GoldenSpec,
    Metric,
    PerformanceSpec,
    Ranked,
    RetrainingSpec,
    RollbackSpec,
)
from batchinf_assets.prediction_spec import PredictionSpec
from batchinf_assets.run_spec import BackfillSpec, CapsSpec, PriceSpec, RetrySpec
from batchinf_assets.seasons import require_season
from batchinf_assets.windows import WindowSpec


class SourceSpec(Declared):
    """The rows to score, as they land."""

    files: LandedPath = Field(
        description="Path below the landing folder; {window} is the window's key. All files of "
        "`{window}/*.parquet` are read as one; of a repeated key the row of the last file counts."
    )
    key: tuple[Name, ...] = Field(min_length=1, description="Columns that identify a row.")
    time: Name = Field(description="When the row's event happens; lies inside its window.")
    columns: dict[Name, ColumnSpec]
    accept: tuple[AcceptedChange, ...] = Field(
        default=(), description="Changes of a file's columns that do not stop a window."
    )
    limits: LimitsSpec = LimitsSpec()
    quarantine: QuarantineSpec | None = None
    rules: tuple[RuleSpec, ...] = ()
    volume: VolumeSpec | None = None
    freshness: FreshnessSpec | None = None
    empty: Literal["refuse", "publish"] = Field(
        default="refuse",
        description="What a landed file without rows means: something broke upstream, or nothing "
        "happened and readers shall see an empty window.",
    )
    late: LateSpec | None = Field(
        default=None, description="By default corrected data is taken whenever it lands."
    )
    complete: CompleteSpec = CompleteSpec()

    @model_validator(mode="after")
    def _rules_are_consistent(self) -> SourceSpec:
        require_consistent(self.columns, self.rules, self.quarantine)
        if self.freshness is not None:
            column = self.columns.get(self.freshness.column)
            if column is None or column.type != "timestamp":
                raise ValueError(f"freshness.column '{self.freshness.column}' is no timestamp")
        return self

    @model_validator(mode="after")
    def _several_files_have_a_folder_of_their_own(self) -> SourceSpec:
        if "*" in self.files and not re.search(r"\{window\}/\*\.[a-z.]+$", self.files):
            raise ValueError("source.files may end in {window}/*.parquet: no other * is understood")
        return self

    @model_validator(mode="after")
    def _a_marker_is_of_one_window(self) -> SourceSpec:
        marker, (folder, _, file) = self.complete.marker, self.files.rpartition("/")
        if marker and "{file}" not in marker and "{window}" not in folder:
            raise ValueError(
                "complete.marker is one for all windows: write {file} in it, or give each window "
                "a folder in source.files"
            )
        if marker and marker.endswith(file.rpartition(".")[2]):
            raise ValueError("complete.marker ends like the files themselves")
        return self

    @model_validator(mode="after")
    def _key_and_time_are_columns(self) -> SourceSpec:
        if self.files.count("{window}") != 1:
            raise ValueError("source.files must contain {window} once")
        if len(set(self.key)) != len(self.key):
            raise ValueError("source.key names a column twice")
        for name in (*self.key, self.time):
            if name not in self.columns:
                raise ValueError(f"source.columns lacks '{name}'")
            if self.columns[name].nullable:
                raise ValueError(f"key or time column '{name}' cannot be nullable")
            if self.columns[name].on_break == "warn":
                raise ValueError(f"key or time column '{name}' cannot break a rule and pass")
        if self.columns[self.time].type != "timestamp":
            raise ValueError(f"source.time '{self.time}' must have type timestamp")
        return self


class OutcomesSpec(Declared):
    """Ground truth that lands later, per window, under the source's key."""

    files: LandedPath
    known_at: Name = Field(description="When the row became known; feature SQL sees no later row.")
    history: int = Field(
        default=0, ge=0, description="Windows before the scored one that feature SQL sees."
    )
    label: str = Field(
        description="SQL over the columns: a condition, or of a regression a number; NULL means no "
        "label, and so does what is no finite number."
    )
    columns: dict[Name, ColumnSpec]

    @model_validator(mode="after")
    def _known_at_is_a_timestamp(self) -> OutcomesSpec:
        if self.files.count("{window}") != 1:
            raise ValueError("outcomes.files must contain {window} once")
        if "*" in self.files:
            raise ValueError("outcomes.files names one file per window: * is not understood")
        if self.known_at not in self.columns or self.columns[self.known_at].type != "timestamp":
            raise ValueError(f"outcomes.columns lacks a timestamp '{self.known_at}'")
        return self


class AsOfSpec(Declared):
    """Which reference row a source row may see: the latest one known at its time.

    A reference row counts as known `lag` after its own time. The view that feature SQL gets holds
    at most one row per source row, so a later observation cannot be asked for.
    """

    time: Name = Field(description="The reference row's own time.")
    lag: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    max_age: timedelta | None = Field(default=None, description="Older rows count as missing.")
    match: tuple[Name, ...] = Field(default=(), description="Columns equal on both sides.")

    @model_validator(mode="after")
    def _some_row_is_visible(self) -> AsOfSpec:
        if self.max_age is not None and self.max_age < self.lag:
            raise ValueError("as_of.max_age is below as_of.lag: every row would count as missing")
        return self


class ReferenceSpec(Declared):
    """A table beside the source: slowly changing, or observed over time (`as_of`)."""

    file: LandedPath
    columns: dict[Name, ColumnSpec]
    as_of: AsOfSpec | None = None

    @model_validator(mode="after")
    def _as_of_columns_exist(self) -> ReferenceSpec:
        if self.as_of is None:
            return self
        for name in (self.as_of.time, *self.as_of.match):
            if name not in self.columns:
                raise ValueError(f"columns lacks '{name}', named in as_of")
        if self.columns[self.as_of.time].type != "timestamp":
            raise ValueError(f"as_of.time '{self.as_of.time}' must have type timestamp")
        return self


class FeaturesSpec(Declared):
    """The model's input: one row per source row."""

    sql: RelativePath = "features.sql"
    columns: dict[Name, FeatureSpec] = Field(min_length=1)
    quarantine: QuarantineSpec | None = None
    rules: tuple[RuleSpec, ...] = ()

    @model_validator(mode="after")
    def _rules_are_consistent(self) -> FeaturesSpec:
        require_consistent(self.columns, self.rules, self.quarantine)
        return self


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


@dataclass(frozen=True)
class Pipeline:
    """A spec together with the folder that holds its SQL and training code."""

    spec: PipelineSpec
    folder: Path

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    @cached_property
    def features_sql(self) -> str:
        """The text of the feature SQL."""
        return self._text(self.spec.features.sql)

    @cached_property
    def postprocess_sql(self) -> str | None:
        """The text of the post-processing SQL, if there is any."""
        return self._text(self.spec.postprocess.sql) if self.spec.postprocess else None

    @property
    def training_script(self) -> Path:
        """The file that defines `train(features, labels)`."""
        return self._file(self.spec.model.training.script)

    def _text(self, name: str) -> str:
        try:
            return self._file(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidSpec(
                f"{self.folder.name}/{name} is not UTF-8 text (byte {error.start}).",
                next_step="Save it as UTF-8.",
            ) from error

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise InvalidSpec(
                f"Pipeline {self.name} names {name}, but {self.folder.name}/ has no such file.",
                next_step=f"Add {name} beside defs.yaml or correct the name there.",
            )
        return path


DEFS_FOLDER = Path(__file__).parent / "defs"


def load_pipeline(name: str, defs: Path = DEFS_FOLDER) -> Pipeline:
    """Read one pipeline's declaration.

    Raises:
        UnknownPipeline: No folder under `defs` declares it.
        InvalidSpec: Its `defs.yaml` is no YAML or does not fit the spec.
    """
    known = pipeline_names(defs)
    if name not in known:
        raise UnknownPipeline(
            f"There is no pipeline '{name[:64]}'.",
            next_step=f"Known: {', '.join(known) or 'none yet'}.",
        )
    return Pipeline(spec=_read_spec(defs / name / "defs.yaml"), folder=defs / name)


def pipeline_names(defs: Path = DEFS_FOLDER) -> list[str]:
    """List the folders under `defs` that hold a `defs.yaml`."""
    return sorted(path.parent.name for path in defs.glob("*/defs.yaml") if path.is_file())


class _NamesOnce(yaml.SafeLoader):
    """Refuses a name that stands twice in a mapping; plain YAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the parent's signature
        names = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if names.count(key.value) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' stands twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def _read_spec(path: Path) -> PipelineSpec:
    try:
        text = path.read_text(encoding="utf-8")
        document: Mapping[str, Any] = yaml.load(text, _NamesOnce)  # noqa: S506 - a SafeLoader
        spec = PipelineSpec.model_validate(document["attributes"])
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml is not a component file: {_one_line(str(error))}.",
            next_step="Run `make check` to see the line.",
        ) from error
    except ValidationError as error:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml: {'; '.join(_problems(error))}.",
            next_step="Run `make check` to see the line.",
        ) from error
    if spec.name != path.parent.name:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml declares the name '{spec.name}'.",
            next_step="Give the folder and the pipeline the same name.",
        )
    return spec


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        yield f"{where}: {_one_line(problem['msg'])}" if where else _one_line(problem["msg"])


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".")
