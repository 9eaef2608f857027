"""What can be compared: two numbers per row."""

from __future__ import annotations

from batchinf_assets.evaluation.comparison.pairs import NotComparable
from batchinf_assets.spec import PipelineSpec


def require_one_score(spec: PipelineSpec) -> None:
    """Refuse to compare predictions of several classes row by row.

    Raises:
        NotComparable: The pipeline predicts several classes.
    """
    if len(spec.prediction.given) > 1:
        raise NotComparable(
            f"{spec.name} predicts one of several classes: comparing rows is not available, as a "
            "row has no single score.",
            next_step="Compare the golden figures and the confusion matrices of the two window "
            f"reports: `batchinf report {spec.name} WINDOW`.",
        )
