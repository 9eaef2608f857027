"""Draw the golden set of flight_delays: `python -m batchinf_demo.golden` proposes it anew.

The file in data/golden/ was drawn once and is committed; drawing another one in its place would
make figures before and after incomparable. The draw of then is repeated here, row by row.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

from batchinf_assets.evaluation.golden_provenance import LearnedFrom
from batchinf_assets.project import Project
from batchinf_assets.spec import Pipeline, load_pipeline
from batchinf_assets.training.golden_draw import (
    DrawnSet,
    GoldenDraw,
    draw_golden_set,
    write_golden_set,
)

FIRST, END = date(2013, 4, 1), date(2013, 7, 1)
ROWS = 2_000
SEED = 20130401


def draw(project: Project, pipeline: Pipeline, at: datetime) -> DrawnSet:
    """Draw `ROWS` labelled flights of the second quarter, uniformly and without replacement.

    Args:
        project: Where the quarter has landed.
        pipeline: The demo's.
        at: The time to put into the provenance.

    Raises:
        LandedFileMissing: The quarter has not landed; `batchinf demo land` lands it.
    """
    training = pipeline.spec.model.training
    asked = GoldenDraw(
        windows=pipeline.spec.window.starting_in(FIRST, END),
        rows=ROWS,
        stratified=False,
        seed=SEED,
        version="1",
        at=at,
        apart_from=(LearnedFrom(what="declared training", start=training.start, end=training.end),),
    )
    return draw_golden_set(project, pipeline, asked, lambda _done, _total: None)


def main() -> None:
    """Write the set beside the one that `defs.yaml` names."""
    project, pipeline = Project.here(os.environ), load_pipeline("flight_delays")
    path = (project.root / pipeline.spec.golden.file).with_suffix(".proposed.parquet")
    write_golden_set(path, draw(project, pipeline, datetime.now(UTC)), pipeline.spec)


if __name__ == "__main__":
    main()
