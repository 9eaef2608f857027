"""The command that removes what no manifest needs any more."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from batchinf_assets.cli.workplace import as_json, complain, here, tell_absent_lake
from batchinf_assets.console import print_json, print_table
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec, RetentionSpec

if TYPE_CHECKING:
    from batchinf_assets.lake.place import Place
    from batchinf_assets.publishing.upkeep.maintain import Plan
    from batchinf_assets.publishing.upkeep.unneeded import Removal

LONGEST_DAYS = 36_500


@click.command()
@click.argument("pipeline")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--keep-days",
    type=click.IntRange(0, LONGEST_DAYS),
    help="How long replaced revisions stay; else retention.superseded_days.",
)
@as_json
def maintain(*, pipeline: str, dry_run: bool, keep_days: int | None, json_: bool) -> None:
    """Remove what no manifest of PIPELINE needs any more.

    What is published stays whatever its age, and so does every revision that was replaced within
    the retention, with its snapshot and features. Windows that a run works on are left alone. Also
    puts small files of the ledger together, and sums up the tables' logs.
    """
    from batchinf_assets.publishing.upkeep.maintain import apply, plan_maintenance

    spec, project, now = load_pipeline(pipeline).spec, here(), datetime.now(UTC)
    tell_absent_lake(project)
    spec = spec if keep_days is None else _keeping(spec, keep_days)
    plan = plan_maintenance(project, spec, now)
    if not dry_run:
        plan = apply(project, spec, plan, now, run_id=f"maintain-{uuid4().hex[:8]}")
    if json_:
        print_json(_document(plan, project.lake, now, dry_run=dry_run))
    else:
        _tell(spec, plan, project.lake, now, dry_run=dry_run)
    damaged = [left for left in plan.left_alone if left.damaged]
    for left in damaged:
        complain(f"{left.what}: {left.why}")
    sys.exit(1 if damaged else 0)


def _keeping(spec: PipelineSpec, days: int) -> PipelineSpec:
    declared = {**spec.retention.model_dump(), "superseded_days": days}
    return spec.model_copy(update={"retention": RetentionSpec(**declared)})


def _tell(spec: PipelineSpec, plan: Plan, lake: Place, now: datetime, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    files = len(plan.removals)
    title = (
        f"{spec.name}: {files} file{'s' if files != 1 else ''} {would}removed, {plan.bytes} bytes"
    )
    rows = list(_rows(plan, lake, now))
    if rows:
        print_table(title, ["what", "window", "files", "bytes", "days old", "where", "why"], rows)
    else:
        click.echo(f"{title}.")
    for left in plan.left_alone:
        if not left.damaged:
            click.echo(f"{left.what} is left alone: {left.why}")


def _rows(plan: Plan, lake: Place, now: datetime) -> Iterator[list[object]]:
    """Yield a row for each folder out of which files go for one reason, then one per table."""
    groups: dict[tuple[str, str, str | None, str], list[Removal]] = {}
    for removal in plan.removals:
        where = _within(removal.place.parent, lake)
        group = (removal.what, where, removal.window, removal.why)
        groups.setdefault(group, []).append(removal)
    for (what, where, window, why), removals in groups.items():
        size = sum(removal.bytes for removal in removals)
        yield [what, window, len(removals), size, _days(removals, now), where, why]
    for task in plan.tasks:
        yield [task.what, None, None, None, None, _within(task.table, lake), task.why]


def _document(plan: Plan, lake: Place, now: datetime, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "files": len(plan.removals),
        "bytes": plan.bytes,
        "removals": [
            {
                "what": removal.what,
                "window": removal.window,
                "path": _within(removal.place, lake),
                "bytes": removal.bytes,
                "days_old": _days([removal], now),
                "why": removal.why,
            }
            for removal in plan.removals
        ],
        "tasks": [
            {
                "what": task.what,
                "table": _within(task.table, lake),
                "partition": task.partition,
                "why": task.why,
            }
            for task in plan.tasks
        ],
        "left_alone": [
            {"what": left.what, "why": left.why, "damaged": left.damaged}
            for left in plan.left_alone
        ],
    }


def _days(removals: Iterable[Removal], now: datetime) -> int:
    """Return the age of the newest, in whole days."""
    return (now - max(removal.written_at for removal in removals)).days


def _within(place: Place, lake: Place) -> str:
    from batchinf_assets.lake.place import path_within

    return path_within(place, lake)
