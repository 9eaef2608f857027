"""What a skops file's `schema.json` may say, before skops follows it.

skops decides by names whether a part is trusted. Names alone are not enough: a trusted type under
another loader is called with arguments that the file chose, an id that is used twice hides one
part behind another, and a part that is repeated makes the audit exponential. So every part has the
loader that was reviewed for its type, and an id always stands for the same content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.archive import Archive, ArchiveLimits, oversized, unreadable
from batchinf_assets.registry.untrusted_text import one_line

_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_SCALAR = re.compile(r"\s*+[^\[{\s]")
_KEY_TYPES = frozenset({"str", "int", "float", "bool"})

# skops trusts these by default; the C code behind them follows indices of the file unchecked.
_UNCHECKED_LOADERS = frozenset({"SparseMatrixNode", "QuantileForestNode", "CachedNode"})
_UNCHECKED_TYPES = frozenset(
    f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")
)


def check_schema(archive: Archive, *, loaders: Mapping[str, str], limits: ArchiveLimits) -> None:
    """Check all parts of the schema.

    Args:
        archive: A skops file's archive.
        loaders: For each reviewed type the one loader that may build it.
        limits: Depth of the schema, and bytes that its parts may read together.

    Raises:
        ModelRefused: UNREADABLE, OVERSIZED_MEMBER or UNREVIEWED_TYPE.
    """
    schema = _parsed(archive.schema, limits)
    parts = [part for part in _objects(schema) if "__loader__" in part]
    for part in parts:
        _check_part(part, archive, loaders)
    _require_same_content_per_id(schema, archive)
    read = sum(archive.sizes[file] for file in _files_read(parts))
    if read > limits.total_bytes:
        raise oversized(f"reads {read} bytes of arrays, more than {limits.total_bytes}")


def _parsed(data: bytes, limits: ArchiveLimits) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
        if json.detect_encoding(data) != "utf-8" or _depth(text) > limits.depth:
            raise unreadable(f"has a schema that nests deeper than {limits.depth}, or is not UTF-8")
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"has a schema that is no JSON: {one_line(str(error))}") from error
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise unreadable("has a schema that describes no object")
    return schema


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        mark = match.group()
        if mark in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif mark in ("]", "}"):
            depth -= 1
    return deepest


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield found
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


def _check_part(part: dict[str, Any], archive: Archive, loaders: Mapping[str, str]) -> None:
    names = [part.get(key) for key in ("__module__", "__class__", "__loader__")]
    module, class_, loader = names
    if not all(isinstance(name, str) for name in names):
        raise unreadable("has a part without module, class or loader in its schema")
    type_ = f"{module}.{class_}"
    if loader in _UNCHECKED_LOADERS or type_ in _UNCHECKED_TYPES:
        raise unreviewed([f"{type_} ({loader})"])
    if loaders.get(type_, loader) != loader:
        raise unreviewed([f"{type_} ({loader} instead of {loaders[type_]})"])
    if loader == "JsonNode":
        _require_scalar(part)
    if loader == "DictNode":
        _require_plain_keys(part)
    if "file" in part and not (loader == "NdArrayNode" and _is_array(part["file"], archive)):
        raise unreadable(f"names '{one_line(str(part['file']))}', which is no array in it")


def _is_array(file: Any, archive: Archive) -> bool:
    return isinstance(file, str) and file.endswith(".npy") and file in archive.sizes


def _require_scalar(part: dict[str, Any]) -> None:
    content = part.get("content")
    if not isinstance(content, str) or not _SCALAR.match(content):
        raise unreadable("has a part in its schema that is no plain value")


def _require_plain_keys(part: dict[str, Any]) -> None:
    """Skops calls the key types with the keys, so they may only be Python's plain types."""
    key_types = part.get("key_types")
    kinds = key_types.get("content") if isinstance(key_types, dict) else None
    if not isinstance(kinds, list) or not all(_is_key_type(kind) for kind in kinds):
        raise unreviewed(["a dictionary whose keys are no plain values"])


def _is_key_type(kind: Any) -> bool:
    if not isinstance(kind, dict) or kind.get("__loader__") != "TypeNode":
        return False
    module, class_ = kind.get("__module__"), kind.get("__class__")
    return (module == "builtins" and class_ in _KEY_TYPES) or module == "numpy"


def _require_same_content_per_id(schema: dict[str, Any], archive: Archive) -> None:
    """Number all content, equal content alike, and compare the numbers of each id."""
    numbers: dict[Any, int] = {}
    known: dict[int, int] = {}

    def content_of(name: str, value: Any) -> int | bytes:
        # skops writes an array anew, under another name, each time an object hands it out.
        is_file = name == "file" and isinstance(value, str)
        return archive.digests.get(value, b"") if is_file else number(value)

    def number(value: Any) -> int:
        if isinstance(value, dict):
            rest = (item for item in value.items() if item[0] != "__id__")
            key: Any = ("{", *((name, content_of(name, content)) for name, content in rest))
        elif isinstance(value, list):
            key = ("[", *map(number, value))
        else:
            key = (type(value), repr(value))
        content = numbers.setdefault(key, len(numbers))
        if isinstance(value, dict) and "__id__" in value:
            _require_known(value["__id__"], content, known)
        return content

    number(schema)


def _require_known(id_: Any, content: int, known: dict[int, int]) -> None:
    if type(id_) is not int or id_ < 1:
        raise unreadable("has a part in its schema whose id is no positive number")
    if known.setdefault(id_, content) != content:
        raise unreadable(f"has two different parts with the id {id_} in its schema")


def _files_read(parts: list[dict[str, Any]]) -> Iterator[str]:
    """Yield each member as often as skops reads it: once per id, and each time without one."""
    seen: set[int] = set()
    for part in parts:
        if "file" in part and part.get("__id__") not in seen:
            yield part["file"]
            seen |= {part["__id__"]} if "__id__" in part else set()


def unreviewed(types: list[str]) -> ModelRefused:
    """Return the refusal of types outside the reviewed list."""
    return ModelRefused(
        f"The model file holds types that were not reviewed: "
        f"{', '.join(one_line(name) for name in types[:10])}.",
        reason=Refusal.UNREVIEWED_TYPE,
        next_step="Train without them, or review them and add them to REVIEWED_TYPES in "
        "batchinf_assets/registry/inspection.py.",
    )
