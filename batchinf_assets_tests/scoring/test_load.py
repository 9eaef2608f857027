"""Which scorer a verified model uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.artifact import Artifact
from batchinf_assets.scoring.fast import TREES, TreeScorer, fast_scorer
from batchinf_assets.scoring.load import load_reference, load_scorer, repeatable
from batchinf_assets.scoring.scorer import SklearnScorer, score_rows
from batchinf_assets.scoring.trees.predict import KERNEL_VERSION

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring.conftest import Flights, Workshop

NEXT_KERNEL = f"trees/{KERNEL_VERSION + 1}"


@pytest.fixture(scope="module")
def make(
    workshop: Workshop, trained: Any, flights: Flights, stored: Callable[[Any], bytes]
) -> Callable[[str], Artifact]:
    """Sign the trained model with the files of its fast scorer, under the name of some scorer."""
    files = fast_scorer(trained, flights.columns).files()
    model = stored(trained)

    def sign(scorer: str) -> Artifact:
        return workshop.sign(
            model, scorer, recipe=files["recipe.json"], trees=files["trees.parquet"]
        )

    return sign


def test_the_card_decides(make: Callable[[str], Artifact], flights: Flights) -> None:
    fast = load_scorer(make(TREES), flights.columns)
    reference = load_scorer(make("scikit-learn"), flights.columns)
    assert (type(fast), type(reference)) == (TreeScorer, SklearnScorer)
    first, second = (score_rows(scorer, flights.unseen) for scorer in (fast, reference))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("scorer", [NEXT_KERNEL, "trees/0", "linear/99", "daal"])
def test_a_scorer_that_this_machine_does_not_have_falls_back_to_the_reference(
    make: Callable[[str], Artifact], flights: Flights, trained: Any, scorer: str
) -> None:
    found = load_scorer(make(scorer), flights.columns)
    assert (type(found), found.name) == (SklearnScorer, "scikit-learn")
    expected = score_rows(SklearnScorer(trained, flights.columns), flights.unseen)
    assert score_rows(found, flights.unseen).tobytes() == expected.tobytes()


def test_the_reference_is_scikit_learn_whatever_the_card_says(
    make: Callable[[str], Artifact], flights: Flights
) -> None:
    assert load_reference(make(TREES), flights.columns).name == "scikit-learn"


def test_features_that_the_model_did_not_learn_are_refused(
    make: Callable[[str], Artifact], flights: Flights
) -> None:
    fewer = {name: column for name, column in flights.columns.items() if name != "pressure"}
    for scorer in (TREES, "scikit-learn"):
        with pytest.raises(ModelRefused, match="'pressure' is missing") as refusal:
            load_scorer(make(scorer), fewer)
        assert refusal.value.reason is Refusal.SCHEMA


def test_a_card_that_names_a_fast_scorer_without_its_files_is_refused(
    workshop: Workshop, trained: Any, flights: Flights, stored: Callable[[Any], bytes]
) -> None:
    with pytest.raises(ModelRefused, match=r"recipe\.json is missing") as refusal:
        load_scorer(workshop.sign(stored(trained), TREES), flights.columns)
    assert refusal.value.reason is Refusal.MISSING_FILE


def test_a_signed_file_that_is_no_model_is_refused_by_the_reference_alone(
    workshop: Workshop, trained: Any, flights: Flights
) -> None:
    """A signature says who vouches for a file, not what is in it."""
    files = fast_scorer(trained, flights.columns).files()
    recipe, trees = files["recipe.json"], files["trees.parquet"]
    artifact = workshop.sign(b"no model", TREES, recipe=recipe, trees=trees)
    assert load_scorer(artifact, flights.columns).name == TREES
    with pytest.raises(ModelRefused) as refusal:
        load_reference(artifact, flights.columns)
    assert refusal.value.reason is Refusal.UNREADABLE


def test_a_forest_works_in_one_thread_so_that_its_sums_repeat(flights: Flights) -> None:
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    pipeline = make_pipeline(
        ColumnTransformer([("words", words, ["carrier_code"])], n_jobs=2),
        RandomForestClassifier(n_estimators=7, n_jobs=2, random_state=1),
    )
    found = repeatable(flights.learn(pipeline))
    threads = {name: v for name, v in found.get_params().items() if name.endswith("n_jobs")}
    assert len(threads) == 2
    assert set(threads.values()) == {1}
    scorer = SklearnScorer(found, flights.columns)
    first, second = (score_rows(scorer, flights.unseen) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_has_no_parameters_is_left_as_it_is() -> None:
    plain = object()
    assert repeatable(plain) is plain


def onnx_model(**changes: Any) -> bytes:
    """A graph that gives its weights, or one that would take them or an operator from elsewhere."""
    tensor = TensorProto(name="weights", data_type=TensorProto.DOUBLE, dims=[1])
    tensor.raw_data = bytes(8)
    if "location" in changes:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=changes["location"])
    node = helper.make_node("Add", ["a", "weights"], ["b"], domain=changes.get("domain", ""))
    given, result = (helper.make_tensor_value_info(n, TensorProto.DOUBLE, [None]) for n in "ab")
    graph = helper.make_graph([node], "graph", [given], [result], [tensor])
    sets = [helper.make_opsetid("", 17)]
    if "domain" in changes:
        sets.append(helper.make_opsetid(changes["domain"], 1))
    return helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (onnx_model(location="secret.bin"), Refusal.EXTERNAL_DATA),
        (onnx_model(domain="com.example"), Refusal.UNREVIEWED_TYPE),
        (b"no model", Refusal.UNREADABLE),
        (b"\x80\x04N.", Refusal.PICKLE),
    ],
)
def test_a_signed_onnx_file_is_inspected_again_before_it_is_loaded(
    workshop: Workshop, flights: Flights, data: bytes, reason: Refusal
) -> None:
    artifact = workshop.sign(b"not looked at", "onnxruntime")
    card = artifact.card.model_copy(update={"model_format": "onnx"})
    signed = replace(artifact, card=card, contents={"model.onnx": data})
    with pytest.raises(ModelRefused) as refusal:
        load_scorer(signed, flights.columns)
    assert refusal.value.reason is reason


def test_a_skops_file_is_no_onnx_model(
    workshop: Workshop, flights: Flights, trained: Any, stored: Callable[[Any], bytes]
) -> None:
    artifact = workshop.sign(b"not looked at", "onnxruntime")
    card = artifact.card.model_copy(update={"model_format": "onnx"})
    signed = replace(artifact, card=card, contents={"model.onnx": stored(trained)})
    with pytest.raises(ModelRefused, match=r"model\.onnx is a file of format skops") as refusal:
        load_reference(signed, flights.columns)
    assert refusal.value.reason is Refusal.UNREADABLE
