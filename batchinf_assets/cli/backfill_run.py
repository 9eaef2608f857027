"""`backfill run`: a range, what is stale, or a plan; in this process, or handed to the daemon."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.backfill import CHUNK, FROM, TO, left_out, plan_of, to_run, which
from batchinf_assets.cli.windows import exit_code, run_here
from batchinf_assets.cli.workplace import as_json, complain, here, open_instance, own_definitions
from batchinf_assets.console import print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.orchestration.runs.execute import RunReport


@click.command("run")
@click.argument("pipeline")
@FROM
@TO
@click.option("--stale", is_flag=True, help="Only what `backfill plan` names.")
@click.option("--plan", "plan", type=click.Path(path_type=Path), help="Only what this plan names.")
@CHUNK
@click.option("--launch", is_flag=True, help="Let Dagster's daemon run it instead of this process.")
@as_json
def backfill_run(
    *,
    pipeline: str,
    first: str | None,
    last: str | None,
    stale: bool,
    plan: Path | None,
    chunk: int | None,
    launch: bool,
    json_: bool,
) -> None:
    """Materialize a range of windows, what is stale, or a plan; a refused window stops no other.

    A plan is what `backfill plan --json` printed, kept in a file. It is run only while the same
    plan would be made again.
    """
    declared = load_pipeline(pipeline)
    asked = _asked(declared, first, last, plan, stale=stale, shown=not json_)
    size = chunk or asked.chunk or declared.spec.backfill.chunk
    if launch:
        _launch(declared, asked, size, json_=json_)
    else:
        _run(declared, asked, size, json_=json_)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a command is to run.

    Attributes:
        windows: Keys, in order.
        left_out: Stale windows that cannot run, by what is in the way.
        chunk: Windows per run, where the plan says so.
    """

    windows: Sequence[str]
    left_out: Mapping[str, Sequence[str]]
    chunk: int | None = None


def _asked(
    pipeline: Pipeline,
    first: str | None,
    last: str | None,
    plan: Path | None,
    *,
    stale: bool,
    shown: bool,
) -> _Asked:
    if plan is not None:
        if stale or first or last:
            raise _unclear("--plan stands alone: the range is the plan's.")
        return _without_early(pipeline, _kept(pipeline, plan, shown=shown))
    if stale:
        found = plan_of(pipeline, first, last, shown=shown)
        return _without_early(pipeline, _Asked(windows=to_run(found), left_out=left_out(found)))
    if first is None or last is None:
        raise _unclear("backfill run needs --from and --to, or --stale, or --plan.")
    windows = pipeline.spec.window.between(first, last)
    pipeline.spec.window.require_due(windows, datetime.now(UTC))
    return _Asked(windows=[window.key for window in windows], left_out={})


def _without_early(pipeline: Pipeline, asked: _Asked) -> _Asked:
    spec, now = pipeline.spec.window, datetime.now(UTC)
    early = [key for key in asked.windows if spec.due_at(spec.window(key)) > now]
    if not early:
        return asked
    windows = [key for key in asked.windows if key not in early]
    return replace(
        asked, windows=windows, left_out={**asked.left_out, "they are not due yet": early}
    )


def _kept(pipeline: Pipeline, path: Path, *, shown: bool) -> _Asked:
    from batchinf_assets.publishing.backfill.saved_plan import read_plan, require_same

    saved = read_plan(path, pipeline.name)
    found = plan_of(pipeline, saved.first, saved.last, shown=shown)
    require_same(saved, found)
    return _Asked(windows=to_run(found), left_out=left_out(found), chunk=saved.chunk)


def _unclear(sentence: str) -> UsageError:
    return UsageError(sentence, next_step="See `batchinf backfill run -h`.")


def _run(pipeline: Pipeline, asked: _Asked, chunk: int, *, json_: bool) -> None:
    from batchinf_assets.publishing.backfill.plan import runs_of

    reports: list[RunReport] = []
    for windows in runs_of(pipeline.spec, asked.windows, chunk):
        reports.append(run_here(pipeline, windows, shown=not json_))
        if reports[-1].preempted:
            break
    if json_:
        runs = [asdict(report) for report in reports]
        print_json({"runs": runs, "left_out": dict(asked.left_out)})
    else:
        _tell_left_out(pipeline.spec, asked)
    sys.exit(exit_code(reports))


def _launch(pipeline: Pipeline, asked: _Asked, chunk: int, *, json_: bool) -> None:
    from batchinf_assets.orchestration.runs.launch import launch_backfill
    from batchinf_assets.publishing.backfill.plan import runs_of

    if chunk != pipeline.spec.backfill.chunk:
        raise _unclear(
            f"Dagster cuts a backfill into runs of {pipeline.spec.backfill.chunk} windows, as "
            f"`backfill.chunk` declares, and not of {chunk}."
        )
    launched = None
    if asked.windows:
        with open_instance(here()) as instance:
            launched = launch_backfill(instance, own_definitions(pipeline), pipeline, asked.windows)
    if json_:
        print_json(
            {"backfill": launched, "windows": asked.windows, "left_out": dict(asked.left_out)}
        )
        return
    if launched:
        runs = len(runs_of(pipeline.spec, asked.windows, chunk))
        click.echo(
            f"Backfill {launched}: {len(asked.windows)} windows in {runs} "
            f"run{'' if runs == 1 else 's'}. It is at /runs/b/{launched} in Dagster's UI."
        )
    _tell_left_out(pipeline.spec, asked)


def _tell_left_out(spec: PipelineSpec, asked: _Asked) -> None:
    for obstacle, windows in asked.left_out.items():
        complain(f"Stale and left out, as {obstacle}: {which(spec, windows)}.")
    if not asked.windows:
        click.echo(f"Nothing of {spec.name} is stale that could be run.")
