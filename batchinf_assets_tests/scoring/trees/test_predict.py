from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.trees.predict import PIECE, predict
from batchinf_assets.scoring.trees.translate import translate

COLUMNS = 6


@cache
def training(rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    features = rng.normal(size=(rows, COLUMNS))
    target = features[:, 0] * features[:, 1] + np.sin(3 * features[:, 2])
    return features, target + rng.normal(size=rows) / 4


@cache
def classifier(kind: Any) -> Any:
    features, y = training()
    settings = {"max_iter": 15, "early_stopping": False}
    if kind is RandomForestClassifier:
        settings = {"n_estimators": 10, "max_depth": 9, "random_state": 0}
    return kind(**settings).fit(features, np.digitize(y, [-0.5, 0.5]))


@pytest.mark.parametrize("leaves", [2, 3, 31, 32, 33, 63, 64, 65, 66, 128, 900, None])
def test_trees_of_any_number_of_leaves_give_the_bits_of_scikit_learn(
    leaves: int | None, adversarial: Any, same_bits: Any
) -> None:
    features, y = training()
    estimator = HistGradientBoostingRegressor(
        max_iter=4, max_leaf_nodes=leaves, min_samples_leaf=1, early_stopping=False, max_bins=250
    ).fit(features, y)
    ensemble = translate(estimator)
    assert leaves is None or ensemble.leaves.max() == leaves
    for dtype in (np.float32, np.float64):
        matrix = adversarial(ensemble, dtype)
        assert same_bits(predict(ensemble, matrix), estimator.predict(matrix.T))


def test_a_tree_without_a_split_gives_its_one_value(same_bits: Any) -> None:
    features, y = training()
    estimator = HistGradientBoostingRegressor(
        max_iter=3, min_samples_leaf=len(features), early_stopping=False
    ).fit(features, y)
    ensemble = translate(estimator)
    assert ensemble.leaves.max() == 1
    matrix = np.ascontiguousarray(features[:300].T)
    assert same_bits(predict(ensemble, matrix), estimator.predict(features[:300]))


def test_a_tree_of_thousands_of_leaves_gives_the_bits_of_scikit_learn(
    adversarial: Any, same_bits: Any
) -> None:
    features, y = training()
    estimator = DecisionTreeRegressor(random_state=0).fit(features, y)
    ensemble = translate(estimator)
    assert ensemble.leaves[0] > 2000
    matrix = adversarial(ensemble, np.float64, rows=20_000)
    with np.errstate(all="ignore"):  # scikit-learn sums all of them to look for NaN
        expected = estimator.predict(matrix.T)
    assert same_bits(predict(ensemble, matrix), expected)


def test_a_chain_of_splits_gives_the_bits_of_scikit_learn(same_bits: Any) -> None:
    features = np.arange(300.0).reshape(-1, 1)
    estimator = DecisionTreeRegressor().fit(features, 3.0 ** np.arange(300.0))
    ensemble = translate(estimator)
    matrix = np.linspace(-2, 302, 5000).reshape(1, -1)
    assert same_bits(predict(ensemble, matrix), estimator.predict(matrix.T))


def test_a_forest_of_small_and_large_trees_is_summed_in_its_order(same_bits: Any) -> None:
    features, y = training()
    estimator = RandomForestRegressor(n_estimators=1, warm_start=True, random_state=0)
    for number, leaves in enumerate((20, 500, 40, 2, 64, 65, 32, 33), start=1):
        estimator.set_params(n_estimators=number, max_leaf_nodes=leaves).fit(features, y)
    ensemble = translate(estimator)
    assert ensemble.leaves.tolist() == [20, 500, 40, 2, 64, 65, 32, 33]
    matrix = np.ascontiguousarray(features.T)
    assert same_bits(predict(ensemble, matrix), estimator.predict(features))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, RandomForestClassifier])
def test_threads_and_cuts_do_not_matter(
    kind: Any, dtype: Any, adversarial: Any, same_bits: Any
) -> None:
    ensemble = translate(classifier(kind))
    matrix = adversarial(ensemble, dtype, rows=2 * PIECE + 1025)
    whole = predict(ensemble, matrix)
    assert same_bits(predict(ensemble, matrix, threads=3), whole)
    for rows in (0, 1, 2, 127, 128, 255, 256, 257, 1023, 1024, 1025, PIECE - 1, PIECE + 1):
        for start in (0, 77):
            cut = np.ascontiguousarray(matrix[:, start : start + rows])
            assert same_bits(predict(ensemble, cut), whole[start : start + rows])


def test_row_order_does_not_matter(adversarial: Any, same_bits: Any) -> None:
    ensemble = translate(classifier(HistGradientBoostingClassifier))
    matrix = adversarial(ensemble, np.float32)
    order = np.random.default_rng(0).permutation(matrix.shape[1])
    shuffled = predict(ensemble, np.ascontiguousarray(matrix[:, order]))
    assert same_bits(shuffled, predict(ensemble, matrix)[order])


def test_one_row_of_many_classes_is_what_it_is_among_others(same_bits: Any) -> None:
    features, y = training()
    labels = np.digitize(y, np.quantile(y, np.arange(1, 12) / 12))
    for kind in (HistGradientBoostingClassifier, GradientBoostingClassifier):
        few = "max_iter" if kind is HistGradientBoostingClassifier else "n_estimators"
        estimator = kind(**{few: 4}, max_depth=2).fit(features, labels)
        whole = estimator.predict_proba(features[:50])
        ensemble = translate(estimator)
        alone = [predict(ensemble, features[row].reshape(-1, 1).copy()) for row in range(50)]
        assert same_bits(np.concatenate(alone), whole)


def test_read_only_rows_are_scored(same_bits: Any) -> None:
    ensemble = translate(classifier(HistGradientBoostingClassifier))
    matrix = np.random.default_rng(0).normal(size=(COLUMNS, 300))
    expected = predict(ensemble, matrix)
    matrix.flags.writeable = False
    assert same_bits(predict(ensemble, matrix), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39, np.nan])
def test_a_value_that_scikit_learn_refuses_is_refused(value: float, dtype: Any) -> None:
    features, y = training(300)
    boosted = GradientBoostingClassifier(n_estimators=2, max_features=2, random_state=0)
    forest = RandomForestClassifier(n_estimators=2, max_depth=2, random_state=0)
    for estimator in (boosted, forest):
        estimator.fit(features, y > 0)
        ensemble = translate(estimator)
        for column in range(COLUMNS):
            matrix = np.zeros((COLUMNS, 400), dtype=dtype)
            with np.errstate(over="ignore"):
                matrix[column, 399] = np.asarray(value).astype(dtype)
            if np.isnan(value) and estimator is forest:
                assert predict(ensemble, matrix).shape == (400, 2)
                continue
            with pytest.raises(ModelRefused, match=f"Column {column} of the matrix") as refused:
                predict(ensemble, matrix)
            assert refused.value.reason == Refusal.ROWS


def test_numbers_too_small_for_float32_become_zero_as_in_scikit_learn(same_bits: Any) -> None:
    estimator = classifier(RandomForestClassifier)
    matrix = np.full((COLUMNS, 8), 1e-60)
    matrix[:, 4:] = -1e-60
    assert same_bits(predict(translate(estimator), matrix), estimator.predict_proba(matrix.T))


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((COLUMNS + 1, 3)),
        np.zeros((COLUMNS, 3), dtype=np.int64),
        np.zeros((3, COLUMNS)).T,
        np.zeros((COLUMNS, 3), dtype=np.float16),
        np.zeros(COLUMNS),
    ],
)
def test_a_matrix_of_another_form_is_refused(matrix: Any) -> None:
    with pytest.raises(ModelRefused, match="matrix"):
        predict(translate(classifier(RandomForestClassifier)), matrix)


def test_scoring_does_not_import_scikit_learn() -> None:
    import subprocess
    import sys

    program = (
        "import sys; import batchinf_assets.scoring.trees.predict;"
        "import batchinf_assets.scoring.trees.table;"
        "import batchinf_assets.scoring.trees.translate;"
        "sys.exit(any(name.split('.')[0] == 'sklearn' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
