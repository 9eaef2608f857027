"""Write reports: the page of a revision, and the page of a range of windows.

The pages are imported where they are written: matplotlib takes half a second, and Dagster imports
this module whatever it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchinf_assets.evaluation.drift.sketches import read_sketches
from batchinf_assets.evaluation.later_evaluations import with_last_evaluation
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.realised.labelled_scores import read_labelled_scores
from batchinf_assets.evaluation.realised.trailing_state import trailing_states
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.places import (
    manifest_link,
    range_report_place,
    window_report_place,
)
from batchinf_assets.evaluation.report.range_reading import (
    known_profiles,
    read_range,
    read_troubles,
)
from batchinf_assets.evaluation.report.readings import Reading, Row, reading_of
from batchinf_assets.evaluation.report.spreads import training_profile
from batchinf_assets.evaluation.report.standing import standing_of
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.registry.bins import Binned
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def write_window_report(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    manifest: Manifest,
    *,
    page: Place | None = None,
) -> Place:
    """Write the page of a revision as it stands now, and return where it lies.

    The same revision, figures and readers' view give the same bytes.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        window: The window.
        manifest: The revision's manifest or draft; its last evaluation is shown.
        page: Where to write it; by default beside the other reports of the lake.

    Raises:
        ManifestInvalid: A table or a document about the revision is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    from batchinf_assets.evaluation.report.window_page import window_page

    place = page or window_report_place(project, spec, window, manifest.revision)
    visible = published_revision(project, spec, window)
    manifest = with_last_evaluation(project, spec, window, manifest)
    content = window_page(
        spec,
        manifest,
        _reading(project, spec, window, manifest),
        standing=standing_of(project, spec, window, manifest, visible),
        manifest_link=manifest_link(project, spec, window, manifest, place),
        sketch=_sketch(project, spec, window, manifest.revision),
        training=training_profile(project, manifest),
        trailing_state=trailing_states(project, spec, [window]).get(window.key),
    )
    write_bytes(place, content)
    return place


def write_range_report(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], *, page: Place | None = None
) -> Place:
    """Write the page of windows that follow one another, and return where it lies.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        windows: At least one, in order.
        page: Where to write it; by default beside the other reports of the lake.

    Raises:
        ManifestInvalid: A table's log, or the ledger, is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    from batchinf_assets.evaluation.report.range_page import range_page

    place = page or range_report_place(project, spec, windows[0], windows[-1])
    found = read_range(project, spec, windows, place)
    troubles, profiles = read_troubles(project, spec, windows), known_profiles(project, found)
    write_bytes(place, range_page(spec, found, troubles, profiles))
    return place


def _reading(project: Project, spec: PipelineSpec, window: Window, manifest: Manifest) -> Reading:
    labelled = read_labelled_scores(project, spec, [window])
    own = [each for each in labelled if each.measured.revision == manifest.revision]
    return reading_of(
        manifest.revision,
        manifest.evaluation,
        evaluation=_rows(project, spec, window, "evaluation"),
        performance=_rows(project, spec, window, "performance"),
        realised_calibration=task_of(spec).curve(own[0].kept) if own else (),
    )


def _rows(project: Project, spec: PipelineSpec, window: Window, table: str) -> list[Row]:
    found = metric_table(project, spec, table).read(window)
    return found.to_pylist() if found is not None else []


def _sketch(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Mapping[str, Binned]:
    found = read_sketches(project, spec, [window], revisions={window.key: revision})
    return found[window.key].subjects if found else {}
