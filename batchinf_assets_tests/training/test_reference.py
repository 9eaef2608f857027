"""The reference that a model is given at its registration."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import LabelledRows
from batchinf_assets.training.reference import training_reference

ROWS = 300


@pytest.fixture(scope="module")
def spec(pipeline: Pipeline) -> PipelineSpec:
    document = pipeline.spec.model_dump()
    document["features"]["columns"] = {
        "hour": {"type": "float64"},
        "weather": {"type": "float64", "drift": False},
    }
    document["golden"]["segments"] = document["performance"]["segments"] = ()
    document["model"]["promotion"]["canary"]["segments"] = ()
    return PipelineSpec.model_validate(document)


def learned(spec: PipelineSpec, windows: int) -> tuple[Profile, Profile]:
    """The reference of windows that have one weather each, and the profile of their rows."""
    random = np.random.default_rng(3)
    weather = np.repeat(random.standard_normal(windows), ROWS)
    rows = pa.table({"hour": random.uniform(0, 24, windows * ROWS), "weather": weather})
    scores = random.random(windows * ROWS)
    labelled = LabelledRows(rows=rows, window_rows=(ROWS,) * windows, unlabelled=0)
    columns, score = spec.features.columns, spec.prediction.column
    alone = build_profile(rows, scores, columns=columns, score_column=score)
    return training_reference(labelled, scores, spec), alone


def test_a_model_knows_how_its_windows_differ(spec: PipelineSpec) -> None:
    reference, alone = learned(spec, 30)
    assert reference.subjects == alone.subjects
    spreads = reference.window_spreads
    assert spreads is not None
    assert {each.windows for each in spreads.values()} == {30}
    assert spreads["hour"].correlation < 0.01
    assert spreads["weather"].correlation > 0.9
    assert spreads["hour"].usual_p_value < 0.05 / 2  # shared with the score
    assert spreads["weather"].usual_p_value <= 0.05  # not judged with them


def test_a_model_of_few_windows_knows_its_rows_alone(spec: PipelineSpec) -> None:
    reference, alone = learned(spec, 18)
    assert reference == alone
    assert reference.window_spreads is None
