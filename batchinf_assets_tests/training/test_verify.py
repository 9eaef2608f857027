"""Verifying holds the files that score against the model, not files made anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.artifact import Artifact
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.fast import LINEAR, TREES
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.training.examine import Findings
from batchinf_assets.training.verify import verify_model

if TYPE_CHECKING:
    from batchinf_assets_tests.training.conftest import School

NUMBERS = ["distance_miles", "departure_minute", "wind_speed"]
KINDS = {
    TREES: RandomForestClassifier(n_estimators=20, max_depth=4, random_state=0),
    LINEAR: LogisticRegression(),
}

Artifacts = dict[str, Artifact]


@pytest.fixture(scope="module")
def artifacts(school: School, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """A registered model for each fast scorer."""
    own = school.with_lake(tmp_path_factory.mktemp("verified") / "lake")
    frame = model_frame(own.labelled.rows, own.pipeline.spec.features.columns)
    labels = own.labelled.rows.column("label").to_pandas()
    opened: Artifacts = {}
    for scorer, estimator in KINDS.items():
        numbers = make_pipeline(SimpleImputer(), StandardScaler())
        columns = ColumnTransformer([("numbers", numbers, NUMBERS)])
        model = make_pipeline(columns, estimator).fit(frame, labels)
        registered = own.register(skops.io.dumps(model))
        opened[scorer] = open_version(own.registry, registered.version, own.now)
        assert opened[scorer].card.scorer == scorer
    return opened


def verify(school: School, artifact: Artifact) -> Findings:
    return verify_model(school.project, school.pipeline, artifact)


def with_file(artifact: Artifact, name: str, change: Callable[[bytes], bytes]) -> Artifact:
    """The artifact of somebody who signed another file of the scorer."""
    contents: dict[Any, bytes] = dict(artifact.contents)
    contents[name] = change(contents[name])
    return replace(artifact, contents=contents)


def with_other_leaves(data: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    index = table.schema.get_field_index("value")
    field, leaves = table.schema.field(index), table.column(index).to_pylist()
    leaves[-1] = [share + 0.25 for share in leaves[-1]]  # the last node of a tree is a leaf
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(index, field, pa.array(leaves, field.type)), sink)
    return sink.getvalue().to_pybytes()


def with_another_weight(data: bytes) -> bytes:
    document = json.loads(data)
    document["coefficients"][0][0] += 1e-3
    return json.dumps(document).encode()


CHANGES = {
    TREES: ("trees.parquet", with_other_leaves),
    LINEAR: ("linear.json", with_another_weight),
}


def test_the_stored_scorer_is_compared(school: School, artifacts: Artifacts) -> None:
    found = verify(school, artifacts[TREES])
    assert found.scorer == TREES
    verdicts = [(record.scorer, record.verdict) for record in found.parity]
    assert verdicts == [("scikit-learn", "passed"), (TREES, "passed")]


@pytest.mark.parametrize("scorer", KINDS)
def test_a_stored_scorer_that_answers_otherwise_does_not_verify(
    school: School, artifacts: Artifacts, scorer: str
) -> None:
    name, change = CHANGES[scorer]
    with pytest.raises(ModelRefused, match=f"is scored by {scorer}, which does not") as refusal:
        verify(school, with_file(artifacts[scorer], name, change))
    assert refusal.value.reason is Refusal.PARITY
    assert "where scikit-learn gives" in refusal.value.message


def test_a_stored_scorer_that_cannot_be_made_does_not_verify(
    school: School, artifacts: Artifacts
) -> None:
    broken = with_file(artifacts[TREES], "trees.parquet", lambda data: data[:100])
    with pytest.raises(ModelRefused, match=r"trees\.parquet cannot be read") as refusal:
        verify(school, broken)
    assert refusal.value.reason is Refusal.UNREADABLE


def test_for_a_scorer_that_is_not_here_the_model_itself_scores_and_is_not_compared(
    school: School, artifacts: Artifacts
) -> None:
    artifact = artifacts[TREES]
    slow = replace(artifact, card=artifact.card.model_copy(update={"scorer": "trees/0"}))
    found = verify(school, slow)
    assert found.scorer == "scikit-learn"
    assert [record.scorer for record in found.parity] == ["scikit-learn"]
    assert np.isfinite(found.rows_per_second["scikit-learn"])
