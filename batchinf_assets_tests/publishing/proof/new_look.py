"""A look at a table as a new process has it, which remembers nothing of its log."""

from __future__ import annotations

from batchinf_assets.lake import table_state
from batchinf_assets.lake.table_commits import forget_commits
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec


def forget(project: Project, spec: PipelineSpec) -> None:
    """Forget what was read of the log of a pipeline's predictions."""
    folder = predictions_table(project, spec).folder
    table_state._KNOWN.pop(folder, None)
    table_state._opened.cache_clear()
    forget_commits(folder)
