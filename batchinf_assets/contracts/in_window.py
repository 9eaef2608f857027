"""The rule that pandera cannot know: a window's rows exist, and happen inside the window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.windows import Window

IN_WINDOW = "in_window"


def rows_outside(times: pa.ChunkedArray, window: Window) -> npt.NDArray[np.int64]:
    """Return the positions of the times outside a window, ascending; a null is not outside.

    Args:
        times: A conformed timestamp column.
        window: Its start belongs to it, its end does not.
    """
    kind = pa.timestamp("us", tz="UTC")
    early = pc.less(times, pa.scalar(window.start, kind))
    late = pc.greater_equal(times, pa.scalar(window.end, kind))
    outside = pc.or_(early, late)
    return np.flatnonzero(pc.and_(pc.is_valid(outside), outside).to_numpy())


def inside(window: Window) -> str:
    """Return the rule in words."""
    return f"inside the window {window.start.isoformat()} to {window.end.isoformat()}"


def check_in_window(rows: int, outside: Sequence[Violation], asset: str) -> CheckResult:
    """Check that a window has rows and, where these block, none outside of it.

    Args:
        rows: How many rows were not set aside.
        outside: What is wrong with their times.
        asset: The asset that is checked.
    """
    none = Violation(column=None, rule="at least one in the window (found: none)")
    violations = (*outside,) if rows else (none, *outside)
    return CheckResult(
        name=IN_WINDOW,
        asset=asset,
        passed=not violations,
        violations=violations,
        measured={"rows": rows},
    )


def check_empty_window(asset: str, *, published: bool) -> CheckResult:
    """Judge a window whose file landed without a row, by what is declared of that.

    Args:
        asset: The asset that is checked.
        published: Whether readers shall see an empty window, or somebody look at the file.
    """
    rule = "at least one in the window (or `source.empty: publish`, if there may be none)"
    return CheckResult(
        name=IN_WINDOW,
        asset=asset,
        passed=published,
        violations=() if published else (Violation(column=None, rule=rule, found="none"),),
        measured={"rows": 0, "state": "empty"},
    )
