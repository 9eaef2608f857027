"""What a user declares of rows that land: where from, which columns, known since when."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from batchinf_assets.spec.contract import (
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
)


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
