from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from batchinf_assets.scoring.trees.ensemble import TreeEnsemble

SPECIAL = (
    *(0.0, -0.0, 5e-324, -5e-324, 1e-45, -1e-45, 1e-38, 1.0, -1.0),
    *(3.4028234e38, -3.4028234e38, 3.5e38, -3.5e38, 1.7e308, -1.7e308),
    *(np.inf, -np.inf, np.nan),
)


def pool(ensemble: TreeEnsemble, column: int, dtype: Any) -> np.ndarray:
    """Values at and next to every threshold in both precisions, and special ones, accepted all."""
    exact = ensemble.thresholds(column)
    near = [exact]
    for target in (-np.inf, np.inf):
        near.append(np.nextafter(exact, target))
        near.append(np.nextafter(exact.astype(np.float32), np.float32(target)))
        near.append(exact * (1 + np.sign(target) * 2.0**-40))
    near.append(exact.astype(np.float32))
    with np.errstate(over="ignore"):
        values = np.concatenate([np.concatenate(near).astype(np.float64), SPECIAL]).astype(dtype)
        judged = values.astype(ensemble.precision)
    accepted = ensemble.allows_infinite | ~np.isinf(judged)
    return values[accepted & (ensemble.allows_nan | ~np.isnan(judged))]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models: threads that wait for each other take most of the time."""
    with threadpool_limits(1, user_api="openmp"):
        yield


@pytest.fixture(scope="session")
def adversarial() -> Callable[..., np.ndarray]:
    def make(ensemble: TreeEnsemble, dtype: Any, *, rows: int = 1500) -> np.ndarray:
        rng = np.random.default_rng(7)
        matrix = rng.normal(size=(ensemble.columns, rows)).astype(dtype)
        for column in range(ensemble.columns):
            values = pool(ensemble, column, dtype)
            replaced = rng.random(rows) < 0.6
            matrix[column, replaced] = rng.choice(values, replaced.sum())
            matrix[column, : len(values)] = values[:rows]
        return matrix

    return make


@pytest.fixture(scope="session")
def same_bits() -> Callable[..., bool]:
    def same(found: np.ndarray, expected: np.ndarray) -> bool:
        expected = np.asarray(expected, dtype=np.float64)
        expected = np.ascontiguousarray(expected.reshape(found.shape))
        return bool(np.array_equal(found.view(np.int64), expected.view(np.int64)))

    return same
