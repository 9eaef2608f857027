"""Count rows by bin of a model's reference profile at the speed of scoring.

What the bins are, is in `registry.profile`. Its own counting passes over the rows once per edge and
makes an array each time; here compiled code keeps a block of rows in the core's cache meanwhile,
which takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.registry.profile import NumericBins, Profile, Values
from batchinf_assets.scoring.trees.compiled import kernel

BLOCK = 8_192
"""Rows that fit into the first cache of a core, as float32."""


def observe(profile: Profile, columns: Mapping[str, Values]) -> dict[str, npt.NDArray[np.int64]]:
    """Count rows by bin number, for every subject of the profile that has a column."""
    return {
        name: _observe(reference, columns[name])
        if isinstance(reference, NumericBins)
        else reference.observe(columns[name])
        for name, reference in profile.subjects.items()
        if name in columns
    }


def _observe(reference: NumericBins, values: Values) -> npt.NDArray[np.int64]:
    if values.null_count or values.type not in (pa.float32(), pa.float64()):
        return reference.observe(values)
    numbers = np.asarray(values.to_numpy(zero_copy_only=False))
    edges = reference.comparable_edges(numbers.dtype)
    at_most, missing = np.zeros(len(edges), dtype=np.int64), np.zeros(1, dtype=np.int64)
    _count(numbers, edges, at_most, missing)
    present = len(numbers) - int(missing[0])
    return np.diff(np.concatenate([[0], at_most, [present, len(numbers)]]))


# Counters of 32 bits: with Python's 64 the compiler does not vectorise the loops over rows.
@kernel
def _count(numbers, edges, at_most, missing):  # pyright: ignore
    for start in range(0, len(numbers), BLOCK):
        block = numbers[start : min(start + BLOCK, len(numbers))]
        for place in range(len(edges)):
            edge = edges[place]
            below = np.int32(0)
            for row in range(len(block)):
                below = np.int32(below + np.int32(block[row] <= edge))
            at_most[place] += below
        gaps = np.int32(0)
        for row in range(len(block)):
            gaps = np.int32(gaps + np.int32(block[row] != block[row]))  # NaN
        missing[0] += gaps
