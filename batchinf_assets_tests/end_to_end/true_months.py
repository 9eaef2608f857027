"""What the months of a published year are, counted anew from rows by other means than the report's.

Rows are those of the features and predictions that were published, and the outcomes that landed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.stats import chi2_contingency, f

from batchinf_assets.evaluation.drift.distances import PROPORTION_FLOOR
from batchinf_assets.features.build import features_table
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.project import Project
from batchinf_assets.registry.bins import Binned, CategoryCounts
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.evaluation import DriftSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Floats = np.ndarray
SCORE = "delay_probability"
COLUMNS = 8
"""That are judged together: seven features and the score."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far a column moved in a month.

    Attributes:
        psi: Population stability index.
        shift: Wasserstein distance in standard deviations; None of categories.
        p_value: With the design effect of so many days. Bins of few rows are not pooled, so it is
            exact only of columns without any.
        usual_psi: What nine of ten of training's windows keep, for so many days.
        usual_shift: Likewise.
        usual_p_value: What training's windows seldom come below by chance.
    """

    psi: float
    shift: float | None
    p_value: float
    usual_psi: float
    usual_shift: float | None
    usual_p_value: float

    def verdict(self, bounds: DriftSpec) -> str:
        """The verdict on a column of numbers by the declared bounds."""
        if self.p_value >= self.usual_p_value or self.p_value > bounds.false_alarms / COLUMNS:
            return "stable"
        far = self.psi if self.psi > self.usual_psi else 0.0
        shift = self.shift or 0.0
        shift = shift if shift > (self.usual_shift or 0.0) else 0.0
        if far >= bounds.major or shift >= bounds.major_shift:
            return "major"
        return "moderate" if far >= bounds.moderate or shift >= bounds.moderate_shift else "stable"


def labelled_months(
    project: Project, spec: PipelineSpec, windows: Sequence[Window]
) -> dict[str, pd.DataFrame]:
    """Published scores beside what came, by the month of their window, joined by pandas."""
    scores = _rows(predictions_table(project, spec), windows, [*spec.source.key, SCORE])
    outcomes = pd.concat(
        pq.read_table(project.landing / f"outcomes/{window.key}.parquet").to_pandas()
        for window in windows
    )
    came = outcomes.dropna(subset="arrival_delay")
    both = scores.merge(came, on=list(spec.source.key), validate="one_to_one")
    both = both.assign(late=both["arrival_delay"] >= 15)
    return dict(list(both.groupby("month")))


def moved_months(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], profile: Profile
) -> dict[tuple[str, str], Moved]:
    """How far every column moved from training, by month and column."""
    features = _rows(features_table(project, spec), windows, [*spec.features.columns])
    scores = _rows(predictions_table(project, spec), windows, [SCORE])
    found: dict[tuple[str, str], Moved] = {}
    for rows in (features, scores):
        for month, own in rows.groupby("month"):
            days = own["day"].value_counts().to_numpy()
            parts = float(((days / days.sum()) ** 2).sum())
            for name in set(own.columns) - {"month", "day"}:
                found[str(month), str(name)] = _moved(own[name], profile, str(name), parts)
    return found


def _rows(table: WindowTable, windows: Sequence[Window], columns: list[str]) -> pd.DataFrame:
    parts = []
    for window in windows:
        rows = table.read(window)
        assert rows is not None
        own = rows.select(columns).to_pandas()
        parts.append(own.assign(month=window.key[:7], day=window.key))
    return pd.concat(parts, ignore_index=True)


def _moved(values: pd.Series, profile: Profile, name: str, parts: float) -> Moved:
    bins = profile.subjects[name]
    now, then = _counted(values, bins), np.array(bins.bin_counts, dtype=float)
    p, q = (np.maximum(each / each.sum(), PROPORTION_FLOOR) for each in (now, then))
    spread = (profile.window_spreads or {})[name]
    shrunk = (parts + spread.concentration) / (1 + spread.concentration)
    usual_shift = spread.usual_wasserstein
    return Moved(
        psi=float(((p - q) * np.log(p / q)).sum()),
        shift=None if isinstance(bins, CategoryCounts) else _shift(now, then, bins),
        p_value=_p_value(now, then, spread, parts),
        usual_psi=spread.usual_psi * shrunk,
        usual_shift=None if usual_shift is None else usual_shift * shrunk**0.5,
        usual_p_value=spread.usual_p_value,
    )


def _counted(values: pd.Series, bins: Binned) -> Floats:
    if isinstance(bins, CategoryCounts):
        known = [int((values == name).sum()) for name in sorted(bins.counts)]
        missing = int(values.isna().sum())
        return np.array([*known, len(values) - sum(known) - missing, missing], dtype=float)
    places = np.searchsorted(bins.edges, values.dropna().to_numpy(), side="left")
    counts = np.bincount(places, minlength=len(bins.edges) + 1)
    return np.array([*counts, values.isna().sum()], dtype=float)


def _shift(now: Floats, then: Floats, bins: Binned) -> float:
    """The area between both distribution functions, by the trapezoids of a fine grid."""
    ends = np.array([bins.low, *bins.edges, bins.high])
    grid = np.unique(np.concatenate([ends, np.linspace(ends[0], ends[-1], 400_001)]))
    one, other = (
        np.interp(grid, ends, np.concatenate([[0], np.cumsum(each[:-1]) / each[:-1].sum()]))
        for each in (now, then)
    )
    return float(np.trapezoid(np.abs(one - other), grid) / bins.deviation)


def _p_value(now: Floats, then: Floats, spread: WindowSpread, parts: float) -> float:
    """Pearson's test of the bins that have rows, its statistic divided by the design effect."""
    seen = (now + then) > 0
    tested = chi2_contingency(np.stack([now[seen], then[seen]]), correction=False)
    gain = (parts + spread.concentration) / (1 / now.sum() + 1 / then.sum()) - 1
    effect = max(1.0, 1 + spread.correlation * gain)
    degrees = min(tested.dof, spread.degrees or tested.dof)
    return float(f.sf(tested.statistic / tested.dof / effect, degrees, spread.windows - 1))
