"""The lease of a window for maintenance: nothing is removed where somebody works.

A run that comes meanwhile is refused, as by any other run; maintenance holds a window for the
moment that removing takes.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

from batchinf_assets.attempts import (
    LEDGER_PATIENCE_SECONDS,
    lease_place,
    predictions_table,
    recorder_of,
)
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.lease import HeldLease, Lease, hold, read_lease
from batchinf_assets.lake.worker import Worker
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import MAINTENANCE, AttemptRecord
from batchinf_assets.windows import Window


def live_lease(project: Project, spec: PipelineSpec, window: Window, now: datetime) -> Lease | None:
    """Return the lease of whoever works on a window, or None where nobody does.

    Raises:
        LeaseInvalid: The file is damaged.
        OSError: It cannot be read.
    """
    lease = read_lease(lease_place(project, spec, window), window.key)
    return lease if lease and lease.is_live(now, Worker.here()) else None


@contextmanager
def holding_window(
    project: Project, spec: PipelineSpec, window: Window, *, run_id: str
) -> Generator[HeldLease]:
    """Hold a window while the body removes files of it; the ledger hears only of the dead.

    Raises:
        LostRace: Somebody works on the window.
        LeaseInvalid: The file is damaged.
        OSError: It cannot be read or written.
    """
    table, place = predictions_table(project, spec), lease_place(project, spec, window)

    def bury(dead: Lease, token: int) -> None:
        table.fence(window, token)
        recorder_of(project).record(_killed(spec, dead))
        recorder_of(project).flush(LEDGER_PATIENCE_SECONDS)

    with hold(
        place,
        window=window.key,
        holder=run_id,
        stage=MAINTENANCE,
        on_takeover=bury,
        at_least=1 if exists(place) else table.token_of(window) + 1,
    ) as held:
        yield held


def _killed(spec: PipelineSpec, dead: Lease) -> AttemptRecord:
    return AttemptRecord(
        pipeline=spec.name,
        window=dead.window,
        attempt=dead.token,
        run_id=dead.holder,
        state="killed",
        stage=dead.stage,
        started_at=dead.since,
        ended_at=dead.beat_at,
        worker=str(dead.worker),
        reason_code="killed",
        reason="Its lease expired without a release.",
    )
