"""A day scored before a look-back file and the last weather had landed; `compare` names both."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from batchinf_assets.cli import main
from batchinf_assets.errors import ManifestInvalid, UsageError
from batchinf_assets.features.build import made_rows
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.promotion.comparison.revisions import RevisionComparison, compare_revisions
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    PIPELINE,
    project_at,
    run_window,
    small_pipeline,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

EARLIER = ("2013-07-01", "2013-07-02", "2013-07-03")
LATE = f"outcomes/{EARLIER[-1]}.parquet"
LAST_OBSERVED = datetime(2013, 7, 4, 18, tzinfo=UTC)
WEATHER = {"temperature", "wind_speed", "precipitation", "visibility", "pressure"}
RATES = {"carrier_delay_rate", "route_delay_rate"}


@dataclass(frozen=True)
class Incident:
    """One day in two revisions, the first of them made from stale files."""

    project: Project
    pipeline: Pipeline

    @property
    def window(self) -> Window:
        return self.pipeline.spec.window.window(DAY)

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    def run(self, run_id: str) -> str:
        run_window(self.project, self.pipeline, self.window, run_id)
        revision = published_revision(self.project, self.pipeline.spec, self.window)
        assert revision is not None
        return revision

    def revisions(self) -> tuple[str, str]:
        """Return the stale one and the one that readers see."""
        visible = published_revision(self.project, self.pipeline.spec, self.window)
        found = manifests(self.project, self.pipeline.spec).revisions(self.window)
        (stale,) = {*found} - {visible}
        assert visible is not None
        return stale, visible

    def compared(self) -> RevisionComparison:
        return self.held_against(*self.revisions())

    def held_against(self, a: str, b: str) -> RevisionComparison:
        return compare_revisions(self.project, self.registry, self.pipeline, self.window, a, b)

    def manifest(self, revision: str) -> Manifest:
        return manifests(self.project, self.pipeline.spec).read(self.window, revision)

    def rows(self, revision: str) -> dict[tuple[object, ...], dict[str, Any]]:
        """Return features and score of a revision by key, read without the code under test."""
        spec, manifest = self.pipeline.spec, self.manifest(revision)
        digest = manifest.snapshot.digest
        features = made_rows(self.project, spec, self.window, manifest.features, digest)
        folder = Path(str(predictions_table(self.project, spec).folder))
        scores = pa.concat_tables(pq.read_table(folder / o.path) for o in manifest.outputs)
        found = {tuple(row[k] for k in spec.source.key): row for row in scores.to_pylist()}
        for row in pa.concat_tables(features.all()).to_pylist():
            found[tuple(row[k] for k in spec.source.key)] |= row
        return found


@pytest.fixture(scope="session")
def two_revisions(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two revisions")
    for part in ("lake", "keys"):
        shutil.copytree(world.lake.parent / part, root / part)
    outcomes = [f"outcomes/{day}.parquet" for day in (*EARLIER, DAY)]
    for name in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet", *outcomes):
        (root / "landing" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(world.landing / name, root / "landing" / name)
    incident = Incident(project_at(root, root / "landing"), small_pipeline())
    (root / "landing" / LATE).unlink()
    weather = pq.read_table(root / "landing" / "weather.parquet")
    seen = pc.less_equal(weather["observed_at"], pa.scalar(LAST_OBSERVED))
    pq.write_table(weather.filter(seen), root / "landing" / "weather.parquet")
    incident.run("stale")
    for name in (LATE, "weather.parquet"):
        shutil.copy2(world.landing / name, root / "landing" / name)
    incident.run("fresh")
    return root


@pytest.fixture(scope="session")
def incident(two_revisions: Path) -> Incident:
    """For reading only."""
    return Incident(project_at(two_revisions, two_revisions / "landing"), small_pipeline())


@pytest.fixture(scope="session")
def found(incident: Incident) -> RevisionComparison:
    return incident.compared()


@pytest.fixture
def own(two_revisions: Path, tmp_path: Path) -> Incident:
    """A copy to damage."""
    shutil.copytree(two_revisions, tmp_path / "copy")
    return Incident(project_at(tmp_path / "copy", tmp_path / "copy" / "landing"), small_pipeline())


@pytest.fixture
def batchinf(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BATCHINF_LAKE", str(incident.project.lake))
    monkeypatch.setenv("BATCHINF_KEYS", str(incident.project.keys))
    monkeypatch.setenv("BATCHINF_LANDING", str(incident.project.landing))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["compare", PIPELINE, *arguments])

    return run


def test_the_file_that_had_not_landed_is_named(
    incident: Incident, found: RevisionComparison
) -> None:
    a, b = incident.revisions()
    before, after = incident.rows(a), incident.rows(b)
    changed = sum(any(before[k][r] != after[k][r] for r in RATES) for k in after)
    (cause,) = [c for c in found.causes if c.stale and c.stale.files.view == "outcomes"]
    assert cause.stale is not None
    assert (cause.kind, cause.stale.files.behind) == ("features", "a")
    assert cause.stale.files.absent == (LATE,)
    assert {*cause.stale.features} == RATES
    assert 0 < changed == cause.stale.rows_changed
    assert cause.sentence == (
        f"{cause.stale.features[0]} and {cause.stale.features[1]} were stale: {LATE} had not "
        f"landed when revision {a} was scored; {changed} of {len(after)} rows changed"
    )


def test_observations_that_were_too_old_are_named_with_their_age(
    incident: Incident, found: RevisionComparison
) -> None:
    a, b = incident.revisions()
    before, after = incident.rows(a), incident.rows(b)
    changed = [k for k in after if any(before[k][name] != after[k][name] for name in WEATHER)]
    without = [k for k in changed if all(before[k][name] is None for name in WEATHER)]
    (cause,) = [c for c in found.causes if c.stale and c.stale.files.view == "weather"]
    assert cause.stale is not None
    age = cause.stale.age
    assert cause.stale.files.older == ("weather.parquet",)
    assert {*cause.stale.features} <= WEATHER
    assert (cause.stale.rows_changed, cause.stale.rows) == (len(changed), len(after))
    assert age is not None
    assert (age.rows, age.without) == (len(changed), len(without))
    assert 0 < len(without) < len(changed)
    # Observations are made every full hour, and known one hour later.
    departures = {k: after[k]["scheduled_departure"] for k in changed}
    hour = timedelta(hours=1)
    fresh = [(d - hour).replace(minute=0, second=0) for d in departures.values()]
    ages = [(d - seen).total_seconds() for d, seen in zip(departures.values(), fresh, strict=True)]
    stale = [(departures[k] - LAST_OBSERVED).total_seconds() for k in {*changed} - {*without}]
    assert age.fresh_seconds == np.median(ages)
    assert age.stale_seconds == np.median(stale)
    assert "weather.parquet held other rows when" in cause.sentence
    assert f"{len(without)} of {len(changed)} rows had none" in cause.sentence


def test_nothing_else_is_named_as_a_cause(found: RevisionComparison) -> None:
    assert len(found.causes) == 2
    assert found.notes == ()
    assert found.changed_alone == 0
    assert {change.column for change in found.features.columns} <= RATES | WEATHER


def test_deltas_and_flips_are_those_of_the_two_tables(
    incident: Incident, found: RevisionComparison
) -> None:
    before, after = (incident.rows(revision) for revision in incident.revisions())
    score, at = incident.pipeline.spec.prediction.column, incident.pipeline.spec.golden.decision
    pairs = np.array([(before[k][score], after[k][score]) for k in after])
    deltas = pairs[:, 1] - pairs[:, 0]
    assert found.deltas.rows == len(after) == found.a.rows == found.b.rows
    assert found.deltas.changed == np.count_nonzero(deltas)
    assert found.deltas.mean == pytest.approx(deltas.mean(), abs=1e-12)
    assert found.deltas.mean_absolute == pytest.approx(np.abs(deltas).mean(), abs=1e-12)
    largest = [abs(row.b - row.a) for row in found.deltas.largest]
    assert largest == sorted(np.abs(deltas), reverse=True)[:10]
    assert found.flips.up == np.count_nonzero((pairs[:, 0] < at) & (pairs[:, 1] >= at))
    assert found.flips.down == np.count_nonzero((pairs[:, 0] >= at) & (pairs[:, 1] < at))
    assert found.flips.count > 0


def test_both_are_measured_on_the_outcomes_that_landed(
    incident: Incident, found: RevisionComparison
) -> None:
    before, after = (incident.rows(revision) for revision in incident.revisions())
    score, key = incident.pipeline.spec.prediction.column, incident.pipeline.spec.source.key
    landed = pq.read_table(incident.project.landing / "outcomes" / f"{DAY}.parquet").to_pylist()
    delays = {tuple(row[name] for name in key): row["arrival_delay"] for row in landed}
    known = [k for k in after if delays.get(k) is not None]
    late = [delays[k] >= 15 for k in known]
    auroc = found.quality.metrics["auroc"]
    assert (found.quality.state, found.quality.labelled) == ("measured", len(known))
    assert found.quality.positives == sum(late)
    assert len(found.quality.metrics) == 9
    assert auroc.a == pytest.approx(roc_auc_score(late, [before[k][score] for k in known]))
    assert auroc.b == pytest.approx(roc_auc_score(late, [after[k][score] for k in known]))
    assert None not in (auroc.low, auroc.difference, auroc.high)
    assert auroc.low <= auroc.difference <= auroc.high


def test_segments_come_with_the_most_changed_first(
    incident: Incident, found: RevisionComparison
) -> None:
    before, after = (incident.rows(revision) for revision in incident.revisions())
    score = incident.pipeline.spec.prediction.column
    by_carrier: dict[str, list[float]] = {}
    for key, row in after.items():
        apart = abs(row[score] - before[key][score])
        by_carrier.setdefault(row["carrier_code"], []).append(apart)
    means = {name: float(np.mean(apart)) for name, apart in by_carrier.items()}
    segments = [each for each in found.segments if each.column == "carrier_code"]
    assert [each.value for each in segments] == sorted(means, key=lambda name: -means[name])
    assert {each.column for each in found.segments} == {"carrier_code", "origin_airport"}
    labelled = [each.quality.labelled for each in segments]
    assert sum(labelled) == found.quality.labelled


def test_distributions_that_did_not_change_have_no_distance(found: RevisionComparison) -> None:
    by_subject = {each.subject: each for each in found.drift}
    assert by_subject["distance_miles"].psi == 0
    assert by_subject["distance_miles"].rows == by_subject["distance_miles"].reference_rows
    assert (by_subject["carrier_delay_rate"].psi or 0) > 0.1
    assert found.drift[0].psi == max(each.psi or 0 for each in found.drift)


def test_the_other_way_round_it_is_the_second_that_was_stale(
    incident: Incident, found: RevisionComparison
) -> None:
    a, b = incident.revisions()
    turned = incident.held_against(b, a)
    assert {each.stale.files.behind for each in turned.causes if each.stale} == {"b"}
    assert all(f"when revision {a} was scored" in each.sentence for each in turned.causes)
    assert found.deltas.mean == -(turned.deltas.mean or 0)
    assert (found.flips.up, found.flips.down) == (turned.flips.down, turned.flips.up)


def test_the_command_tells_causes_first_and_prints_json(
    incident: Incident, found: RevisionComparison, batchinf: Any
) -> None:
    a, b = incident.revisions()
    told = batchinf("--window", DAY, "--revision", a, "--revision", b)
    assert told.exit_code == 0, told.output
    assert told.stdout.index(found.causes[0].sentence) < told.stdout.index("Scores:")
    assert "Quality on" in told.stdout
    printed = batchinf("--window", DAY, "--revision", a, "--revision", b, "--json")
    document = json.loads(printed.stdout)
    assert document["causes"][0]["sentence"] == found.causes[0].sentence
    assert document["flips"]["count"] == found.flips.count
    assert document["a"]["revision"] == a


def test_the_command_wants_two_of_one_kind(incident: Incident, batchinf: Any) -> None:
    a, b = incident.revisions()
    wrong = (
        ("--window", DAY, "--revision", a),
        ("--window", DAY, "--revision", a, "--revision", b, "--model", "1"),
        ("--model", "champion", "--model", "1", "--from", DAY),
        ("--window", DAY, "--revision", "../../x", "--revision", b),
        ("--window", DAY, "--revision", a, "--revision", a),
    )
    assert [batchinf(*arguments).exit_code for arguments in wrong] == [2] * len(wrong)
    unknown = batchinf("--window", DAY, "--revision", a, "--revision", "0" * 16)
    assert unknown.exit_code == 1
    assert "has no manifest" in unknown.stderr


def test_a_revision_is_not_compared_with_itself(incident: Incident) -> None:
    a, _ = incident.revisions()
    with pytest.raises(UsageError, match="with itself"):
        incident.held_against(a, a)


def test_a_manifest_without_signature_is_not_believed(own: Incident) -> None:
    a, _ = own.revisions()
    for signature in manifests(own.project, own.pipeline.spec).signatures(own.window, a).values():
        signature.unlink()
    with pytest.raises(ManifestInvalid, match="not signed"):
        own.compared()


def test_changed_predictions_are_not_compared(own: Incident) -> None:
    a, _ = own.revisions()
    folder = Path(str(predictions_table(own.project, own.pipeline.spec).folder))
    output = folder / own.manifest(a).outputs[0].path
    pq.write_table(pq.read_table(output).slice(1), output)
    with pytest.raises(ManifestInvalid, match="bytes changed"):
        own.compared()


def test_changed_features_are_not_compared(own: Incident) -> None:
    a, _ = own.revisions()
    spec, manifest = own.pipeline.spec, own.manifest(a)
    features = made_rows(own.project, spec, own.window, manifest.features, manifest.snapshot.digest)
    place = Path(str(features.place))
    rows = pq.read_table(place)
    other = rows.set_column(
        rows.column_names.index("distance_miles"),
        rows.schema.field("distance_miles"),
        pc.add(rows["distance_miles"], 1),
    )
    pq.write_table(other, place)
    with pytest.raises(ManifestInvalid, match="does not hold the features that were scored"):
        own.compared()


def test_a_corrected_source_and_another_definition_are_named_in_order(
    own: Incident, tmp_path: Path
) -> None:
    _, fresh = own.revisions()
    source = own.project.landing / "flights" / f"{DAY}.parquet"
    pq.write_table(pq.read_table(source).slice(3), source)
    shutil.copytree(own.pipeline.folder, tmp_path / PIPELINE)
    sql = tmp_path / PIPELINE / own.pipeline.spec.features.sql
    sql.write_text(f"-- another definition\n{sql.read_text()}")
    later = replace(own, pipeline=replace(own.pipeline, folder=tmp_path / PIPELINE))
    corrected = later.run("corrected")
    for declared in (own, later):  # the definition of then is kept, whatever is declared now
        found = declared.held_against(fresh, corrected)
        assert [cause.kind for cause in found.causes] == ["snapshot", "definition"]
        assert f"0 changed, 3 only in revision {fresh}, 0 only in" in found.causes[0].sentence
        assert found.notes == ()
        assert (found.a.only_here, found.b.only_here) == (3, 0)
        assert len(found.a.only_here_keys) == 3
        assert found.deltas.rows == found.b.rows == found.a.rows - 3


def test_what_is_gone_since_is_said_and_not_guessed(own: Incident) -> None:
    (own.project.landing / "weather.parquet").unlink()
    shutil.rmtree(own.project.lake / "_models")
    found = own.compared()
    ages = [each.stale.age for each in found.causes if each.stale]
    assert ages == [None, None]
    assert found.drift == ()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("The model of revision")
