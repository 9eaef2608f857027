"""The command that shows what a run is expected to take, and lets one above its caps run."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.run import CapsSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets.publishing.backfill.caps import Capped
    from batchinf_assets.publishing.backfill.run_approvals import RunApproval


@click.command()
@click.argument("pipeline")
@click.option("--from", "first", required=True, help="The run's first window.")
@click.option("--to", "last", required=True, help="Its last window, itself included.")
@click.option("--reason", help="Approve it, and why, in words.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Approve so many.")
@click.option("--cost", type=click.FloatRange(min=0, min_open=True), help="Approve so much.")
@as_json
def caps(
    *,
    pipeline: str,
    first: str,
    last: str,
    reason: str | None,
    seconds: float | None,
    cost: float | None,
    json_: bool,
) -> None:
    """Show what a run of PIPELINE is expected to take beside its caps; approve one above them.

    Without --reason nothing is written. An approval lets runs of these windows, or of some of them,
    take twice what is predicted, or twice the cap where that is more, for a day; --seconds and
    --cost say it otherwise. Start the run afterwards.
    """
    from batchinf_assets.publishing.backfill.caps import capped_run

    if reason is None and (seconds is not None or cost is not None):
        raise UsageError("--seconds and --cost approve a run.", next_step="Give --reason as well.")
    spec, project, now = load_pipeline(pipeline).spec, here(), datetime.now(UTC)
    windows = spec.window.between(first, last)
    found, approval = capped_run(project, spec, windows, now), None
    if reason is not None:
        granted = _granted(found, seconds, cost)
        approval = _approved(project, spec, windows, found, granted, reason, now)
    if json_:
        print_json(_document(spec, windows, found, approval))
    else:
        _tell(spec, windows, found, approval)


def _granted(found: Capped, seconds: float | None, cost: float | None) -> CapsSpec:
    """Return what an approval lets a run take; where nothing is capped or known, no cap."""

    def twice(cap: float | None, predicted: float | None) -> float | None:
        return None if cap is None else 2 * max(cap, predicted or 0.0)

    caps, outlook = found.caps, found.outlook
    unknown = found.refusal is not None and found.refusal.reason == "price_unknown"
    return CapsSpec(
        seconds=seconds or twice(caps.seconds, outlook.seconds),
        cost=cost or (None if unknown else twice(caps.cost, outlook.cost)),
    )


def _approved(
    project: Project,
    spec: PipelineSpec,
    windows: Sequence[Window],
    found: Capped,
    granted: CapsSpec,
    reason: str,
    now: datetime,
) -> RunApproval:
    from batchinf_assets.publishing.backfill.run_approvals import approve_run
    from batchinf_assets.snapshots.approvals import new_approval

    if found.refusal is None:
        raise UsageError(
            f"A run of {spec.name} {windows[0]} to {windows[-1]} waits for no approval.",
            next_step="Start it.",
        )
    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    return approve_run(project, spec, windows, granted, new_approval(by=by, reason=reason, at=now))


def _document(
    spec: PipelineSpec, windows: Sequence[Window], found: Capped, approval: RunApproval | None
) -> dict[str, object]:
    standing = approval or found.approval
    return {
        "pipeline": spec.name,
        "from": windows[0].key,
        "to": windows[-1].key,
        "windows": len(windows),
        "predicted": asdict(found.outlook),
        "caps": found.caps.model_dump(),
        "price": spec.price.model_dump() if spec.price else None,
        "waits_for_approval": str(found.refusal) if found.refusal and not approval else None,
        "approval": standing.model_dump(mode="json") if standing else None,
    }


def _tell(
    spec: PipelineSpec, windows: Sequence[Window], found: Capped, approval: RunApproval | None
) -> None:
    named = f"{spec.name} --from {windows[0]} --to {windows[-1]}"
    outlook = found.outlook
    rows = "unknown" if outlook.rows is None else f"{outlook.rows:,}"
    click.echo(
        f"{len(windows)} windows, {rows} rows: about {_time(outlook.seconds)}, "
        f"{_money(spec, outlook.cost)}. Cap: {_caps(spec, found.caps)}."
    )
    if approval is not None:
        click.echo(
            f"Approved by {approval.approval.by} for a day, up to {_caps(spec, approval.caps)}. "
            f"Run it: `batchinf backfill run {named}`."
        )
    elif found.refusal is not None:
        click.echo(found.refusal.message)
        click.echo(f"Nothing was approved. Approve it: `batchinf caps {named} --reason TEXT`.")
    else:
        click.echo("It may run.")


def _caps(spec: PipelineSpec, caps: CapsSpec) -> str:
    time = "any time" if caps.seconds is None else _time(caps.seconds)
    return f"{time}, {'any cost' if caps.cost is None else _money(spec, caps.cost)}"


def _time(seconds: float | None) -> str:
    return "unknown time" if seconds is None else f"{seconds:,.1f} s"


def _money(spec: PipelineSpec, cost: float | None) -> str:
    if cost is None:
        return "unknown cost"
    return f"{cost:,.4g} {spec.price.currency}" if spec.price else f"{cost:,.4g} (no currency)"
