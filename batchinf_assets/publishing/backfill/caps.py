"""Whether a run may start and go on under the caps on its time and cost.

A run is predicted from what attempts in the ledger took. One predicted above a cap does not start
before somebody approved it (`run_approvals`); one that takes more begins no further shard, and is
not tried again before that. What is not known is no reason to think a run cheap: without a price a
capped cost is above its cap. A time that nobody can predict yet lets the run start: its clock runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batchinf_assets.errors import BatchinfError, Overrun, RunOverCap
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.at_once import at_once
from batchinf_assets.publishing.backfill.pace import measured_pace
from batchinf_assets.publishing.backfill.run_approvals import RunApproval, run_approval
from batchinf_assets.snapshots.landed_rows import landed_rows
from batchinf_assets.snapshots.source import landing_of
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.run import CapsSpec, PriceSpec
from batchinf_assets.telemetry.attempt import AttemptRecord, reason_code
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window

HOUR = 3600.0
SPENT = reason_code(RunOverCap("", reason=Overrun.SPENT, next_step=""))


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run is expected to come to, if every row is scored anew.

    Attributes:
        rows: Landed rows; None where a file does not tell.
        seconds: From begin to end; None where rows are unknown or no attempt in the ledger tells.
        cost: In the price's currency; None where seconds or the price are unknown.
    """

    rows: int | None
    seconds: float | None
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Capped:
    """A run under caps, before it starts.

    Attributes:
        outlook: What it is expected to come to.
        caps: Those that count: the declared ones, or those of an approval.
        approval: The newest approval that covers its windows now, if there is one.
        refusal: Why it may not start, if it may not.
    """

    outlook: Outlook
    caps: CapsSpec
    approval: RunApproval | None
    refusal: RunOverCap | None


def cost_of(seconds: float | None, price: PriceSpec | None) -> float | None:
    """Return what so many seconds cost; None where seconds or price are unknown, never zero."""
    return None if seconds is None or price is None else seconds / HOUR * price.machine_hour


def capped_run(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], now: datetime
) -> Capped:
    """Predict a run of windows and hold it against its caps.

    Args:
        project: Where ledger, approvals and landed files are.
        spec: The pipeline; declares caps and price.
        windows: The run's windows, in order, at least one.
        now: The time, for approvals.

    Raises:
        ManifestInvalid: The ledger or an approval is damaged.
    """
    approval = run_approval(project, spec, windows, now)
    caps = approval.caps if approval else spec.caps
    ledger = Ledger(project.lake)
    outlook = _outlook(project, spec, windows, ledger)
    stopped = _stopped(windows, ledger.latest(spec.name), approval)
    refusal = (
        _asking(spec, windows, Overrun.SPENT, f"was stopped at its cap in window {stopped}")
        if stopped
        else _above(spec, windows, caps, outlook, approved=approval is not None)
    )
    return Capped(outlook=outlook, caps=caps, approval=approval, refusal=refusal)


def _outlook(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], ledger: Ledger
) -> Outlook:
    landing, pace = landing_of(project), measured_pace(ledger.read(spec.name).to_pylist())
    counts = [landed_rows(landing.path(spec.source.files, window)) for window in windows]
    known = [count for count in counts if count is not None]
    rows = sum(known) if len(known) == len(counts) else None
    work = None if pace is None or rows is None else sum(map(pace.seconds, known))
    seconds = None if work is None else work / at_once(spec, counts)
    return Outlook(rows=rows, seconds=seconds, cost=cost_of(seconds, spec.price))


def _stopped(
    windows: Sequence[Window],
    latest: Mapping[str, AttemptRecord],
    approval: RunApproval | None,
) -> str | None:
    """Return the first window whose last attempt was stopped at a cap, unless approved since."""
    for window in windows:
        last = latest.get(window.key)
        if last is None or last.reason_code != SPENT:
            continue
        if approval is None or approval.approval.at < last.ended_at:
            return window.key
    return None


def _above(
    spec: PipelineSpec,
    windows: Sequence[Window],
    caps: CapsSpec,
    outlook: Outlook,
    *,
    approved: bool,
) -> RunOverCap | None:
    if caps.cost is not None and spec.price is None and not approved:
        said = "has a cap on its cost, which is unknown, as no price is declared"
        return _asking(spec, windows, Overrun.PRICE_UNKNOWN, said)
    over = _over(caps, spec.price, outlook.seconds, outlook.cost)
    if over is None:
        return None
    return _asking(spec, windows, Overrun.PREDICTED, f"is predicted to take {over}")


def _over(
    caps: CapsSpec, price: PriceSpec | None, seconds: float | None, cost: float | None
) -> str | None:
    """Say what is above its cap beside the cap, or return None."""
    if caps.seconds is not None and seconds is not None and seconds > caps.seconds:
        return f"{seconds:,.1f} s, its cap is {caps.seconds:,.1f} s"
    if caps.cost is not None and price is not None and cost is not None and cost > caps.cost:
        return f"{cost:,.4g} {price.currency}, its cap is {caps.cost:,.4g} {price.currency}"
    return None


def _asking(
    spec: PipelineSpec, windows: Sequence[Window], overrun: Overrun, said: str
) -> RunOverCap:
    first, last = windows[0], windows[-1]
    several = f"{len(windows)} windows ({first} to {last})" if len(windows) > 1 else f"{first}"
    return RunOverCap(
        f"A run of {spec.name} {several} {said}.",
        reason=overrun,
        next_step=f"`batchinf caps {spec.name} --from {first} --to {last}` shows it, and how to "
        "approve it.",
    )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run that goes on may still take.

    Attributes:
        spec: The pipeline.
        windows: The run's windows; none where nothing is capped.
        caps: Those that count.
        refusal: Why no window of the run may begin, if none may.
        began: When the run began, by `clock`, in seconds.
        clock: A monotonic clock.
    """

    spec: PipelineSpec
    windows: Sequence[Window]
    caps: CapsSpec
    refusal: BatchinfError | None = None
    began: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic)

    def require_left(self) -> None:
        """Require that the run may begin another window or shard.

        Raises:
            RunOverCap: It may not, or has taken more than a cap.
            BatchinfError: Whether it may could not be found out.
        """
        if self.refusal is not None:
            raise self.refusal
        seconds = self.clock() - self.began
        if over := _over(self.caps, self.spec.price, seconds, cost_of(seconds, self.spec.price)):
            said = f"has taken {over}: what is finished stays"
            raise _asking(self.spec, self.windows, Overrun.SPENT, said)


def opened_budget(
    project: Project,
    spec: PipelineSpec,
    windows: Sequence[Window],
    now: datetime,
    *,
    spent: float = 0.0,
) -> Budget:
    """Open the budget of a run that begins, or has run for `spent` seconds elsewhere.

    Arguments as for `capped_run`. Nothing is read where no cap is declared.
    """
    if spec.caps == CapsSpec():
        return Budget(spec=spec, windows=windows, caps=spec.caps)
    began = time.monotonic() - spent
    try:
        found = capped_run(project, spec, windows, now)
    except BatchinfError as error:
        return Budget(spec=spec, windows=windows, caps=spec.caps, refusal=error, began=began)
    return Budget(spec=spec, windows=windows, caps=found.caps, refusal=found.refusal, began=began)
