"""Linear models over encoded features without the matrix between: one pass per feature.

The model and its links are in `scoring.linear`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.scoring.encoding.apply import Derived, derive
from batchinf_assets.scoring.encoding.recipe import Recipe
from batchinf_assets.scoring.linear import (
    Floats,
    LinearModel,
    add_products,
    answers,
    require_columns,
    require_finite,
)
from batchinf_assets.spec.contract import FeatureSpec

Places = npt.NDArray[np.integer]

RUN_COLUMNS = 256
"""Columns of one feature that are added at once; bounds their product with its strings."""


def predict_encoded(
    model: LinearModel, recipe: Recipe, table: pa.Table, columns: Mapping[str, FeatureSpec]
) -> Floats:
    """Compute what `predict_linear` makes of `encode`'s matrix, without making the matrix.

    A string's contribution is computed once, so one-hot columns cost one addition per feature. The
    sums are the same bits: what is left out are additions of zero.

    Args:
        model: The model.
        recipe: Its columns are the model's.
        table: At least the declared columns.
        columns: The declared features.

    Returns:
        As `predict_linear`.

    Raises:
        ModelRefused: As `predict_linear` and `encode`.
        BatchinfError: As `encode`.
    """
    require_columns(model, len(recipe.columns))
    sums = np.zeros((len(model.intercept), table.num_rows))
    product = np.empty(table.num_rows)
    first = 0
    with np.errstate(all="ignore"):  # overflow to infinity, as in scikit-learn
        for run in _runs(derive(recipe, table, columns)):
            values = np.stack([_rounded(*part, recipe) for part in enumerate(run, first)])
            weights = model.coefficients[:, first : first + len(run)]
            for total, own in zip(sums, weights, strict=True):
                _add_run(total, values, own, run[0].places, product)
            first += len(run)
        return answers(model, sums)


def _runs(parts: Iterable[Derived]) -> Iterator[list[Derived]]:
    """Put neighbours together that are made of the same strings."""
    run: list[Derived] = []
    for part in parts:
        same = run and part.places is not None and part.places is run[-1].places
        if run and not (same and len(run) < RUN_COLUMNS):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _rounded(column: int, part: Derived, recipe: Recipe) -> Floats:
    values = np.asarray(part.values).astype(recipe.precision).astype(np.float64)
    require_finite(values, f"matrix column {column}, made of '{part.feature}',")
    return values


def _add_run(
    total: Floats, values: Floats, weights: Floats, places: Places | None, product: Floats
) -> None:
    if places is None:
        add_products(total, values, weights, product)
    elif values.shape[1]:
        for levels in _layers(values * weights[:, np.newaxis]):
            total += np.take(levels, places, out=product, mode="clip")


def _layers(products: Floats) -> Iterator[Floats]:
    """Give each string's first contribution, then each one's second, shape (strings,).

    Added in this order they make the sums of the columns, shape (columns, strings), to the bit.
    """
    counted = np.cumsum(products != 0, axis=0)
    for layer in range(1, int(counted[-1].max()) + 1):
        yield np.where((products != 0) & (counted == layer), products, 0.0).sum(axis=0)
