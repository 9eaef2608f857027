"""How often a bound on realised performance is called broken by a model that keeps it.

Scores are the middles of twentieths and calibrated: a label is true with the chance that its score
says. So every figure of the whole population is known: it is the bound that samples are held
against.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.metrics.binary import (
    BinaryMetrics,
    binary_by_group,
    binary_of_counts,
)
from batchinf_assets.evaluation.realised.performance import Performance
from batchinf_assets.evaluation.realised.performance_check import judge_performance
from batchinf_assets.spec.evaluation import PerformanceSpec

SAMPLES = 200
SCORES = (np.arange(20) + 0.5) / 20
LEVELS = {"common": (2, 4), "rare": (1, 12)}
"""Parameters of the beta distribution of scores; their mean is the share of positives."""

GAINS = ("precision", "recall", "f1", "accuracy", "auroc", "average_precision")
LOSSES = ("log_loss", "brier")


def weights(level: str) -> np.ndarray:
    a, b = LEVELS[level]
    density = np.round(SCORES ** (a - 1) * (1 - SCORES) ** (b - 1), 6)
    return density / density.sum()


def population(level: str, decision: float) -> BinaryMetrics:
    """The figures without any noise."""
    rows = np.round(weights(level) * 1e8).astype(np.int64)
    positives = np.round(rows * SCORES).astype(np.int64)
    counts = {"score": SCORES, "positives": positives, "negatives": rows - positives}
    (found,) = binary_of_counts([pa.table(counts).filter(pa.array(rows > 0))], decision=decision)
    return found


def samples(level: str, rows: int, decision: float) -> list[BinaryMetrics]:
    random = np.random.default_rng(rows)
    scores = random.choice(SCORES, SAMPLES * rows, p=weights(level))
    return binary_by_group(
        pa.array(random.random(SAMPLES * rows) < scores),
        pa.array(scores),
        pa.array(np.repeat(np.arange(SAMPLES), rows)),
        SAMPLES,
        decision=decision,
        intervals=True,
    )


def failures(found: list[BinaryMetrics], spec: PerformanceSpec) -> int:
    windows = [
        Performance(state="measured", rows=each.rows, labelled=each.rows, metrics=each)
        for each in found
    ]
    return sum(not judge_performance(each, (), spec).passed for each in windows)


@pytest.mark.parametrize(
    ("rows", "level"), [(200, "common"), (500, "common"), (500, "rare"), (2_000, "rare")]
)
def test_a_model_that_just_keeps_its_bounds_is_condemned_at_most_once_in_twenty_times(
    rows: int, level: str
) -> None:
    decision = 0.5 if level == "common" else 0.2
    truth, found = population(level, decision).figures, samples(level, rows, decision)
    for name in GAINS:
        spec = PerformanceSpec.model_validate({"at_least": {name: truth[name]}})
        assert failures(found, spec) <= SAMPLES // 20, name
    for name in LOSSES:
        spec = PerformanceSpec.model_validate({"at_most": {name: truth[name]}})
        assert failures(found, spec) <= SAMPLES // 20, name
    assert truth["calibration_error"] == pytest.approx(0, abs=1e-6)
    for bound in (0.01, 0.05):
        spec = PerformanceSpec(at_most={"calibration_error": bound})
        assert failures(found, spec) <= SAMPLES // 20, bound


def test_scores_that_are_a_fifth_too_high_break_a_bound_on_the_calibration_error() -> None:
    random = np.random.default_rng(5)
    scores = random.choice(SCORES[4:], SAMPLES * 500)
    found = binary_by_group(
        pa.array(random.random(SAMPLES * 500) < scores - 0.2),
        pa.array(scores),
        pa.array(np.repeat(np.arange(SAMPLES), 500)),
        SAMPLES,
        decision=0.5,
        intervals=True,
    )
    spec = PerformanceSpec(at_most={"calibration_error": 0.05})
    assert failures(found, spec) >= 0.95 * SAMPLES
