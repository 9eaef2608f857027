"""The stored document: how feature columns become the matrix that a model's trees or weights read.

A recipe is data without code. `translate` makes it from fitted scikit-learn objects, `apply` runs
it; neither the document nor `apply` needs scikit-learn.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json

Precision = Literal["float32", "float64"]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _read(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in _NOT_FINITE:
        raise ValueError(f"{value!r} must be a number, 'nan', 'inf' or '-inf'")
    return _NOT_FINITE[value]


def _one_nan(value: float) -> float:
    # Python compares identity first: with one NaN, equal recipes are equal.
    return math.nan if math.isnan(value) else value


def _spell(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[
    StrictFloat, BeforeValidator(_read), AfterValidator(_one_nan), PlainSerializer(_spell)
]
"""A float64; JSON has no word for NaN and infinity, so they are written as strings."""

Finite64 = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Category = StrictStr | StrictInt | Finite64


def _distinct(categories: tuple[Category, ...]) -> tuple[Category, ...]:
    if len(set(categories)) != len(categories):
        raise ValueError("categories must be distinct")
    numbers = [category for category in categories if not isinstance(category, str)]
    if any(low > high for low, high in pairwise(numbers)):
        raise ValueError("numeric categories must ascend")
    return categories


Categories = Annotated[
    tuple[StrictStr, ...] | tuple[StrictInt, ...] | tuple[Finite64, ...], AfterValidator(_distinct)
]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ordinal(_Frozen):
    """A category's position as a float64 code.

    Attributes:
        categories: All strings, all integers or all floats; numbers ascend. No missing value.
        missing: The code of a missing value; None where it counts as unknown.
        unknown: The code of any other value; None where such a row is refused.
    """

    kind: Literal["ordinal"] = "ordinal"
    categories: Categories
    missing: Number | None
    unknown: Number | None


class OneHot(_Frozen):
    """1.0 where the value is the category, else 0.0, as float64.

    Attributes:
        category: The category; None is the missing value.
    """

    kind: Literal["one_hot"] = "one_hot"
    category: Category | None


class Known(_Frozen):
    """The value unchanged; a row with any other value is refused.

    Attributes:
        categories: The known values, as in `Ordinal`.
        missing: Whether a missing value is known.
    """

    kind: Literal["known"] = "known"
    categories: Categories
    missing: bool


class Impute(_Frozen):
    """The given number where the value is NaN."""

    kind: Literal["impute"] = "impute"
    value: Number


class ImputeText(_Frozen):
    """The given string where the value is missing."""

    kind: Literal["impute_text"] = "impute_text"
    value: StrictStr


class Finite(_Frozen):
    """The value unchanged, NaN included; a row with an infinite one is refused."""

    kind: Literal["finite"] = "finite"


class Cast(_Frozen):
    """The nearest number of another type; from there on arithmetic has that precision."""

    kind: Literal["cast"] = "cast"
    to: Precision


class Arithmetic(_Frozen):
    """One operation, rounded to the type that the column has; `value` is rounded to it first."""

    kind: Literal["add", "divide", "multiply", "subtract"]
    value: Number


class Clip(_Frozen):
    """The nearest value between two bounds; NaN stays."""

    kind: Literal["clip"] = "clip"
    low: Number
    high: Number


Step = Annotated[
    Ordinal | OneHot | Known | Impute | ImputeText | Finite | Cast | Arithmetic | Clip,
    Field(discriminator="kind"),
]


class MatrixColumn(_Frozen):
    """One column of the matrix.

    Attributes:
        feature: The feature that it is made of.
        steps: What is done to each value, in order; the outcome is rounded to the matrix's type.
    """

    feature: str
    steps: tuple[Step, ...] = ()


class Recipe(_Frozen):
    """All columns of the matrix; a row of it depends on that feature row alone.

    Attributes:
        columns: The matrix's columns, in the order that the model numbers them.
        precision: The matrix's type.
        refusals: Columns that are computed only for the rows that they refuse.
    """

    version: Literal[1] = 1
    columns: tuple[MatrixColumn, ...]
    precision: Precision
    refusals: tuple[MatrixColumn, ...] = ()

    def to_json(self) -> str:
        """Write canonical JSON: equal recipes give equal text, floats read back exactly."""
        return canonical_json(self.model_dump()).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            ModelRefused: The text is no recipe.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _invalid(error) from error


def _invalid(error: ValidationError) -> ModelRefused:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "document"
    return ModelRefused(
        f"The model's encoding recipe is invalid at {where}: {problem['msg']}.",
        reason=Refusal.UNREADABLE,
        next_step="Register the model again: batchinf model register.",
    )
