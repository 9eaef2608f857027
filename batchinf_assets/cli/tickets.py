"""The command that shows which failed verdicts somebody must look at, and closes them."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here, tell_absent_lake
from batchinf_assets.console import one_line, print_json, print_table
from batchinf_assets.errors import UsageError
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.publishing.tickets.ticket_documents import KeptTicket

SHOWN_WINDOWS = 2
_SAID_ABOVE = {"format_version", "ticket"}
COLUMNS = ["ticket", "check", "windows", "opened", "closed by", "found"]


@click.command()
@click.argument("pipeline")
@click.option("--all", "all_", is_flag=True, help="Those that are closed, too.")
@click.option("--close", metavar="ID", help="Close this ticket.")
@click.option("--reason", help="Why it is closed, in words; it is kept.")
@as_json
def tickets(
    *, pipeline: str, all_: bool, close: str | None, reason: str | None, json_: bool
) -> None:
    """Show the open tickets of PIPELINE: failed verdicts that somebody must look at; close one.

    Which verdicts open a ticket is declared under `gate` in defs.yaml. There is one ticket per
    cause: a golden set that is doubted, or windows in a row that drift or perform badly. It lists
    the windows that fail for it, with --json each with what was found; once closed it stays closed.

    With --close and --reason the ticket of that id is closed.
    """
    if (close is None) != (reason is None):
        raise UsageError(
            "A ticket is closed by its id and a reason.",
            next_step=f"Give both: `batchinf tickets {pipeline} --close ID --reason TEXT`.",
        )
    spec, project = load_pipeline(pipeline).spec, here()
    tell_absent_lake(project)
    if close is not None and reason is not None:
        kept = _close(project, spec, close, reason)
        if not json_:
            click.echo(f"Ticket {kept.id} is closed.")
    shown = [kept for kept in _read(project, spec) if all_ or kept.closing is None]
    if json_:
        print_json([_document(kept) for kept in shown])
    elif close is None:
        _tell(spec, shown, everything=all_)


def _close(project: Project, spec: PipelineSpec, ticket: str, reason: str) -> KeptTicket:
    from batchinf_assets.publishing.tickets.tickets import close_ticket

    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    return close_ticket(project, spec, ticket, by=by, reason=reason, at=datetime.now(UTC))


def _read(project: Project, spec: PipelineSpec) -> list[KeptTicket]:
    from batchinf_assets.publishing.tickets.tickets import read_tickets

    return read_tickets(project, spec)


def _document(kept: KeptTicket) -> dict[str, object]:
    closing = kept.closing.model_dump(mode="json") if kept.closing else None
    findings = [each.model_dump(mode="json", exclude=_SAID_ABOVE) for each in kept.findings]
    ticket = kept.ticket.model_dump(mode="json")
    return {"id": kept.id, **ticket, "windows": findings, "closing": closing}


def _tell(spec: PipelineSpec, shown: Sequence[KeptTicket], *, everything: bool) -> None:
    if not shown:
        click.echo(f"{spec.name} has no {'' if everything else 'open '}tickets.")
        return
    still_open = sum(kept.closing is None for kept in shown)
    print_table(f"{spec.name}: {still_open} open", COLUMNS, [_row(kept) for kept in shown])


def _row(kept: KeptTicket) -> list[object]:
    ticket, closing = kept.ticket, kept.closing
    opened = f"{ticket.opened_at:%Y-%m-%d %H:%M}"
    newest = kept.findings[-1].sentence if kept.findings else ticket.cause
    found = f"{closing.reason} ({newest})" if closing else newest
    closed_by = closing.by if closing else None
    return [kept.id, ticket.check, _windows(kept.windows), opened, closed_by, one_line(found)]


def _windows(keys: Sequence[str]) -> str | None:
    if len(keys) > SHOWN_WINDOWS:
        return f"{len(keys)}, {keys[0]} to {keys[-1]}"
    return ", ".join(keys) or None
