"""What is said of windows besides how far they got: from the landing folder and from tickets.

How far they got is found out by `status`.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from batchinf_assets.publishing.status.given_up import GivenUp
from batchinf_assets.publishing.status.overdue import Overdue
from batchinf_assets.publishing.status.window_status import State, WindowStatus
from batchinf_assets.spec.pipeline import PipelineSpec


def with_gone(
    shown: Sequence[WindowStatus], spec: PipelineSpec, gone: Set[str]
) -> list[WindowStatus]:
    """Name the landed files that were removed after they were frozen."""
    return [
        replace(status, source_gone=spec.source.files.replace("{window}", status.window))
        if status.window in gone
        else status
        for status in shown
    ]


def with_given_up(shown: Sequence[WindowStatus], given_up: Sequence[GivenUp]) -> list[WindowStatus]:
    """Say which windows are left to people, also of those that never got far enough to be known.

    What readers see, or do not see any more, stays the state: the rest stands beside it.
    """
    known = {status.window: status for status in shown}
    for each in sorted(given_up, key=lambda one: one.since):
        standing = known.get(each.window, WindowStatus(window=each.window, state="given up"))
        told = standing.revision is not None or standing.state == "withdrawn"
        state: State = standing.state if told else "given up"
        known[each.window] = replace(standing, state=state, given_up=each)
    return [known[key] for key in sorted(known)]


def with_overdue(shown: Sequence[WindowStatus], overdue: Sequence[Overdue]) -> list[WindowStatus]:
    """Add windows whose data has not landed; of those that were run all the same, say so."""
    known = {status.window: status for status in shown}
    for each in overdue:
        key = each.window.key
        standing = known.get(key, WindowStatus(window=key, state="overdue"))
        known[key] = replace(standing, state="overdue", held_back=str(each))
    return [known[key] for key in sorted(known)]
