import os
import re
import subprocess
import sys

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from batchinf_assets.errors import BatchinfError, ModelRefused, Refusal, UsageError
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.scoring.onnx_scorer import BLOCK_ROWS, load_onnx
from batchinf_assets.scoring.scorer import score_rows
from batchinf_assets.spec.contract import FeatureSpec

ROWS = 2_500
WIDTH = 5
FLOATS = {f"f{index}": FeatureSpec(type="float64", nullable=True) for index in range(WIDTH)}
NUMBERS = np.random.default_rng(1).normal(size=(ROWS, WIDTH))
WEIGHTS = np.random.default_rng(2).normal(size=(WIDTH, 1))

ML = helper.make_opsetid("ai.onnx.ml", 3)
FLOAT, DOUBLE, STRING, INT64 = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.STRING,
    TensorProto.INT64,
)


def tensor(name, type_, *shape):
    return helper.make_tensor_value_info(name, type_, shape)


def model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), ML], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def logistic(type_=FLOAT, rows=None, width=WIDTH, outputs=None, name="features"):
    """Probability by Gemm and Sigmoid, and its complement beside it."""
    numbers = np.float32 if type_ == FLOAT else np.float64
    weights = WEIGHTS[:width].astype(numbers)
    nodes = [
        helper.make_node("Gemm", [name, "weights"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    given = {
        "probabilities": tensor("probabilities", type_, rows, 2),
        "label": tensor("label", INT64, rows),
        "yes": tensor("yes", type_, rows, 1),
    }
    return model(
        nodes,
        [tensor(name, type_, rows, width)],
        [given[output] for output in outputs or ("label", "probabilities")],
        [
            helper.make_tensor("weights", type_, weights.shape, weights.ravel()),
            helper.make_tensor("one", type_, [1], [1.0]),
        ],
    )


def table(numbers=NUMBERS, columns=FLOATS):
    arrays = [pa.array(numbers[:, index]) for index in range(len(columns))]
    return pa.table(arrays, names=list(columns)).cast(arrow_schema(columns))


def expected_probabilities(numbers):
    yes = 1 / (1 + np.exp(-(numbers @ WEIGHTS)))
    return np.hstack([1 - yes, yes])


def refused(data, columns=FLOATS):
    with pytest.raises(ModelRefused) as caught:
        load_onnx(data, columns)
    return caught.value


def test_a_classifier_of_doubles_gives_its_probabilities():
    scorer = load_onnx(logistic(DOUBLE), FLOATS)
    outputs = scorer.outputs(table())
    assert (outputs.dtype, outputs.shape) == (np.float64, (ROWS, 2))
    np.testing.assert_allclose(outputs, expected_probabilities(NUMBERS), atol=1e-15, rtol=0)
    np.testing.assert_array_equal(score_rows(scorer, table()), outputs[:, 1])
    assert scorer.name == f"onnxruntime {sys.modules['onnxruntime'].__version__}"


def test_float64_features_are_rounded_to_the_float32_that_the_model_reads():
    outputs = load_onnx(logistic(FLOAT), FLOATS).outputs(table())
    rounded = load_onnx(logistic(FLOAT), FLOATS).outputs(table(NUMBERS.astype(np.float32)))
    np.testing.assert_array_equal(outputs, rounded)
    np.testing.assert_allclose(outputs, expected_probabilities(NUMBERS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_overflows_float32_is_refused_and_infinity_is_not(sign):
    scorer = load_onnx(logistic(FLOAT), FLOATS)
    numbers = NUMBERS[:4].copy()
    numbers[2, 3] = sign * np.inf
    assert np.isfinite(scorer.outputs(table(numbers))).all()
    numbers[2, 3] = sign * 1e39
    with pytest.raises(ModelRefused, match=r"'f3' is -?1e\+39 in row 2") as caught:
        scorer.outputs(table(numbers))
    assert caught.value.reason is Refusal.ROWS
    assert np.isfinite(load_onnx(logistic(DOUBLE), FLOATS).outputs(table(numbers))).all()


def test_a_missing_number_is_nan():
    holes = pa.table({name: pa.array([0.5, None]) for name in FLOATS})
    outputs = load_onnx(logistic(FLOAT), FLOATS).outputs(holes)
    np.testing.assert_array_equal(np.isnan(outputs), [[False, False], [True, True]])


def test_features_are_read_in_declared_order_whatever_the_table_has():
    shuffled = table().select(["f3", "f0", "f4", "f2", "f1"]).append_column("other", [[0] * ROWS])
    scorer = load_onnx(logistic(), FLOATS)
    np.testing.assert_array_equal(scorer.outputs(shuffled), scorer.outputs(table()))


def test_a_feature_that_does_not_fit_its_declaration_is_named():
    with pytest.raises(BatchinfError, match="'f1' has type int64"):
        load_onnx(logistic(), FLOATS).outputs(table().set_column(1, "f1", [[1] * ROWS]))


def regression_trees(count=60, rows=None):
    """Trees of depth one: `threshold`, then one of two `leaves`."""
    random = np.random.default_rng(3)
    feature = random.integers(0, WIDTH, count)
    threshold = random.normal(size=count).astype(np.float32)
    leaves = random.normal(size=(count, 2)).astype(np.float32)
    trees = range(count)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["values"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=np.repeat(trees, 3),
        nodes_nodeids=np.tile([0, 1, 2], count),
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * count,
        nodes_featureids=[value for index in feature for value in (index, 0, 0)],
        nodes_values=[value for limit in threshold for value in (limit, 0.0, 0.0)],
        nodes_truenodeids=[1, 0, 0] * count,
        nodes_falsenodeids=[2, 0, 0] * count,
        target_treeids=np.repeat(trees, 2),
        target_nodeids=np.tile([1, 2], count),
        target_ids=[0] * (2 * count),
        target_weights=leaves.ravel(),
    )
    data = model(
        [node], [tensor("features", FLOAT, rows, WIDTH)], [tensor("values", FLOAT, rows, 1)]
    )
    return data, feature, threshold, leaves


def test_a_regressor_of_trees_gives_values_in_one_column():
    data, feature, threshold, leaves = regression_trees()
    outputs = load_onnx(data, FLOATS).outputs(table())
    right = ~(NUMBERS.astype(np.float32)[:, feature] <= threshold)
    expected = np.where(right, leaves[:, 1], leaves[:, 0]).astype(np.float64).sum(axis=1)
    assert outputs.shape == (ROWS, 1)
    np.testing.assert_allclose(outputs[:, 0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("made", [logistic(), regression_trees()[0]], ids=["weights", "trees"])
@pytest.mark.parametrize("size", [1, 7, 50, 999, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_a_rows_answer_does_not_depend_on_where_the_table_is_cut(made, size):
    some = table()
    scorer = load_onnx(made, FLOATS)
    whole = scorer.outputs(some)
    starts = range(0, ROWS, size) if size > 7 else range(0, 20 * size, size)
    pieces = [scorer.outputs(some.slice(start, size)) for start in starts]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[: sum(map(len, pieces))])


@pytest.mark.parametrize("made", [logistic(), regression_trees()[0]], ids=["weights", "trees"])
def test_the_answer_does_not_depend_on_the_number_of_threads(made):
    one = load_onnx(made, FLOATS).outputs(table())
    np.testing.assert_array_equal(load_onnx(made, FLOATS, threads=2).outputs(table()), one)


@pytest.mark.parametrize("rows", [1, 4, 3_000])
def test_a_model_that_reads_a_fixed_number_of_rows_is_given_that_many(rows):
    few = table().slice(0, 42)
    expected = load_onnx(logistic(DOUBLE), FLOATS).outputs(few)
    outputs = load_onnx(logistic(DOUBLE, rows=rows), FLOATS).outputs(few)
    np.testing.assert_allclose(outputs, expected, atol=1e-15, rtol=0)


def test_no_rows_give_no_outputs():
    assert load_onnx(logistic(), FLOATS).outputs(table().slice(0, 0)).shape == (0, 2)


MIXED = {
    "carrier": FeatureSpec(type="string", nullable=True),
    "distance": FeatureSpec(type="float32", nullable=True),
    "delay": FeatureSpec(type="float64"),
    "stops": FeatureSpec(type="int64", nullable=True),
    "night": FeatureSpec(type="bool", nullable=True),
}
KNOWN = ["AA", "B6", "UA"]


def test_one_input_per_feature_is_fed_by_name_and_by_its_own_type():
    rows = pa.table(
        {
            "carrier": pa.array(["UA", "AA", "ZZ"]).dictionary_encode(),
            "distance": pa.array([0.5, 1.5, 2.5], pa.float32()),
            "delay": pa.array([10.0, 20.0, 30.0]),
            "stops": pa.array([100, 2**40, 300]),
            "night": pa.array([True, False, True]),
        }
    )
    given = load_onnx(mixed(), MIXED).outputs(rows)
    # carrier's code + distance + delay + stops + night
    expected = [2 + 0.5 + 10 + 100 + 1, 0 + 1.5 + 20 + 2**40 + 0, -1 + 2.5 + 30 + 300 + 1]
    np.testing.assert_array_equal(given, np.array(expected)[:, None])


def mixed(stops=INT64, night=TensorProto.BOOL):
    """The sum of all features, the carrier's code by LabelEncoder among them; (rows,) for stops."""
    wanted = ["code", "distance", "delay", "stops", "night"]
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=KNOWN,
            values_int64s=range(len(KNOWN)),
            default_int64=-1,
        ),
        *(helper.make_node("Cast", [name], [f"{name}_"], to=DOUBLE) for name in wanted),
        helper.make_node("Reshape", ["stops_", "column"], ["stops__"]),
        helper.make_node("Sum", ["code_", "distance_", "delay_", "stops__", "night_"], ["value"]),
    ]
    inputs = [
        tensor("night", night, None, 1),
        tensor("stops", stops, None),
        tensor("delay", DOUBLE, None, 1),
        tensor("distance", FLOAT, None, 1),
        tensor("carrier", STRING, None, 1),
    ]
    column = helper.make_tensor("column", INT64, [2], [-1, 1])
    return model(nodes, inputs, [tensor("value", DOUBLE, None, 1)], [column])


@pytest.mark.parametrize("name", ["carrier", "stops", "night"])
def test_a_missing_value_is_refused_where_the_model_has_no_word_for_it(name):
    row = {"carrier": ["AA"], "distance": [1.0], "delay": [1.0], "stops": [1], "night": [True]}
    rows = pa.table(row | {name: [None]}, schema=arrow_schema(MIXED))
    with pytest.raises(ModelRefused, match=f"'{name}' has 1 missing values") as caught:
        load_onnx(mixed(), MIXED).outputs(rows)
    assert caught.value.reason is Refusal.ROWS


def test_nullable_integers_and_bools_become_nan_where_the_model_reads_numbers():
    row = {"carrier": ["AA"] * 2, "distance": [1.0] * 2, "delay": [1.0] * 2}
    rows = pa.table(row | {"stops": [1, None], "night": [True, True]}, schema=arrow_schema(MIXED))
    outputs = load_onnx(mixed(stops=DOUBLE, night=FLOAT), MIXED).outputs(rows)
    np.testing.assert_array_equal(outputs, [[4.0], [np.nan]])


@pytest.mark.parametrize(
    ("data", "columns", "message"),
    [
        (logistic(width=4), FLOATS, r"reads 'features' in shape \[None, 4\].*\(rows, 5\)"),
        (mixed(), FLOATS, "missing 'f0'.*extra 'night'"),
        (mixed(), MIXED | {"gate": FeatureSpec(type="bool")}, "missing 'gate'; extra none"),
        (
            mixed(stops=FLOAT, night=INT64),
            MIXED | {"stops": MIXED["carrier"]},
            "'stops' is declared",
        ),
        (logistic(), FLOATS | {"f4": FeatureSpec(type="string")}, "'f4' is declared string"),
    ],
    ids=["width", "names", "one more", "type", "string in a matrix"],
)
def test_inputs_that_do_not_fit_the_declared_features_are_named(data, columns, message):
    error = refused(data, columns)
    assert error.reason is Refusal.SCHEMA
    assert re.search(message, error.message)


def test_one_input_named_like_one_of_several_features_is_a_matrix():
    scorer = load_onnx(logistic(name="f0"), FLOATS)
    np.testing.assert_array_equal(
        scorer.outputs(table()), load_onnx(logistic(), FLOATS).outputs(table())
    )


def test_probabilities_in_dictionaries_are_refused_with_the_option_that_helps():
    nodes = [
        helper.make_node("Softmax", ["features"], ["probabilities"]),
        helper.make_node(
            "ZipMap", ["probabilities"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        ),
    ]
    value = helper.make_tensor_type_proto(FLOAT, [])
    zipped = helper.make_value_info(
        "zipped", helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, value))
    )
    columns = dict(list(FLOATS.items())[:2])
    error = refused(model(nodes, [tensor("features", FLOAT, None, 2)], [zipped]), columns)
    assert error.reason is Refusal.SCHEMA
    assert 'options={"zipmap": False}' in error.next_step


@pytest.mark.parametrize("outputs", [("yes", "probabilities"), ("label",)])
def test_outputs_that_leave_no_choice_or_two_are_named(outputs):
    error = refused(logistic(outputs=outputs))
    assert error.reason is Refusal.SCHEMA
    for output in outputs:
        assert f"'{output}' tensor(" in error.message


def test_outputs_of_another_row_count_are_refused():
    nodes = [helper.make_node("ReduceSum", ["features"], ["sum"], keepdims=1)]
    data = model(nodes, [tensor("features", FLOAT, None, WIDTH)], [tensor("sum", FLOAT, None, 1)])
    with pytest.raises(ModelRefused, match=r"shape \(1, 1\) for 1024 rows") as caught:
        load_onnx(data, FLOATS).outputs(table())
    assert caught.value.reason is Refusal.SCHEMA


def test_rows_that_the_model_itself_refuses_are_refused():
    nodes = [helper.make_node("Cast", ["number"], ["value"], to=DOUBLE)]
    data = model(nodes, [tensor("number", STRING, None, 1)], [tensor("value", DOUBLE, None, 1)])
    scorer = load_onnx(data, {"number": FeatureSpec(type="string")})
    np.testing.assert_array_equal(scorer.outputs(pa.table({"number": ["1.5"]})), [[1.5]])
    with pytest.raises(ModelRefused, match="refuses rows 0 to 1023") as caught:
        scorer.outputs(pa.table({"number": ["one"]}))
    assert caught.value.reason is Refusal.ROWS


@pytest.mark.parametrize("data", [b"", b"no model", logistic()[:-20]], ids=["empty", "text", "cut"])
def test_bytes_that_are_no_model_are_refused(data):
    error = refused(data)
    assert error.reason is Refusal.UNREADABLE
    assert "\n" not in error.message


def test_weights_in_another_file_are_not_read(tmp_path, monkeypatch):
    numbers = np.ones((WIDTH, 2), np.float32)
    (tmp_path / "weights.bin").write_bytes(numbers.tobytes())
    made = onnx.load_from_string(
        model(
            [helper.make_node("MatMul", ["features", "weights"], ["sum"])],
            [tensor("features", FLOAT, None, WIDTH)],
            [tensor("sum", FLOAT, None, 2)],
            [helper.make_tensor("weights", FLOAT, numbers.shape, numbers.tobytes(), raw=True)],
        )
    )
    assert load_onnx(made.SerializeToString(), FLOATS).outputs(table()).shape == (ROWS, 2)
    weights = made.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    monkeypatch.chdir(tmp_path)
    runtime = sys.modules["onnxruntime"]
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    careless = runtime.InferenceSession(made.SerializeToString(), options)
    ones = np.ones((1, WIDTH), np.float32)
    assert careless.run(["sum"], {"features": ones})[0].tolist() == [[WIDTH] * 2]
    assert refused(made.SerializeToString()).reason is Refusal.UNREADABLE


def test_without_onnx_runtime_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r'pip install "batchinf-assets\[onnx\]"'):
        load_onnx(logistic(), FLOATS)


def test_onnx_runtime_leaves_nothing_in_the_home_folder(tmp_path):
    script = (
        "import sys\n"
        "from batchinf_assets.scoring.onnx_scorer import load_onnx\n"
        "from batchinf_assets.spec.contract import FeatureSpec\n"
        f"columns = {{name: FeatureSpec(type='float64') for name in {list(FLOATS)}}}\n"
        "print(load_onnx(sys.stdin.buffer.read(), columns).name)\n"
    )
    # With a variable CI it would report nothing, whatever we say.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=logistic(),
        capture_output=True,
        env=environment,
        check=True,
    )
    assert done.stdout.startswith(b"onnxruntime ")
    assert list(tmp_path.iterdir()) == []
