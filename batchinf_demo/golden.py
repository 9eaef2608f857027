"""Draw the golden set of flight_delays: `python -m batchinf_demo.golden` writes data/golden/.

Run once; the file is committed and not drawn again, or figures could not be compared over time.
"""

from __future__ import annotations

import os
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.project import Project
from batchinf_assets.spec import Pipeline, load_pipeline
from batchinf_assets.training.dataset import labelled_rows

FIRST, END = date(2013, 4, 1), date(2013, 7, 1)
ROWS = 2_000
SEED = 20130401


def draw(project: Project, pipeline: Pipeline) -> pa.Table:
    """Draw `ROWS` labelled flights of the second quarter, uniformly and without replacement.

    Returns:
        Key, features and label, sorted by key.

    Raises:
        LandedFileMissing: The quarter has not landed; `batchinf demo land` lands it.
    """
    spec = pipeline.spec
    windows = spec.window.starting_in(FIRST, END)
    rows = labelled_rows(project, pipeline, windows, lambda _done, _total: None).rows
    chosen = np.random.default_rng(SEED).choice(rows.num_rows, size=ROWS, replace=False)
    drawn = sort_by(rows.take(pa.array(np.sort(chosen))), spec.source.key)
    return drawn.rename_columns(
        [spec.golden.label if name == LABEL else name for name in drawn.column_names]
    )


def main() -> None:
    """Write the golden set that `defs.yaml` names."""
    project, pipeline = Project.here(os.environ), load_pipeline("flight_delays")
    path = project.root / pipeline.spec.golden.file
    pq.write_table(draw(project, pipeline), path, compression="zstd", write_page_checksum=True)


if __name__ == "__main__":
    main()
