"""A lake whose days are measured, made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.evaluation.measure import measure_performance
from batchinf_assets.spec import Pipeline
from batchinf_assets_tests.evaluation.real_days import DAYS, copied

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World


@pytest.fixture(scope="session")
def measured_lake(
    visible_lake: Path,
    world: World,
    pipeline: Pipeline,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The visible days, measured against their outcomes; models lie beside them."""
    folder = tmp_path_factory.mktemp("measured")
    project = copied(visible_lake, world, folder, DAYS)
    (project.lake / "_models").symlink_to(world.lake / "_models")
    for day in DAYS:
        measure_performance(project, pipeline.spec, pipeline.spec.window.window(day))
    return project.lake
