"""The kept figures of realised performance: what they were measured of, and what followed.

How they are measured is in `measure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from batchinf_assets.evaluation.consequences import PERFORMANCE
from batchinf_assets.evaluation.records.metric_tables import history_of, metric_table, read_figures
from batchinf_assets.lake.files import read_footer
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import published_revision
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

OUTCOMES_SOURCE, REVISION, FOLLOWED_UP = "outcomes_sha256", "revision", "followed_up"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the kept figures of a window say of themselves.

    Attributes:
        revision: Of the predictions that were measured.
        outcomes: SHA-256 of the outcomes; None while none had landed.
        followed_up: Whether what the declaration asks for was done, or nothing was to be done.
    """

    revision: str
    outcomes: str | None
    followed_up: bool


def keep_measured(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    figures: pa.Table,
    about: Measured,
    *,
    made_of: str | None = None,
    token: int = 1,
) -> None:
    """Make these figures those of a window; a no-op where they are that already.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        figures: Rows of `METRIC_SCHEMA`.
        about: What they were measured of.
        made_of: What the trailing ones were made of; None where there are none.
        token: Of the attempt that published it.

    Raises:
        Fenced: What a later attempt published was measured already.
        LostRace: Another writer replaced the same window meanwhile.
    """
    footer = {
        OUTCOMES_SOURCE: about.outcomes,
        REVISION: about.revision,
        FOLLOWED_UP: about.followed_up,
    }
    table = metric_table(project, spec, PERFORMANCE)
    table.keep_figures(window, figures, footer, made_of=made_of, token=token)


def followed_up(project: Project, spec: PipelineSpec, window: Window) -> None:
    """Put on record that what follows from a window's figures was done; a no-op if it is.

    Raises:
        LostRace: Somebody measured the window anew meanwhile.
        ManifestInvalid: The table's log or a file is damaged.
    """
    table = metric_table(project, spec, PERFORMANCE)
    token = table.token_of(window)  # before the figures are read: none newer may be replaced
    for file in table.files_of(window):
        footer = read_footer(file)
        if not footer.get(FOLLOWED_UP, True):
            table.keep_figures(
                window,
                read_figures(file),
                {**footer, FOLLOWED_UP: True},
                made_of=history_of(file),
                token=token,
            )


def measured(project: Project, spec: PipelineSpec, window: Window) -> Measured | None:
    """Return what a window's performance was measured of, or None before that.

    Raises:
        ManifestInvalid: The table's log or a file is damaged.
    """
    files = metric_table(project, spec, PERFORMANCE).files_of(window)
    return measured_in(files[0]) if files else None


@lru_cache(maxsize=1024)
def measured_in(file: Place) -> Measured:
    """Read what a file of figures says of itself, once per process: its name is made of it.

    Raises:
        ManifestInvalid: The file is gone or damaged.
    """
    footer = read_footer(file)
    # The first version kept the revision with the rows only, and did what follows at once.
    return Measured(
        revision=footer.get(REVISION) or read_figures(file).column(REVISION)[0].as_py(),
        outcomes=footer[OUTCOMES_SOURCE],
        followed_up=footer.get(FOLLOWED_UP, True),
    )


def measured_outcomes(project: Project, spec: PipelineSpec, window: Window) -> str | None:
    """Return the SHA-256 of the outcomes that the visible revision was measured with, if it was.

    Raises:
        ManifestInvalid: A table's log or a file is damaged.
    """
    found = measured(project, spec, window)
    visible = published_revision(project, spec, window)
    return found.outcomes if found is not None and found.revision == visible else None
