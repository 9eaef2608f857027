"""Fitted scikit-learn transformers of columns as steps; how they are composed is in `translate`.

Each function mirrors the `transform` of one class in scikit-learn 1.9, types and refusals included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from batchinf_assets.scoring.encoding.block import (
    BOOL,
    FLOAT32,
    FLOAT32_INTEGERS,
    FLOAT64,
    OBJECT,
    Block,
    Column,
    DType,
    finite,
)
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Categories,
    Category,
    Clip,
    Impute,
    ImputeText,
    Known,
    OneHot,
    Ordinal,
)
from batchinf_assets.scoring.untranslatable import Untranslatable

Translate = Callable[[Any, Block], Block]
Operation = Literal["add", "divide", "multiply", "subtract"]


def translate_transformer(transformer: Any, block: Block, where: str) -> Block:
    """Add what a transformer of columns does.

    Args:
        transformer: Fitted.
        block: What it finds.
        where: The step's name, for messages.

    Raises:
        Untranslatable: It is of another class, or does something that has no step.
    """
    known = _translations().get(type(transformer))
    if known is None:
        raise Untranslatable(f"{where} has no fast form")
    if block.sparse:
        raise Untranslatable(f"{where}: it reads a sparse matrix")
    try:
        return known(transformer, block)
    except Untranslatable as error:
        raise Untranslatable(f"{where}: {error}") from error


def _ordinal(encoder: Any, block: Block) -> Block:
    _refuse_infrequent(encoder)
    dtype = _number_type(encoder.dtype)
    refuses = encoder.handle_unknown == "error"
    unknown: float | None = None if refuses else float(encoder.unknown_value)
    columns: list[Column] = []
    for column, fitted in zip(block.columns, encoder.categories_, strict=True):
        categories, has_missing = _categories(fitted, column, block)
        missing = float(encoder.encoded_missing_value) if has_missing else None
        highest = float(max(len(categories) - 1, 0))
        codes = [highest, *(code for code in (missing, unknown) if code is not None)]
        single = _holds(dtype, codes)
        step = Ordinal(categories=categories, missing=missing, unknown=unknown)
        columns.append(finite(column).encoded(step, single=single))
    return replace(block, columns=tuple(columns), dtype=dtype)


def _one_hot(encoder: Any, block: Block) -> Block:
    _refuse_infrequent(encoder)
    dtype = _number_type(encoder.dtype)
    dropped: Any = [None] * len(block.columns) if encoder.drop_idx_ is None else encoder.drop_idx_
    columns: list[Column] = []
    refusals = list(block.refusals)
    for column, fitted, drop in zip(block.columns, encoder.categories_, dropped, strict=True):
        categories, has_missing = _categories(fitted, column, block)
        # Refusing is left to one column that vanishes: all of them may be dropped.
        checked = finite(column)
        if encoder.handle_unknown == "error":
            checked = checked.check(Known(categories=categories, missing=has_missing))
        refusals += [checked] if checked.refuses else []
        values: list[Category | None] = [*categories, *([None] if has_missing else [])]
        columns += [
            column.encoded(OneHot(category=value), single=True)
            for place, value in enumerate(values)
            if place != drop
        ]
    return replace(
        block,
        columns=tuple(columns),
        dtype=dtype,
        sparse=bool(encoder.sparse_output),
        refusals=tuple(refusals),
    )


def _standard(scaler: Any, block: Block) -> Block:
    block = block.floats()
    if scaler.with_mean:
        block = _elementwise("subtract", block, scaler.mean_.astype(block.common()))
    if scaler.with_std:
        block = _elementwise("divide", block, scaler.scale_.astype(block.common()))
    return block


def _min_max(scaler: Any, block: Block) -> Block:
    block = _elementwise("multiply", block.floats(), scaler.scale_)
    block = _elementwise("add", block, scaler.min_)
    return _clipped(block, *scaler.feature_range) if scaler.clip else block


def _max_abs(scaler: Any, block: Block) -> Block:
    block = _elementwise("divide", block.floats(), scaler.scale_)
    return _clipped(block, -1.0, 1.0) if scaler.clip else block


def _robust(scaler: Any, block: Block) -> Block:
    block = block.floats()
    if scaler.with_centering:
        block = _elementwise("subtract", block, scaler.center_)
    if scaler.with_scaling:
        block = _elementwise("divide", block, scaler.scale_)
    return block


def _imputer(imputer: Any, block: Block) -> Block:
    if imputer.add_indicator:
        raise Untranslatable("it adds indicators of missing values")
    if not _is_nan(imputer.missing_values):
        raise Untranslatable(f"it replaces {imputer.missing_values!r} instead of NaN")
    block = _imputable(imputer, block)
    columns: list[Column] = []
    refusals = list(block.refusals)
    for column, statistic in zip(block.columns, imputer.statistics_, strict=True):
        if _is_nan(statistic) and not imputer.keep_empty_features:
            refusals += [column] if column.refuses else []
        elif column.is_text:
            columns.append(column.then(_filled_text(statistic)))
        else:
            columns.append(_filled(column, float(statistic)))
    return replace(block, columns=tuple(columns), refusals=tuple(refusals))


def _imputable(imputer: Any, block: Block) -> Block:
    if imputer.strategy not in ("most_frequent", "constant"):
        return block.floats()
    common = block.common()
    if common == OBJECT:
        if not all(column.is_text for column in block.columns):
            raise Untranslatable("it reads text and numbers in one array")
        return replace(block, dtype=OBJECT)
    if common in (FLOAT32, FLOAT64):
        return block.floats()
    return replace(block, dtype=common)


def _filled(column: Column, value: float) -> Column:
    if column.held not in (FLOAT32, FLOAT64):  # integers are never missing
        return column
    single = column.single and (np.isnan(value) or float(np.float32(value)) == value)
    return column.then(Impute(value=value), single=single)


def _filled_text(statistic: Any) -> ImputeText:
    if not isinstance(statistic, str):
        raise Untranslatable(f"it replaces missing text by {statistic!r}")
    return ImputeText(value=statistic)


def _function(transformer: Any, block: Block) -> Block:
    if transformer.func is not None or transformer.validate:
        raise Untranslatable("it calls a function")
    return block


def _elementwise(kind: Operation, block: Block, operands: Any) -> Block:
    """Compute in place, as numpy does: in the wider of both types, rounded to the array's."""
    columns: list[Column] = []
    for column, operand in zip(block.columns, operands, strict=True):
        step = Arithmetic(kind=kind, value=float(operand))
        wide = np.result_type(column.held, operands.dtype)
        columns.append(column.cast(wide).then(step).cast(column.held))
    return replace(block, columns=tuple(columns))


def _clipped(block: Block, low: float, high: float) -> Block:
    step = Clip(low=float(low), high=float(high))
    return replace(block, columns=tuple(column.then(step) for column in block.columns))


def _categories(fitted: Any, column: Column, block: Block) -> tuple[Categories, bool]:
    """Return the known categories without the missing one, and whether that is known."""
    if block.dtype == OBJECT and not column.is_text:
        raise Untranslatable("it reads text and numbers in one array")
    values = list(fitted)
    has_missing = bool(values) and _is_nan(values[-1])
    values = values[:-1] if has_missing else values
    if column.is_text:
        if not all(isinstance(value, str) for value in values):
            raise Untranslatable(f"it has categories of column '{column.feature}' not of text")
        return tuple(str(value) for value in values), has_missing
    if np.asarray(fitted).dtype.kind not in "biuf":
        raise Untranslatable(f"it has categories of column '{column.feature}' of text")
    convert = float if column.held in (FLOAT32, FLOAT64) else int
    return tuple(convert(value) for value in values), has_missing


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _refuse_infrequent(encoder: Any) -> None:
    if encoder.min_frequency is not None or encoder.max_categories is not None:
        raise Untranslatable("it groups infrequent categories")


def _number_type(dtype: Any) -> DType:
    given = np.dtype(dtype)
    if given.kind not in "biu" and given not in (FLOAT32, FLOAT64):
        raise Untranslatable(f"it makes codes of type {given}")
    return given


def _holds(dtype: DType, codes: list[float]) -> bool:
    """Return whether all codes are exact in float32; they must be in the encoder's own type."""
    numbers = np.asarray([code for code in codes if not np.isnan(code)])
    with np.errstate(invalid="ignore"):
        held = numbers.astype(dtype)
    if dtype == BOOL or not np.array_equal(held.astype(np.float64), numbers):
        raise Untranslatable(f"it makes codes that {dtype} cannot hold")
    return bool((np.abs(numbers) <= FLOAT32_INTEGERS).all())


def _translations() -> dict[type, Translate]:
    # Imported here: whoever scores needs none of it.
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import (
        FunctionTransformer,
        MaxAbsScaler,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        RobustScaler,
        StandardScaler,
    )

    return {
        FunctionTransformer: _function,
        MaxAbsScaler: _max_abs,
        MinMaxScaler: _min_max,
        OneHotEncoder: _one_hot,
        OrdinalEncoder: _ordinal,
        RobustScaler: _robust,
        SimpleImputer: _imputer,
        StandardScaler: _standard,
    }
