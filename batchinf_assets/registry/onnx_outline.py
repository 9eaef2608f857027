"""What an ONNX file takes and gives, read without loading data or operators from elsewhere.

The messages are those of onnx.proto3 (ONNX 1.23, `onnx/onnx-ml.proto`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchinf_assets.errors import ModelRefused, Refusal, UsageError
from batchinf_assets.registry.archive import oversized, unreadable
from batchinf_assets.registry.untrusted_text import one_line

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MAX_BYTES = 512 * 2**20

_VARINT, _BYTES = 0, 2
_GRAPH = 7
# Field numbers of ModelProto with their wire types.
_MODEL_FIELDS = {
    **dict.fromkeys((1, 5), _VARINT),
    **dict.fromkeys((2, 3, 4, 6, _GRAPH, 8, 14, 20, 25, 26), _BYTES),
}
_MAX_FIELDS = 100_000
_MAX_VARINT = 10


@dataclass(frozen=True, kw_only=True)
class OnnxValue:
    """An input or output.

    Attributes:
        name: As the graph names it.
        type: As ONNX Runtime writes it: `tensor(float)`, `seq(map(int64,tensor(float)))`.
        shape: A number or a symbol per axis, None where unknown; None as a whole where the rank is
            unknown or the value is no tensor.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class OnnxOutline:
    """What an ONNX file takes, gives and needs.

    Attributes:
        inputs: What must be fed; initializers are not among them.
        outputs: What the graph returns.
        opsets: Version by operator domain.
    """

    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    opsets: Mapping[str, int]


def is_onnx(data: bytes) -> bool:
    """Tell whether bytes are laid out as an ONNX model: known fields to the end, one a graph."""
    found: set[int] = set()
    position = 0
    for _ in range(_MAX_FIELDS):
        if position == len(data):
            return _GRAPH in found
        tag, position = _varint(data, position)
        field, wire = tag >> 3, tag & 7
        if _MODEL_FIELDS.get(field) != wire:
            return False
        found.add(field)
        value, position = _varint(data, position)
        position += value if wire == _BYTES else 0
        if position > len(data):
            return False
    return False


def inspect_onnx(data: bytes, *, max_bytes: int = MAX_BYTES) -> OnnxOutline:
    """Parse an ONNX file and return its outline.

    Raises:
        ModelRefused: OVERSIZED_MEMBER, UNREADABLE, EXTERNAL_DATA (a tensor anywhere in the file
            names another file), or UNREVIEWED_TYPE (an operator outside the standard domains,
            which a runtime would take from a library).
        UsageError: The package `onnx` is not installed.
    """
    if len(data) > max_bytes:
        raise oversized(f"has {len(data)} bytes, more than {max_bytes}")
    onnx = _onnx()
    model = _parsed(onnx, data)
    for message in _messages(model):
        _check_message(onnx, message)
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    return OnnxOutline(
        inputs=tuple(_value(onnx, value) for value in inputs),
        outputs=tuple(_value(onnx, value) for value in model.graph.output),
        opsets={entry.domain: entry.version for entry in model.opset_import},
    )


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise UsageError(
            "Models in ONNX need the package 'onnx', which is not installed.",
            next_step="Run `pip install batchinf-assets[onnx]`.",
        ) from error
    return onnx


def _parsed(onnx: Any, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise unreadable(f"is no ONNX: {one_line(str(error))}") from error
    if not model.HasField("graph") or not model.opset_import:
        raise unreadable("is no ONNX: it has no graph or no operator set")
    return model


def _messages(message: Any) -> Iterator[Any]:
    """Yield a message and all in it: tensors hide in attributes, sub-graphs, functions, training.

    protobuf bounds the depth at 100 while it parses.
    """
    pending = [message]
    while pending:
        found = pending.pop()
        yield found
        for field, value in found.ListFields():
            if field.message_type is not None:
                pending.extend([value] if hasattr(value, "ListFields") else value)


def _check_message(onnx: Any, message: Any) -> None:
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        raise unreadable(f"has fields that ONNX {onnx.__version__} does not know")
    if isinstance(message, onnx.TensorProto):
        _require_own_data(onnx, message)
    if isinstance(message, onnx.NodeProto | onnx.FunctionProto | onnx.OperatorSetIdProto):
        _require_standard(message)


def _require_own_data(onnx: Any, tensor: Any) -> None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
        return
    places = [entry.value for entry in tensor.external_data if entry.key == "location"]
    where = f"'{one_line(places[0])}'" if places else "another file"
    raise ModelRefused(
        f"The model file's tensor '{one_line(tensor.name)}' lies in {where}, outside the file.",
        reason=Refusal.EXTERNAL_DATA,
        next_step="Save the model with its data inside: `onnx.save(model, path, "
        "save_as_external_data=False)`.",
    )


def _require_standard(message: Any) -> None:
    if message.domain in DOMAINS:
        return
    operator = getattr(message, "op_type", "") or getattr(message, "name", "")
    what = f"operator '{one_line(operator)}' of" if operator else "operators of"
    raise ModelRefused(
        f"The model file uses {what} the domain '{one_line(message.domain)}', which was not "
        "reviewed.",
        reason=Refusal.UNREVIEWED_TYPE,
        next_step="Export the model with the operators of ai.onnx and ai.onnx.ml only.",
    )


def _value(onnx: Any, value: Any) -> OnnxValue:
    tensor = value.type.tensor_type
    has_shape = value.type.HasField("tensor_type") and tensor.HasField("shape")
    return OnnxValue(
        name=value.name,
        type=_type(onnx, value.type),
        shape=tuple(_axis(axis) for axis in tensor.shape.dim) if has_shape else None,
    )


def _axis(axis: Any) -> int | str | None:
    kind = axis.WhichOneof("value")
    return None if kind is None else getattr(axis, kind)


def _type(onnx: Any, type_: Any) -> str:
    kind = type_.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        element = _element(onnx, getattr(type_, kind).elem_type)
        return f"{kind.removesuffix('_type')}({element})"
    if kind == "sequence_type":
        return f"seq({_type(onnx, type_.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({_type(onnx, type_.optional_type.elem_type)})"
    if kind == "map_type":
        key = _element(onnx, type_.map_type.key_type)
        return f"map({key},{_type(onnx, type_.map_type.value_type)})"
    raise unreadable("has an input or output without a type")


def _element(onnx: Any, number: int) -> str:
    names = {value: name for name, value in onnx.TensorProto.DataType.items()}
    return names.get(number, "undefined").lower()


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a base-128 number; where there is none, its end lies beyond the data."""
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    return 0, len(data) + 1
