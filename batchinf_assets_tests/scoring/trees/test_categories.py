from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from batchinf_assets.scoring.trees.predict import predict
from batchinf_assets.scoring.trees.translate import translate

CODES = (
    *(-0.0, 0.0, -1.0, -0.5, 0.5, 0.999, 1.5, 2.999, 254.0, 255.0, 255.5, 256.0, 257.5, 511.9),
    *(1000.0, 65536.0, 2.0**31 - 1, 2.0**31, 2.0**31 + 5, 2.0**32 + 3, 1e19, 1e300, -1e300),
    *(np.nan, 5e-324, -5e-324),
)


@cache
def fitted(categories: int, leaves: int, missing: bool, classifier: bool) -> Any:
    rng = np.random.default_rng(categories)
    rows = 2000
    codes = rng.integers(0, categories, rows)
    effect = rng.normal(size=categories)[codes]
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "code": codes.astype(np.float64),
            "colour": rng.integers(0, 3, rows).astype(np.float64),
        }
    )
    y = effect + frame["x"] * (frame["colour"] == 1) + rng.normal(size=rows) / 5
    if missing:
        frame = frame.mask(rng.random(frame.shape) < 0.1)
    kind = HistGradientBoostingClassifier if classifier else HistGradientBoostingRegressor
    return kind(
        max_iter=8,
        max_leaf_nodes=leaves,
        min_samples_leaf=2,
        early_stopping=False,
        categorical_features=["code", "colour"],
    ).fit(frame, (y > 0) if classifier else y)


def raw_rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = 3000
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "code": rng.integers(-3, 300, rows).astype(np.float64),
            "colour": rng.integers(-1, 5, rows).astype(np.float64),
        }
    )
    frame.loc[: len(CODES) - 1, "code"] = CODES
    frame.loc[100 : 99 + len(CODES), "colour"] = CODES
    return frame.mask(rng.random(frame.shape) < 0.05)


@pytest.mark.parametrize("leaves", [15, 60, 200])
@pytest.mark.parametrize(
    ("categories", "missing"), [(3, True), (31, False), (32, True), (120, False), (255, True)]
)
def test_categories_behind_the_encoder_give_the_bits_of_scikit_learn(
    categories: int, leaves: int, missing: bool, same_bits: Any
) -> None:
    estimator = fitted(categories, leaves, missing, classifier=True)
    rows = raw_rows()
    ensemble = translate(estimator)
    encoded = np.ascontiguousarray(estimator._preprocessor.transform(rows).T)
    expected = estimator.predict_proba(rows)
    assert same_bits(predict(ensemble, encoded), expected)
    assert len(ensemble.left_categories) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leaves", [15, 60, 200])
def test_codes_that_no_encoder_gives_go_where_the_trees_of_scikit_learn_send_them(
    leaves: int, dtype: Any, same_bits: Any
) -> None:
    estimator = fitted(120, leaves, True, classifier=False)
    rows = raw_rows()[["code", "colour", "x"]].to_numpy(copy=True)
    rows[200:204, 0] = np.inf, -np.inf, np.inf, 1e39
    with np.errstate(over="ignore"):
        rows = rows.astype(dtype)
    known, places = estimator._bin_mapper.make_known_categories_bitsets()
    expected = np.full(len(rows), np.ravel(estimator._baseline_prediction)[0])
    for (tree,) in estimator._predictors:
        expected += tree.predict(rows.astype(np.float64), known, places, 1)
    found = predict(translate(estimator), np.ascontiguousarray(rows.T))
    assert same_bits(found, expected)


def test_known_categories_are_those_of_the_training_rows() -> None:
    ensemble = translate(fitted(33, 15, False, classifier=True))
    assert ensemble.known_categories == {0: tuple(range(33)), 1: (0, 1, 2)}
    assert ensemble.thresholds(0).size == 0
