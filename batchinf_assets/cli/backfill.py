"""Commands on many windows: what is stale and why; `backfill_run` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import (
    as_json,
    complain,
    here,
    open_registry,
    tell_absent_landing,
)
from batchinf_assets.console import Console, print_json, print_table
from batchinf_assets.errors import KeyringInvalid, ModelRefused, ModelUnavailable
from batchinf_assets.lake.presence import Presence
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets.publishing.backfill.plan import Plan, WindowPlan, Work
    from batchinf_assets.publishing.backfill.stale_reasons import ModelNow, Reason

SHOWN_RANGES = 8
SHOWN_DETAILS = 3

FROM = click.option("--from", "first", help="First window.")
TO = click.option("--to", "last", help="Last window, itself included.")
CHUNK = click.option("--chunk", type=click.IntRange(min=1), help="Windows per run.")


@click.group()
def backfill() -> None:
    """Plan and run many windows."""


@backfill.command("plan")
@click.argument("pipeline")
@FROM
@TO
@CHUNK
@as_json
def backfill_plan(
    *, pipeline: str, first: str | None, last: str | None, chunk: int | None, json_: bool
) -> None:
    """Say which windows of PIPELINE are stale and why, their rows, and how long they will take.

    Looks at every window that landed or ever ran. Runs nothing; `backfill run --stale` does, and
    with the JSON kept in a file `backfill run --plan FILE` runs exactly this plan.
    """
    declared = load_pipeline(pipeline)
    plan = plan_of(declared, first, last, shown=not json_)
    size = chunk or declared.spec.backfill.chunk
    if json_:
        kept = {"first": first, "last": last, **_for_later(declared.spec, plan, size)}
        print_json({**_document(declared.spec, plan), **kept})
    else:
        _tell(declared.spec, plan, size)


def to_run(plan: Plan) -> list[str]:
    """Return the windows that a plan would run."""
    return [window.window for window in plan.to_run]


def plan_of(pipeline: Pipeline, first: str | None, last: str | None, *, shown: bool) -> Plan:
    """Look at the windows of a range, with a progress bar where `shown`."""
    from batchinf_assets.publishing.backfill.stale import plan_backfill

    project, declared = here(), pipeline.spec.window
    earliest, latest = (declared.window(key) if key else None for key in (first, last))
    tell_absent_landing(project, "which windows landed, and which changed since, is unknown")
    presence = Presence.of(project.lake / pipeline.spec.name)
    model = _champion(project, pipeline.spec)
    with presence.required(), Console(shown=shown).progress("Looking at windows") as on_window:
        return plan_backfill(
            project, pipeline, model, first=earliest, last=latest, on_window=on_window
        )


def _champion(project: Project, spec: PipelineSpec) -> ModelNow | None:
    """Return the model that may score; where none may, say why, and judge no window by it."""
    from batchinf_assets.publishing.backfill.stale_reasons import ModelNow
    from batchinf_assets.registry.trust import promoted_model

    registry, now = open_registry(project), datetime.now(UTC)
    try:
        found = promoted_model(registry, spec.model.name, spec.model.alias, now).version
    except (ModelRefused, ModelUnavailable, KeyringInvalid) as error:
        complain(f"No window is judged by its model, as none may score now: {error}")
        return None
    return ModelNow(version=found.version, digest=found.digest)


def _tell(spec: PipelineSpec, plan: Plan, chunk: int) -> None:
    from batchinf_assets.publishing.backfill.plan import runs_of, work_of

    groups = _by_reason(plan)
    if groups:
        print_table(
            f"{spec.name}: {len(plan.stale)} of {len(plan.windows)} windows are stale",
            ["reason", "windows", "rows", "about", "which"],
            [_row(spec, reason, windows) for reason, windows in groups],
        )
    for reason, windows in groups:
        click.echo(f"{reason}: {_details(reason, windows)}.")
    work = work_of(plan.to_run)
    current = len(plan.windows) - len(plan.stale)
    runs = len(runs_of(spec, to_run(plan), chunk))
    in_runs = f", in {runs} runs" if runs > 1 else ""
    click.echo(
        f"{current} of {len(plan.windows)} windows are current. To run: {_said(work)}"
        f"{cost_text(spec, work.seconds)}{in_runs}."
    )
    if uncounted := [window.window for window in plan.to_run if window.rows is None]:
        click.echo(
            f"How many rows landed cannot be told of {which(spec, uncounted)}: what is there is "
            "damaged, or no Parquet. `batchinf contract check` says what is wrong with a file."
        )
    for obstacle, windows in left_out(plan).items():
        click.echo(f"Cannot run now, as {obstacle}: {which(spec, windows)}.")
    if plan.absent:
        click.echo(f"{len(plan.absent)} windows have not landed: {which(spec, plan.absent)}.")


def _row(spec: PipelineSpec, reason: Reason, windows: Sequence[WindowPlan]) -> list[object]:
    from batchinf_assets.publishing.backfill.plan import work_of

    work, ranges = work_of(windows), which(spec, [window.window for window in windows])
    return [reason, work.windows, _count(work.rows), _time(work.seconds), ranges]


def _details(reason: Reason, windows: Sequence[WindowPlan]) -> str:
    """Say what differs; windows mostly share it."""
    found = [stale.detail for window in windows for stale in window.why if stale.reason == reason]
    details = list(dict.fromkeys(found))
    more = len(details) - SHOWN_DETAILS
    shown = "; ".join(detail.rstrip(".") for detail in details[:SHOWN_DETAILS])
    return f"{shown}; and {more} more" if more > 0 else shown


def left_out(plan: Plan) -> dict[str, list[str]]:
    """Return the stale windows that cannot run, by what is in the way."""
    found: dict[str, list[str]] = {}
    for window in plan.stale:
        if not window.runs:
            found.setdefault(_obstacle(window), []).append(window.window)
    return found


def _by_reason(plan: Plan) -> list[tuple[Reason, list[WindowPlan]]]:
    from batchinf_assets.publishing.backfill.stale_reasons import Reason

    groups = [(r, [window for window in plan.stale if r in window.reasons]) for r in Reason]
    return [(reason, windows) for reason, windows in groups if windows]


def which(spec: PipelineSpec, keys: Sequence[str]) -> str:
    """Name windows by their ranges, and the first few of these."""
    from batchinf_assets.publishing.backfill.plan import contiguous

    ranges = [_range_text(windows) for windows in contiguous(spec, keys)]
    more = len(ranges) - SHOWN_RANGES
    shown = ", ".join(ranges[:SHOWN_RANGES])
    return f"{shown} and {more} more ranges (--json has all)" if more > 0 else shown


def _range_text(windows: Sequence[Window]) -> str:
    first, last = windows[0].key, windows[-1].key
    return first if first == last else f"{first} to {last}"


def _said(work: Work) -> str:
    plural = "" if work.windows == 1 else "s"
    return f"{work.windows} window{plural}, {_count(work.rows)} rows, {_time(work.seconds)}"


def cost_text(spec: PipelineSpec, seconds: float | None) -> str:
    """Say what so many seconds cost; nothing where no price is declared."""
    from batchinf_assets.publishing.backfill.caps import cost_of

    cost = cost_of(seconds, spec.price)
    if spec.price is None:
        return ""
    return f", {cost:,.2f} {spec.price.currency}" if cost is not None else ", unknown cost"


def _count(rows: int | None) -> str:
    return "unknown" if rows is None else f"{rows:,}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    return f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def _obstacle(window: WindowPlan) -> str:
    return "an approval is awaited" if window.landed else "the source file is not there"


def _for_later(spec: PipelineSpec, plan: Plan, chunk: int) -> dict[str, object]:
    """Return what `run --plan` holds a kept plan against."""
    from batchinf_assets.publishing.backfill.plan import runs_of
    from batchinf_assets.publishing.backfill.saved_plan import plan_digest, window_digest

    runs = runs_of(spec, to_run(plan), chunk)
    return {
        "windows": [{**_shown(window), "digest": window_digest(window)} for window in plan.windows],
        "chunk": chunk,
        "runs": [{"from": run[0].key, "to": run[-1].key, "windows": len(run)} for run in runs],
        "digest": plan_digest(spec.name, plan, chunk),
    }


def _shown(window: WindowPlan) -> dict[str, object]:
    return {**asdict(window), "reasons": window.reasons, "runs": window.runs}


def _document(spec: PipelineSpec, plan: Plan) -> dict[str, object]:
    from batchinf_assets.publishing.backfill.caps import cost_of
    from batchinf_assets.publishing.backfill.plan import contiguous, work_of

    def summary(windows: Sequence[WindowPlan]) -> dict[str, object]:
        ranges = contiguous(spec, (window.window for window in windows))
        which = [{"from": found[0].key, "to": found[-1].key} for found in ranges]
        return {**asdict(work_of(windows)), "ranges": which}

    return {
        "pipeline": spec.name,
        "reasons": {reason: summary(windows) for reason, windows in _by_reason(plan)},
        "to_run": summary(plan.to_run),
        "cost": cost_of(work_of(plan.to_run).seconds, spec.price),
        "currency": spec.price.currency if spec.price else None,
        "absent": plan.absent,
        "pace": asdict(plan.pace) if plan.pace else None,
    }
