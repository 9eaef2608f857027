"""Bounds of the golden metrics."""

from typing import get_args

import pyarrow as pa
import pytest

from batchinf_assets.evaluation.golden.judge import judge_golden
from batchinf_assets.evaluation.metrics.binary import BinaryMetrics, binary_metrics
from batchinf_assets.spec.evaluation import Consequence, GateSpec, GoldenSpec
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

TEN_SCORES = [0.1, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5, 0.8, 0.9, 1.0]
TEN_LABELS = [False, False, True, False, True, False, True, True, False, True]


def measure(labels: list[bool], scores: list[float], decision: float = 0.5) -> BinaryMetrics:
    """Measure Python lists."""
    return binary_metrics(
        pa.array(labels, pa.bool_()), pa.array(scores, pa.float64()), decision=decision
    )


def declared(**bounds: dict[str, float]) -> PipelineSpec:
    """The demo pipeline with other bounds."""
    golden = GoldenSpec.model_validate({"file": "golden.parquet", **bounds})
    return load_pipeline("flight_delays").spec.model_copy(update={"golden": golden})


def test_figures_inside_their_bounds_pass() -> None:
    metrics = measure(TEN_LABELS, TEN_SCORES)
    result = judge_golden(metrics, declared(at_least={"auroc": 0.7}, at_most={"brier": 0.25}))
    assert (result.asset, result.name) == ("evaluation", "golden_quality")
    assert result.passed
    assert result.blocking
    assert result.measured["auroc"] == metrics.auroc
    assert (result.measured["rows"], result.measured["positives"]) == (10, 5)


def test_every_broken_bound_is_named_with_what_was_found() -> None:
    spec = declared(at_least={"auroc": 0.75, "recall": 0.8}, at_most={"brier": 0.2})
    result = judge_golden(measure(TEN_LABELS, TEN_SCORES), spec)
    assert not result.passed
    assert [violation.rule for violation in result.violations] == [
        "auroc at least 0.75 (found 0.7000)",
        "brier at most 0.2 (found 0.2450)",
    ]
    assert all(violation.column is None for violation in result.violations)


def test_an_undefined_figure_breaks_its_bound() -> None:
    spec = declared(at_least={"auroc": 0.0}, at_most={"log_loss": 100.0})
    result = judge_golden(measure([], []), spec)
    assert [violation.rule for violation in result.violations] == [
        "auroc at least 0 (undefined)",
        "log_loss at most 100 (undefined)",
    ]
    assert result.measured["auroc"] == "undefined"


@pytest.mark.parametrize("consequence", get_args(Consequence))
def test_a_broken_bound_blocks_where_the_declaration_says_so(consequence: Consequence) -> None:
    gate = GateSpec(golden_quality=consequence)
    spec = declared(at_least={"auroc": 0.75}).model_copy(update={"gate": gate})
    result = judge_golden(measure(TEN_LABELS, TEN_SCORES), spec)
    assert (result.passed, result.blocking) == (False, consequence == "block")
