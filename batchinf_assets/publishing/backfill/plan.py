"""What a backfill would do, as values: windows, why each is stale, and what they come to.

How that is found out is `stale`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from batchinf_assets.publishing.backfill.pace import Pace
from batchinf_assets.publishing.backfill.stale_reasons import Reason, Stale
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """One window of a plan.

    Attributes:
        window: Its key.
        why: Why it is stale, each reason once per thing that differs; empty where it is current.
        rows: Landed or published rows; None where they cannot be told.
        seconds: What it adds to its run, which works on several windows at a time where they are
            small; None where nothing like it ever ran.
        landed: Whether its source file is there.
        landed_as: What changes whenever that file does; None where it is not there.
    """

    window: str
    why: tuple[Stale, ...]
    rows: int | None
    seconds: float | None
    landed: bool
    landed_as: str | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is stale, each word once."""
        return tuple(dict.fromkeys(each.reason for each in self.why))

    @property
    def runs(self) -> bool:
        """Whether it is stale and a run could change that."""
        in_vain = {Reason.HELD, Reason.CONDEMNED} & {*self.reasons}
        return bool(self.why) and self.landed and not in_vain


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a backfill would do.

    Attributes:
        windows: Every window that landed or ever ran, in order, stale or current.
        absent: Windows of the asked range that have neither landed nor ever run.
        pace: What times were predicted by; None where no attempt tells.
        present: Digest of what any run would score with now: model, declaration, references, code.
    """

    windows: tuple[WindowPlan, ...]
    absent: tuple[str, ...]
    pace: Pace | None
    present: str = ""

    @property
    def stale(self) -> tuple[WindowPlan, ...]:
        """The windows that are stale."""
        return tuple(window for window in self.windows if window.why)

    @property
    def to_run(self) -> tuple[WindowPlan, ...]:
        """The windows to run."""
        return tuple(window for window in self.windows if window.runs)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What some windows come to; None where it is unknown of one of them."""

    windows: int
    rows: int | None
    seconds: float | None


def work_of(windows: Sequence[WindowPlan]) -> Work:
    """Add windows up."""
    rows = [window.rows for window in windows]
    seconds = [window.seconds for window in windows]
    known_rows = [found for found in rows if found is not None]
    known_seconds = [found for found in seconds if found is not None]
    return Work(
        windows=len(windows),
        rows=sum(known_rows) if len(known_rows) == len(rows) else None,
        seconds=sum(known_seconds) if len(known_seconds) == len(seconds) else None,
    )


def asked_windows(
    spec: PipelineSpec, known: Set[str], first: Window | None, last: Window | None
) -> list[Window]:
    """Return every window of the range; where an end is open, up to the last one known of.

    Args:
        spec: The pipeline.
        known: Keys of windows that landed or ever ran.
        first: No window before this one.
        last: No window after this one.

    Raises:
        UnknownWindow: `last` is before `first`.
    """
    windows = sorted(map(spec.window.window, known))
    start = first or (windows[0] if windows else last)
    stop = last or (windows[-1] if windows else first)
    if start is None or stop is None or (stop < start and not (first and last)):
        return []
    return spec.window.between(start.key, stop.key)


def contiguous(spec: PipelineSpec, keys: Iterable[str]) -> list[list[Window]]:
    """Put windows together that follow one another.

    Args:
        spec: The pipeline.
        keys: Windows in order.
    """
    ranges: list[list[Window]] = []
    for window in map(spec.window.window, keys):
        if ranges and ranges[-1][-1].end == window.start:
            ranges[-1].append(window)
        else:
            ranges.append([window])
    return ranges


def runs_of(spec: PipelineSpec, keys: Iterable[str], chunk: int) -> list[list[Window]]:
    """Cut windows into runs: each of windows that follow one another, and of no more than `chunk`.

    Args:
        spec: The pipeline.
        keys: Windows in order.
        chunk: Windows per run.
    """
    return [
        windows[start : start + chunk]
        for windows in contiguous(spec, keys)
        for start in range(0, len(windows), chunk)
    ]
