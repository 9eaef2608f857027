"""What a user declares of a table's columns and rows: the contract, as validated values.

Nothing here judges data; `contracts` does. `spec` puts these declarations into a pipeline's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from batchinf_assets.seasons import Season

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ColumnType = Literal["string", "bool", "int32", "int64", "float32", "float64", "timestamp", "date"]

NUMERIC: frozenset[ColumnType] = frozenset({"int32", "int64", "float32", "float64"})

OnBreak = Literal["block", "quarantine", "warn"]
"""What becomes of rows that break a rule: the window stops, they are set aside, or they pass."""

AcceptedChange = Literal["widened", "reordered", "missing_nullable", "became_optional", "time_zone"]
"""Changes of a landed file's columns that lose nothing, and pass only where they are declared.

- widened: a wider type than declared, such as int64 for int32, whose values all fit
- reordered: the declared columns in another order
- missing_nullable: a nullable column is not there; it counts as null in every row
- became_optional: a column that the file of an earlier window called required, and this one
  does not; its values still may not be missing
- time_zone: a timestamp in another zone than UTC; the instants stay
"""


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\0" in value or not path.parts:
        raise ValueError(f"{value!r} must be a relative path without '..'")
    return value


def _of_a_format(value: str) -> str:
    if not value.lower().endswith(LANDED_ENDINGS):
        raise ValueError(f"{value!r} must end in one of {', '.join(LANDED_ENDINGS)}")
    return value


LANDED_ENDINGS = (
    ".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz",
)  # fmt: skip
"""What a landed file's name may end in; the ending says the format."""

RelativePath = Annotated[str, AfterValidator(_inside)]
LandedPath = Annotated[str, AfterValidator(_inside), AfterValidator(_of_a_format)]


class Declared(BaseModel):
    """A part of a declaration: no unknown words, and nothing changes afterwards."""

    # A bound of NaN would let everything pass.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ColumnSpec(Declared):
    """One column and what its values may be."""

    type: ColumnType
    description: str | None = None
    nullable: bool = False
    min: float | None = Field(default=None, description="Smallest allowed value.")
    max: float | None = Field(default=None, description="Largest allowed value.")
    allowed: tuple[str, ...] | None = Field(default=None, description="The only allowed strings.")
    known_in: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$",
        description="Reference and column that must hold the value, as in `planes.tail_number`.",
    )
    pattern: str | None = Field(
        default=None, max_length=1000, description="RE2 expression for the whole string."
    )
    max_length: int | None = Field(default=None, ge=1, description="Most characters of a string.")
    unique: bool = Field(default=False, description="Whether no value may occur twice.")
    on_break: OnBreak | None = Field(
        default=None,
        description="For rows that break a rule of this column; by default they are quarantined "
        "where the table declares `quarantine`, and else block the window.",
    )

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> ColumnSpec:
        if self.type not in NUMERIC and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max need a numeric type, not {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        for rule in ("allowed", "pattern", "max_length"):
            if getattr(self, rule) is not None and self.type != "string":
                raise ValueError(f"{rule} needs type string, not {self.type}")
        return self

    @model_validator(mode="after")
    def _pattern_is_an_expression(self) -> ColumnSpec:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from error
        return self


class FeatureSpec(ColumnSpec):
    """One feature: a column that the model reads."""

    drift: bool = Field(default=True, description="Whether drift of this feature is judged.")

    @model_validator(mode="after")
    def _models_read_no_times(self) -> FeatureSpec:
        if self.type in ("timestamp", "date"):
            raise ValueError(f"a feature cannot have type {self.type}: derive a number from it")
        return self


class RuleSpec(Declared):
    """A rule in SQL over a table's columns.

    As in SQL's CHECK, NULL is no violation.
    """

    name: Name
    sql: str = Field(min_length=1, description="Condition that holds, as in `a < b`.")
    per: Literal["row", "table"] = Field(
        default="row", description="A table's condition aggregates: `count(DISTINCT a) = 3`."
    )
    description: str | None = None
    on_break: OnBreak | None = None

    @model_validator(mode="after")
    def _a_table_has_no_rows_to_set_aside(self) -> RuleSpec:
        if self.per == "table" and self.on_break == "quarantine":
            raise ValueError(f"rule '{self.name}' is about the table: on_break is block or warn")
        return self


class QuarantineSpec(Declared):
    """Rows that break a row rule are set aside, and the window goes on without them."""

    max_share: float = Field(
        default=0.01, ge=0, le=1, description="Of the window's rows; above it the window blocks."
    )


class VolumeSpec(Declared):
    """How many rows a window has, against the median of the windows before it."""

    at_least: float = Field(default=0.5, ge=0, description="Times the median.")
    at_most: float = Field(default=2.0, gt=0, description="Times the median.")
    windows: int = Field(default=28, ge=1, le=1000, description="How many to look back on.")
    alike: Season | None = Field(
        default=None, description="Only windows that share it are looked back on, as at night."
    )
    min_windows: int = Field(
        default=5, ge=1, description="Fewer known ones: nothing is judged, and the check says so."
    )
    on_break: Literal["block", "warn"] = "block"

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> VolumeSpec:
        if self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self


class FreshnessSpec(Declared):
    """The newest row reaches near the window's end: upstream did not stop half-way."""

    column: Name = Field(description="A timestamp column of the table.")
    within: timedelta = Field(gt=timedelta(0), description="Before the end of the window.")
    on_break: Literal["block", "warn"] = "block"


class LimitsSpec(Declared):
    """What a landed file may ask of this machine; a file above any of them is refused unread."""

    file_bytes: int = Field(default=4 * 2**30, ge=1)
    rows: int = Field(default=200_000_000, ge=1)
    columns: int = Field(default=500, ge=1)
    text_bytes: int = Field(default=65_536, ge=1, description="Of one string, UTF-8.")
    expansion: float = Field(
        default=200.0,
        gt=1,
        description="Decoded bytes by file bytes, for files that decode to 64 MiB and more.",
    )


class LateSpec(Declared):
    """How long corrected data is taken as it comes; afterwards it waits for an approval."""

    accept_for: timedelta = Field(
        ge=timedelta(0), description="After the end of the window, as in `P3D` or `PT12H`."
    )


class CompleteSpec(Declared):
    """How one knows that what landed for a window is all of it, before a run is requested."""

    quiet_for: timedelta = Field(
        default=timedelta(seconds=30),
        ge=timedelta(0),
        description="A file is complete once it has kept its bytes for so long; PT0S where "
        "upstream renames it into its place. An object on S3 is complete once it is there.",
    )
    marker: str | None = Field(
        default=None,
        pattern=r"^(\w|-|\{file\})(\w|[-.]|\{file\})*$",
        description="A file in the same folder, written last, such as `{file}.ready` or "
        "`_SUCCESS`; decides instead of quiet_for.",
    )


def require_plain(columns: Mapping[str, ColumnSpec], where: str, *rules: str) -> None:
    """Require that no column declares one of these rules, as nobody would follow it there.

    Raises:
        ValueError: One does.
    """
    for name, column in columns.items():
        for rule in rules:
            if getattr(column, rule):
                raise ValueError(f"{where} column '{name}' cannot declare {rule}")


def default_on_break(quarantine: QuarantineSpec | None) -> OnBreak:
    """Return what becomes of rows that break a rule which does not say it."""
    return "quarantine" if quarantine else "block"


def require_consistent(
    columns: Mapping[str, ColumnSpec],
    rules: tuple[RuleSpec, ...],
    quarantine: QuarantineSpec | None,
) -> None:
    """Require that rows are set aside only where a quarantine is declared, and names differ.

    Raises:
        ValueError: A rule says otherwise.
    """
    names = [rule.name for rule in rules]
    if len(set(names)) != len(names):
        raise ValueError("two rules have the same name")
    asking = [*(f"column '{name}'" for name, c in columns.items() if c.on_break == "quarantine")]
    asking += [f"rule '{rule.name}'" for rule in rules if rule.on_break == "quarantine"]
    if asking and quarantine is None:
        raise ValueError(f"{asking[0]} says on_break: quarantine, but no quarantine is declared")
