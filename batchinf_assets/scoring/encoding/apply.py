"""From Arrow columns to the matrix that a model reads, by a recipe; scikit-learn is not needed.

Strings are encoded once per distinct value of the shard, numbers row by row in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Cast,
    Categories,
    Clip,
    Finite,
    Impute,
    ImputeText,
    Known,
    MatrixColumn,
    OneHot,
    Ordinal,
    Precision,
    Recipe,
    Step,
)
from batchinf_assets.scoring.frame import feature_column
from batchinf_assets.spec.contract import FeatureSpec

Array = npt.NDArray[Any]
Values = pa.Array | Array
"""Strings with nulls, or numbers with NaN, as the steps find and leave them."""

OPERATIONS: Mapping[str, np.ufunc] = {
    "add": np.add,
    "divide": np.divide,
    "multiply": np.multiply,
    "subtract": np.subtract,
}


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A column, or what it is made of.

    Attributes:
        feature: The feature.
        values: One per row, or the distinct ones where `places` says which row has which.
        places: Each row's index into `values`; None where there is one per row.
    """

    feature: str
    values: Values
    places: Array | None = None

    def as_type(self, precision: Precision) -> Derived:
        """Round the distinct values once, where there are such."""
        if self.places is None:
            return self
        with np.errstate(over="ignore"):
            return replace(self, values=np.asarray(self.values).astype(precision))

    def fill(self, row: Array, start: int) -> None:
        """Write one value per row, from row `start` on."""
        stop = start + len(row)
        if self.places is None:
            np.copyto(row, np.asarray(self.values[start:stop]), casting="unsafe")
        elif len(self.values):
            values = np.asarray(self.values)
            # All places exist; mode "raise" would buffer the output.
            np.take(values, self.places[start:stop], out=row, mode="clip")


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows whose matrix is made piece by piece, so that a piece is read while it is in the cache.

    Attributes:
        columns: The matrix columns.
        precision: Their type.
    """

    columns: tuple[Derived, ...]
    precision: Precision

    @classmethod
    def of(cls, recipe: Recipe, table: pa.Table, columns: Mapping[str, FeatureSpec]) -> Encoded:
        """Do what the recipe says; arguments and errors as for `encode`."""
        made = (each.as_type(recipe.precision) for each in derive(recipe, table, columns))
        return cls(columns=tuple(made), precision=recipe.precision)

    def piece(self, start: int, stop: int) -> Array:
        """Make the matrix of some of the rows: (columns, rows), C-contiguous."""
        matrix = np.empty((len(self.columns), stop - start), dtype=self.precision)
        with np.errstate(over="ignore"):
            for row, column in zip(matrix, self.columns, strict=True):
                column.fill(row, start)
        return matrix


def encode(recipe: Recipe, table: pa.Table, columns: Mapping[str, FeatureSpec]) -> Array:
    """Make the matrix of feature rows.

    Args:
        recipe: What to do.
        table: At least the declared columns.
        columns: The declared features, as when the recipe was made.

    Returns:
        Shape (columns of the recipe, rows), C-contiguous, of the recipe's precision.

    Raises:
        ModelRefused: A row holds what the preprocessing refuses: an unknown category, infinity.
        BatchinfError: A column is missing, of another type, or has nulls without being nullable.
    """
    return Encoded.of(recipe, table, columns).piece(0, table.num_rows)


def derive(
    recipe: Recipe, table: pa.Table, columns: Mapping[str, FeatureSpec]
) -> Iterator[Derived]:
    """Make the matrix column by column; what is made of strings stays one number per string.

    The numbers are not rounded to the recipe's precision yet. Arguments and errors as for `encode`.
    """
    sources = {name: _source(table, name, spec) for name, spec in columns.items()}
    last = _Prefix()
    for refusal in recipe.refusals:
        _derived(refusal, sources, last)
    for column in recipe.columns:
        made = _derived(column, sources, last)
        if not isinstance(made.values, np.ndarray):
            raise _unfit(made.feature, "string")
        yield made


@dataclass
class _Prefix:
    """What all but the last step made of the column before: one-hot columns share that."""

    steps: tuple[str, tuple[Step, ...]] | None = None
    values: Values | None = None


def _derived(column: MatrixColumn, sources: Mapping[str, Derived], last: _Prefix) -> Derived:
    if column.feature not in sources:
        raise ModelRefused(
            f"The model reads feature '{column.feature}', which is not declared.",
            reason=Refusal.SCHEMA,
            next_step="Declare it in features.columns, or register the model again.",
        )
    source = sources[column.feature]
    # numpy warns of overflow; scikit-learn's arithmetic gives the same infinities.
    with np.errstate(all="ignore"):
        steps = column.feature, column.steps[:-1]
        if last.values is None or last.steps != steps:
            last.values = _run(column.steps[:-1], source.values, source.feature)
            last.steps = steps
        values = _run(column.steps[-1:], last.values, source.feature)
    return replace(source, values=values)


def _source(table: pa.Table, name: str, spec: FeatureSpec) -> Derived:
    if spec.type == "string":
        return _text_source(table, name, spec)
    column = feature_column(table, name, spec)
    if spec.nullable and not pa.types.is_floating(column.type):
        # As in `model_frame`.
        column = column.cast(pa.float64(), safe=False)
    return Derived(feature=name, values=np.asarray(column.to_numpy()))


def _text_source(table: pa.Table, name: str, spec: FeatureSpec) -> Derived:
    feature_column(table.slice(0, 0), name, spec)
    if pa.types.is_dictionary(table.column(name).type):
        values, places = _only_present(*_distinct(table.column(name)))
        if spec.nullable or not values.null_count:
            return Derived(feature=name, values=values, places=places)
    column = feature_column(table, name, spec)
    values, places = _distinct(column.dictionary_encode(null_encoding="encode"))
    return Derived(feature=name, values=values, places=places)


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, Array]:
    encoded = column.combine_chunks()
    values, places = encoded.dictionary.cast(pa.string()), encoded.indices.cast(pa.int32())
    if places.null_count:
        places = places.fill_null(len(values))
        values = pa.concat_arrays([values, pa.nulls(1, pa.string())])
    return values, np.asarray(places.to_numpy())


def _only_present(values: pa.Array, places: Array) -> tuple[pa.Array, Array]:
    """Leave out strings that no row has: nothing may be refused for them."""
    present = np.zeros(len(values), dtype=np.bool_)
    present[places] = True
    if present.all():
        return values, places
    return values.filter(pa.array(present)), (np.cumsum(present) - 1)[places]


def _run(steps: tuple[Step, ...], values: Values, feature: str) -> Values:
    for step in steps:
        if isinstance(step, Ordinal | OneHot | Known):
            values = _categorical(step, values, feature)
        elif isinstance(values, np.ndarray):
            values = _numeric(step, values, feature)
        elif isinstance(step, ImputeText):
            values = values.fill_null(step.value)
        else:
            raise _unfit(feature, step.kind)
    return values


def _categorical(step: Ordinal | OneHot | Known, values: Values, feature: str) -> Values:
    if isinstance(step, OneHot):
        return _one_hot(step, values)
    places = _places(values, step.categories)
    missing = _is_missing(values)
    if isinstance(step, Known):
        unknown = (places < 0) & ~missing if step.missing else places < 0
        _refuse(unknown, values, feature, "which the model never saw")
        return values
    unknown = places < 0
    if step.missing is not None:
        unknown &= ~missing
    codes = places.astype(np.float64)
    if step.unknown is None:
        _refuse(unknown, values, feature, "which the model never saw")
    else:
        codes[unknown] = step.unknown
    if step.missing is not None:
        codes[missing] = step.missing
    return codes


def _one_hot(step: OneHot, values: Values) -> Array:
    if step.category is None:
        return _is_missing(values).astype(np.float64)
    if isinstance(values, np.ndarray):
        return (values == step.category).astype(np.float64)
    equal = pc.equal(values, pa.scalar(step.category)).fill_null(fill_value=False)
    return np.asarray(equal.to_numpy(zero_copy_only=False)).astype(np.float64)


def _places(values: Values, categories: Categories) -> npt.NDArray[np.int64]:
    """Return each value's index among the categories, -1 where it is none of them."""
    if not isinstance(values, np.ndarray):
        found = pc.index_in(values, value_set=pa.array(categories, pa.string())).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    # Integers beyond 2**53 would meet as floats; float32 is exact in float64.
    kind = np.float64 if values.dtype.kind == "f" else np.int64
    known = np.asarray(categories, dtype=kind)
    if not len(known):
        return np.full(len(values), -1, dtype=np.int64)
    numbers = values.astype(kind, copy=False)
    places = np.searchsorted(known, numbers)
    found = known[np.minimum(places, len(known) - 1)] == numbers
    return np.where(found, places, -1)


def _is_missing(values: Values) -> npt.NDArray[np.bool_]:
    if not isinstance(values, np.ndarray):
        return np.asarray(values.is_null().to_numpy(zero_copy_only=False))
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=np.bool_)


def _numeric(step: Step, values: Array, feature: str) -> Array:
    match step:
        case Finite():
            _refuse(np.isinf(values), values, feature, "where the model reads finite numbers")
            return values
        case Impute():
            filled = values.dtype.type(step.value)
            return np.where(_is_missing(values), filled, values)
        case Cast():
            return values.astype(step.to)
        case Arithmetic():
            return OPERATIONS[step.kind](values, values.dtype.type(step.value))
        case Clip():
            return np.clip(values, values.dtype.type(step.low), values.dtype.type(step.high))
        case _:
            raise _unfit(feature, step.kind)


def _refuse(broken: npt.NDArray[np.bool_], values: Values, feature: str, reason: str) -> None:
    if not broken.any():
        return
    value = values[int(np.argmax(broken))]
    shown = repr(value.item() if isinstance(value, np.generic) else value.as_py())
    raise ModelRefused(
        f"The model refuses the rows: column '{feature}' holds {shown}, {reason}.",
        reason=Refusal.ROWS,
        next_step="Declare what the model can read, or train it on rows like these.",
    )


def _unfit(feature: str, found: str) -> ModelRefused:
    return ModelRefused(
        f"The model's encoding recipe does not fit column '{feature}': {found} is out of place.",
        reason=Refusal.SCHEMA,
        next_step="Register the model again: batchinf model register.",
    )
