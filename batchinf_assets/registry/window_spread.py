"""How far the windows of a reference differ from each other, summed up per subject.

Rows of one window are no independent draws: they share a weekday, a timetable, the weather. How it
is learned from windows is in `drift.between_windows`, what follows from it in
`drift.significance` and `drift.measure`.
"""

from __future__ import annotations

import math

from pydantic import Field

from batchinf_assets.registry.bins import FrozenModel


class WindowSpread(FrozenModel):
    """What the windows of a reference say about the next one like them, of one subject.

    Attributes:
        windows: How many there are.
        concentration: Sum of the squares of their shares of all rows; 1 / windows where all are
            equally large.
        correlation: Intraclass correlation of rows in one window, 0 where rows are independent.
        degrees: Degrees of freedom of the chi-squared distribution that their statistics follow,
            scaled; None where too few of them could be tested.
        usual_p_value: The next window has a smaller one by chance in at most 1 of 20 cases, divided
            by the subjects that are judged together.
        usual_psi: Stability index against the others that nine of ten windows keep.
        usual_wasserstein: Likewise the Wasserstein distance, in training's standard deviations;
            None where it is not known.
    """

    windows: int = Field(ge=2)
    concentration: float = Field(gt=0, le=1)
    correlation: float = Field(ge=0, le=1)
    degrees: float | None = Field(default=None, gt=0)
    usual_p_value: float = Field(ge=0, le=1)
    usual_psi: float = Field(ge=0)
    usual_wasserstein: float | None = Field(default=None, ge=0)

    def design_effect(self, rows: int, reference_rows: int, parts: float = 1.0) -> float:
        """Return how many times more two samples differ than independent rows would, at least 1.

        A sample of clusters whose rows correlate by r has the variance of a share s (1 - s) times
        (1 - r) / n + r c, with c the sum of the squares of the clusters' parts of it (Kish 1965,
        Survey Sampling): 1 for a window, the concentration for the reference. Divided by what it
        is at r = 0, the variance of their difference is 1 + r ((k + c) / (1/n + 1/N) - 1), with k
        that sum of what is held against the reference.

        Args:
            rows: Rows of the window, or of several together, n.
            reference_rows: Rows of the reference, N.
            parts: Sum of the squares of the windows' shares of these rows, k; 1 for one window.
        """
        gain = clustering_gain(rows, reference_rows, self.concentration, parts)
        return max(1.0, 1 + self.correlation * gain)

    def usual_psi_of(self, parts: float) -> float:
        """Return the stability index that nine of ten such samples of windows keep.

        It is a sum of squares of differences, so it shrinks as their variance does.
        """
        return self.usual_psi * self._shrinkage(parts)

    def usual_wasserstein_of(self, parts: float) -> float | None:
        """Return the Wasserstein distance that they keep; it shrinks as the deviation does."""
        usual = self.usual_wasserstein
        return None if usual is None else usual * math.sqrt(self._shrinkage(parts))

    def _shrinkage(self, parts: float) -> float:
        return (parts + self.concentration) / (1 + self.concentration)


def clustering_gain(
    rows: float, reference_rows: float, concentration: float, parts: float = 1.0
) -> float:
    """Return by how much a design effect rises per unit of correlation; see `design_effect`."""
    return (parts + concentration) / (1 / rows + 1 / reference_rows) - 1
