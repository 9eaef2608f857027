import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.trees.ensemble import TreeEnsemble
from batchinf_assets.scoring.trees.predict import predict
from batchinf_assets.scoring.trees.table import (
    METADATA_KEY,
    ensemble_from_table,
    ensemble_to_table,
)
from batchinf_assets.scoring.trees.translate import translate


@cache
def ensembles() -> dict[str, TreeEnsemble]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=900), "code": rng.integers(0, 40, 900)})
    frame.loc[::9, "x"] = np.nan
    y = np.digitize(frame["x"].fillna(0) + rng.normal(size=40)[frame["code"]], [-1, 1])
    hist = HistGradientBoostingClassifier(
        max_iter=6, early_stopping=False, categorical_features=["code"]
    ).fit(frame, y)
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(frame, y)
    single = DecisionTreeRegressor().fit([[0.0], [1.0]], [-0.0, 0.1])
    return {"hist": translate(hist), "forest": translate(forest), "single": translate(single)}


def as_parquet(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return pq.read_table(io.BytesIO(sink.getvalue()))


@pytest.mark.parametrize("stored", [lambda table: table, as_parquet])
@pytest.mark.parametrize("name", ["hist", "forest", "single"])
def test_a_table_gives_back_the_trees(
    name: str, stored: Callable[[pa.Table], pa.Table], adversarial: Any, same_bits: Any
) -> None:
    ensemble = ensembles()[name]
    table = ensemble_to_table(ensemble)
    back = ensemble_from_table(stored(table))
    assert ensemble_to_table(back).equals(table, check_metadata=True)
    matrix = adversarial(ensemble, np.float64)
    assert same_bits(predict(back, matrix), predict(ensemble, matrix))
    assert np.signbit(back.baseline).tolist() == np.signbit(ensemble.baseline).tolist()


def test_equal_trees_give_equal_bytes() -> None:
    one, other = (ensemble_to_table(ensembles()["hist"]) for _ in range(2))
    assert one.schema.metadata == other.schema.metadata
    assert one.equals(other)


def test_an_auditor_reads_the_trees_in_sql(tmp_path: Any) -> None:
    ensemble = ensembles()["hist"]
    path = tmp_path / "trees.parquet"
    pq.write_table(ensemble_to_table(ensemble), path)
    [(leaves, categorical, trees)] = duckdb.sql(
        f"""SELECT count(*) FILTER (value IS NOT NULL), count(categories), max(tree) + 1
        FROM '{path}'"""
    ).fetchall()
    assert leaves == ensemble.is_leaf.sum()
    assert categorical == (ensemble.category_set >= 0).sum() > 0
    assert trees == ensemble.trees


def test_thresholds_are_distinct_and_ascending() -> None:
    ensemble = ensembles()["forest"]
    for column in range(ensemble.columns):
        found = ensemble.thresholds(column)
        assert (np.diff(found) > 0).all()
        here = ensemble.column == column
        assert {*found} == {*ensemble.threshold[here].tolist()}


def changed(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.schema.get_field_index(column)
    return table.set_column(place, table.field(column), pa.array(values, table.field(column).type))


def described(table: pa.Table, **changes: Any) -> pa.Table:
    header = {**json.loads(table.schema.metadata[METADATA_KEY]), **changes}
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(header).encode()})


def nodes(table: pa.Table, *, leaf: bool, categorical: bool = False) -> int:
    found = zip(table["column"].to_pylist(), table["categories"].to_pylist(), strict=True)
    return next(
        row
        for row, (column, codes) in enumerate(found)
        if (column is None) == leaf and (codes is not None) == categorical
    )


def split(table: pa.Table) -> int:
    return nodes(table, leaf=False)


def at_leaf(table: pa.Table) -> int:
    return nodes(table, leaf=True)


def by_category(table: pa.Table) -> int:
    return nodes(table, leaf=False, categorical=True)


CORRUPTIONS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a split of a column that does not exist": lambda t: changed(t, "column", split(t), 2),
    "a split of a negative column": lambda t: changed(t, "column", split(t), -1),
    "a split of a far column": lambda t: changed(t, "column", split(t), 2**31 - 1),
    "a child outside the tree": lambda t: changed(t, "left", split(t), 10_000),
    "a child in the next tree": lambda t: changed(
        t, "right", split(t), t["node"].to_pylist().index(0, 1) + 1
    ),
    "a negative child": lambda t: changed(t, "right", split(t), -5),
    "a child that is its own parent": lambda t: changed(t, "left", split(t), split(t)),
    "a circle": lambda t: changed(t, "left", split(t) + 1, 0),
    "a node with two parents": lambda t: changed(
        t, "left", split(t), t["right"].to_pylist()[split(t)]
    ),
    "a threshold that is NaN": lambda t: changed(t, "threshold", split(t), float("nan")),
    "a split without a threshold": lambda t: changed(t, "threshold", split(t), None),
    "a split without a child": lambda t: changed(t, "left", split(t), None),
    "a split without a direction": lambda t: changed(t, "missing_left", split(t), None),
    "a leaf without a value": lambda t: changed(t, "value", at_leaf(t), None),
    "a leaf with two values": lambda t: changed(t, "value", at_leaf(t), [1.0, 2.0]),
    "a leaf with no values": lambda t: changed(t, "value", at_leaf(t), []),
    "a leaf that is null": lambda t: changed(t, "value", at_leaf(t), [None]),
    "a leaf that is infinite": lambda t: changed(t, "value", at_leaf(t), [float("inf")]),
    "a leaf with a child": lambda t: changed(t, "left", at_leaf(t), at_leaf(t) + 1),
    "a leaf that is a split": lambda t: changed(t, "column", at_leaf(t), 0),
    "a split with a value": lambda t: changed(t, "value", split(t), [1.0]),
    "a leaf with categories": lambda t: changed(t, "categories", at_leaf(t), [1]),
    "a category above 255": lambda t: changed(t, "categories", by_category(t), [256]),
    "a negative category": lambda t: changed(t, "categories", by_category(t), [-1]),
    "a category that is null": lambda t: changed(t, "categories", by_category(t), [None]),
    "a category and a threshold": lambda t: changed(t, "threshold", by_category(t), 0.5),
    "categories of a numeric column": lambda t: changed(t, "column", by_category(t), 1),
    "a threshold of a categorical column": lambda t: changed(t, "column", split(t), 0),
    "a tree that is not there": lambda t: changed(t, "tree", 0, 1),
    "a node number left out": lambda t: changed(t, "node", 3, 4),
    "rows in another order": lambda t: t.take(list(reversed(range(t.num_rows)))),
    "a row left out": lambda t: t.slice(0, t.num_rows - 1),
    "no rows": lambda t: t.slice(0, 0),
    "no metadata": lambda t: t.replace_schema_metadata(None),
    "a column left out": lambda t: t.drop_columns(["missing_left"]),
    "a column too many": lambda t: t.append_column("more", t["column"]),
    "a column of another type": lambda t: t.set_column(
        3, "threshold", t["threshold"].cast(pa.float32())
    ),
    "an unknown link": lambda t: described(t, link="cloglog"),
    "an unknown field": lambda t: described(t, more=1),
    "another version": lambda t: described(t, format_version=2),
    "no columns": lambda t: described(t, columns=0),
    "fewer columns": lambda t: described(t, columns=1),
    "too many columns": lambda t: described(t, columns=2**31),
    "more outputs": lambda t: described(t, outputs=2**31, baseline=[0.0, 0.0, 0.0]),
    "outputs without trees": lambda t: described(t, outputs=10**6, baseline=[0.0] * 10**6),
    "fewer outputs": lambda t: described(t, outputs=2, baseline=[0.0, 0.0]),
    "no baseline": lambda t: described(t, baseline=[]),
    "a tree for an output that does not exist": lambda t: described(t, tree_output=[3] * 18),
    "a tree for a negative output": lambda t: described(t, tree_output=[-1] * 18),
    "more trees": lambda t: described(t, tree_output=[0] * 19),
    "no known categories": lambda t: described(t, known_categories={}),
    "a known category above 255": lambda t: described(t, known_categories={"0": [300]}),
    "known categories of no column": lambda t: described(t, known_categories={"x": [1]}),
    "known categories of a far column": lambda t: described(
        t, known_categories={"0": [1], "7": [1]}
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupt_table_is_refused(name: str) -> None:
    table = ensemble_to_table(ensembles()["hist"])
    assert ensemble_from_table(table).trees == 18
    with pytest.raises(ModelRefused) as refused:
        ensemble_from_table(CORRUPTIONS[name](table))
    assert refused.value.reason == Refusal.UNREADABLE
