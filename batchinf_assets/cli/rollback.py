"""The command that takes a published revision back."""

from __future__ import annotations

import getpass
import os
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.windows import REVISION
from batchinf_assets.cli.workplace import as_json, here, open_instance, open_registry
from batchinf_assets.console import UNKNOWN, print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec import PipelineSpec, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets.publishing.rollback import Rollback
    from batchinf_assets.publishing.rollback_plan import Seen
    from batchinf_assets.windows import Window


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--to", metavar="REVISION", help="A revision that readers saw; else the one before.")
@click.option("--withdraw", is_flag=True, help="Let readers see nothing of WINDOW instead.")
@click.option("--reinstate", is_flag=True, help="Show a condemned revision again; needs --to.")
@click.option("--reason", required=True, help="Why, in words; consumers read it.")
@click.option("--dry-run", is_flag=True, help="Show what would change for readers, and stop.")
@as_json
def rollback(
    *,
    pipeline: str,
    window: str,
    to: str | None,
    withdraw: bool,
    reinstate: bool,
    reason: str,
    dry_run: bool,
    json_: bool,
) -> None:
    """Let readers of PIPELINE see an earlier revision of WINDOW again, or nothing.

    One commit names the files of the earlier revision; no data is copied and none is removed. The
    revision that readers saw is condemned: it stays as evidence, and no run shows it again, unless
    somebody reinstates it. Consumers are told, and the ledger keeps who did it and why.

    The earlier revision must be whole: its manifest signed, its files unchanged, condemned by
    nobody. A rollback that was interrupted is finished by the same command.
    """
    from batchinf_assets.publishing.rollback_plan import plan_rollback

    if to is not None and not REVISION.fullmatch(to):
        raise UsageError(
            f"'{to[:40]}' is no revision.",
            next_step=f"Revisions have 16 hex digits: `batchinf status {pipeline}`.",
        )
    spec, project = load_pipeline(pipeline).spec, here()
    found = spec.window.window(window)
    if dry_run:
        plan = plan_rollback(
            project,
            open_registry(project),
            spec,
            found,
            to=to,
            withdraw=withdraw,
            reinstate=reinstate,
        )
        _tell(spec, plan.event, found, plan.before, plan.after, json_=json_, done=None)
        return
    from batchinf_assets.orchestration.rollback import report_rollback
    from batchinf_assets.publishing.rollback import attempt_rollback

    with open_instance(project) as instance:
        done = attempt_rollback(
            project,
            open_registry(project),
            spec,
            found,
            to=to,
            by=os.environ.get("BATCHINF_ACTOR") or getpass.getuser(),
            reason=reason,
            run_id=str(uuid.uuid4()),
            now=datetime.now(UTC),
            withdraw=withdraw,
            reinstate=reinstate,
        )
        # Told before Dagster is: whoever saw that fail and repeated the command would go further.
        _tell(spec, done.state, found, done.before, done.after, json_=json_, done=done)
        report_rollback(instance, spec.name, done)


def _tell(
    spec: PipelineSpec,
    state: str,
    window: Window,
    before: Seen | None,
    after: Seen | None,
    *,
    json_: bool,
    done: Rollback | None,
) -> None:
    if json_:
        told = done.told.model_dump(mode="json", by_alias=True) if done and done.told else None
        print_json(
            {
                "pipeline": spec.name,
                "window": window.key,
                "state": state,
                "before": asdict(before) if before else None,
                "after": asdict(after) if after else None,
                "changed": done is not None,
                "announcement": told,
            }
        )
        return
    click.echo(f"Before: {_described(before)}.")
    click.echo(f"After:  {_described(after)}.")
    if done is None:
        click.echo("Nothing was changed (--dry-run).")
    else:
        click.echo(f"{spec.name} {window}: {state.replace('_', ' ')}. Consumers were told.")
        if after is not None:
            click.echo(f"Prove it: `batchinf verify {spec.name} {window}`.")


def _described(seen: Seen | None) -> str:
    if seen is None:
        return "readers see nothing"
    rows = UNKNOWN if seen.rows is None else f"{seen.rows:,}"
    return f"revision {seen.revision}, {rows} rows, scored by {seen.model or UNKNOWN}"
