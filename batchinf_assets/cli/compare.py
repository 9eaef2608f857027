"""Compare two revisions of a window, or two models over windows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.compared import (
    NO_FLIPS,
    SHOWN,
    micro,
    plain,
    share,
    signed,
    tell_differences,
    tell_times,
)
from batchinf_assets.cli.workplace import as_json, here, open_registry
from batchinf_assets.console import Console, one_line, print_json, print_table
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.evaluation import Metric
from batchinf_assets.spec.load import Pipeline, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets.promotion.comparison.models import ModelComparison
    from batchinf_assets.promotion.comparison.revisions import RevisionComparison, RevisionSide

REVISION = re.compile(r"[0-9a-f]{16}")


@click.command()
@click.argument("pipeline")
@click.option("--window", help="Compare two revisions of this window.")
@click.option("--revision", "revisions", multiple=True, help="A revision; name two.")
@click.option("--model", "models", multiple=True, help="An alias or a version; name two.")
@click.option("--from", "first", help="First window that both models score.")
@click.option("--to", "last", help="Last window, itself included.")
@as_json
def compare(
    *,
    pipeline: str,
    window: str | None,
    revisions: tuple[str, ...],
    models: tuple[str, ...],
    first: str | None,
    last: str | None,
    json_: bool,
) -> None:
    """Compare two revisions of a window of PIPELINE, or two models over windows.

    With --window and two --revision: how scores, labels, features and quality differ, and what
    made them differ: files that had not landed, a corrected source, another model, definition,
    setting or code. With two --model, --from and --to: both models score the features of the
    published windows, and nothing is written.

    Differences are always those of what is named second minus what is named first. Of several
    classes they are by class; how far a row moved is the part of its probability that went from one
    class to others. Quality is measured where outcomes have landed, each difference with its 95 %
    interval.
    """
    declared = load_pipeline(pipeline)
    if window is not None and len(revisions) == 2 and not (models or first or last):
        _compare_revisions(declared, window, revisions, json_=json_)
    elif first and last and len(models) == 2 and not (window or revisions):
        _compare_models(declared, (first, last), models, json_=json_)
    else:
        raise UsageError(
            "compare needs --window and two --revision, or two --model, --from and --to.",
            next_step="See `batchinf compare -h`.",
        )


def _compare_revisions(
    pipeline: Pipeline, key: str, revisions: Sequence[str], *, json_: bool
) -> None:
    from batchinf_assets.promotion.comparison.revisions import compare_revisions

    for revision in revisions:
        if not REVISION.fullmatch(revision):
            raise UsageError(
                f"'{one_line(revision[:40])}' is no revision.",
                next_step="Revisions have 16 hex digits; those that readers saw: "
                f"`batchinf status {pipeline.spec.name} {one_line(key[:40])}`.",
            )
    window, project = pipeline.spec.window.window(key), here()
    with Console(shown=not json_).progress("Comparing rows") as on_rows:
        found = compare_revisions(
            project, open_registry(project), pipeline, window, revisions[0], revisions[1], on_rows
        )
    if json_:
        print_json(found.as_record())
    else:
        _tell_revisions(found, pipeline.spec.prediction.of.headline[0])


def _compare_models(
    pipeline: Pipeline, span: tuple[str, str], models: Sequence[str], *, json_: bool
) -> None:
    from batchinf_assets.promotion.comparison.models import compare_models

    windows, project = pipeline.spec.window.between(*span), here()
    with Console(shown=not json_).progress("Scoring windows") as on_window:
        found = compare_models(
            project, open_registry(project), pipeline, windows, models[0], models[1], on_window
        )
    if json_:
        print_json(found.as_record())
    else:
        _tell_models(found, pipeline.spec.prediction.of.headline[0])


def _tell_revisions(found: RevisionComparison, metric: Metric) -> None:
    click.echo(f"{found.pipeline} {found.window}")
    for name, side in (("A", found.a), ("B", found.b)):
        click.echo(f"  {name}: {_described(side)}")
    click.echo("Why they differ:")
    for cause in found.causes:
        click.echo(f"  {cause.kind}: {one_line(cause.sentence)}.")
    if not found.causes:
        click.echo("  nothing that decides a revision differs.")
    for note in found.notes:
        click.echo(f"  Note: {one_line(note)}")
    if found.changed_alone:
        click.echo(f"  {found.changed_alone:,} scores differ on rows with the same features.")
    tell_differences(found, metric)
    print_table(
        f"Changed features: {found.features.changed:,} of {found.features.rows:,} rows",
        ["feature", "rows", "share", "missing in A", "missing in B"],
        [
            [c.column, f"{c.rows:,}", share(c.share), c.missing_a, c.missing_b]
            for c in found.features.columns[:SHOWN]
        ],
    )
    print_table(
        "Stages, microseconds per row",
        ["stage", "A", "B"],
        [[stage.stage, micro(stage.a), micro(stage.b)] for stage in found.stages],
    )


def _tell_models(found: ModelComparison, metric: Metric) -> None:
    for name, side in (("A", found.a), ("B", found.b)):
        click.echo(
            f"{name}: {side.name} v{side.version} ({side.asked}), digest {side.digest[:16]}, "
            f"scored by {side.scorer}"
        )
    print_table(
        f"{found.pipeline}: {len(found.windows)} windows",
        ["window", "revision", "rows", "mean difference", "mean |difference|", "flips"],
        [
            [
                each.window,
                each.revision,
                f"{each.rows:,}",
                signed(each.mean),
                plain(each.mean_absolute),
                each.flips.count if each.flips else NO_FLIPS,
            ]
            for each in found.windows
        ],
    )
    for window, reason in found.left_out.items():
        click.echo(f"Left out {window}: {one_line(reason)}")
    if found.a.digest == found.b.digest:
        click.echo("A and B are the same model.")
    tell_differences(found, metric)
    tell_times(found.slowest)


def _described(side: RevisionSide) -> str:
    visible = ", visible" if side.visible else ""
    only = f", {side.only_here:,} only here" if side.only_here else ""
    keys = f" (e.g. {'; '.join(map(one_line, side.only_here_keys[:3]))})" if only else ""
    return (
        f"revision {side.revision}, {side.model}, scored {side.scored_at:%Y-%m-%d %H:%M}{visible}, "
        f"{side.rows:,} rows{only}{keys}"
    )
