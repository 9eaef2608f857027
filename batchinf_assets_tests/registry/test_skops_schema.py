import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.archive import ArchiveLimits
from batchinf_assets.registry.inspection import REVIEWED_TYPES, inspect_skops

NUMBERS = np.column_stack([np.arange(40) % 5, np.arange(40.0)])
LABELS = np.arange(40) % 2 == 0
LINEAR = LogisticRegression().fit(NUMBERS, LABELS)
FOREST = RandomForestClassifier(n_estimators=3).fit(NUMBERS, LABELS)
BOOSTED = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(NUMBERS, LABELS)
CHECK_ARRAY = {"__module__": "sklearn.utils.validation", "__class__": "check_array"}


def json_part(value):
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(value),
        "is_json": True,
    }


def part(loader, class_, module="builtins", **more):
    return {"__class__": class_, "__module__": module, "__loader__": loader, **more}


def list_of(*parts):
    return part("ListNode", "list", content=list(parts))


def packed(schema, arrays=(), encoding="utf-8"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays:
            content = io.BytesIO()
            np.save(content, values)
            archive.writestr(name, content.getvalue())
        text = schema if isinstance(schema, str) else json.dumps({"protocol": 2, **schema})
        archive.writestr("schema.json", text.encode(encoding))
    return buffer.getvalue()


def edited(model, edit):
    """Change the schema of a model as `edit(schema)` does."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        schema = json.loads(archive.read("schema.json"))
        arrays = [
            (name, np.load(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
            if name.endswith(".npy")
        ]
    edit(schema)
    return packed(schema, arrays)


def careless(data):
    """Load as the list of reviewed types alone would allow."""
    return skops.io.loads(data, trusted=[*REVIEWED_TYPES])


def refused(data, reason, match, **bounds):
    with pytest.raises(ModelRefused, match=match) as caught:
        inspect_skops(data, limits=ArchiveLimits(**bounds))
    assert caught.value.reason is reason


def attributes(schema):
    return schema["content"]["content"]


def test_a_schema_that_is_only_written_anew_passes():
    assert inspect_skops(edited(FOREST, dict.copy)) == ("sklearn.tree._tree.Tree",)


def test_a_reviewed_function_that_would_be_called_on_load_is_refused():
    arguments = part("TupleNode", "tuple", content=[list_of(list_of(json_part(1.5)))])
    hostile = packed(
        {**CHECK_ARRAY, "__loader__": "ConstructorFromReduceNode"} | {"content": arguments}
    )
    assert careless(hostile).tolist() == [[1.5]]
    refused(hostile, Refusal.UNREVIEWED_TYPE, "ConstructorFromReduceNode instead of FunctionNode")


def test_a_function_that_would_be_called_with_the_keys_of_a_dictionary_is_refused():
    called = part("FunctionNode", "isfinite", "numpy")
    numbers = part(
        "PartialNode",
        "partial",
        "functools",
        content={
            "func": called,
            "args": part("TupleNode", "tuple", content=[json_part(1.0)]),
            "kwds": part("DictNode", "dict", key_types=list_of(), content={}),
            "namespace": json_part(None),
        },
    )
    hostile = packed(
        part("DictNode", "dict", key_types=list_of(numbers), content={"no array": json_part(1)})
    )
    with pytest.raises(TypeError, match="return arrays"):
        careless(hostile)
    refused(hostile, Refusal.UNREVIEWED_TYPE, "keys are no plain values")


def test_key_types_behind_the_id_of_another_part_are_refused():
    plain = list_of(part("TypeNode", "str")) | {"__id__": 7}
    other = list_of(part("FunctionNode", "isfinite", "numpy")) | {"__id__": 7}
    keyed = part("DictNode", "dict", key_types=plain, content={"name": json_part(1)})
    hostile = packed(list_of(other, keyed))
    with pytest.raises(TypeError, match="isfinite"):
        careless(hostile)
    refused(hostile, Refusal.UNREADABLE, "two different parts with the id 7")


def test_a_part_that_refers_to_an_earlier_one_is_refused():
    first = list_of(json_part(1)) | {"__id__": 7}
    again = part("CachedNode", "list") | {"__id__": 7}
    hostile = packed(list_of(first, again))
    assert careless(hostile) == [[1], [1]]
    refused(hostile, Refusal.UNREVIEWED_TYPE, "CachedNode")


def test_a_small_schema_cannot_unfold_into_an_exponential_audit():
    def level(number):
        inner = {"__id__": number + 1}
        full = level(number + 1) if number < 30 else list_of() | inner
        return list_of(full, list_of() | inner) | {"__id__": number}

    refused(packed(level(1)), Refusal.UNREADABLE, "two different parts with the id")


def test_a_part_inside_itself_is_refused():
    inside = list_of() | {"__id__": 7}
    refused(packed(list_of(inside) | {"__id__": 7}), Refusal.UNREADABLE, "id 7")


@pytest.mark.parametrize("id_", [0, -1, True, "7", [7], None, 1.0])
def test_an_id_that_is_no_number_is_refused(id_):
    refused(packed(list_of() | {"__id__": id_}), Refusal.UNREADABLE, "no positive number")


def test_one_array_read_over_and_over_is_counted_each_time():
    read = part("NdArrayNode", "ndarray", "numpy", type="numpy", file="1.npy")
    hostile = packed(list_of(*[read] * 100), [("1.npy", np.arange(1000.0))])
    assert len(careless(hostile)) == 100
    refused(hostile, Refusal.OVERSIZED_MEMBER, "812800 bytes of arrays", total_bytes=100_000)
    inspect_skops(hostile, limits=ArchiveLimits(total_bytes=812_800))


@pytest.mark.parametrize("file", ["2.npy", "schema.json", 1, ["1.npy"], "../1.npy"])
def test_a_part_that_names_no_array_of_the_archive_is_refused(file):
    read = part("NdArrayNode", "ndarray", "numpy", type="numpy", file=file)
    hostile = packed(read, [("1.npy", np.arange(3))])
    refused(hostile, Refusal.UNREADABLE, "which is no array in it")


def test_a_sparse_matrix_is_refused_though_skops_trusts_it():
    """scipy follows its indices unchecked."""
    sparse = LogisticRegression().fit(NUMBERS, LABELS).sparsify()
    refused(skops.io.dumps(sparse), Refusal.UNREADABLE, "neither its schema nor an array")
    read = part("SparseMatrixNode", "spmatrix", "scipy.sparse._matrix", type="scipy", file="1.npy")
    hostile = packed(read, [("1.npy", np.arange(3))])
    assert skops.io.get_untrusted_types(data=hostile) == []
    refused(hostile, Refusal.UNREVIEWED_TYPE, "SparseMatrixNode")


def test_a_plain_value_that_nests_is_refused():
    deep = part("JsonNode", "str", content="[" * 100_000, is_json=True)
    with pytest.raises(RecursionError):
        careless(packed(deep))
    refused(packed(deep), Refusal.UNREADABLE, "no plain value")


def test_a_deep_schema_is_refused_before_it_is_parsed():
    deep = packed('{"a":' * 129 + "1" + "}" * 129)
    refused(deep, Refusal.UNREADABLE, "deeper than 128")
    brackets_in_text = packed(json_part("[" * 1000) | {"__module__": '\\"[[[{{' * 100})
    inspect_skops(brackets_in_text)


def test_a_deep_schema_cannot_hide_in_another_encoding():
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    with pytest.raises(RecursionError):
        json.loads(deep.encode("utf-16-le"))
    refused(packed(deep, encoding="utf-16-le"), Refusal.UNREADABLE, "no JSON|UTF-8")


@pytest.mark.parametrize("text", ["", " ", "[]", "{}", '{"a"', '"' + '\\"' * 100_000, "1e999"])
def test_a_schema_that_is_no_object_is_refused(text):
    refused(packed(text), Refusal.UNREADABLE, "schema")


@pytest.mark.parametrize("key", ["__module__", "__class__", "__loader__"])
def test_a_part_whose_names_are_no_text_is_refused(key):
    hostile = packed(list_of(json_part(1) | {key: ["x"]}))
    refused(hostile, Refusal.UNREADABLE, "without module, class or loader")


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": True},
        {"protocol": 99},
        {"__loader__": "Surprise"},
        {"content": []},
        {"content": {}},
    ],
)
def test_what_skops_cannot_audit_is_refused(change):
    refused(edited(LINEAR, lambda schema: schema.update(change)), Refusal.UNREADABLE, "skops")


def test_an_attribute_of_a_type_that_was_not_reviewed_is_refused():
    hostile = part("FunctionNode", "system", "os")
    data = edited(LINEAR, lambda schema: attributes(schema).update(C=hostile))
    refused(data, Refusal.UNREVIEWED_TYPE, r"os\.system")


def test_a_function_inside_a_pipeline_must_be_reviewed():
    transformer = FunctionTransformer(json.loads).fit(NUMBERS)
    refused(skops.io.dumps(transformer), Refusal.UNREVIEWED_TYPE, r"json\.loads")


def test_a_column_may_be_called_file():
    model = HistGradientBoostingClassifier(max_iter=2).set_params(monotonic_cst={"file": 1})
    assert inspect_skops(skops.io.dumps(model)) == ()


def test_equal_parts_may_lie_in_different_files():
    state = np.random.RandomState(3)
    models = [RandomForestClassifier(random_state=state), LogisticRegression(random_state=state)]
    data = skops.io.dumps(models)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 3  # the schema, and the state twice
    assert inspect_skops(data) == ()


def test_the_types_that_skops_does_not_trust_are_told():
    assert inspect_skops(skops.io.dumps(BOOSTED)) == (
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    )
