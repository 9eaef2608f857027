"""Where one window stands, as a value; how that is found out is `status`'s business."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchinf_assets.evaluation.golden.golden_set import GoldenSetState
from batchinf_assets.evaluation.realised.trailing_state import TrailingState
from batchinf_assets.publishing.status.given_up import GivenUp

State = Literal[
    "published",
    "rolled back",
    "withdrawn",
    "condemned, still visible",
    "scored",
    "features ready",
    "snapshot taken",
    "refused",
    "failed",
    "started",
    "overdue",
    "given up",
]


@dataclass(frozen=True, kw_only=True)
class PendingRevision:
    """A revision that was begun and is not published.

    Attributes:
        revision: Its id.
        shards: How many it has; None where that is not known, as the features are gone.
        missing: How many of them no attempt has finished.
    """

    revision: str
    shards: int | None
    missing: int | None

    def __str__(self) -> str:
        if self.missing is None:
            return f"Revision {self.revision} was begun."
        if not self.missing:
            return f"Revision {self.revision} is scored and not published."
        return f"Revision {self.revision} lacks {self.missing} of {self.shards} shards."


@dataclass(frozen=True, kw_only=True)
class LastFailure:
    """How the last attempt at a window failed.

    Attributes:
        state: How it ended, as the ledger calls it.
        reason_code: A stable word for why.
        reason: Why, as a sentence.
        stage: The asset in which it ended.
        run_id: The run.
        ended_at: When.
    """

    state: str
    reason_code: str | None
    reason: str | None
    stage: str
    run_id: str
    ended_at: datetime

    def __str__(self) -> str:
        return self.reason or f"The last attempt ended {self.state} in {self.stage}."


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who works on a window.

    Attributes:
        run_id: The run.
        worker: Its process, `host:pid`.
        stage: What it does.
        since: Since when.
    """

    run_id: str
    worker: str
    stage: str
    since: datetime

    def __str__(self) -> str:
        return f"Run {self.run_id} on {self.worker} works on it ({self.stage})."


@dataclass(frozen=True, kw_only=True)
class WindowStatus:
    """One window.

    Attributes:
        window: Its key.
        state: The furthest it got; `rolled back` where readers see an earlier revision than the one
            that was published last, `withdrawn` where they see none any more, `condemned, still
            visible` where a rollback was begun and not finished, `overdue` where its data has not
            landed by the declared deadline, `given up` where its runs kept dying and readers never
            saw a revision.
        revision: The revision that readers see.
        rows: Its published rows.
        quarantined: Rows that were set aside for it.
        revisions: How many revisions have a manifest.
        model: The model that scored the visible revision.
        drift: Its drift verdict, as it was evaluated the last time.
        performance: Whether its outcomes were measured.
        golden_set: Whether the golden set in force is the one that the visible revision was
            evaluated by, the last time; None where nothing is visible or nobody knows which is in
            force.
        trailing: Whether its figures over several windows are those of what is on record by now;
            None where there are none, or nothing was kept that tells.
        pending: A revision that was begun and is not published.
        last_failure: How the last attempt failed, if it did.
        held_by: Who works on it.
        given_up: That its runs kept dying until it was not run again by itself, if it is so.
        source_gone: Its landed file, if that was removed after it was frozen.
        held_back: By whom and why what readers see was condemned, if it was; else why the last
            attempt did not get further, if it did not; else by whom and why the window was rolled
            back or withdrawn, if it was.
    """

    window: str
    state: State
    revision: str | None = None
    rows: int | None = None
    quarantined: int | None = None
    revisions: int = 0
    model: str | None = None
    drift: str | None = None
    golden_set: GoldenSetState | None = None
    performance: bool = False
    trailing: TrailingState | None = None
    pending: PendingRevision | None = None
    last_failure: LastFailure | None = None
    held_by: Holder | None = None
    given_up: GivenUp | None = None
    source_gone: str | None = None
    held_back: str | None = None
