"""The figures that a verdict on a revision keeps: the tables tell of what readers see later."""

from __future__ import annotations

from batchinf_assets.checks import writable
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.evaluation.realised.performance_history import performance_history
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Figures = dict[str, int | float | str]


def recorded_figures(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Figures | None:
    """Return realised performance of a revision: metrics, `rows` and `labelled`.

    Empty where nothing is on record of this revision, None where the record is damaged: neither
    keeps a revision from being taken back. Metrics that are undefined are left out.
    """
    try:
        (found,) = performance_history(project, spec, [window], {window.key: revision})
    except ManifestInvalid:
        return None
    counts = {"rows": found.rows, "labelled": found.labelled}
    metrics = {name: figure.value for name, figure in found.realised.items()}
    known = {name: value for name, value in (counts | metrics).items() if value is not None}
    return {name: writable(value) for name, value in known.items()}
