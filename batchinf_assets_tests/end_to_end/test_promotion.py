"""Promote, score, demote, score: two revisions of one window that differ by their model alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import pytest
from click.testing import CliRunner, Result

from batchinf_assets.attempts import attempting
from batchinf_assets.cli import main
from batchinf_assets.errors import WindowRefused
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import build_features
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.project import Project
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.predictions import manifests, prediction_rows, published_revision
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline

WINDOW = "2013-07-01"
CHAMPION, GOOD, NOISE = "1", "2", "3"
DRIFT = ("evaluation", "drift")

DECIDED_BY_THE_MODEL = {
    "revision",
    "model.version",
    "model.digest",
    "model.promotion",
    "outputs",
    "evaluation",
    "checks",
}
DECIDED_BY_THE_RUN = {
    *("run_id", "attempt", "trace_id", "scored_at", "published_at"),
    *("timings", "resources", "shards"),
    *(f"changes.{name}" for name in ChangesRecord.model_fields),  # what it took the place of
}


@dataclass(frozen=True)
class Desk:
    """Somebody at the command line."""

    project: Project
    pipeline: Pipeline

    def batchinf(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    def fine(self, *arguments: str) -> str:
        result = self.batchinf(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def score(self) -> Manifest:
        """Run the window and return the manifest of what readers then see."""
        self.fine("run", self.pipeline.name, WINDOW)
        return self.visible()

    def visible(self) -> Manifest:
        spec, window = self.pipeline.spec, self.pipeline.spec.window.window(WINDOW)
        revision = published_revision(self.project, spec, window)
        assert revision is not None
        return manifests(self.project, spec).read(window, revision)

    def promote(self, version: str, *options: str) -> None:
        reason = ("--reason", f"Let version {version} score")
        self.fine("model", "promote", "flight_delays", version, *reason, *options)

    def demote(self) -> None:
        self.fine("model", "demote", "flight_delays", "--reason", "It was worse")

    def holds(self) -> bool:
        return self.batchinf("verify", "flight_delays", "--all").exit_code == 0


@pytest.fixture
def project(contested: Project) -> Project:
    return contested


@pytest.fixture
def desk(project: Project, pipeline: Pipeline, environ: dict[str, str]) -> Desk:
    assert environ["BATCHINF_LAKE"] == str(project.lake)
    return Desk(project, pipeline)


def flat(document: dict[str, Any]) -> dict[str, Any]:
    """Name the fields of a manifest's parts apart, but keep lists and measured figures whole."""
    whole = {"evaluation", "timings", "resources", "shards"}
    parts = {name for name, value in document.items() if isinstance(value, dict)} - whole
    fields = {name: value for name, value in document.items() if name not in parts}
    for part in parts:
        fields |= {f"{part}.{name}": value for name, value in document[part].items()}
    return fields


def differing(one: Manifest, other: Manifest) -> set[str]:
    first, second = (flat(json.loads(manifest.to_json())) for manifest in (one, other))
    assert first.keys() == second.keys()
    return {name for name in first if first[name] != second[name]}


def judged(manifest: Manifest) -> dict[tuple[str, str], bool]:
    """Whether each check passed, in their order."""
    return {(check.asset, check.name): check.passed for check in manifest.checks}


def test_two_revisions_of_a_window_differ_by_their_model_alone_and_both_verify(desk: Desk) -> None:
    by_the_champion = desk.score()
    assert desk.holds()
    desk.promote(GOOD)
    by_the_better = desk.score()
    assert desk.holds()
    desk.demote()
    again = desk.score()
    assert desk.holds()

    assert (by_the_champion.model.version, by_the_better.model.version) == (CHAMPION, GOOD)
    found = differing(by_the_champion, by_the_better)
    assert found - DECIDED_BY_THE_RUN == DECIDED_BY_THE_MODEL
    assert by_the_champion.counts == by_the_better.counts
    assert by_the_champion.model.key_id == by_the_better.model.key_id
    assert by_the_champion.model.scorer == by_the_better.model.scorer
    outcomes, others = judged(by_the_champion), judged(by_the_better)
    assert [*outcomes] == [*others]
    # Each model has its own reference; that of the better one is two days, taken as rows.
    assert {check for check in outcomes if outcomes[check] != others[check]} == {DRIFT}
    assert outcomes[DRIFT]

    # The demotion brings the first revision back: the very document, for it is never rewritten.
    assert (again.revision, again.model.digest) == (
        by_the_champion.revision,
        by_the_champion.model.digest,
    )
    assert again.outputs == by_the_champion.outputs
    assert again == by_the_champion
    assert (by_the_champion.model.promotion, by_the_better.model.promotion) == (1, 2)


def test_the_rows_of_both_revisions_are_the_same_flights_with_other_scores(desk: Desk) -> None:
    first = desk.score()
    desk.promote(GOOD)
    second = desk.score()
    spec = desk.pipeline.spec
    one, other = (prediction_rows(desk.project, spec, manifest) for manifest in (first, second))
    key = list(spec.source.key)
    assert one.select(key).equals(other.select(key))
    column = spec.prediction.column
    changed = pc.sum(pc.not_equal(one[column], other[column])).as_py()
    assert changed > 0.99 * one.num_rows


def test_a_bad_model_that_was_forced_publishes_nothing_and_is_demoted_in_one_command(
    desk: Desk,
) -> None:
    """The promotion gate can be overridden, the golden bounds of each window cannot."""
    published = desk.score()
    desk.promote(NOISE, "--force")
    refused = desk.batchinf("run", desk.pipeline.name, WINDOW)
    assert refused.exit_code == 1
    assert "auroc at least 0.6" in refused.stderr
    assert desk.visible() == published
    assert desk.holds()
    desk.demote()
    assert desk.score().revision == published.revision


def test_what_the_former_champion_scored_is_not_published_under_the_new_one(desk: Desk) -> None:
    project, pipeline, now = desk.project, desk.pipeline, datetime.now(UTC)
    registry, window = Registry.at(project, {}), pipeline.spec.window.window(WINDOW)
    champion = scoring_model(registry, pipeline, now)
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)
    with attempting(
        project, pipeline.spec, window, run_id="died after scoring", stage="predictions"
    ) as attempt:
        score_window(project, pipeline, window, champion, attempt=attempt, now=now)
    evaluate_window(project, pipeline.spec, window, champion)
    desk.promote(NOISE, "--force")
    key = load_signing_key(project.keys, {})
    with (
        attempting(project, pipeline.spec, window, run_id="another", stage="published") as attempt,
        pytest.raises(WindowRefused, match=r"scored by flight_delays v3 \(found v1\)"),
    ):
        publish_window(project, registry, pipeline, window, key=key, lease=attempt, now=now)
    assert published_revision(project, pipeline.spec, window) is None
