"""Look at the bytes of a model file before a parser sees them that could execute or explode.

What a zip archive, a skops schema and an ONNX file may hold is in `registry.archive`,
`registry.skops_schema` and `registry.onnx_outline`. Files that nobody signed yet are inspected
inside `registry.sandbox`, where a parser that breaks all the same breaks alone.
"""

from __future__ import annotations

import io
import pickletools
import struct
import warnings
import zlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.archive import (
    HEADER_BYTES,
    SCHEMA,
    STORE_AGAIN,
    ArchiveLimits,
    array_holds_objects,
    oversized,
    read_archive,
    unreadable,
)
from batchinf_assets.registry.onnx_outline import OnnxOutline, OnnxValue, inspect_onnx, is_onnx
from batchinf_assets.registry.skops_schema import check_schema, unreviewed
from batchinf_assets.registry.untrusted_text import one_line

__all__ = [
    "REVIEWED_TYPES",
    "ArchiveLimits",
    "ModelFormat",
    "OnnxOutline",
    "OnnxValue",
    "inspect_onnx",
    "inspect_skops",
    "recognize",
]

ModelFormat = Literal["skops", "onnx"]

# Types beyond those that skops trusts by itself, and why loading each is safe. Adding one is a
# review: can loading it, or predicting with it, run code or touch memory that the file chooses?
REVIEWED_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "functools.partial": "HistGradientBoosting with categories holds partial(check_array). "
        "Built only by PartialNode, it calls nothing on load; on predict it calls functions that "
        "are reviewed here, or ufuncs.",
        "numpy.dtype": "Imputers and binners keep the type that they learned. Built only by "
        "DTypeNode from the header of an empty array without objects.",
        "sklearn.utils.validation.check_array": "The function inside that partial. It converts "
        "and checks an array; it imports and calls nothing that its arguments name.",
        "sklearn._loss.loss.HalfTweedieLossIdentity": "The loss of TweedieRegressor: Python "
        "attributes and a compiled loss that skops trusts; predicting applies the link only.",
        "sklearn.compose._column_transformer.make_column_selector": "How a pipeline chose its "
        "columns: three attributes, used when fitting and not when predicting.",
        "numpy.number": "A type that column selectors compare with; abstract.",
        "sklearn.tree._tree.Tree": "Forests, GradientBoosting and single trees. Loading checks "
        "types and shapes of the arrays but no index, and predicting follows them unchecked: a "
        "crafted file can loop, or read and (GradientBoosting) write outside its arrays. So it is "
        "predicted with in the sandbox first, and nowhere before `soundness` checked its indices.",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": "HistGradientBoosting. "
        "Loading sets three arrays; predicting follows their indices unchecked, and a crafted "
        "file can loop or read outside its arrays. The same conditions as for Tree.",
    }
)

# skops calls trusted names in several ways; only the way that was reviewed may be used.
_LOADERS: Mapping[str, str] = MappingProxyType(
    {
        "functools.partial": "PartialNode",
        "numpy.dtype": "DTypeNode",
        "sklearn.utils.validation.check_array": "FunctionNode",
        "sklearn._loss.loss.HalfTweedieLossIdentity": "ObjectNode",
        "sklearn.compose._column_transformer.make_column_selector": "ObjectNode",
        "numpy.number": "TypeNode",
        "sklearn.tree._tree.Tree": "TreeNode",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": "ObjectNode",
    }
)

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"ZF0x": "joblib's old zlib",
}
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".p", ".dill", ".cloudpickle")
_NEWEST_PROTOCOL = 8  # beyond today's 5, still refused by name
_OPCODES_THAT_CONVINCE = 200
_HEAD = 64


def recognize(source: Path | bytes, *, limits: ArchiveLimits | None = None) -> ModelFormat:
    """Tell the format of a model from its content; its name says nothing.

    Args:
        source: The file, or its bytes.
        limits: What the file may hold.

    Raises:
        ModelRefused: PICKLE for pickles of every protocol, for what joblib compresses, and for
            archives and arrays that hold pickles; OVERSIZED_MEMBER; else UNREADABLE.
        OSError: The file cannot be read.
    """
    data = _read(source, limits or ArchiveLimits())
    kind = _pickle_kind(data)
    if kind is not None:
        raise _pickled(kind)
    if data.startswith(b"PK\x03\x04"):
        return _recognize_archive(data, limits or ArchiveLimits())
    if data.startswith(b"\x93NUMPY"):
        if array_holds_objects(data[:HEADER_BYTES], "the array"):
            raise _pickled("an array of Python objects, which are a pickle")
        raise unreadable("is an array and no model")
    if is_onnx(data):
        return "onnx"
    if _is_text_pickle(data):
        raise _pickled("a pickle")
    raise unreadable("is neither skops nor ONNX")


def inspect_skops(data: bytes, *, limits: ArchiveLimits | None = None) -> tuple[str, ...]:
    """Inspect a skops file and return the types in it that skops does not trust by itself, sorted.

    Nothing of the model is built. The archive is checked first, then its schema, and only then
    skops audits it.

    Raises:
        ModelRefused: PICKLE, OVERSIZED_MEMBER, UNREVIEWED_TYPE or UNREADABLE.
    """
    bounds = limits or ArchiveLimits()
    if recognize(data, limits=bounds) != "skops":
        raise unreadable("is ONNX and not skops")
    check_schema(read_archive(data, bounds), loaders=_LOADERS, limits=bounds)
    types = _audited(data)
    unknown = [name for name in types if name not in REVIEWED_TYPES]
    if unknown:
        raise unreviewed(unknown)
    return tuple(types)


def _audited(data: bytes) -> list[str]:
    import skops.io  # takes half a second

    try:
        return skops.io.get_untrusted_types(data=data)
    except (
        ArithmeticError,
        AttributeError,
        BadZipFile,
        ImportError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise unreadable(f"cannot be audited by skops: {one_line(str(error))}") from error


def _read(source: Path | bytes, limits: ArchiveLimits) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        with source.open("rb") as file:
            data = file.read(limits.archive_bytes + 1)
    if len(data) > limits.archive_bytes:
        raise oversized(f"has more than {limits.archive_bytes} bytes")
    return data


def _pickle_kind(head: bytes) -> str | None:
    """Say what a file that starts so is, where it is a pickle or a compressed one."""
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= _NEWEST_PROTOCOL:
        return f"a pickle of protocol {head[1]}"
    zlib_header = len(head) > 1 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
    if zlib_header:
        return "compressed by zlib, as joblib compresses its pickles"
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            return f"compressed by {name}, as joblib compresses its pickles"
    return None


def _is_text_pickle(data: bytes) -> bool:
    """Tell pickles of protocols 0 and 1, which have no header, by reading their instructions."""
    count, last = 0, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in what may be no pickle
            for opcode, _, _ in islice(pickletools.genops(data), _OPCODES_THAT_CONVINCE):
                count, last = count + 1, opcode.name
    except (ValueError, IndexError, OverflowError, struct.error):
        return False
    return last == "STOP" or count == _OPCODES_THAT_CONVINCE


def _recognize_archive(data: bytes, limits: ArchiveLimits) -> ModelFormat:
    # Each entry of the directory has this mark: bounded before the parser allocates for them.
    if data.count(b"PK\x01\x02") > 2 * limits.members:
        raise oversized(f"has more than {limits.members} members")
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            for entry in entries:
                _require_no_pickle(archive, entry)
    except (BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise unreadable(f"is a broken zip archive: {one_line(str(error))}") from error
    except (zlib.error, struct.error) as error:
        raise unreadable(f"is a broken zip archive: {one_line(str(error))}") from error
    if SCHEMA not in [entry.filename for entry in entries]:
        raise unreadable(f"is a zip archive without {SCHEMA}")
    return "skops"


def _require_no_pickle(archive: ZipFile, entry: ZipInfo) -> None:
    name = entry.filename
    if name.lower().endswith(_PICKLE_SUFFIXES):
        raise _pickled(f"a zip archive with the pickle '{one_line(name)}'")
    if name == SCHEMA or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return
    is_array = name.endswith(".npy")
    with archive.open(entry) as member:
        head = member.read(HEADER_BYTES if is_array else _HEAD)
    objects = is_array and array_holds_objects(head, name)
    kind = "an array of Python objects" if objects else _pickle_kind(head)
    if kind is not None:
        raise _pickled(f"a zip archive whose member '{one_line(name)}' is {kind}")


def _pickled(what: str) -> ModelRefused:
    return ModelRefused(
        f"The model file is {what}; loading one runs the code that it names.",
        reason=Refusal.PICKLE,
        next_step=STORE_AGAIN,
    )
