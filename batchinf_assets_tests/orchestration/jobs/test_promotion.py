"""Promotion as an operator starts it in Dagster: real models, a real registry, real windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from batchinf_assets.definitions import defs
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import promoted_model, promotion_log
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    pass

DAY = "2013-07-06"
MODEL = dg.AssetKey(["flight_delays", "model"])
CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHAMPION, GOOD, BAD = "1", "2", "3"


@pytest.fixture
def project(contested: Project) -> Project:
    """Version 1 is the champion, 2 is about as good, 3 learned noise."""
    return contested


def execute(instance: dg.DagsterInstance, what: str, **config: object) -> dg.ExecuteInProcessResult:
    ops = {f"flight_delays__{what}": {"config": config}}
    job = defs().resolve_job_def(f"flight_delays_{what}")
    return job.execute_in_process(
        instance=instance, run_config={**CONSOLE, "ops": ops}, raise_on_error=False
    )


def failure_of(result: dg.ExecuteInProcessResult) -> tuple[str, Mapping[str, Any]]:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data
    assert reported is not None
    return str(reported.description), {k: v.value for k, v in reported.metadata.items()}


def shown_by(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    (record,) = instance.fetch_observations(MODEL, limit=1).records
    assert record.asset_observation is not None
    found = {name: value.value for name, value in record.asset_observation.metadata.items()}
    return {**found, "data_version": record.asset_observation.tags["dagster/data_version"]}


def history(registry: Registry) -> list[Promotion]:
    log = promotion_log(registry, "flight_delays", "champion")
    return log.history(read_keyring(registry.keys))


def champion(registry: Registry) -> str:
    now = datetime.now(UTC)
    return promoted_model(registry, "flight_delays", "champion", now).version.version


def score(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    job = defs().resolve_job_def("flight_delays")
    windows = [pipeline.spec.window.window(DAY)]
    assert run_job(job, instance, windows, lambda _window, _asset: None).succeeded


def test_promote_score_demote_score_publishes_by_the_champion_of_each_time(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    window, store = pipeline.spec.window.window(DAY), manifests(project, pipeline.spec)
    score(instance, pipeline)
    assert execute(instance, "promote", version=GOOD, reason="As good").success
    revisions: list[str] = []
    for version in (GOOD, CHAMPION):
        score(instance, pipeline)
        revision = published_revision(project, pipeline.spec, window)
        assert revision is not None
        revisions.append(revision)
        assert store.read(window, revision).model.version == version
        if version == GOOD:
            assert execute(instance, "demote", reason="It was not", by="an operator").success
            assert champion(registry) == CHAMPION
    assert len(set(revisions)) == 2
    assert [(r.action, r.version, r.by) for r in history(registry)][2:] == [
        ("demote", CHAMPION, "an operator")
    ]


def test_a_promotion_shows_its_record_its_clauses_and_the_canary(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    score(instance, pipeline)
    result = execute(instance, "promote", version=GOOD, reason="As good", by="an operator")
    assert result.success
    shown = shown_by(result)
    expected = {"action": "promote", "alias": "champion", "version": GOOD, "promotion": 2}
    assert expected.items() <= shown.items()
    assert (shown["by"], shown["reason"], shown["forced"]) == ("an operator", "As good", False)
    clauses = shown["flight_delays/clauses"].splitlines()
    assert clauses[:2] == ["| clause | verdict | finding |", "| --- | --- | --- |"]
    names = [clause.name for clause in history(registry)[1].clauses]
    assert [line.split(" | ")[0].removeprefix("| ") for line in clauses[2:]] == names
    assert "| window | 2013-07-06 |" in shown["flight_delays/canary"].splitlines()
    segments = shown["flight_delays/segments"].splitlines()
    columns = {line.split(" | ")[0].removeprefix("| ") for line in segments[2:]}
    assert columns == {"carrier_code", "origin_airport"}


def test_a_promotion_and_the_run_after_it_observe_the_same_model(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    score(instance, pipeline)
    assert execute(instance, "promote", version=GOOD, reason="As good", by="someone").success
    promoted = observed(instance)
    score(instance, pipeline)
    assert observed(instance) == promoted
    model = promoted_model(registry, "flight_delays", "champion", datetime.now(UTC))
    assert promoted == {
        "version": GOOD,
        "digest": model.version.digest,
        "data_version": model.version.digest,
        "key_id": model.artifact.statement.key_id,
        "signed_until": model.artifact.statement.expires_at.isoformat(),
        "promotion": 2,
        "promoted_by": "someone",
        "scorer": model.artifact.card.scorer,
    }


def test_a_model_that_learned_noise_is_refused_with_the_clauses_that_failed(
    instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    score(instance, pipeline)
    before = observed(instance)
    result = execute(instance, "promote", version=BAD, reason="Try it")
    assert not result.success
    sentence, metadata = failure_of(result)
    assert f"flight_delays v{BAD} was not promoted to champion" in sentence
    assert "The golden AUROC is" in sentence
    clauses = metadata["flight_delays/clauses"].splitlines()[2:]
    assert "margin_auroc" in " ".join(clauses)
    assert all("| FAILED |" in line for line in clauses)
    assert champion(registry) == CHAMPION
    assert len(history(registry)) == 1
    assert observed(instance) == before


def test_a_forced_promotion_is_on_record_with_what_it_overrode(
    instance: dg.DagsterInstance, registry: Registry
) -> None:
    # No window has features yet, so the canary fails, too.
    result = execute(instance, "promote", version=BAD, reason="A drill", force=True)
    assert result.success
    record = history(registry)[-1]
    assert (record.forced, record.reason) == (True, "A drill")
    failed = {clause.name for clause in record.clauses if not clause.passed}
    assert {"margin_auroc", "canary"} <= failed
    assert record.by == f"Dagster run {result.run_id}"
    assert champion(registry) == BAD
    assert shown_by(result)["forced"] is True


def test_an_alias_that_no_pipeline_scores_by_is_not_moved(
    instance: dg.DagsterInstance, registry: Registry
) -> None:
    sentence, _ = failure_of(
        execute(instance, "promote", version=GOOD, reason="A slip", alias="champoin")
    )
    assert sentence.startswith("No pipeline scores with flight_delays@champoin.")
    assert champion(registry) == CHAMPION
    assert instance.fetch_observations(MODEL, limit=1).records == []


@pytest.mark.parametrize(
    ("what", "config", "sentence"),
    [
        ("promote", {"version": "9", "reason": "?"}, "no version '9' of model 'flight_delays'"),
        ("promote", {"version": GOOD, "reason": " "}, "Moving an alias needs a reason"),
        ("demote", {"reason": "Back"}, "has no earlier champion to go back to"),
    ],
)
def test_what_cannot_be_done_fails_with_its_sentence(
    instance: dg.DagsterInstance, what: str, config: dict[str, str], sentence: str
) -> None:
    assert sentence in failure_of(execute(instance, what, **config))[0]


def test_without_a_signing_key_nothing_is_promoted(
    project: Project, instance: dg.DagsterInstance, registry: Registry
) -> None:
    (project.keys / "signing-key.pem").unlink()
    sentence, _ = failure_of(execute(instance, "promote", version=GOOD, reason="As good"))
    assert "There is no signing key at" in sentence
    assert champion(registry) == CHAMPION


def test_an_alias_that_was_moved_past_the_record_stops_the_run_before_it_scores(
    project: Project, instance: dg.DagsterInstance, pipeline: Pipeline, registry: Registry
) -> None:
    registry.point("flight_delays", "champion", GOOD)
    job = defs().resolve_job_def("flight_delays")
    window = pipeline.spec.window.window(DAY)
    report = run_job(job, instance, [window], lambda _window, _asset: None)
    assert not report.succeeded
    assert not report.crashed
    assert "the newest signed promotion is of v1" in str(report.failure)
    assert published_revision(project, pipeline.spec, window) is None
    assert instance.fetch_observations(MODEL, limit=1).records == []


@pytest.mark.usefixtures("environ")
def test_the_workplace_signs_with_the_key_of_its_folder(project: Project) -> None:
    assert Workplace().signing_key() == load_signing_key(project.keys, {})
