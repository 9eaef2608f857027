"""Fast scorers: what they keep in an artifact scores the same bits, and damage is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.fast import (
    LINEAR,
    TREES,
    FastScorer,
    LinearScorer,
    TreeScorer,
    fast_scorer,
)
from batchinf_assets.scoring.scorer import SklearnScorer
from batchinf_assets.scoring.trees.predict import KERNEL_VERSION
from batchinf_assets.scoring.untranslatable import Untranslatable

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring.conftest import Flights

CATEGORIES = ["carrier_code", "origin_airport", "destination_airport"]


@dataclass(frozen=True)
class Fast:
    """A fitted model and its fast scorer."""

    estimator: Any
    scorer: FastScorer


def encoded(encoder: Any, flights: Flights, estimator: Any) -> Any:
    numbers = [name for name in flights.columns if name not in CATEGORIES]
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    parts = [("words", encoder, CATEGORIES), ("numbers", scaled, numbers)]
    return make_pipeline(ColumnTransformer(parts), estimator)


@pytest.fixture(scope="module")
def boosted(trained: Any, flights: Flights) -> Fast:
    return Fast(trained, fast_scorer(trained, flights.columns))


@pytest.fixture(scope="module")
def forest(flights: Flights) -> Fast:
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = RandomForestClassifier(n_estimators=5, max_depth=6, random_state=1)
    fitted = flights.learn(encoded(ordinal, flights, model))
    return Fast(fitted, fast_scorer(fitted, flights.columns))


@pytest.fixture(scope="module")
def logistic(flights: Flights) -> Fast:
    one_hot = OneHotEncoder(handle_unknown="ignore")
    fitted = flights.learn(encoded(one_hot, flights, LogisticRegression()))
    return Fast(fitted, fast_scorer(fitted, flights.columns))


@pytest.fixture(params=["boosted", "forest", "logistic"])
def fast(request: pytest.FixtureRequest) -> Fast:
    return request.getfixturevalue(request.param)


def test_what_an_artifact_keeps_scores_the_same_bits(fast: Fast, flights: Flights) -> None:
    again = type(fast.scorer).from_files(fast.scorer.files(), flights.columns)
    first, second = (scorer.outputs(flights.unseen) for scorer in (fast.scorer, again))
    assert second.tobytes() == first.tobytes()
    assert again.files() == fast.scorer.files()
    assert len(np.unique(first)) > 50


@pytest.mark.parametrize("name", ["boosted", "forest"])
def test_trees_give_the_bits_of_scikit_learn(
    name: str, flights: Flights, request: pytest.FixtureRequest
) -> None:
    fast: Fast = request.getfixturevalue(name)
    expected = SklearnScorer(fast.estimator, flights.columns).outputs(flights.unseen)
    found = fast.scorer.outputs(flights.unseen)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_a_linear_model_gives_the_probabilities_of_scikit_learn(
    logistic: Fast, flights: Flights
) -> None:
    expected = SklearnScorer(logistic.estimator, flights.columns).outputs(flights.unseen)
    np.testing.assert_allclose(logistic.scorer.outputs(flights.unseen), expected, atol=1e-12)


def test_scores_do_not_depend_on_where_shards_begin(fast: Fast, flights: Flights) -> None:
    rows = flights.unseen
    parts = [fast.scorer.outputs(rows.slice(0, 17)), fast.scorer.outputs(rows.slice(17))]
    assert np.concatenate(parts).tobytes() == fast.scorer.outputs(rows).tobytes()


def test_the_name_says_kind_and_version(boosted: Fast, logistic: Fast) -> None:
    assert boosted.scorer.name == TREES == f"trees/{KERNEL_VERSION}"
    assert logistic.scorer.name == LINEAR


def test_a_model_without_fast_form_says_which_part(flights: Flights) -> None:
    one_hot = OneHotEncoder(handle_unknown="ignore")
    fitted = flights.learn(encoded(one_hot, flights, KNeighborsClassifier()))
    with pytest.raises(Untranslatable, match="KNeighborsClassifier"):
        fast_scorer(fitted, flights.columns)


def refusal(kind: type[FastScorer], files: dict[str, bytes], flights: Flights) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        kind.from_files(files, flights.columns)
    assert str(caught.value).isprintable()
    return caught.value


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 255]) + data[-8:]


NO_TREES: dict[str, Callable[[bytes], bytes]] = {
    "no parquet at all": lambda _: b"no parquet at all",
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "only its magic": lambda _: b"PAR1PAR1",
    "a broken footer": flipped,
    "another table": lambda _: parquet(pa.table({"tree": [1]})),
    "without metadata": lambda data: parquet(
        pq.read_table(io.BytesIO(data)).replace_schema_metadata({})
    ),
    "without its last node": lambda data: parquet(pq.read_table(io.BytesIO(data)).slice(0, 20)),
}


@pytest.mark.parametrize("damage", NO_TREES)
def test_damaged_trees_are_refused(boosted: Fast, flights: Flights, damage: str) -> None:
    files = dict(boosted.scorer.files())
    files["trees.parquet"] = NO_TREES[damage](files["trees.parquet"])
    assert refusal(TreeScorer, files, flights).reason is Refusal.UNREADABLE


def without_a_column(data: bytes) -> bytes:
    document = json.loads(data)
    return json.dumps({**document, "columns": document["columns"][1:]}).encode()


NO_DOCUMENT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no JSON": lambda data: data[:-5],
    "an array": lambda _: b"[]",
    "bytes that are no text": lambda _: b"\xff\xfe\x00",
    "another version": lambda data: data.replace(b'"version":1', b'"version":2'),
}


@pytest.mark.parametrize("damage", NO_DOCUMENT)
@pytest.mark.parametrize(
    ("name", "file"),
    [("boosted", "recipe.json"), ("logistic", "recipe.json"), ("logistic", "linear.json")],
)
def test_a_damaged_document_is_refused(
    name: str, file: str, damage: str, flights: Flights, request: pytest.FixtureRequest
) -> None:
    fast: Fast = request.getfixturevalue(name)
    files = dict(fast.scorer.files())
    assert b'"version":1' in files[file]
    files[file] = NO_DOCUMENT[damage](files[file])
    assert refusal(type(fast.scorer), files, flights).reason is Refusal.UNREADABLE


def test_a_recipe_of_another_model_is_refused(fast: Fast, flights: Flights) -> None:
    files = dict(fast.scorer.files())
    files["recipe.json"] = without_a_column(files["recipe.json"])
    found = refusal(type(fast.scorer), files, flights)
    assert found.reason is Refusal.UNREADABLE
    assert "recipe.json makes" in found.message


def test_a_missing_file_is_refused(fast: Fast, flights: Flights) -> None:
    for name in fast.scorer.files():
        files = {other: data for other, data in fast.scorer.files().items() if other != name}
        found = refusal(type(fast.scorer), files, flights)
        assert found.reason is Refusal.MISSING_FILE
        assert name in found.message


def test_a_recipe_that_reads_an_undeclared_feature_is_refused(
    boosted: Fast, flights: Flights
) -> None:
    files = dict(boosted.scorer.files())
    files["recipe.json"] = files["recipe.json"].replace(b'"pressure"', b'"humidity"')
    scorer = TreeScorer.from_files(files, flights.columns)
    with pytest.raises(ModelRefused, match="'humidity', which is not declared"):
        scorer.outputs(flights.unseen)


SCORE_ALONE = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from batchinf_assets.scoring.fast import {kind}
from batchinf_assets.spec.load import load_pipeline

folder = Path(sys.argv[1])
files = {{path.name: path.read_bytes() for path in folder.iterdir()}}
columns = load_pipeline("flight_delays").spec.features.columns
scorer = {kind}.from_files(files, columns)
scorer.outputs(pq.read_table(sys.argv[2])).tofile(sys.argv[3])
rooms = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(rooms & {{"dagster", "joblib", "mlflow", "sklearn", "skops"}}))
"""


@pytest.mark.parametrize("name", ["boosted", "logistic"])
def test_a_fast_scorer_needs_neither_scikit_learn_nor_skops(
    name: str, flights: Flights, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fast: Fast = request.getfixturevalue(name)
    (tmp_path / "files").mkdir()
    for file, data in fast.scorer.files().items():
        (tmp_path / "files" / file).write_bytes(data)
    rows, scores = tmp_path / "rows.parquet", tmp_path / "scores"
    pq.write_table(flights.unseen, rows)
    script = SCORE_ALONE.format(kind=type(fast.scorer).__name__)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "files", rows, scores],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert scores.read_bytes() == fast.scorer.outputs(flights.unseen).tobytes()
    assert isinstance(fast.scorer, LinearScorer | TreeScorer)
