"""The command `batchinf report`: pages to look at, one window's or a range's."""

from __future__ import annotations

import os
from pathlib import Path

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json
from batchinf_assets.errors import UsageError, WindowMissing
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


@click.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@click.option("--revision", help="Another revision of WINDOW than the published one.")
@click.option("--from", "first", help="First window of a range.")
@click.option("--to", "last", help="Last window of the range, itself included.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write instead of one in the lake; it has no links into the lake.",
)
@as_json
def report(
    *,
    pipeline: str,
    window: str | None,
    revision: str | None,
    first: str | None,
    last: str | None,
    output: Path | None,
    json_: bool,
) -> None:
    """Write what is known of a window, or of a range of windows, as an HTML page.

    The page is one file that needs nothing else: no script, no network. It shows the checks, the
    metrics with their intervals, drift, calibration and, once outcomes have landed, realised
    performance; for a range how all of it went, month by month too. What was not measured is shown
    as not known.

    Of WINDOW it is about the published revision, or else about what was scored last. Evaluation
    writes that page by itself; this writes it again, as things stand now.
    """
    spec, project = load_pipeline(pipeline).spec, here()
    page = Path(os.path.abspath(output)) if output else None  # noqa: PTH100 - follow no link
    if window is not None and first is None and last is None:
        place = _window_report(project, spec, spec.window.window(window), revision, page)
    elif window is None and first is not None and last is not None:
        from batchinf_assets.evaluation.report.write import write_range_report

        place = write_range_report(project, spec, spec.window.between(first, last), page=page)
    else:
        raise UsageError(
            "A report is about one window or about a range.",
            next_step=f"`batchinf report {spec.name} WINDOW` or `--from WINDOW --to WINDOW`.",
        )
    print_json({"report": str(place)}) if json_ else click.echo(project.shown(place))


def _window_report(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    revision: str | None,
    page: Place | None,
) -> Place:
    from batchinf_assets.evaluation.report.write import write_window_report

    manifest = _manifest(project, spec, window, revision)
    return write_window_report(project, spec, window, manifest, page=page)


def _manifest(
    project: Project, spec: PipelineSpec, window: Window, revision: str | None
) -> Manifest:
    from batchinf_assets.evaluation.report.range_reading import shown_manifest
    from batchinf_assets.scoring.predictions import manifests, published_revision

    store = manifests(project, spec)
    if revision is not None:
        if revision not in store.revisions(window):
            raise WindowMissing(
                f"Window {window} of {spec.name} has no revision '{revision[:40]}'.",
                next_step=f"It has: {', '.join(store.revisions(window)) or 'none'}.",
            )
        return store.read(window, revision)
    visible = published_revision(project, spec, window)
    found = shown_manifest(project, spec, window, visible)
    if found is None:
        raise WindowMissing(
            f"Window {window} of {spec.name} was never scored.",
            next_step=f"Run it: `batchinf run {spec.name} {window}`.",
        )
    return found
