"""Where the nodes of an ensemble stand: levels, leaf numbers from left to right, depths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batchinf_assets.scoring.trees.ensemble import TreeEnsemble

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the kernels' plans need to know of the shape of the trees.

    Attributes:
        tree: int64, shape (nodes,): the tree of each node.
        left: int64, shape (nodes,): the left child, counted from the first node of all; -1 for a
            leaf.
        right: The same for the right child.
        first_leaf: int64, shape (nodes,): the leftmost leaf below a node, counted in its tree.
        leaf_count: int64, shape (nodes,): leaves below a node, itself if it is one.
        by_level: int64, shape (nodes,): the nodes of each tree, level by level, siblings adjacent.
        depth: int64, shape (trees,): splits on the longest path.
    """

    tree: Int64s
    left: Int64s
    right: Int64s
    first_leaf: Int64s
    leaf_count: Int64s
    by_level: Int64s
    depth: Int64s


def lay_out(ensemble: TreeEnsemble) -> Layout:
    """Walk all trees at once, level by level."""
    sizes = np.diff(ensemble.roots)
    tree = np.repeat(np.arange(ensemble.trees), sizes)
    root = np.repeat(ensemble.roots[:-1], sizes)
    left = np.where(ensemble.is_leaf, -1, ensemble.left + root)
    right = np.where(ensemble.is_leaf, -1, ensemble.right + root)
    levels = _levels(ensemble.roots[:-1], left, right)
    depth = np.zeros(ensemble.trees, dtype=np.int64)
    for number, level in enumerate(levels):
        depth[tree[level]] = number
    count = _leaf_counts(levels, left, right)
    order = np.concatenate(levels)
    return Layout(
        tree=tree,
        left=left,
        right=right,
        first_leaf=_first_leaves(levels, left, right, count),
        leaf_count=count,
        by_level=order[np.argsort(tree[order], kind="stable")],
        depth=depth,
    )


def _levels(roots: Int64s, left: Int64s, right: Int64s) -> list[Int64s]:
    levels = [roots]
    while True:
        split = levels[-1][left[levels[-1]] >= 0]
        if not len(split):
            return levels
        levels.append(np.stack([left[split], right[split]], axis=1).ravel())


def _leaf_counts(levels: list[Int64s], left: Int64s, right: Int64s) -> Int64s:
    count = np.ones(len(left), dtype=np.int64)
    for level in reversed(levels):
        split = level[left[level] >= 0]
        count[split] = count[left[split]] + count[right[split]]
    return count


def _first_leaves(levels: list[Int64s], left: Int64s, right: Int64s, count: Int64s) -> Int64s:
    first = np.zeros(len(left), dtype=np.int64)
    for level in levels:
        split = level[left[level] >= 0]
        first[left[split]] = first[split]
        first[right[split]] = first[split] + count[left[split]]
    return first
