"""`batchinf performance`: what outcomes have shown of published windows so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json, print_table
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.prediction import KINDS

if TYPE_CHECKING:
    from batchinf_assets.evaluation.realised.performance_history import (
        RecordedFigure,
        WindowPerformance,
    )
    from batchinf_assets.windows import Window

HOUR = 3600.0
METRICS = tuple(metric for kind in KINDS.values() for metric in kind.metrics)


@click.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@click.option("--from", "first", help="First window; by default the first that was published.")
@click.option("--to", "last", help="Last window; by default the last that was published.")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    help="Which to show; by default auroc, of a regression mae.",
)
@as_json
def performance(
    *,
    pipeline: str,
    window: str | None,
    first: str | None,
    last: str | None,
    metric: str | None,
    json_: bool,
) -> None:
    """Show what outcomes say of the windows of PIPELINE so far, or of WINDOW alone.

    One line per window: how many predictions have a label, how long labels took after the window's
    end (median; below zero where most were known before it ended), the metric over them with its
    95 % interval, what was expected of it before any outcome was known, the same metric over the
    windows up to it, and its change per window. A window without labels has a state instead of
    figures. Where the windows before were measured anew since, figures over several windows are
    `trailing stale` until the window is measured again: the sensor `<pipeline>_outcomes` asks for
    it.

    Of several classes the labelled rows of these windows follow, by the class that came and the
    one that was predicted.

    Nothing is measured by this command: figures are those of the last time that the window's asset
    `performance` ran. `--json` has every metric and segment.
    """
    from batchinf_assets.evaluation.realised.performance_history import performance_history
    from batchinf_assets.publishing.visible import published_revisions

    spec, project = load_pipeline(pipeline).spec, here()
    published = published_revisions(project, spec)
    if window is not None and (first or last):
        raise UsageError(
            "Either a window or a range, not both.", next_step="Leave one of the two out."
        )
    windows = _windows(spec, sorted(published), first or window, last or window)
    history = performance_history(project, spec, windows, published)
    if json_:
        print_json([asdict(each) for each in history])
        return
    if not history:
        click.echo(f"Nothing of {spec.name} is published yet.")
        return
    shown = metric or spec.prediction.of.headline[0]
    trailing = [f"trailing_{count}" for count in sorted(set(spec.performance.trailing))]
    print_table(
        f"{spec.name}: {shown}",
        _columns(shown, trailing),
        [_line(each, shown, trailing) for each in history],
    )
    tell_confusion(history)


def tell_confusion(history: Sequence[WindowPerformance]) -> None:
    """Show where the rows of several classes went, those of all measured windows together."""
    from batchinf_assets.evaluation.records.confusion import confusion_over

    measured = [each.confusion for each in history if each.confusion is not None]
    whole = confusion_over(measured)
    if whole is None:
        return
    windows = f"{len(measured)} window{'' if len(measured) == 1 else 's'}"
    print_table(
        f"Classes of {windows}",
        ["came / predicted", *whole.classes],
        [[label, *map("{:,}".format, row)] for label, row in whole.rows.items()],
    )


def _windows(
    spec: PipelineSpec, published: Sequence[str], first: str | None, last: str | None
) -> list[Window]:
    ends = [*(spec.window.window(key) for key in published)]
    if first is None and last is None and not ends:
        return []
    start = first or (min(ends).key if ends else last)
    stop = last or (max(ends).key if ends else first)
    assert start is not None
    assert stop is not None
    return spec.window.between(start, stop)


def _columns(metric: str, trailing: Sequence[str]) -> list[str]:
    named = [name.replace("_", " ") for name in trailing]
    return ["window", "state", "labelled", "delay", metric, "estimate", *named, "change per window"]


def _line(each: WindowPerformance, metric: str, trailing: Sequence[str]) -> list[object]:
    return [
        each.window,
        f"{each.state}, trailing stale" if each.trailing_state == "stale" else each.state,
        _share(each),
        _hours(each.label_delay.get("median")),
        _figure(each.realised, metric),
        _number(each.estimated.get(metric)),
        *(_figure(each.trailing.get(name, {}), metric) for name in trailing),
        _trend(each.trend.get(metric)),
    ]


def _share(each: WindowPerformance) -> str | None:
    if each.rows is None or each.labelled is None:
        return None
    share = f" ({each.labelled / each.rows:.1%})" if each.rows else ""
    return f"{each.labelled} of {each.rows}{share}"


def _figure(figures: Mapping[str, RecordedFigure], metric: str) -> str | None:
    found = figures.get(metric)
    if found is None:
        return None
    if found.value is None:
        return found.verdict
    ends = f" ({found.low:.3f}-{found.high:.3f})" if found.low is not None else ""
    return f"{found.value:.4f}{ends}"


def _trend(found: RecordedFigure | None) -> str | None:
    if found is None or found.value is None:
        return found.verdict if found else None
    return f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}), {found.verdict}"


def _hours(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds / HOUR:.1f} h"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
