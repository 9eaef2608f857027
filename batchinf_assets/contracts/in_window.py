"""The rule that pandera cannot know: a window's rows exist, and happen inside the window."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.windows import Window


def check_in_window(
    rows: pa.Table, *, time: str, window: Window, key: Sequence[str], asset: str
) -> CheckResult:
    """Check that there are rows and that each one's time lies inside the window.

    Args:
        rows: Conformed rows.
        time: The timestamp column that places a row.
        window: The window they were dropped for.
        key: Columns that identify a row, for the samples.
        asset: The asset that is checked.
    """
    kind = pa.timestamp("us", tz="UTC")
    times = rows.column(time)
    early = pc.less(times, pa.scalar(window.start, kind))
    late = pc.greater_equal(times, pa.scalar(window.end, kind))
    outside = rows.filter(pc.or_(early, late))
    violations: list[Violation] = []
    if rows.num_rows == 0:
        violations.append(Violation(column=None, rule="at least one in the window (found: none)"))
    if outside.num_rows:
        violations.append(
            Violation(
                column=time,
                rule=f"inside the window {window.start.isoformat()} to {window.end.isoformat()}",
                count=outside.num_rows,
                samples=sample_keys(outside, key),
            )
        )
    return CheckResult(
        name="in_window",
        asset=asset,
        passed=not violations,
        violations=tuple(violations),
        measured={"rows": rows.num_rows},
    )
