"""What a transformer finds and leaves: a frame or an array, as columns with the steps so far.

The types follow scikit-learn's and pandas' own promotion rules, for arithmetic depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from batchinf_assets.scoring.encoding.recipe import (
    Cast,
    Finite,
    Known,
    MatrixColumn,
    Ordinal,
    Precision,
    Step,
)
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.contract import FeatureSpec

DType = np.dtype[Any]

OBJECT: DType = np.dtype(object)
BOOL: DType = np.dtype(bool)
FLOAT32: DType = np.dtype(np.float32)
FLOAT64: DType = np.dtype(np.float64)

FLOATS: Mapping[DType, Precision] = {FLOAT32: "float32", FLOAT64: "float64"}
FLOAT32_INTEGERS = 2**24
"""Every integer up to here is a float32."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column on its way into the matrix.

    Attributes:
        feature: The feature that it is made of.
        held: The type that the values have after the steps; object for strings.
        single: Whether every value is exactly a float32.
        steps: What was done so far.
    """

    feature: str
    held: DType
    single: bool
    steps: tuple[Step, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return self.held == OBJECT

    @property
    def refuses(self) -> bool:
        """Whether a step refuses rows."""
        return any(
            isinstance(step, Finite | Known) or (isinstance(step, Ordinal) and step.unknown is None)
            for step in self.steps
        )

    def then(self, step: Step, *, single: bool = False) -> Column:
        """Add a step that makes other numbers of the same type."""
        return replace(self, steps=(*self.steps, step), single=single or self.held == FLOAT32)

    def check(self, step: Finite | Known) -> Column:
        """Add a step that refuses rows and keeps the values of the others."""
        return replace(self, steps=(*self.steps, step))

    def encoded(self, step: Step, *, single: bool) -> Column:
        """Add a step that makes float64 numbers of categories."""
        return replace(self, steps=(*self.steps, step), held=FLOAT64, single=single)

    def cast(self, to: DType) -> Column:
        """Make float32 or float64 numbers of numbers.

        Raises:
            Untranslatable: The values are strings.
        """
        if self.is_text:
            raise Untranslatable(f"column '{self.feature}' is text where numbers are read")
        if self.held == to:
            return self
        return replace(
            self,
            steps=(*self.steps, Cast(to=FLOATS[to])),
            held=to,
            single=self.single or to == FLOAT32,
        )

    def matrix_column(self) -> MatrixColumn:
        """Return the column as the recipe keeps it."""
        return MatrixColumn(feature=self.feature, steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class Block:
    """The columns that a transformer finds or leaves.

    Attributes:
        columns: In order.
        dtype: The array's type, object for a mixture; None for a frame, where each has its own.
        sparse: Whether it is a sparse matrix.
        refusals: Columns that vanished but still refuse rows.
    """

    columns: tuple[Column, ...]
    dtype: DType | None
    sparse: bool = False
    refusals: tuple[Column, ...] = ()

    def select(self, places: Iterable[int]) -> Block:
        """Take columns by position; what the others refuse stays with the whole."""
        return replace(self, columns=tuple(self.columns[place] for place in places), refusals=())

    def cast(self, to: DType) -> Block:
        """Make an array of one float type.

        Raises:
            Untranslatable: A column holds strings.
        """
        return replace(self, columns=tuple(column.cast(to) for column in self.columns), dtype=to)

    def common(self) -> DType:
        """Return the type in which scikit-learn's `check_array` sees the whole."""
        if self.dtype is not None:
            return self.dtype
        if not self.columns or any(column.is_text for column in self.columns):
            return OBJECT
        return np.result_type(*(column.held for column in self.columns))

    def stacked(self) -> DType:
        """Return the type of `numpy.asarray` of the whole: pandas keeps bools beside numbers."""
        bools = {column.held == BOOL for column in self.columns}
        return OBJECT if self.dtype is None and len(bools) > 1 else self.common()

    def floats(self) -> Block:
        """Make it what scalers and imputers of numbers read: float32 if all are, else float64.

        Infinity is refused, as by scikit-learn's `check_array(ensure_all_finite="allow-nan")`.

        Raises:
            Untranslatable: A column holds strings.
        """
        array = self.cast(FLOAT32 if self.common() == FLOAT32 else FLOAT64)
        return replace(array, columns=tuple(finite(column) for column in array.columns))


def source_block(columns: Mapping[str, FeatureSpec]) -> Block:
    """Return the frame of features that `scoring.frame.model_frame` makes."""
    return Block(columns=tuple(_source(*item) for item in columns.items()), dtype=None)


def stack(blocks: Sequence[Block], *, sparse: bool) -> Block:
    """Put blocks side by side as a `ColumnTransformer` does.

    Raises:
        Untranslatable: Strings in a sparse matrix.
    """
    types = [block.common() if sparse else block.stacked() for block in blocks]
    if sparse:
        types = [FLOAT64 if kind == OBJECT else kind for kind in types]
    common = np.result_type(*types) if types else FLOAT64
    columns = tuple(column for block in blocks for column in block.columns)
    if common in FLOATS:
        columns = tuple(column.cast(common) for column in columns)
    refusals = tuple(column for block in blocks for column in block.refusals)
    return Block(columns=columns, dtype=common, sparse=sparse, refusals=refusals)


def finite(column: Column) -> Column:
    """Refuse infinite values; integers and bools have none."""
    return column.check(Finite()) if column.held in FLOATS else column


def _source(name: str, spec: FeatureSpec) -> Column:
    held = _held(spec)
    return Column(feature=name, held=held, single=held in (BOOL, FLOAT32))


def _held(spec: FeatureSpec) -> DType:
    kind: Literal["object", "float64"] | None = None
    if spec.type == "string":
        kind = "object"
    elif spec.nullable and spec.type != "float32":
        kind = "float64"
    return np.dtype(kind or spec.type)
