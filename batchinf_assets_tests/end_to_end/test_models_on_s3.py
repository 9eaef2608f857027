"""A window is scored, published, verified and replayed with its model on S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import build_features
from batchinf_assets.project import Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.register import renew_model
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)


@pytest.fixture
def on_s3(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The champion's registry after its models were moved to a bucket."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with moto_server() as url:
        name = new_bucket(url)
        s3 = boto3.resource("s3", region_name="us-east-1", endpoint_url=url)
        local = project.lake / "_models"
        for path in local.rglob("*"):
            if path.is_file():
                s3.Bucket(name).upload_file(str(path), f"team/{path.relative_to(local)}")
        s3.meta.client.close()
        shutil.rmtree(local)
        yield Registry.at(
            project,
            {
                "BATCHINF_MODELS": f"s3://{name}/team",
                "BATCHINF_CACHE": str(tmp_path / "cache"),
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": "us-east-1",
            },
        )


def test_a_window_is_published_verified_and_replayed(
    project: Project, pipeline: Pipeline, on_s3: Registry, signing_key: SigningKey
) -> None:
    window, spec = pipeline.spec.window.window("2013-07-04"), pipeline.spec
    freeze_snapshot(project, spec, window)
    build_features(project, pipeline, window)
    model = scoring_model(on_s3, pipeline, NOW)
    with attempting(project, spec, window, run_id="run", stage="published") as attempt:
        score_window(project, pipeline, window, model, attempt=attempt, now=NOW)
        evaluate_window(project, spec, window, model)
        publish_window(project, on_s3, pipeline, window, key=signing_key, lease=attempt, now=NOW)
    assert verify_window(project, on_s3, spec, window).problems == ()
    assert replay_window(project, on_s3, pipeline, window).same_bytes
    assert not (project.lake / "_models").exists()


def test_a_model_is_registered_and_promoted_on_s3(
    project: Project, pipeline: Pipeline, on_s3: Registry, signing_key: SigningKey
) -> None:
    now = datetime.now(UTC)
    champion = on_s3.resolve("flight_delays", "champion")
    renewed = renew_model(on_s3, champion, signing_key, days=1, now=now)
    decision = Decision(alias="champion", reason="Signed anew", by="tests", at=now)
    promote(project, on_s3, [pipeline], signing_key, renewed, decision)
    found = scoring_model(on_s3, pipeline, now)
    assert (found.version.version, found.promotion and found.promotion.sequence) == ("2", 2)
    on_s3.point("flight_delays", "champion", "1")
    with pytest.raises(ModelRefused) as refusal:
        scoring_model(on_s3, pipeline, now)
    assert refusal.value.reason is Refusal.OLDER_VERSION
