"""The reference that a model is given: its training rows by bin, and how their windows differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.drift.between_windows import window_spreads
from batchinf_assets.evaluation.drift.measure import judged_subjects
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.scoring.said import leading_scores
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import LabelledRows


def training_reference(
    labelled: LabelledRows, scores: npt.NDArray[np.float64], spec: PipelineSpec
) -> Profile:
    """Count the training rows by bin, and tell how far their windows lie from each other.

    Of fewer windows than `between_windows.LEAST_WINDOWS` only the rows are told.

    Args:
        labelled: The rows that the model learned from, n.
        scores: What it said of them, as `scoring.said` has it, n.
        spec: Declares features and score.

    Raises:
        ModelRefused: There are no rows.
        InvalidSpec: A feature has the score's name.
    """
    leading = leading_scores(scores)
    columns, score = spec.features.columns, spec.prediction.score
    profile = build_profile(labelled.rows, leading, columns=columns, score_column=score)
    windows = [
        profile.observe(
            {
                **{name: rows.column(name) for name in columns},
                score: pa.array(leading[start : start + rows.num_rows]),
            }
        )
        for start, rows in labelled.by_window()
    ]
    judged = judged_subjects(spec)
    return profile.with_windows(window_spreads(windows, profile.subjects, judged=judged))
