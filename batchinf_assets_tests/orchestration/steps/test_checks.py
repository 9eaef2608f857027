"""Which verdicts Dagster shows, and what it says of them, follows from the declaration."""

from __future__ import annotations

import dagster as dg
import pytest

from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.steps.checks import check_specs
from batchinf_assets.spec.evaluation import GateSpec, PerformanceSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec.model_copy(update={"gate": GateSpec()})


def specs(spec: PipelineSpec, asset: str) -> dict[str, dg.AssetCheckSpec]:
    key = dg.AssetKey([spec.name, asset])
    found = check_specs(key, partitions_of(spec.window), spec)
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def test_every_verdict_of_the_evaluation_is_shown_whatever_it_leads_to(spec: PipelineSpec) -> None:
    found = specs(spec, "evaluation")
    assert {name: each.blocking for name, each in found.items()} == {
        "golden_quality": True,
        "golden_set": False,
        "drift": False,
    }


def test_a_verdict_blocks_and_says_so_where_that_is_declared(spec: PipelineSpec) -> None:
    gate = GateSpec(golden_quality="inform", golden_set="block", drift="ticket")
    found = specs(spec.model_copy(update={"gate": gate}), "evaluation")
    assert {name for name, each in found.items() if each.blocking} == {"golden_set"}
    ends = {name: str(each.description).split("If not, ")[1] for name, each in found.items()}
    assert ends == {
        "golden_set": "the window is not published, unless somebody overrides it with a reason.",
        "golden_quality": "it is shown.",
        "drift": "a ticket is opened.",
    }


def test_performance_has_a_check_that_never_blocks_where_it_has_bounds(spec: PipelineSpec) -> None:
    without = spec.model_copy(update={"performance": PerformanceSpec()})
    assert specs(without, "performance") == {}
    bounds = PerformanceSpec(at_least={"auroc": 0.6})
    found = specs(spec.model_copy(update={"performance": bounds}), "performance")
    assert {name: each.blocking for name, each in found.items()} == {"performance": False}
    assert str(found["performance"].description).endswith("a ticket is opened.")


def test_no_other_check_speaks_of_consequences(spec: PipelineSpec) -> None:
    for asset in ("snapshot", "features", "predictions", "published"):
        found = specs(spec, asset)
        assert found
        assert not any("If not" in str(each.description) for each in found.values())
