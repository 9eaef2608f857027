"""Count rows by bin of a model's reference profile at the speed of scoring.

What the bins are, is in `registry.bins`, whose own counting passes over the rows once per edge and
makes an array each time; the compiled count of numbers is in `scoring.at_most`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from batchinf_assets.registry.bins import NumericBins, Values, comparable_numbers
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.at_most import at_most_counts


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
    numbers = comparable_numbers(values)
    at_most = at_most_counts(
        np.ascontiguousarray(numbers), reference.comparable_edges(numbers.dtype)
    )
    return np.diff(np.concatenate([[0], at_most, [len(numbers)]]))
