"""How long a window will take, by what past attempts in the ledger took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

BY_ROW = ("snapshot", "features", "predictions")
"""Stages whose time grows with the rows; the others take about as long for any window."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of work, without the start-up of a run.

    Attributes:
        per_row: Median seconds per row of the stages that grow with the rows.
        fixed: Median seconds of the other stages.
        attempts: How many attempts it was learned from.
    """

    per_row: float
    fixed: float
    attempts: int

    def seconds(self, rows: int) -> float:
        """Predict the seconds of a window of so many rows."""
        return self.fixed + self.per_row * rows


def measured_pace(attempts: Iterable[Mapping[str, Any]]) -> Pace | None:
    """Learn from the attempts that went all the way, shard by shard; None where there is none.

    Args:
        attempts: Rows of the ledger as `Ledger.read` returns them.
    """
    whole = [(dict(each["stage_seconds"]), each["rows"]) for each in attempts if _went_all(each)]
    if not whole:
        return None
    return Pace(
        per_row=median(sum(seconds[s] for s in BY_ROW) / rows for seconds, rows in whole),
        fixed=median(sum(seconds[s] for s in seconds.keys() - {*BY_ROW}) for seconds, _ in whole),
        attempts=len(whole),
    )


def _went_all(attempt: Mapping[str, Any]) -> bool:
    stages = {stage for stage, _ in attempt["stage_seconds"]}
    computed = attempt["shards_computed"]
    return (
        attempt["state"] == "published"
        and bool(attempt["rows"])
        and stages.issuperset(BY_ROW)
        and computed is not None
        and computed == attempt["shards_total"]
    )
