"""The command that shows corrected data that landed late, and lets it in."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.manifest.inputs import ApprovalRecord
    from batchinf_assets.snapshots.held import Held

SHOWN_DIGITS = 16
_DIGITS = re.compile(r"[0-9a-f]{12,64}")


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--reason", help="Approve it, and why, in words; it becomes part of the manifest.")
@click.option("--sha256", metavar="HEX", help="These bytes only: 12 or more of the digits shown.")
@as_json
def approve(
    *, pipeline: str, window: str, reason: str | None, sha256: str | None, json_: bool
) -> None:
    """Show the corrected data of WINDOW that landed later than PIPELINE takes it; approve it.

    Without --reason nothing is written. An approval counts for the file as it is now and for no
    other; with --sha256 it is given only if that is the file that was shown. The window is run
    afterwards, by `batchinf run` or `batchinf backfill run --stale`.
    """
    from batchinf_assets.snapshots.approvals import write_approval
    from batchinf_assets.snapshots.held import held_correction

    approval = None if reason is None else _approval(reason)
    digits = None if sha256 is None else _checked(sha256)
    spec, project = load_pipeline(pipeline).spec, here()
    held = held_correction(project, spec, spec.window.window(window))
    if digits is not None:
        _require_same_bytes(spec, held, digits)
    if approval is not None:
        write_approval(project, spec, held.window, held.landed.source.sha256, approval)
    if json_:
        print_json(_document(spec, held, approval))
    else:
        _tell(spec, held, approval)


def _approval(reason: str) -> ApprovalRecord:
    from batchinf_assets.snapshots.approvals import new_approval

    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    return new_approval(by=by, reason=reason, at=datetime.now(UTC))


def _checked(sha256: str) -> str:
    digits = sha256.strip().lower()
    if not _DIGITS.fullmatch(digits):
        raise UsageError(
            f"--sha256 {sha256} is no SHA-256, nor its first 12 hex digits or more.",
            next_step="Take it from what this command shows without --reason.",
        )
    return digits


def _require_same_bytes(spec: PipelineSpec, held: Held, digits: str) -> None:
    found = held.landed.source
    if not found.sha256.startswith(digits):
        raise UsageError(
            f"{found.path} has the SHA-256 {found.sha256}, and not {digits}; nothing was approved.",
            next_step=f"See what it changes: `batchinf approve {spec.name} {held.window}`.",
        )


def _document(spec: PipelineSpec, held: Held, approval: ApprovalRecord | None) -> dict[str, object]:
    return {
        "pipeline": spec.name,
        "window": held.window.key,
        "file": held.landed.source.model_dump(),
        "hours_late": held.hours_late,
        "changes": asdict(held.changes),
        "approval": approval.model_dump() if approval else None,
    }


def _tell(spec: PipelineSpec, held: Held, approval: ApprovalRecord | None) -> None:
    changes, source, named = held.changes, held.landed.source, f"{spec.name} {held.window}"
    click.echo(
        f"{source.path}, {held.hours_late:,.1f} hours late: {changes.added} rows added, "
        f"{changes.changed} changed, {changes.removed} removed, {changes.unchanged} the same."
    )
    click.echo(f"SHA-256 {source.sha256}")
    for what in ("added", "changed", "removed"):
        for key in getattr(changes, f"{what}_keys"):
            click.echo(f"  {what}: {key}")
    if approval is not None:
        click.echo(f"Approved by {approval.by}. Run it: `batchinf run {named}`.")
    else:
        digits = source.sha256[:SHOWN_DIGITS]
        click.echo(
            "Nothing was approved. Approve just these bytes: "
            f"`batchinf approve {named} --sha256 {digits} --reason TEXT`."
        )
