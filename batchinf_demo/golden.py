"""Draw the golden sets of the demo: `python -m batchinf_demo.golden PIPELINE` proposes one anew.

The files in data/golden/ were drawn once and are committed; drawing another one in its place would
make figures before and after incomparable. The draw of then is repeated here, row by row.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime

from batchinf_assets.evaluation.golden.golden_provenance import LearnedFrom
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.training.golden_draw import (
    DrawnSet,
    GoldenDraw,
    draw_golden_set,
    write_golden_set,
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """How a committed golden set was drawn: uniformly and without replacement.

    Attributes:
        first: The first day drawn from.
        end: The day after the last.
        rows: How many.
        seed: Of the draw.
    """

    first: date
    end: date
    rows: int = 2_000
    seed: int


SETS = {
    "flight_delays": Drawn(first=date(2013, 4, 1), end=date(2013, 7, 1), seed=20130401),
    "departure_delays": Drawn(first=date(2013, 5, 1), end=date(2013, 6, 1), seed=20130501),
}


def draw(project: Project, pipeline: Pipeline, at: datetime) -> DrawnSet:
    """Draw labelled rows of the windows that the committed set was drawn from, as it was.

    Args:
        project: Where these windows have landed.
        pipeline: One of the demo's.
        at: The time to put into the provenance.

    Raises:
        LandedFileMissing: A window has not landed; `batchinf demo land` lands it.
    """
    drawn = SETS[pipeline.name]
    training = pipeline.spec.model.training
    asked = GoldenDraw(
        windows=pipeline.spec.window.starting_in(drawn.first, drawn.end),
        rows=drawn.rows,
        stratified=False,
        seed=drawn.seed,
        version="1",
        at=at,
        apart_from=(LearnedFrom(what="declared training", start=training.start, end=training.end),),
    )
    return draw_golden_set(project, pipeline, asked, lambda _done, _total: None)


def main() -> None:
    """Write the set beside the one that `defs.yaml` names."""
    project, pipeline = Project.here(os.environ), load_pipeline(sys.argv[1])
    path = (project.root / pipeline.spec.golden.file).with_suffix(".proposed.parquet")
    write_golden_set(path, draw(project, pipeline, datetime.now(UTC)), pipeline.spec)


if __name__ == "__main__":
    main()
