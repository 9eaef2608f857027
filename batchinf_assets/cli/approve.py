"""The command that lets corrected data in that landed late."""

from __future__ import annotations

import getpass
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json
from batchinf_assets.spec import PipelineSpec, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets.snapshots.held import Held


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--reason", required=True, help="Why, in words; it becomes part of the manifest.")
@as_json
def approve(*, pipeline: str, window: str, reason: str, json_: bool) -> None:
    """Approve the corrected data of WINDOW that landed later than PIPELINE takes it unasked.

    Shows what it changes. The approval counts for the file as it is now and for no other; the
    window is run afterwards, by `batchinf run` or `batchinf backfill run --stale`.
    """
    from batchinf_assets.snapshots.approvals import new_approval, write_approval
    from batchinf_assets.snapshots.held import held_correction

    spec, project = load_pipeline(pipeline).spec, here()
    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    approval = new_approval(by=by, reason=reason, at=datetime.now(UTC))
    held = held_correction(project, spec, spec.window.window(window))
    write_approval(project, spec, held.window, held.landed.source.sha256, approval)
    if json_:
        print_json(
            {
                "pipeline": spec.name,
                "window": window,
                "file": held.landed.source.model_dump(),
                "hours_late": held.hours_late,
                "changes": asdict(held.changes),
                "approval": approval.model_dump(),
            }
        )
    else:
        _tell(spec, held, by)


def _tell(spec: PipelineSpec, held: Held, by: str) -> None:
    changes, source = held.changes, held.landed.source
    click.echo(
        f"{source.path} ({source.sha256[:16]}), {held.hours_late:,.1f} hours late: "
        f"{changes.added} rows added, {changes.changed} changed, {changes.removed} removed, "
        f"{changes.unchanged} the same."
    )
    for what in ("added", "changed", "removed"):
        for key in getattr(changes, f"{what}_keys"):
            click.echo(f"  {what}: {key}")
    click.echo(f"Approved by {by}. Run it: `batchinf run {spec.name} {held.window}`.")
