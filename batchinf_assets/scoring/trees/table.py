"""A `TreeEnsemble` as an Arrow table: one row per node, so that an auditor can query it in SQL.

What is not of a node stands as JSON in the schema's metadata under `tree_ensemble`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.trees.ensemble import (
    BITSET_WORDS,
    LEAF,
    MAX_NODES,
    Combine,
    Link,
    Precision,
    TreeEnsemble,
    category_bitset,
    category_codes,
)

METADATA_KEY = b"tree_ensemble"
SCHEMA = pa.schema(
    [
        pa.field("tree", pa.int32(), nullable=False),
        pa.field("node", pa.int32(), nullable=False),
        pa.field("column", pa.int32()),
        pa.field("threshold", pa.float64()),
        pa.field("left", pa.int32()),
        pa.field("right", pa.int32()),
        pa.field("missing_left", pa.bool_()),
        pa.field("categories", pa.list_(pa.int32())),
        pa.field("value", pa.list_(pa.float64())),
    ]
)


class TreeHeader(BaseModel):
    """What the metadata says; the names are those of `TreeEnsemble`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: Literal[1] = 1
    columns: int
    outputs: int
    baseline: list[FiniteFloat] = Field(min_length=1)
    combine: Combine
    link: Link
    precision: Precision
    allows_nan: bool
    allows_infinite: bool
    classifier: bool
    tree_output: list[int] = Field(min_length=1)
    known_categories: dict[str, list[int]]


def ensemble_to_table(ensemble: TreeEnsemble) -> pa.Table:
    """Return one row per node: leaves have a value, splits the rest; null where none applies."""
    leaf = ensemble.is_leaf
    categorical = ensemble.category_set >= 0
    sizes = np.diff(ensemble.roots)
    nodes = np.arange(len(leaf)) - np.repeat(ensemble.roots[:-1], sizes)
    sets = [category_codes(bitset) for bitset in ensemble.left_categories]
    columns = [
        pa.array(np.repeat(np.arange(ensemble.trees), sizes), pa.int32()),
        pa.array(nodes, pa.int32()),
        pa.array(ensemble.column, mask=leaf),
        pa.array(ensemble.threshold, mask=leaf | categorical),
        pa.array(ensemble.left, mask=leaf),
        pa.array(ensemble.right, mask=leaf),
        pa.array(ensemble.missing_left, mask=leaf),
        pa.array(
            [sets[row] if row >= 0 else None for row in ensemble.category_set.tolist()],
            pa.list_(pa.int32()),
        ),
        _values(ensemble),
    ]
    metadata = {METADATA_KEY: _header(ensemble).model_dump_json().encode()}
    return pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(metadata))


def ensemble_from_table(table: pa.Table) -> TreeEnsemble:
    """Read what `ensemble_to_table` made, trusting nothing in it.

    Raises:
        ModelRefused: The table has other columns, nulls in the wrong place, or unsound trees.
    """
    header = _read_header(table)
    nodes = table.combine_chunks()
    tree, node = _ints(nodes, "tree"), _ints(nodes, "node")
    roots = _roots(tree, node, len(header.tree_output))
    leaf = nodes.column("column").is_null().to_numpy()
    categorical = nodes.column("categories").is_valid().to_numpy()
    _require_nulls(nodes, leaf, categorical)
    category_set = np.full(len(leaf), LEAF, dtype=np.int32)
    category_set[categorical] = np.arange(categorical.sum())
    return TreeEnsemble(
        roots=roots,
        tree_output=_int32("tree_output", header.tree_output),
        column=_ints(nodes, "column"),
        threshold=_filled(nodes, "threshold", 0.0).astype(np.float64),
        left=_ints(nodes, "left"),
        right=_ints(nodes, "right"),
        missing_left=_filled(nodes, "missing_left", False).astype(np.bool_),  # noqa: FBT003
        category_set=category_set,
        left_categories=_bitsets(nodes.column("categories")),
        known_categories=_known(header),
        value=_leaf_values(nodes.column("value"), leaf),
        columns=header.columns,
        outputs=header.outputs,
        baseline=np.array(header.baseline, dtype=np.float64),
        combine=header.combine,
        link=header.link,
        precision=header.precision,
        allows_nan=header.allows_nan,
        allows_infinite=header.allows_infinite,
        classifier=header.classifier,
    )


def _header(ensemble: TreeEnsemble) -> TreeHeader:
    return TreeHeader(
        columns=ensemble.columns,
        outputs=ensemble.outputs,
        baseline=ensemble.baseline.tolist(),
        combine=ensemble.combine,
        link=ensemble.link,
        precision=ensemble.precision,
        allows_nan=ensemble.allows_nan,
        allows_infinite=ensemble.allows_infinite,
        classifier=ensemble.classifier,
        tree_output=ensemble.tree_output.tolist(),
        known_categories={
            str(column): list(codes) for column, codes in ensemble.known_categories.items()
        },
    )


def _values(ensemble: TreeEnsemble) -> pa.ListArray:
    width = ensemble.value.shape[1]
    lengths = np.where(ensemble.is_leaf, width, 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = pa.array(ensemble.value[ensemble.is_leaf].ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~ensemble.is_leaf))


def _read_header(table: pa.Table) -> TreeHeader:
    if not table.schema.equals(SCHEMA) or not 0 < table.num_rows <= MAX_NODES:
        raise _refused(f"has {table.num_rows} rows and columns {table.schema.names}")
    for name in ("tree", "node"):
        if table.column(name).null_count:
            raise _refused(f"has nulls in column '{name}'")
    try:
        return TreeHeader.model_validate_json((table.schema.metadata or {}).get(METADATA_KEY, b""))
    except ValidationError as error:
        problem = error.errors()[0]
        raise _refused(f"has wrong metadata: {problem['loc']}: {problem['msg']}") from error


def _roots(tree: Any, node: Any, trees: int) -> Any:
    first = np.flatnonzero(node == 0)
    roots = np.append(first, len(node)).astype(np.int64)
    sizes = np.diff(roots, prepend=0)  # rows before the first root count as a tree of their own
    starts = np.repeat(np.concatenate([[0], first]), sizes)
    numbers = np.repeat(np.arange(-1, len(first)), sizes)
    listed = len(first) == trees and (tree == numbers).all()
    if not listed or (node != np.arange(len(node)) - starts).any():
        raise _refused(f"does not list {trees} trees one after the other, node by node from 0")
    return roots


def _require_nulls(nodes: pa.Table, leaf: Any, categorical: Any) -> None:
    """Require a value for leaves, for splits the rest, and either a threshold or categories."""
    expected = {
        "left": ~leaf,
        "right": ~leaf,
        "missing_left": ~leaf,
        "threshold": ~leaf & ~categorical,
        "value": leaf,
    }
    for name, present in expected.items():
        if (nodes.column(name).is_valid().to_numpy() != present).any():
            raise _refused(f"has nulls in the wrong place in column '{name}'")
    if (categorical & leaf).any():
        raise _refused("has categories at a leaf")


def _filled(nodes: pa.Table, name: str, value: Any) -> Any:
    return nodes.column(name).fill_null(value).to_numpy()


def _ints(nodes: pa.Table, name: str) -> Any:
    found = _filled(nodes, name, LEAF).astype(np.int32)
    if ((found < 0) & nodes.column(name).is_valid().to_numpy()).any():
        raise _refused(f"has a negative number in column '{name}'")
    return found


def _int32(name: str, numbers: list[int]) -> Any:
    if any(not 0 <= number < 2**31 for number in numbers):
        raise _refused(f"has a number in {name} that is no index")
    return np.array(numbers, dtype=np.int32)


def _bitsets(categories: pa.ChunkedArray) -> Any:
    lists = categories.drop_null()
    codes = pc.list_flatten(lists)
    if codes.null_count or (len(codes) and not _are_codes(codes.to_numpy())):
        raise _refused("has a category that is no code from 0 to 255")
    bitsets = [category_bitset(listed) for listed in lists.to_pylist()]
    return np.array(bitsets, dtype=np.uint32).reshape(-1, BITSET_WORDS)


def _are_codes(codes: Any) -> bool:
    return bool(codes.min() >= 0 and codes.max() <= 255)


def _known(header: TreeHeader) -> dict[int, tuple[int, ...]]:
    if not all(name.isascii() and name.isdecimal() for name in header.known_categories):
        raise _refused("has known categories of a column that is no number")
    return {int(name): tuple(codes) for name, codes in header.known_categories.items()}


def _leaf_values(values: pa.ChunkedArray, leaf: Any) -> Any:
    lengths = np.unique(pc.list_value_length(values.drop_null()).to_numpy())
    flat = pc.list_flatten(values)
    if len(lengths) != 1 or lengths[0] == 0 or flat.null_count:
        raise _refused("has leaves with different numbers of values")
    found = np.zeros((len(leaf), int(lengths[0])))
    found[leaf] = flat.to_numpy().reshape(-1, int(lengths[0]))
    return found


def _refused(reason: str) -> ModelRefused:
    return ModelRefused(
        f"The table of trees {reason}.",
        reason=Refusal.UNREADABLE,
        next_step="Restore the artifact from a backup, or register the model again.",
    )
