import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from batchinf_assets.errors import ModelRefused, Refusal, UsageError
from batchinf_assets.registry.onnx_outline import OnnxValue, inspect_onnx, is_onnx

SECRET = b"0123456789abcdef"
INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])
OUTPUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
WEIGHTS = numpy_helper.from_array(np.ones((2, 2), np.float32), "weights")


def graph(*nodes, **more):
    multiply = helper.make_node("MatMul", ["x", "weights"], ["y"])
    described = {"initializer": [WEIGHTS], "inputs": [INPUT], "outputs": [OUTPUT], **more}
    return helper.make_graph([*nodes, multiply], "g", **described)


def model(*nodes, domains=("", "ai.onnx.ml"), functions=(), **more):
    opsets = [helper.make_opsetid(domain, 3 if domain else 21) for domain in domains]
    return helper.make_model(graph(*nodes, **more), opset_imports=opsets, functions=functions)


def external(name="outside"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def refused(proto, reason, match):
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    with pytest.raises(ModelRefused, match=match) as caught:
        inspect_onnx(data)
    assert caught.value.reason is reason
    assert str(caught.value).isprintable()


def test_the_outline_tells_inputs_outputs_and_operator_sets():
    outline = inspect_onnx(model().SerializeToString())
    assert outline.inputs == (OnnxValue(name="x", type="tensor(float)", shape=("rows", 2)),)
    assert outline.outputs == (OnnxValue(name="y", type="tensor(float)", shape=None),)
    assert outline.opsets == {"": 21, "ai.onnx.ml": 3}


def test_an_initializer_that_is_also_an_input_need_not_be_fed():
    listed = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [2, 2])
    outline = inspect_onnx(model(inputs=[INPUT, listed]).SerializeToString())
    assert [value.name for value in outline.inputs] == ["x"]


def test_types_are_written_as_onnx_runtime_writes_them():
    double = helper.make_tensor_type_proto(TensorProto.DOUBLE, [None])
    kinds = {
        "tensor(string)": helper.make_tensor_type_proto(TensorProto.STRING, []),
        "seq(map(int64,tensor(double)))": helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, double)
        ),
        "optional(tensor(double))": helper.make_optional_type_proto(double),
        "sparse_tensor(float)": helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [1]),
    }
    outputs = [helper.make_value_info(name, type_) for name, type_ in kinds.items()]
    found = inspect_onnx(model(outputs=outputs).SerializeToString()).outputs
    assert [value.type for value in found] == [value.name for value in found] == [*kinds]
    assert [value.shape for value in found] == [(), None, None, None]


def function_with(node):
    return helper.make_function("ai.onnx", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 21)])


def constant(tensor):
    return helper.make_node("Constant", [], ["c"], value=tensor)


def branch(tensor):
    inner = helper.make_graph([constant(tensor)], "inner", [], [OUTPUT])
    return helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)


def looped(tensor):
    body = helper.make_graph([branch(tensor)], "body", [], [OUTPUT])
    return helper.make_node("Loop", ["x"], ["z"], body=body)


def sparse(tensor):
    indices = numpy_helper.from_array(np.arange(4), "indices")
    return helper.make_sparse_tensor(tensor, indices, [9])


def trained(tensor):
    proto = model()
    proto.training_info.add().initialization.CopyFrom(
        helper.make_graph([constant(tensor)], "training", [], [])
    )
    return proto


PLACES = {
    "initializer": lambda tensor: model(initializer=[WEIGHTS, tensor]),
    "constant": lambda tensor: model(constant(tensor)),
    "list of tensors": lambda tensor: model(helper.make_node("F", [], ["c"], values=[tensor])),
    "branch": lambda tensor: model(branch(tensor)),
    "loop": lambda tensor: model(looped(tensor)),
    "function": lambda tensor: model(functions=[function_with(constant(tensor))]),
    "sparse initializer": lambda tensor: model(sparse_initializer=[sparse(tensor)]),
    "training": trained,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_refused_wherever_it_hides(place):
    inspect_onnx(PLACES[place](WEIGHTS).SerializeToString())
    refused(PLACES[place](external()), Refusal.EXTERNAL_DATA, "'outside' lies in 'secret.bin'")


def test_a_tensor_in_another_file_is_refused_and_that_file_is_never_read(tmp_path):
    (tmp_path / "secret.bin").write_bytes(SECRET)
    path = tmp_path / "model.onnx"
    path.write_bytes(PLACES["initializer"](external()).SerializeToString())
    loaded = onnx.load(path).graph.initializer[1].raw_data
    assert loaded == SECRET, "the secret was not read: this test would prove nothing"
    refused(path.read_bytes(), Refusal.EXTERNAL_DATA, "secret")


def test_a_path_without_the_mark_of_external_data_is_refused_too():
    tensor = external("un\x1b[2Jmarked")
    tensor.ClearField("data_location")
    refused(model(constant(tensor)), Refusal.EXTERNAL_DATA, "marked")


@pytest.mark.parametrize(
    "proto",
    [
        model(helper.make_node("Run", [], ["c"], domain="com.example")),
        model(functions=[function_with(helper.make_node("Run", [], ["b"], domain="com.example"))]),
        model(domains=("", "com.example")),
        model(functions=[helper.make_function("com.example", "F", [], [], [], [])]),
    ],
)
def test_an_operator_of_another_domain_is_refused(proto):
    refused(proto, Refusal.UNREVIEWED_TYPE, r"domain 'com\.example'")


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 50, b"not a model", model().SerializeToString()[:-3]]
)
def test_what_does_not_parse_is_refused(data):
    refused(data, Refusal.UNREADABLE, "no ONNX")


def field(number, content):
    length = len(content)
    return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7]) + content


def test_a_graph_that_nests_too_deep_is_refused():
    inner = b""
    for _ in range(60):
        inner = field(1, field(5, field(6, inner)))  # a node's attribute is a graph
    data = field(7, inner) + field(8, b"\x10\x15")
    assert is_onnx(data)
    refused(data, Refusal.UNREADABLE, "no ONNX: Error parsing")


def test_fields_that_onnx_does_not_know_are_refused():
    refused(model().SerializeToString() + b"\xfa\x07\x01a", Refusal.UNREADABLE, "does not know")


def test_a_model_without_operator_sets_is_refused():
    proto = model()
    proto.ClearField("opset_import")
    refused(proto, Refusal.UNREADABLE, "no operator set")


def test_a_file_beyond_the_limit_is_not_parsed():
    data = model().SerializeToString()
    with pytest.raises(ModelRefused, match="more than 10") as caught:
        inspect_onnx(data, max_bytes=10)
    assert caught.value.reason is Refusal.OVERSIZED_MEMBER


def test_a_missing_onnx_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install batchinf-assets\[onnx\]"):
        inspect_onnx(b"")


def test_the_layout_of_onnx_is_told_from_other_bytes():
    data = model().SerializeToString()
    assert is_onnx(data)
    assert is_onnx(trained(WEIGHTS).SerializeToString())
    for other in (
        b"",
        data[:-1],
        data + b"\x00",
        data + b"\x08",
        b"\x08\x07",
        b"\x3a\xff",
        b"\x3a",
    ):
        assert not is_onnx(other)
    assert not is_onnx(b"\x08\x01" * 200_000)
