"""What a declaration of the model's output means, and which others it refuses."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from batchinf_assets.evaluation.metrics.binary_task import BinaryTask
from batchinf_assets.evaluation.metrics.regression_task import RegressionTask
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.promotion.clauses import TITLES
from batchinf_assets.spec.evaluation import Metric
from batchinf_assets.spec.load import DEFS_FOLDER, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.prediction import KINDS, PredictionSpec

NUMBER = {"column": "minutes", "kind": "regression", "quantile": 0.9}


def declared(**sections: Any) -> PipelineSpec:
    """The demo's declaration as a regression, with other sections."""
    document = load_pipeline("flight_delays", DEFS_FOLDER).spec.model_dump(mode="json")
    golden = {"file": "golden.parquet", "label": "came"}
    return PipelineSpec.model_validate(
        {**document, "prediction": NUMBER, "golden": golden, "postprocess": None, **sections}
    )


def test_a_probability_is_bounded_by_0_and_1_and_a_number_by_nothing() -> None:
    assert PredictionSpec(column="p").bounds == (0.0, 1.0)
    assert PredictionSpec(column="p", max=0.9).bounds == (0.0, 0.9)
    assert PredictionSpec(column="n", kind="regression").bounds == (None, None)
    assert PredictionSpec(column="n", kind="regression", min=-60).bounds == (-60.0, None)
    with pytest.raises(ValidationError, match="min 2 is above max 1"):
        PredictionSpec(column="p", min=2)


def test_the_task_is_that_of_the_declared_kind() -> None:
    assert task_of(declared()) == RegressionTask(quantile=0.9)
    demo = load_pipeline("flight_delays", DEFS_FOLDER).spec
    assert task_of(demo) == BinaryTask(decision=0.4)
    assert (demo.decision, declared().decision) == (0.4, None)


def test_margins_are_those_of_the_kind_unless_declared() -> None:
    assert declared().margins == {"r_squared": 0.01}
    assert load_pipeline("flight_delays", DEFS_FOLDER).spec.margins == {
        "auroc": 0.01,
        "brier": 0.005,
    }


def test_every_metric_belongs_to_a_kind_and_has_a_title() -> None:
    metrics = {metric for kind in KINDS.values() for metric in kind.metrics}
    named = [name for group in get_args(Metric) for name in (get_args(group) or (group,))]
    assert sorted(metrics) == sorted(named)
    assert {*TITLES} == metrics
    for kind in KINDS.values():
        assert {*kind.headline, *kind.margins} <= {*kind.metrics}
        assert {*kind.metrics} == {*(task_of(_of(kind.name)).metrics)}


def _of(name: str) -> PipelineSpec:
    classes = ["a", "b", "c"] if name == "multiclass" else []
    return declared(prediction={"column": "minutes", "kind": name, "classes": classes})


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        (
            {"golden": {"file": "g.parquet", "label": "came", "at_least": {"auroc": 0.6}}},
            "golden.at_least names 'auroc', no metric of kind regression",
        ),
        (
            {"performance": {"at_most": {"brier": 0.2}}},
            "performance.at_most names 'brier', no metric of kind regression",
        ),
        (
            {"golden": {"file": "g.parquet", "label": "came", "decision": 0.3}},
            "golden.decision is declared, but kind regression has no classes",
        ),
        (
            {"prediction": {"column": "p"}, "performance": {"at_most": {"mae": 3.0}}},
            "performance.at_most names 'mae', no metric of kind binary",
        ),
        (
            {"prediction": {"column": "p", "kind": "multiclass", "classes": ["a", "b", "c"]}}
            | {"golden": {"file": "g.parquet", "label": "came", "decision": 0.3}},
            "kind multiclass has more than two classes",
        ),
    ],
)
def test_what_the_kind_does_not_have_is_refused(sections: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        declared(**sections)
