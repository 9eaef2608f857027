"""Where a failed check stops a window."""

from __future__ import annotations

from collections.abc import Iterable

from batchinf_assets.checks import CheckResult, blocking_failures, summarize
from batchinf_assets.errors import WindowRefused
from batchinf_assets.windows import Window


def require_passed(
    checks: Iterable[CheckResult],
    pipeline: str,
    window: Window,
    *,
    part: str | None = None,
    source: str = "the data",
) -> None:
    """Stop a window whose blocking checks failed.

    Args:
        checks: All checks on one asset of the window.
        pipeline: The pipeline's name.
        window: The window.
        part: What of the asset they are about, such as one of several files.
        source: What the reader can correct, such as the landed file or the SQL.

    Raises:
        WindowRefused: At least one did; carries all checks.
    """
    every = tuple(checks)
    failures = blocking_failures(every)
    if failures:
        about = f"{part}: " if part else ""
        raise WindowRefused(
            f"{pipeline} {window} {failures[0].asset}: {about}{summarize(failures)}.",
            next_step=f"Correct {source} or its declaration in defs.yaml, "
            "then run the window again.",
            checks=every,
        )
