"""How long a dead run was alive, and whether its windows were settled by somebody else since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.telemetry.attempt import AttemptRecord

NEWEST = 200
"""Events among which its own last one is looked for."""


@dataclass(frozen=True, kw_only=True)
class RunLife:
    """When a run was there, by its own word: that it died is often noticed hours later.

    Attributes:
        run_id: Its id.
        created_at: When it was asked for.
        seen_at: When it last said something itself.
    """

    run_id: str
    created_at: datetime
    seen_at: datetime

    @classmethod
    def of(cls, instance: dg.DagsterInstance, record: dg.RunRecord) -> RunLife:
        """Read what a run said of itself."""
        run_id, created_at = record.dagster_run.run_id, record.create_timestamp.replace(tzinfo=UTC)
        newest = instance.get_records_for_run(run_id, limit=NEWEST, ascending=False).records
        own = (each.timestamp for each in newest if _is_own(each.event_log_entry))
        seen = max(next(own, 0.0), record.start_time or 0.0)
        return cls(
            run_id=run_id,
            created_at=created_at,
            seen_at=max(created_at, datetime.fromtimestamp(seen, UTC)),
        )

    def is_settled_by(self, last: AttemptRecord | None, beat_at: datetime | None) -> bool:
        """Say whether a window needs no other run: somebody has worked on it, or took it back.

        Args:
            last: The last attempt at the window, whoever's.
            beat_at: The run's last beat under the window's lease; None where it holds none.
        """
        if last is None:
            return False
        if last.state == "rolled_back":
            return last.ended_at >= self.created_at
        return last.run_id != self.run_id and last.ended_at >= max(
            self.seen_at, beat_at or self.seen_at
        )


def _is_own(entry: dg.EventLogEntry) -> bool:
    """Whether the run's process said it, and not Dagster of the run."""
    return entry.dagster_event is None or entry.step_key is not None
