"""What a model is for, and so how its predictions are measured: asked here, and nowhere else.

What is declared of it is in `spec.prediction`, what every task can do in `task`.
"""

from __future__ import annotations

from batchinf_assets.evaluation.metrics.binary_task import BinaryTask
from batchinf_assets.evaluation.metrics.multiclass_task import MulticlassTask
from batchinf_assets.evaluation.metrics.regression_task import RegressionTask
from batchinf_assets.evaluation.metrics.task import Task
from batchinf_assets.spec.pipeline import PipelineSpec


def task_of(spec: PipelineSpec) -> Task:
    """Return what a pipeline's predictions are measured by."""
    match spec.prediction.kind:
        case "binary":
            return BinaryTask(decision=spec.golden.decision)
        case "regression":
            return RegressionTask(quantile=spec.prediction.quantile)
        case "multiclass":
            return MulticlassTask(classes=spec.prediction.classes)
