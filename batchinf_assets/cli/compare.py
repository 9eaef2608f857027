"""Compare two revisions of a window, or two models over windows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here, open_registry
from batchinf_assets.console import Console, one_line, print_json, print_table
from batchinf_assets.errors import UsageError
from batchinf_assets.spec import Pipeline, load_pipeline

if TYPE_CHECKING:
    from batchinf_assets.evaluation.comparison.deltas import Flips, ScoreDeltas
    from batchinf_assets.evaluation.distances import Difference
    from batchinf_assets.promotion.comparison.models import ModelComparison
    from batchinf_assets.promotion.comparison.quality import (
        ComparedQuality,
        MetricDifference,
        SegmentComparison,
    )
    from batchinf_assets.promotion.comparison.revisions import RevisionComparison, RevisionSide

REVISION = re.compile(r"[0-9a-f]{16}")

SEGMENT_COLUMNS = (
    *("segment", "rows", "mean difference", "mean |difference|", "flips", "labelled"),
    *("AUROC A", "AUROC B", "difference"),
)

SHOWN = 10
"""So many segments, columns and rows a table shows; JSON has all."""


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

    Differences are always those of what is named second minus what is named first. Quality is
    measured where outcomes have landed, each difference with its 95 % interval.
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
                next_step="Revisions have 16 hex digits; `batchinf status` shows the published.",
            )
    window, project = pipeline.spec.window.window(key), here()
    with Console(shown=not json_).progress("Comparing rows") as on_rows:
        found = compare_revisions(
            project, open_registry(project), pipeline, window, revisions[0], revisions[1], on_rows
        )
    if json_:
        print_json(found.as_record())
    else:
        _tell_revisions(found)


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
        _tell_models(found)


def _tell_revisions(found: RevisionComparison) -> None:
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
    _tell_scores(found.deltas, found.flips, found.decision)
    _tell_quality(found.quality)
    _tell_segments(found.segments)
    _tell_drift(found.drift)
    print_table(
        f"Changed features: {found.features.changed:,} of {found.features.rows:,} rows",
        ["feature", "rows", "share", "missing in A", "missing in B"],
        [
            [c.column, f"{c.rows:,}", _share(c.share), c.missing_a, c.missing_b]
            for c in found.features.columns[:SHOWN]
        ],
    )
    print_table(
        "Stages, microseconds per row",
        ["stage", "A", "B"],
        [[stage.stage, _micro(stage.a), _micro(stage.b)] for stage in found.stages],
    )


def _tell_models(found: ModelComparison) -> None:
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
                _signed(each.mean),
                _plain(each.mean_absolute),
                each.flips.count,
            ]
            for each in found.windows
        ],
    )
    for window, reason in found.left_out.items():
        click.echo(f"Left out {window}: {one_line(reason)}")
    _tell_scores(found.deltas, found.flips, found.decision)
    _tell_quality(found.quality)
    _tell_segments(found.segments)
    _tell_drift(found.drift)


def _tell_scores(deltas: ScoreDeltas, flips: Flips, decision: float) -> None:
    print_table(
        f"Scores: {deltas.changed:,} of {deltas.rows:,} rows differ; {flips.count:,} labels flip "
        f"at {decision:g} ({flips.up:,} up, {flips.down:,} down)",
        ["mean A", "mean B", "mean difference", "mean |difference|", *deltas.quantiles],
        [
            [
                *map(_plain, (deltas.mean_a, deltas.mean_b)),
                _signed(deltas.mean),
                _plain(deltas.mean_absolute),
                *map(_signed, deltas.quantiles.values()),
            ]
        ],
    )
    if deltas.largest:
        print_table(
            "Most changed rows",
            ["A", "B", "difference", "key"],
            [[_plain(r.a), _plain(r.b), _signed(r.b - r.a), r.key] for r in deltas.largest],
        )


def _tell_quality(quality: ComparedQuality) -> None:
    if quality.problem:
        click.echo(f"Outcomes: {one_line(quality.problem)}")
    if quality.state != "measured":
        click.echo(f"Quality: {quality.state}.")
        return
    print_table(
        f"Quality on {quality.labelled:,} labelled rows, {quality.positives:,} of them positive",
        ["metric", "A", "B", "difference", "95 % interval"],
        [
            [name, _plain(each.a), _plain(each.b), _signed(each.difference), _interval(each)]
            for name, each in quality.metrics.items()
        ],
    )


def _tell_segments(segments: Sequence[SegmentComparison]) -> None:
    if not segments:
        return
    print_table(
        f"Most changed segments, {min(SHOWN, len(segments))} of {len(segments)}",
        SEGMENT_COLUMNS,
        [_segment_cells(segment) for segment in segments[:SHOWN]],
    )


def _segment_cells(segment: SegmentComparison) -> Sequence[object]:
    auroc = segment.quality.metrics.get("auroc")
    return [
        f"{segment.column}={segment.value}",
        f"{segment.rows:,}",
        _signed(segment.mean),
        _plain(segment.mean_absolute),
        segment.flips.count,
        segment.quality.labelled,
        *((_plain(auroc.a), _plain(auroc.b), _signed(auroc.difference)) if auroc else (None,) * 3),
    ]


def _tell_drift(drift: Sequence[Difference]) -> None:
    if not drift:
        return
    print_table(
        f"Distributions of B held against A, {min(SHOWN, len(drift))} of {len(drift)}",
        ["column", "PSI", "Jensen-Shannon", "Kolmogorov-Smirnov", "Wasserstein", "missing in B"],
        [
            [
                each.subject,
                *map(_plain, (each.psi, each.jensen_shannon)),
                *map(_plain, (each.kolmogorov_smirnov, each.wasserstein)),
                _share(each.missing),
            ]
            for each in drift[:SHOWN]
        ],
    )


def _described(side: RevisionSide) -> str:
    visible = ", visible" if side.visible else ""
    only = f", {side.only_here:,} only here" if side.only_here else ""
    keys = f" (e.g. {'; '.join(map(one_line, side.only_here_keys[:3]))})" if only else ""
    return (
        f"revision {side.revision}, {side.model}, scored {side.scored_at:%Y-%m-%d %H:%M}{visible}, "
        f"{side.rows:,} rows{only}{keys}"
    )


def _interval(found: MetricDifference) -> str | None:
    if found.low is None or found.high is None:
        return None
    return f"{found.low:+.4f} to {found.high:+.4f}"


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.4f}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _micro(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1e6:.2f}"
