"""From a fitted scikit-learn pipeline to its recipe and its final estimator.

What single transformers do is in `transformers`, which types come about in `block`. scikit-learn's
private attributes are read where the public ones do not say what `transform` uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchinf_assets.scoring.encoding.block import (
    BOOL,
    FLOAT32,
    FLOAT64,
    OBJECT,
    Block,
    Column,
    source_block,
    stack,
)
from batchinf_assets.scoring.encoding.recipe import Cast, MatrixColumn, Precision, Recipe
from batchinf_assets.scoring.encoding.transformers import translate_transformer
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.contract import FeatureSpec


def unwrap(estimator: Any, columns: Mapping[str, FeatureSpec]) -> tuple[Recipe, Any]:
    """Separate a fitted model into the recipe of its matrix and the estimator that reads it.

    The matrix is what the estimator itself sees after its own conversion: for forests and gradient
    boosting float32; for HistGradientBoosting with categories these first and as codes.

    Args:
        estimator: A `Pipeline`, or an estimator alone.
        columns: The declared features, in the order in which the model learned them.

    Returns:
        The recipe, and the last step's estimator.

    Raises:
        Untranslatable: A step has no fast form; the message names it.
    """
    learned = getattr(estimator, "feature_names_in_", None)
    if learned is not None and list(learned) != list(columns):
        raise Untranslatable("the model learned other columns than those declared")
    block, final = _unwrapped(estimator, source_block(columns), "")
    handed, precision = _handed_over(final, block)
    recipe = Recipe(
        columns=tuple(_trimmed(column, precision) for column in handed.columns),
        precision=precision,
        refusals=tuple(column.matrix_column() for column in handed.refusals),
    )
    return recipe, final


def _unwrapped(estimator: Any, block: Block, path: str) -> tuple[Block, Any]:
    from sklearn.pipeline import Pipeline

    if type(estimator) is not Pipeline:
        return block, estimator
    for name, step in estimator.steps[:-1]:
        block = _transformed(step, block, f"{path}{name}")
    name, final = estimator.steps[-1]
    return _unwrapped(final, block, f"{path}{name}.")


def _transformed(step: Any, block: Block, path: str) -> Block:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if step is None or (isinstance(step, str) and step == "passthrough"):
        return block
    where = f"step '{path}' ({type(step).__name__})"
    output = getattr(step, "_sklearn_output_config", {}).get("transform", "default")
    if output not in (None, "default"):
        raise Untranslatable(f"{where} gives {output} frames")
    if type(step) is Pipeline:
        for name, inner in step.steps:
            block = _transformed(inner, block, f"{path}.{name}")
        return block
    if type(step) is ColumnTransformer:
        return _columns_transformed(step, block, path)
    return translate_transformer(step, block, where)


def _columns_transformed(transformer: Any, block: Block, path: str) -> Block:
    if transformer.transformer_weights:
        raise Untranslatable(f"step '{path}' (ColumnTransformer) weighs its columns")
    pieces: list[Block] = []
    read: set[int] = set()
    for name, inner, _selection in transformer.transformers_:
        # Names, masks, slices and callables were resolved when it was fitted.
        places = transformer._transformer_to_input_indices[name]
        if len(places) and not (isinstance(inner, str) and inner == "drop"):
            read.update(places)
            pieces.append(_transformed(inner, block.select(places), f"{path}.{name}"))
    stacked = stack(pieces, sparse=bool(transformer.sparse_output_))
    unread = [column for place, column in enumerate(block.columns) if place not in read]
    kept = tuple(column for column in unread if column.refuses)
    return replace(stacked, refusals=(*block.refusals, *kept, *stacked.refusals))


def _handed_over(final: Any, block: Block) -> tuple[Block, Precision]:
    """Convert as the final estimator does when it is given the block."""
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.tree import BaseDecisionTree

    if isinstance(final, BaseHistGradientBoosting):
        handed = _boosting_input(final, block)
    elif isinstance(final, BaseDecisionTree | BaseForest | BaseGradientBoosting):
        # A frame with bools is converted column by column, any other by way of its common type.
        direct = block.dtype is None and any(column.held == BOOL for column in block.columns)
        return (block if direct else _as_array(block)).cast(FLOAT32), "float32"
    else:
        handed = block.cast(FLOAT32 if block.common() == FLOAT32 else FLOAT64)
    return handed, "float32" if all(column.single for column in handed.columns) else "float64"


def _as_array(block: Block) -> Block:
    return block.cast(FLOAT64) if block.common() in (FLOAT64, OBJECT) else block


def _boosting_input(final: Any, block: Block) -> Block:
    preprocessor = final._preprocessor
    if preprocessor is None:
        return block.cast(FLOAT64)
    places = preprocessor._transformer_to_input_indices
    where = f"categorical_features of {type(final).__name__}"
    codes = translate_transformer(
        preprocessor.named_transformers_["encoder"], block.select(places["encoder"]), where
    )
    numbers = block.select(places["numerical"]).cast(FLOAT64)
    both = stack([codes, numbers], sparse=False)
    return replace(both, refusals=(*block.refusals, *both.refusals))


def _trimmed(column: Column, precision: Precision) -> MatrixColumn:
    """Leave out last casts that the conversion to the matrix's type makes anyway."""
    steps, exact = column.steps, column.single
    while steps and isinstance(last := steps[-1], Cast):
        if last.to != precision and not (last.to == "float64" and exact):
            break
        # What float32 rounded was perhaps not exact before.
        steps, exact = steps[:-1], exact and last.to == "float64"
    return MatrixColumn(feature=column.feature, steps=steps)
