"""The command that takes a published revision back."""

from __future__ import annotations

import getpass
import os
import sys
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.windows import REVISION
from batchinf_assets.cli.workplace import as_json, here, open_instance, open_registry
from batchinf_assets.console import UNKNOWN, print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.project import Project
    from batchinf_assets.publishing.rollback.plan import RollbackPlan, RollbackRequest, Seen
    from batchinf_assets.publishing.rollback.roll_back import Rollback
    from batchinf_assets.windows import Window


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--to", metavar="REVISION", help="A revision that readers saw; else the one before.")
@click.option("--from", "seen", metavar="REVISION", help="Only if readers see this one still.")
@click.option("--withdraw", is_flag=True, help="Let readers see nothing of WINDOW instead.")
@click.option("--reinstate", is_flag=True, help="Show a condemned revision again; needs --to.")
@click.option("--reason", required=True, help="Why, in words; consumers read it.")
@click.option("--dry-run", is_flag=True, help="Show what would change for readers, and stop.")
@click.option("--yes", is_flag=True, help="Do not ask, at a terminal, before --withdraw and such.")
@as_json
def rollback(
    *,
    pipeline: str,
    window: str,
    to: str | None,
    seen: str | None,
    withdraw: bool,
    reinstate: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Let readers of PIPELINE see an earlier revision of WINDOW again, or nothing.

    One commit names the files of the earlier revision; no data is copied and none is removed. The
    revision that readers saw is condemned: it stays as evidence, and no run shows it again, unless
    somebody reinstates it. Consumers are told, and the ledger keeps who did it and why.

    The earlier revision must be whole: its manifest and its model signed, its files unchanged,
    condemned by nobody; without --to, those that are not are stepped over. If another revision is
    published before this command has the window to itself, nothing is changed: it goes by what it
    told, or by --from. A rollback that was interrupted is finished by the same command with the
    same reason.

    --withdraw leaves readers nothing, and --reinstate shows what somebody condemned: at a terminal
    both show what will change and ask first. Scripts are not asked.
    """
    from batchinf_assets.publishing.rollback.plan import RollbackRequest, named, plan_rollback
    from batchinf_assets.scoring.predictions import published_revision

    for revision in (to, seen):
        _require_revision(revision, pipeline)
    spec, project = load_pipeline(pipeline).spec, here()
    found = spec.window.window(window)
    request = RollbackRequest(
        by=os.environ.get("BATCHINF_ACTOR") or getpass.getuser(),
        reason=reason,
        at=datetime.now(UTC),
        to=to,
        withdraw=withdraw,
        reinstate=reinstate,
        seen=seen or published_revision(project, spec, found),
    )
    if dry_run:
        plan = plan_rollback(project, open_registry(project), spec, found, request)
        _tell(spec, plan.event, found, plan, None, json_=json_)
        return
    if _finished(project, spec, found, request, json_=json_):
        return
    if (withdraw or reinstate) and not (yes or json_) and sys.stdin.isatty():
        _ask(spec, found, plan_rollback(project, open_registry(project), spec, found, request))
    from batchinf_assets.orchestration.rollback.roll_back import tell_dagster
    from batchinf_assets.publishing.rollback.roll_back import attempt_rollback

    if not json_:
        click.echo(f"Readers of {spec.name} {found} see {named(request.seen)}.")
    with open_instance(project) as instance:
        registry, run_id = open_registry(project), str(uuid.uuid4())
        done = attempt_rollback(project, registry, spec, found, request, run_id=run_id)
        # Told before Dagster is: whoever saw that fail and repeated the command would go further.
        _tell(spec, done.state, found, done, done, json_=json_)
        tell_dagster(instance, spec, done)


def _finished(
    project: Project, spec: PipelineSpec, window: Window, request: RollbackRequest, *, json_: bool
) -> bool:
    """Tell Dagster of this very rollback where the command died before it did."""
    from batchinf_assets.orchestration.rollback.roll_back import tell_dagster, untold_rollback

    with open_instance(project) as instance:
        done = untold_rollback(instance, project, spec, window, request)
        if done is not None:
            tell_dagster(instance, spec, done)
            _tell(spec, done.state, window, done, done, json_=json_)
    return done is not None


def _ask(spec: PipelineSpec, window: Window, plan: RollbackPlan) -> None:
    """Show what will change, and end here unless somebody says yes."""
    click.echo(f"Before: {_described(plan.before)}.")
    click.echo(f"After:  {_described(plan.after)}.")
    what = plan.event.replace("_", " ")
    if not click.confirm(f"Shall {spec.name} {window} be {what}, and consumers be told?"):
        click.echo("Nothing was changed.")
        sys.exit(1)


def _require_revision(revision: str | None, pipeline: str) -> None:
    if revision is not None and not REVISION.fullmatch(revision):
        raise UsageError(
            f"'{revision[:40]}' is no revision.",
            next_step="Revisions have 16 hex digits; those that readers saw: "
            f"`batchinf status {pipeline} WINDOW`.",
        )


def _tell(
    spec: PipelineSpec,
    state: str,
    window: Window,
    found: Rollback | RollbackPlan,
    done: Rollback | None,
    *,
    json_: bool,
) -> None:
    told = done.told if done else None
    if json_:
        print_json(
            {
                "pipeline": spec.name,
                "window": window.key,
                "state": state,
                "before": asdict(found.before) if found.before else None,
                "after": asdict(found.after) if found.after else None,
                "changed": told is not None,
                "announcement": told.model_dump(mode="json", by_alias=True) if told else None,
                "stepped_over": list(found.stepped_over),
            }
        )
        return
    click.echo(f"Before: {_described(found.before)}.")
    click.echo(f"After:  {_described(found.after)}.")
    for sentence in found.stepped_over:
        click.echo(f"Stepped over: {sentence}")
    if told is None:
        click.echo("Nothing was changed (--dry-run).")
        if found.before is not None:
            click.echo(f"To take back this very revision: --from {found.before.revision}.")
    else:
        click.echo(f"{spec.name} {window}: {state.replace('_', ' ')}. Consumers were told.")
        if found.after is not None:
            click.echo(f"Prove it: `batchinf verify {spec.name} {window}`.")
        else:
            click.echo(
                f"Prove it: `batchinf verify {spec.name} {window}` finds nothing published, says "
                "why, and exits 1."
            )
    if done is not None and done.page_problem is not None:
        click.echo(f"Its pages were not written again: {done.page_problem}", err=True)


def _described(seen: Seen | None) -> str:
    if seen is None:
        return "readers see nothing"
    rows = UNKNOWN if seen.rows is None else f"{seen.rows:,}"
    return f"revision {seen.revision}, {rows} rows, scored by {seen.model or UNKNOWN}"
